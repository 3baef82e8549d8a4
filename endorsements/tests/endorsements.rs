//! Fetching, against services that lie, stall, break off, limit rates and are gone: exact codes, and exactly as many
//! requests as there may be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use core::ops::Range;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;
use strongroom_devkit::vendors::{Fault, Vendors};
use strongroom_devkit::{amd, intel};
use strongroom_devkit::{quote::QuoteSpec, report::ReportSpec};
use strongroom_endorsements::{Access, Cache, Collateral, Fetcher, Patience, Product, SnpEndorsements};
use strongroom_wire::snp::Report;
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Code, Refusal};
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000;
/// Of revocation lists and collateral.
const WINDOW: Range<u64> = 1_799_000_000..1_801_000_000;
const PATIENCE: Patience = Patience {
    attempts: 3,
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_secs(2),
    answer: Duration::from_millis(500),
};
// Requests for the endorsements of a report, and of a quote.
const SNP: usize = 3;
const TDX: usize = 4;

/// Services that know one chip and one platform, and an empty cache.
struct World {
    vendors: Vendors,
    cache: TempDir,
    report: Report,
    vek: amd::Vek,
    quote: Quote,
    intel: intel::Hierarchy,
}

impl World {
    async fn new() -> Self {
        Self::of(&ReportSpec::default(), amd::VekSpec::default()).await
    }

    async fn of(report: &ReportSpec, vek: amd::VekSpec) -> Self {
        let hierarchy = amd::Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(vek).unwrap();
        let intel = intel::Hierarchy::generate().unwrap();
        let pck = intel.issue(intel::PckSpec::default()).unwrap();
        let world = Self {
            vendors: Vendors::start().await.unwrap(),
            cache: tempfile::tempdir().unwrap(),
            report: report.report(&vek).unwrap(),
            quote: QuoteSpec::default().quote(&pck).unwrap(),
            vek,
            intel,
        };
        world.serve(WINDOW);
        world
    }

    /// The services have revocation lists and collateral of `window` from now on.
    fn serve(&self, window: Range<u64>) {
        self.vendors.add_amd(&amd::Hierarchy::shared().unwrap(), &self.vek, window.clone()).unwrap();
        self.vendors.add_intel(&self.collateral(window), "b0c06f000000", "platform").unwrap();
    }

    fn collateral(&self, window: Range<u64>) -> Vec<u8> {
        let spec = intel::CollateralSpec {
            tcb_info: intel::tcb_info(&window),
            qe_identity: intel::qe_identity(&window),
            root_crl_window: window.clone(),
            pck_crl_window: window,
            ..intel::CollateralSpec::default()
        };
        self.intel.collateral(&spec).unwrap()
    }

    fn access(&self) -> Access {
        let url = self.vendors.url().to_owned();
        Access { kds: url.clone(), pcs: url, plain_http: true, patience: PATIENCE, ..Access::default() }
    }

    /// As another process would be: it shares nothing but the folder.
    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(self.access())
    }

    fn fetcher_with(&self, access: Access) -> Fetcher {
        Fetcher::new(access, Cache::new(self.cache.path())).unwrap()
    }

    async fn snp(&self, fetcher: &Fetcher) -> Result<SnpEndorsements, Refusal> {
        on_any_thread(fetcher.fetch_snp(&self.report, None, NOW)).await
    }

    async fn tdx(&self, fetcher: &Fetcher, now: u64) -> Result<Collateral, Refusal> {
        on_any_thread(fetcher.fetch_tdx(&self.quote, now)).await
    }

    fn count(&self) -> usize {
        self.vendors.asked().len()
    }

    #[track_caller]
    fn nothing_is_kept(&self) {
        let is_kept = |path: &Path| path.extension().is_some_and(|extension| extension != "lock");
        let mut folders = vec![self.cache.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                assert!(path.is_dir() || !is_kept(&path), "{}", path.display());
                folders.extend(path.is_dir().then_some(path));
            }
        }
    }
}

