//! `evidence fetch-endorsements`: what it writes is what `evidence verify` takes.

use crate::run::{Run, binary, finished, strongroom, text};
use serde_json::Value;
use std::path::PathBuf;
use strongroom_devkit::vendors::{Fault, Vendors};
use strongroom_devkit::{amd, intel, quote::QuoteSpec, report::ReportSpec};

/// Whatever the clock of this machine says is within it.
const ALWAYS: core::ops::Range<u64> = intel::ALWAYS;

/// Both services with the endorsements of a report and a quote, which are files here.
struct World {
    folder: tempfile::TempDir,
    vendors: Vendors,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let vendors = runtime.block_on(Vendors::start()).unwrap();
        let this = Self { folder: tempfile::tempdir().unwrap(), vendors, _runtime: runtime };

        let amd = amd::Hierarchy::shared().unwrap();
        let vek = amd.issue(amd::VekSpec::default()).unwrap();
        this.vendors.add_amd(&amd, &vek, ALWAYS).unwrap();
        std::fs::write(this.path("report"), ReportSpec::default().sign(&vek).unwrap()).unwrap();
        std::fs::write(this.path("ark"), amd.ark.certificate()).unwrap();

        let intel = intel::Hierarchy::generate().unwrap();
        let collateral = intel::CollateralSpec {
            tcb_info: intel::tcb_info(&ALWAYS),
            qe_identity: intel::qe_identity(&ALWAYS),
            root_crl_window: ALWAYS,
            pck_crl_window: ALWAYS,
            ..intel::CollateralSpec::default()
        };
        this.vendors.add_intel(&intel.collateral(&collateral).unwrap(), "b0c06f000000", "platform").unwrap();
        let pck = intel.issue(intel::PckSpec::default()).unwrap();
        std::fs::write(this.path("quote"), QuoteSpec::default().sign(&pck).unwrap()).unwrap();
        std::fs::write(this.path("intel-root"), intel.root.certificate()).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fetch(&self, file: &str, more: &[&str]) -> Run {
        let (file, out, url) = (self.path(file), self.path("out"), self.vendors.url());
        let mut command = binary();
        command.env("STRONGROOM_CACHE", self.path("cache")).args(["evidence", "fetch-endorsements"]);
        command.args([text(&file), text(&out), "--kds", url, "--pcs", url, "--json"]).args(more);
        finished(command.output().unwrap())
    }

    fn verify(&self, file: &str, root: &str) -> Value {
        let (file, root, out) = (self.path(file), self.path(root), self.path("out"));
        let given = ["--root", text(&root), "--endorsement", text(&out), "--json"];
        strongroom(["evidence", "verify", text(&file)].into_iter().chain(given)).done().json()
    }

    fn written(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn fetched_endorsements_of_a_report_are_what_verification_takes() {
    let world = World::new();
    let json = world.fetch("report", &["--plain-http"]).done().json();
    assert_eq!((&json["platform"], &json["expires"]), (&"snp".into(), &ALWAYS.end.into()));
    assert_eq!(world.written(), ["cert_chain.pem", "crl.der", "vcek.der"]);
    assert_eq!(world.verify("report", "ark")["verdict"], "authentic");
}

#[test]
fn fetched_collateral_of_a_quote_is_what_verification_takes() {
    let world = World::new();
    let json = world.fetch("quote", &["--plain-http"]).done().json();
    assert_eq!((&json["platform"], &json["expires"]), (&"tdx".into(), &ALWAYS.end.into()));
    assert_eq!(world.written(), ["collateral.json"]);
    let verified = world.verify("quote", "intel-root");
    assert_eq!((&verified["verdict"], &verified["tcb_status"]), (&"authentic".into(), &"UpToDate".into()));
}

#[test]
fn what_was_fetched_is_in_the_cache_for_the_next_run_and_offline() {
    let world = World::new();
    world.fetch("report", &["--offline"]).refused(3, "endorsement-not-cached");
    assert_eq!(world.vendors.asked().len(), 0);
    world.fetch("report", &["--plain-http"]).done();
    std::fs::remove_dir_all(world.path("out")).unwrap();
    for more in [&["--offline"][..], &["--plain-http"], &["--cache", text(&world.path("cache/endorsements"))]] {
        world.fetch("report", more).done();
    }
    assert_eq!((world.vendors.asked().len(), world.written().len()), (3, 3));
    world.fetch("report", &["--plain-http", "--refresh"]).done();
    assert_eq!(world.vendors.asked().len(), 5);
}

#[test]
fn two_runs_at_once_ask_for_a_chip_once() {
    let world = World::new();
    let run = || world.fetch("report", &["--plain-http"]);
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    runs.into_iter().for_each(|run| drop(run.done()));
    assert_eq!(world.vendors.asked().len(), 3);
}

#[test]
fn refusals_have_their_codes_and_write_nothing() {
    let world = World::new();
    world.fetch("report", &[]).refused(2, "plaintext-refused");
    world.vendors.fail_next(Fault::Status(404, None));
    world.fetch("report", &["--plain-http"]).refused(3, "endorsement-unknown");
    world.vendors.fail_next(Fault::Status(429, Some("86400".into())));
    world.fetch("report", &["--plain-http"]).refused(3, "endorsement-unavailable");
    world.vendors.fail_next(Fault::Lie(b"<html>".to_vec()));
    world.fetch("report", &["--plain-http"]).refused(1, "malformed");
    world.fetch("quote", &["--product", "milan"]).refused(2, "usage");
    world.fetch("report", &["--product", "genoa"]).refused(1, "product-mismatch");
    world.fetch("report", &["--offline", "--refresh"]).refused(2, "usage");
    assert_eq!((world.vendors.asked().len(), world.path("out").exists()), (3, false));
}
