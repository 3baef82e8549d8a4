//! Valid evidence of test roots, always the same, so that an input means the same in every run. The keys that signed it were
//! thrown away when it was made: nobody can sign more of it, and what is accepted in its name is it, or a forgery.
//!
//! `fixtures/evidence.json` is rewritten by [`render`] where `devkit` has learnt to make better evidence; inputs kept as
//! regressions of `snp_verify` and `tdx_verify` then change what they mean.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use strongroom_devkit::amd::{self, ALWAYS, VekSpec};
use strongroom_devkit::azure::{self, Vtpm};
use strongroom_devkit::intel::{self, CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::bytes::{from_base64, to_base64};

/// When all of it is valid.
pub const NOW: u64 = 1_800_000_000;
/// The number of AMD's revocation list.
pub const CRL_NUMBER: u64 = 7;
/// Its window.
pub const CRL_WINDOW: std::ops::Range<u64> = 1_799_000_000..1_801_000_000;
/// What Azure's guest was asked to have quoted.
pub const NONCE: &[u8] = b"a nonce of the verifier's";
/// REPORT_DATA of the bare guests.
pub const REPORT_DATA: [u8; 64] = [0x77; 64];
/// The digest of their deployment document.
pub const DEPLOYMENT: [u8; 32] = [0xd0; 32];
/// SNP guests: Milan's VCEK, Turin's VCEK, a VLEK, and Azure's, under Milan's VCEK.
pub const SNP: [&str; 4] = ["vcek", "turin", "vlek", "azure"];
/// Quotes of one platform: of version 4 and 5, of body type 2 and 4.
pub const TDX: [&str; 2] = ["v4", "v5"];

type Files = BTreeMap<String, Vec<u8>>;

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let texts: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../fixtures/evidence.json")).expect("fixtures");
    texts.into_iter().map(|(name, text)| (name, from_base64(&text, "fixture").expect("fixture"))).collect()
});

/// One file of the fixtures.
pub fn file(name: &str) -> &'static [u8] {
    FILES.get(name).unwrap_or_else(|| panic!("no fixture `{name}`: make them anew, see README.md"))
}

/// Fresh fixtures, as the file that holds them.
pub fn render() -> String {
    let mut files = Files::new();
    snp(&mut files);
    tdx(&mut files);
    let texts: BTreeMap<&String, String> = files.iter().map(|(name, bytes)| (name, to_base64(bytes))).collect();
    serde_json::to_string_pretty(&texts).unwrap() + "\n"
}

fn snp(files: &mut Files) {
    let hierarchy = amd::Hierarchy::generate("Milan").unwrap();
    let mut put = |name: &str, bytes: &[u8]| files.insert(name.to_owned(), bytes.to_vec());
    put("ark", hierarchy.ark.certificate());
    put("ask", hierarchy.ask.certificate());
    put("asvk", hierarchy.asvk.certificate());
    put("crl", &hierarchy.ark.numbered_crl(&[0x0b_ad], CRL_WINDOW, Some(CRL_NUMBER)).unwrap());
    let vtpm = Vtpm::generate().unwrap();
    let runtime = vtpm.runtime_data().unwrap();
    let bare = ReportSpec { report_data: REPORT_DATA, host_data: DEPLOYMENT, ..ReportSpec::default() };
    let turin = ReportSpec { version: 5, cpuid: [0x1a, 0x02, 0x01], ..bare.clone() };
    let vlek = ReportSpec { version: 2, key_info: 1 << 2, chip_id: Some([0; 64]), ..bare.clone() };
    let azure = ReportSpec { report_data: azure::report_data(&runtime), ..bare.clone() };
    let guests = [bare, turin, vlek, azure];
    let keys = [VekSpec::default(), VekSpec::turin(), VekSpec::vlek(), VekSpec::default()];
    for ((name, report), key) in SNP.iter().zip(guests).zip(keys) {
        let vek = hierarchy.issue(key).unwrap();
        put(&format!("{name}-report"), &report.sign(&vek).unwrap());
        put(&format!("{name}-vek"), &vek.certificate);
    }
    let pcrs: Vec<[u8; 32]> = (0..24).map(|number| [number; 32]).collect();
    let (message, signature) = vtpm.quote(NONCE, pcrs.as_slice().try_into().unwrap()).unwrap();
    put("azure-runtime", runtime.as_bytes());
    put("azure-message", &message);
    put("azure-signature", &signature);
    put("azure-pcrs", pcrs.as_flattened());
    assert!(ALWAYS.contains(&NOW) && CRL_WINDOW.contains(&NOW));
}

fn tdx(files: &mut Files) {
    let hierarchy = intel::Hierarchy::generate().unwrap();
    let pck = hierarchy.issue(PckSpec::default()).unwrap();
    let mut mrconfigid = [0; 48];
    mrconfigid[..32].copy_from_slice(&DEPLOYMENT);
    let quote = QuoteSpec { mrconfigid, report_data: REPORT_DATA, ..QuoteSpec::default() };
    let extended = QuoteSpec { version: 5, body_type: 4, ..quote.clone() };
    for (name, quote) in TDX.iter().zip([quote, extended]) {
        files.insert(format!("{name}-quote"), quote.sign(&pck).unwrap());
    }
    files.insert("intel-root".into(), hierarchy.root.certificate().to_vec());
    files.insert("pck".into(), pck.certificate);
    files.insert("platform-ca".into(), hierarchy.platform_ca.certificate().to_vec());
    files.insert("tcb-signing".into(), hierarchy.tcb_signing.certificate().to_vec());
    files.insert("collateral".into(), hierarchy.collateral(&CollateralSpec::default()).unwrap());
}