/// Services run their futures on threads of a pool.
fn on_any_thread<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn endorsements_of_a_report_are_asked_for_once_and_then_kept() {
    let world = World::new().await;
    let fetched = world.snp(&world.fetcher()).await.unwrap();
    assert_eq!(fetched.product, Product::Milan);
    assert_eq!(fetched.vcek.as_deref(), Some(&*world.vek.certificate));
    assert!(fetched.chain.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(fetched.expires, WINDOW.end);
    assert_eq!(world.count(), SNP);
    assert_eq!(world.snp(&world.fetcher()).await.unwrap(), fetched);
    assert_eq!(world.count(), SNP);
}

#[tokio::test]
async fn collateral_of_a_quote_is_put_together_as_its_vendor_signed_it_and_kept() {
    let world = World::new().await;
    let served = world.collateral(WINDOW);
    world.vendors.add_intel(&served, "b0c06f000000", "platform").unwrap();
    let fetched = world.tdx(&world.fetcher(), NOW).await.unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(json(&fetched.json), json(&served));
    assert_eq!((fetched.expires, world.count()), (WINDOW.end, TDX));
    assert_eq!(world.tdx(&world.fetcher(), NOW).await.unwrap(), fetched);
    assert_eq!(world.count(), TDX);
}

#[tokio::test]
async fn chip_of_turin_is_asked_for_by_its_short_id_with_fmc() {
    let spec = ReportSpec { version: 5, cpuid: [0x1a, 2, 1], ..ReportSpec::default() };
    let world = World::of(&spec, amd::VekSpec::turin()).await;
    let fetched = world.snp(&world.fetcher()).await.unwrap();
    assert_eq!((fetched.product, world.count()), (Product::Turin, SNP));
    assert!(world.vendors.asked()[0].starts_with("/vcek/v1/Turin/0102030405060708?fmcSPL=01&"));
}

#[tokio::test]
async fn report_that_names_no_cpu_is_tried_with_each_product_and_then_known() {
    let genoa = amd::VekSpec { product_name: "Genoa-B1".into(), ..amd::VekSpec::default() };
    let world = World::of(&ReportSpec { version: 2, ..ReportSpec::default() }, genoa).await;
    assert_eq!(world.snp(&world.fetcher()).await.unwrap().product, Product::Genoa);
    assert_eq!(world.count(), SNP + 1);
    assert_eq!(world.snp(&world.fetcher()).await.unwrap().product, Product::Genoa);
    assert_eq!(world.count(), SNP + 1);
}

#[tokio::test]
async fn who_comes_while_the_second_product_is_asked_waits_and_does_not_ask_the_first_again() {
    let genoa = amd::VekSpec { product_name: "Genoa-B1".into(), ..amd::VekSpec::default() };
    let world = World::of(&ReportSpec { version: 2, ..ReportSpec::default() }, genoa).await;
    world.vendors.fail_next(Fault::Status(404, None));
    world.vendors.fail_next(Fault::Stall);
    let fetcher = world.fetcher();
    let late = async {
        while world.count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fetcher.fetch_vcek(&world.report, NOW).await
    };
    let (first, late) = tokio::join!(fetcher.fetch_vcek(&world.report, NOW), late);
    assert_eq!((first.unwrap().0, late.unwrap().0), (Product::Genoa, Product::Genoa));
    let asked = |product: &str| world.vendors.asked().iter().filter(|path| path.contains(product)).count();
    assert_eq!((asked("Milan"), asked("Genoa")), (1, 2));
}

#[tokio::test]
async fn report_signed_by_a_vlek_gets_its_chain_and_list_alone() {
    let spec = ReportSpec { key_info: 1 << 2, ..ReportSpec::default() };
    let world = World::of(&spec, amd::VekSpec::vlek()).await;
    let fetched = world.snp(&world.fetcher()).await.unwrap();
    assert_eq!(
        (fetched.vcek, world.vendors.asked()),
        (None, vec!["/vlek/v1/Milan/cert_chain".to_owned(), "/vlek/v1/Milan/crl".to_owned()])
    );
    // Before version 3 nobody says which product it is.
    let world = World::of(&ReportSpec { version: 2, ..spec }, amd::VekSpec::vlek()).await;
    assert_eq!(world.snp(&world.fetcher()).await.unwrap_err().code, Code::EndorsementUnknown);
    assert_eq!(world.count(), 0);
    assert!(world.fetcher().fetch_snp(&world.report, Some(Product::Milan), NOW).await.is_ok());
}

#[tokio::test]
async fn many_askers_of_one_process_ask_once() {
    let world = World::new().await;
    let fetcher = world.fetcher();
    let snp = || world.snp(&fetcher);
    let (a, b, c, d) = tokio::join!(snp(), snp(), snp(), world.tdx(&fetcher, NOW));
    assert_eq!((a.as_ref().unwrap(), a.as_ref().unwrap()), (b.as_ref().unwrap(), c.as_ref().unwrap()));
    assert!(d.is_ok());
    assert_eq!(world.count(), SNP + TDX);
}

#[tokio::test]
async fn askers_of_several_processes_ask_once() {
    let world = World::new().await;
    let fetchers = [world.fetcher(), world.fetcher(), world.fetcher()];
    let (a, b, c) = tokio::join!(world.snp(&fetchers[0]), world.snp(&fetchers[1]), world.snp(&fetchers[2]));
    assert_eq!((a.as_ref().unwrap(), a.as_ref().unwrap()), (b.as_ref().unwrap(), c.as_ref().unwrap()));
    assert_eq!(world.count(), SNP);
}

#[tokio::test]
async fn what_changes_is_fetched_again_when_it_is_due_and_the_vcek_is_not() {
    let world = World::new().await;
    let fetcher = world.fetcher();
    world.snp(&fetcher).await.unwrap();
    world.tdx(&fetcher, NOW).await.unwrap();
    world.serve(WINDOW.end..WINDOW.end + 1000);
    let before = world.count();
    // The last second of the old, and the first after it.
    assert_eq!(world.tdx(&fetcher, WINDOW.end).await.unwrap().expires, WINDOW.end);
    assert_eq!(world.count(), before);
    assert_eq!(world.tdx(&fetcher, WINDOW.end + 1).await.unwrap().expires, WINDOW.end + 1000);
    assert_eq!(world.count(), before + TDX);
    let later = fetcher.fetch_snp(&world.report, None, WINDOW.end + 1).await.unwrap();
    assert_eq!(later.expires, WINDOW.end + 1000);
    assert_eq!(world.vendors.asked()[before + TDX..], ["/vcek/v1/Milan/crl"]);
}

#[tokio::test]
async fn refresh_asks_for_all_but_the_vcek() {
    let world = World::new().await;
    world.snp(&world.fetcher()).await.unwrap();
    let refreshing = world.fetcher_with(Access { refresh: true, ..world.access() });
    world.serve(WINDOW.start..WINDOW.end + 1);
    assert_eq!(world.snp(&refreshing).await.unwrap().expires, WINDOW.end + 1);
    assert_eq!(world.vendors.asked()[SNP..], ["/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"]);
}

#[tokio::test]
async fn offline_nobody_is_asked_and_what_is_kept_is_given_whatever_its_age() {
    let world = World::new().await;
    let offline = world.fetcher_with(Access { offline: true, refresh: true, ..world.access() });
    assert_eq!(world.snp(&offline).await.unwrap_err().code, Code::EndorsementNotCached);
    assert_eq!(world.tdx(&offline, NOW).await.unwrap_err().code, Code::EndorsementNotCached);
    assert_eq!(world.count(), 0);
    let fetched = world.tdx(&world.fetcher(), NOW).await.unwrap();
    assert_eq!(world.tdx(&offline, WINDOW.end + 1).await.unwrap(), fetched);
    assert_eq!(world.count(), TDX);
}

#[tokio::test]
async fn damaged_file_is_fetched_again_and_offline_is_not_there() {
    let world = World::new().await;
    world.tdx(&world.fetcher(), NOW).await.unwrap();
    let file = world.cache.path().join("intel/b0c06f000000-platform.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let offline = world.fetcher_with(Access { offline: true, ..world.access() });
    assert_eq!(world.tdx(&offline, NOW).await.unwrap_err().code, Code::EndorsementNotCached);
    world.tdx(&world.fetcher(), NOW).await.unwrap();
    assert_eq!((world.count(), std::fs::read(&file).unwrap() == whole), (2 * TDX, true));
}

#[tokio::test]
async fn rate_limited_service_is_asked_again_after_the_time_it_names() {
    let world = World::new().await;
    world.vendors.fail_next(Fault::Status(429, Some("1".into())));
    let began = Instant::now();
    assert!(world.snp(&world.fetcher()).await.is_ok());
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(world.count(), SNP + 1);
}

#[tokio::test]
async fn service_that_names_a_long_time_is_left_alone_by_every_later_question() {
    let world = World::new().await;
    world.vendors.fail_next(Fault::Status(429, Some("3600".into())));
    let fetcher = world.fetcher();
    assert_eq!(world.snp(&fetcher).await.unwrap_err().code, Code::EndorsementUnavailable);
    let refusal = world.tdx(&fetcher, NOW).await.unwrap_err();
    assert_eq!((refusal.code, refusal.want.as_deref()), (Code::EndorsementUnavailable, Some("at most 2 s")));
    assert_eq!(world.count(), 1);
}

#[tokio::test]
async fn service_out_of_order_is_asked_a_bounded_number_of_times() {
    for status in [429, 500, 502, 503, 504] {
        let world = World::new().await;
        (0..2).for_each(|_| world.vendors.fail_next(Fault::Status(status, None)));
        assert!(world.snp(&world.fetcher()).await.is_ok(), "{status}");
        assert_eq!(world.count(), SNP + 2, "{status}");
        let world = World::new().await;
        (0..9).for_each(|_| world.vendors.fail_next(Fault::Status(status, None)));
        let refusal = world.snp(&world.fetcher()).await.unwrap_err();
        assert_eq!((refusal.code, world.count()), (Code::EndorsementUnavailable, 3), "{status}");
        world.nothing_is_kept();
    }
}

#[tokio::test]
async fn refusal_that_will_stay_is_not_asked_for_again() {
    for (status, code) in [
        (400, Code::EndorsementUnknown),
        (404, Code::EndorsementUnknown),
        (301, Code::EndorsementUnavailable),
        (403, Code::EndorsementUnavailable),
        (501, Code::EndorsementUnavailable),
    ] {
        let world = World::new().await;
        world.vendors.fail_next(Fault::Status(status, None));
        assert_eq!(world.snp(&world.fetcher()).await.unwrap_err().code, code, "{status}");
        assert_eq!(world.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn service_that_stalls_or_breaks_off_is_asked_again_and_then_given_up() {
    for (fault, code) in
        [(Fault::Stall, Code::Timeout), (Fault::StallInBody, Code::Timeout), (Fault::Cut, Code::Network)]
    {
        let world = World::new().await;
        world.vendors.fail_next(fault.clone());
        assert!(world.snp(&world.fetcher()).await.is_ok(), "{fault:?}");
        assert_eq!(world.count(), SNP + 1, "{fault:?}");
        let world = World::new().await;
        (0..3).for_each(|_| world.vendors.fail_next(fault.clone()));
        assert_eq!(world.snp(&world.fetcher()).await.unwrap_err().code, code, "{fault:?}");
        assert_eq!(world.count(), 3, "{fault:?}");
        world.nothing_is_kept();
    }
}

#[tokio::test]
async fn service_that_is_gone_is_a_failing_network() {
    let world = World::new().await;
    let nobody = Access { kds: "http://127.0.0.1:1".into(), ..world.access() };
    assert_eq!(world.snp(&world.fetcher_with(nobody)).await.unwrap_err().code, Code::Network);
    let encrypted = Access { plain_http: false, ..world.access() };
    assert_eq!(world.snp(&world.fetcher_with(encrypted)).await.unwrap_err().code, Code::PlaintextRefused);
    let nonsense = Access { kds: "not a url".into(), ..world.access() };
    assert_eq!(world.snp(&world.fetcher_with(nonsense)).await.unwrap_err().code, Code::ConfigurationInvalid);
    assert_eq!(world.count(), 0);
}

#[tokio::test]
async fn lie_is_refused_and_not_kept() {
    let hierarchy = amd::Hierarchy::shared().unwrap();
    let other = amd::VekSpec { hwid: Some(vec![9; 64]), ..amd::VekSpec::default() };
    let over = amd::VekSpec { validity: amd::ALWAYS.start..NOW - 1, ..amd::VekSpec::default() };
    for (lie, code) in [
        (hierarchy.issue(other).unwrap().certificate, Code::EndorsementMismatch),
        (hierarchy.issue(over).unwrap().certificate, Code::CertificateExpired),
        (b"<html>".to_vec(), Code::Malformed),
        (vec![0x30; 256 * 1024 + 1], Code::TooLarge),
    ] {
        let world = World::new().await;
        world.vendors.fail_next(Fault::Lie(lie));
        assert_eq!(world.snp(&world.fetcher()).await.unwrap_err().code, code);
        assert_eq!(world.count(), 1);
        world.nothing_is_kept();
        // It was refused, and not the platform.
        assert!(world.snp(&world.fetcher()).await.is_ok());
    }
}

#[tokio::test]
async fn collateral_that_is_over_or_of_another_platform_is_refused_and_not_kept() {
    let world = World::new().await;
    world.serve(WINDOW.start..NOW - 1);
    assert_eq!(world.tdx(&world.fetcher(), NOW).await.unwrap_err().code, Code::CollateralExpired);
    world.serve(WINDOW.start..NOW);
    let mut spec = intel::CollateralSpec { tcb_info: intel::tcb_info(&WINDOW), ..intel::CollateralSpec::default() };
    spec.tcb_info["fmspc"] = "00806F050000".into();
    world.vendors.add_intel(&world.intel.collateral(&spec).unwrap(), "b0c06f000000", "platform").unwrap();
    assert_eq!(world.tdx(&world.fetcher(), NOW).await.unwrap_err().code, Code::EndorsementMismatch);
    world.nothing_is_kept();
    world.serve(WINDOW.start..NOW);
    assert_eq!(world.tdx(&world.fetcher(), NOW).await.unwrap().expires, NOW);
}

#[tokio::test]
async fn broken_part_of_collateral_refuses_all_of_it() {
    for part in 0..TDX {
        let world = World::new().await;
        let paths = [
            "/tdx/certification/v4/tcb?fmspc=b0c06f000000",
            "/tdx/certification/v4/qe/identity",
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            "/sgx/certification/v4/rootcacrl",
        ];
        world.vendors.answer(paths[part], strongroom_devkit::vendors::Answer::of(b"{\"tcbInfo\":"));
        assert_eq!(world.tdx(&world.fetcher(), NOW).await.unwrap_err().code, Code::Malformed, "{}", paths[part]);
        assert_eq!(world.vendors.asked(), paths[..=part]);
    }
}
