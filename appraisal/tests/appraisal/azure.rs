//! Evidence of Azure's guests, captured and of fake hierarchies, one changed thing at a time.

use super::snp_case::{HIERARCHY, NOW, ROOTS};
use super::tdx_case;
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;
use strongroom_appraisal::azure::{authenticate_snp, authenticate_snp_traced, authenticate_tdx};
use strongroom_appraisal::{Endorsements, Roots};
use strongroom_devkit::amd::{Vek, VekSpec};
use strongroom_devkit::azure::{SNP, TDX, Vtpm, hcl_report, report_data};
use strongroom_devkit::intel::{CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_devkit::vectors::folder;
use strongroom_wire::azure::{Evidence, Platform};
use strongroom_wire::{Code, Result};

pub(crate) const NONCE: &[u8] = b"a nonce of the verifier's";

pub(crate) static VTPM: LazyLock<Vtpm> = LazyLock::new(|| Vtpm::generate().unwrap());
pub(crate) static VEK: LazyLock<Vek> = LazyLock::new(|| HIERARCHY.issue(VekSpec::default()).unwrap());

fn pcrs() -> [[u8; 32]; 24] {
    core::array::from_fn(|number| [u8::try_from(number).unwrap(); 32])
}

/// Evidence with that HCL report, quoted by [`VTPM`].
fn evidence(hcl_report: Vec<u8>, td_quote: Option<Vec<u8>>) -> Evidence {
    let (message, signature) = VTPM.quote(NONCE, &pcrs()).unwrap();
    Evidence { hcl_report, message, signature, pcrs: pcrs(), td_quote, vcek: None }
}

/// A sound guest on SNP, whose report is made by `change`.
fn snp_with(change: impl FnOnce(ReportSpec) -> ReportSpec) -> Evidence {
    let runtime = VTPM.runtime_data().unwrap();
    let spec = change(ReportSpec { report_data: report_data(&runtime), ..ReportSpec::default() });
    evidence(hcl_report(SNP, &spec.sign(&VEK).unwrap(), &runtime).unwrap(), None)
}

fn snp() -> Evidence {
    snp_with(|report| report)
}

fn judge_snp(evidence: &Evidence, nonce: &[u8]) -> core::result::Result<(), (String, Code)> {
    let mut endorsements = Endorsements::new();
    endorsements.add(&VEK.certificate).unwrap();
    endorsements.add(HIERARCHY.ask.certificate()).unwrap();
    let mut trace = Vec::new();
    let result = authenticate_snp_traced(evidence, nonce, &endorsements, &ROOTS, NOW, &mut trace);
    result.map(drop).map_err(|refusal| (trace.last().unwrap().name.clone(), refusal.code))
}

fn tdx_with(change: impl FnOnce(QuoteSpec) -> QuoteSpec) -> Evidence {
    let runtime = VTPM.runtime_data().unwrap();
    let spec = change(QuoteSpec { report_data: report_data(&runtime), ..QuoteSpec::default() });
    let quote = spec.sign(&tdx_case::HIERARCHY.issue(PckSpec::default()).unwrap()).unwrap();
    evidence(hcl_report(TDX, &[0x81], &runtime).unwrap(), Some(quote))
}

fn judge_tdx(evidence: &Evidence) -> core::result::Result<(), Code> {
    let mut endorsements = Endorsements::new();
    endorsements.add(&tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap()).unwrap();
    let result = authenticate_tdx(evidence, NONCE, &endorsements, &tdx_case::ROOTS, tdx_case::NOW);
    result.map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn sound_guest_of_each_platform_is_authentic() {
    assert_eq!(judge_snp(&snp(), NONCE), Ok(()));
    assert_eq!(judge_tdx(&tdx_with(|quote| quote)), Ok(()));
}

#[test]
fn each_link_of_the_chain_refused_with_its_own_check_where_it_is_broken() {
    let runtime_data = 32 + 1184 + 20;
    let flip = |at: usize| {
        let mut evidence = snp();
        evidence.hcl_report[at] ^= 1;
        evidence
    };
    let mut other_key = snp();
    (other_key.message, other_key.signature) = Vtpm::generate().unwrap().quote(NONCE, &pcrs()).unwrap();
    let mut message = snp();
    *message.message.last_mut().unwrap() ^= 1;
    let mut signature = snp();
    signature.signature[100] ^= 1;
    let mut pcr = snp();
    pcr.pcrs[23][31] ^= 1;
    let mut swapped = snp();
    swapped.pcrs.swap(3, 4);
    let mut last = report_data(&VTPM.runtime_data().unwrap());
    last[63] = 1;
    let cases = [
        (flip(0), "hcl-report", Code::Malformed),
        (flip(32 + 0x90), "signature", Code::EvidenceSignatureInvalid),
        (flip(runtime_data), "hcl-report", Code::Malformed),
        (snp_with(|report| ReportSpec { vmpl: 2, ..report }), "paravisor-vmpl", Code::VmplMismatch),
        (snp_with(|report| ReportSpec { report_data: [7; 64], ..report }), "runtime-data", Code::ReportDataMismatch),
        (snp_with(|report| ReportSpec { report_data: last, ..report }), "runtime-data", Code::ReportDataMismatch),
        (other_key, "tpm-signature", Code::EvidenceSignatureInvalid),
        (message, "tpm-signature", Code::EvidenceSignatureInvalid),
        (signature, "tpm-signature", Code::EvidenceSignatureInvalid),
        (pcr, "pcrs", Code::PcrMismatch),
        (swapped, "pcrs", Code::PcrMismatch),
    ];
    for (evidence, check, code) in cases {
        assert_eq!(judge_snp(&evidence, NONCE), Err((check.to_owned(), code)), "{check}");
    }
}

#[test]
fn runtime_data_with_another_key_under_the_same_report_refused() {
    let other = Vtpm::generate().unwrap();
    let mut evidence = snp();
    let hardware = evidence.hcl_report[32..32 + 1184].to_vec();
    evidence.hcl_report = hcl_report(SNP, &hardware, &other.runtime_data().unwrap()).unwrap();
    (evidence.message, evidence.signature) = other.quote(NONCE, &pcrs()).unwrap();
    let want = Err(("runtime-data".to_owned(), Code::ReportDataMismatch));
    assert_eq!(judge_snp(&evidence, NONCE), want);
}

#[test]
fn nonce_that_differs_is_cut_is_longer_or_is_empty_refused() {
    for nonce in [&b"a nonce of the verifier'S"[..], &NONCE[..24], b"a nonce of the verifier's!", b""] {
        assert_eq!(judge_snp(&snp(), nonce), Err(("nonce".to_owned(), Code::NonceMismatch)), "{nonce:?}");
    }
    let mut empty = snp();
    (empty.message, empty.signature) = VTPM.quote(b"", &pcrs()).unwrap();
    assert_eq!(judge_snp(&empty, b""), Err(("nonce".to_owned(), Code::NonceMismatch)));
}

#[test]
fn evidence_of_one_platform_is_none_of_the_other() {
    let refused = Err(("hcl-report".to_owned(), Code::PlatformUnsupported));
    assert_eq!(judge_snp(&tdx_with(|quote| quote), NONCE), refused);
    assert_eq!(judge_tdx(&snp()), Err(Code::PlatformUnsupported));
}

#[test]
fn trust_domain_without_quote_or_with_one_of_other_report_data_refused() {
    let missing = Evidence { td_quote: None, ..tdx_with(|quote| quote) };
    assert_eq!(judge_tdx(&missing), Err(Code::Malformed));
    let other = tdx_with(|quote| QuoteSpec { report_data: [7; 64], ..quote });
    assert_eq!(judge_tdx(&other), Err(Code::ReportDataMismatch));
    let mut flipped = tdx_with(|quote| quote);
    flipped.td_quote.as_mut().unwrap()[100] ^= 1;
    assert_eq!(judge_tdx(&flipped), Err(Code::EvidenceSignatureInvalid));
}

fn captured(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join("azure-vtpm").join(name)).unwrap()
}

/// The older form of the document, all bytes as JSON numbers.
fn genoa(folder: &Path) -> Evidence {
    let document: Value = serde_json::from_slice(&captured(folder, "snp-evidence-genoa.json")).unwrap();
    let bytes = |value: &Value| -> Vec<u8> { serde_json::from_value(value.clone()).unwrap() };
    let quote = &document["quote"];
    Evidence {
        hcl_report: bytes(&document["report"]),
        message: bytes(&quote["message"]),
        signature: bytes(&quote["signature"]),
        pcrs: core::array::from_fn(|number| bytes(&quote["pcrs"][number]).try_into().unwrap()),
        td_quote: None,
        vcek: Some(document["vcek"].as_str().unwrap().into()),
    }
}

/// Inside the validity of all captured certificates.
const SOME_TIME: u64 = 1_782_893_539;

fn nonce_of(evidence: &Evidence) -> Vec<u8> {
    strongroom_wire::tpm::Quote::parse(&evidence.message).unwrap().extra_data
}

fn judge_captured(evidence: &Evidence, nonce: &[u8]) -> Result<()> {
    let mut endorsements = Endorsements::new();
    endorsements.add(evidence.vcek.as_ref().unwrap()).unwrap();
    authenticate_snp(evidence, nonce, &endorsements, &Roots::builtin().unwrap(), SOME_TIME).map(|authentic| {
        assert_eq!(authentic.platform(), Platform::AzureSnpVtpm);
        assert!(authentic.runtime().secure_boot && *authentic.pcrs() == evidence.pcrs);
    })
}

#[test]
fn captured_guests_on_snp_are_authentic_for_their_nonce_and_no_other() {
    let Some(folder) = folder() else { return };
    let parse = |name| Evidence::parse(&captured(&folder, name)).unwrap();
    for evidence in [genoa(&folder), parse("snp-evidence-v1.json"), parse("snp-evidence-v2.json")] {
        let nonce = nonce_of(&evidence);
        judge_captured(&evidence, &nonce).unwrap();
        assert_eq!(judge_captured(&evidence, b"another").unwrap_err().code, Code::NonceMismatch);
    }
    let v1 = parse("snp-evidence-v1.json");
    assert_eq!(nonce_of(&v1), b"challenge");
}

/// Every byte of report, runtime data, quote and PCRs is under some signature or digest; what is not are the header's type and
/// status and fields of the report behind its signature's, which say nothing.
#[test]
fn captured_guest_with_a_flipped_byte_refused() {
    let Some(folder) = folder() else { return };
    let sound = Evidence::parse(&captured(&folder, "snp-evidence-v2.json")).unwrap();
    let nonce = nonce_of(&sound);
    let refused = |evidence: &Evidence| judge_captured(evidence, &nonce).is_err();
    for at in (32..32 + 0x2a0).chain(32 + 1184..sound.hcl_report.len()).step_by(7) {
        let mut evidence = sound.clone();
        evidence.hcl_report[at] ^= 1;
        assert!(refused(&evidence), "HCL report, byte {at}");
    }
    for at in 0..sound.message.len() {
        let mut evidence = sound.clone();
        evidence.message[at] ^= 1;
        assert!(refused(&evidence), "TPM quote, byte {at}");
    }
    for at in 0..24 {
        let mut evidence = sound.clone();
        evidence.pcrs[at][at] ^= 1;
        assert_eq!(judge_captured(&evidence, &nonce).unwrap_err().code, Code::PcrMismatch, "PCR {at}");
    }
}

#[test]
fn captured_guest_on_tdx_is_authentic_for_its_nonce_and_no_other() {
    let Some(folder) = folder() else { return };
    let evidence = Evidence::parse(&captured(&folder, "tdx-evidence-v1.json")).unwrap();
    let mut endorsements = Endorsements::new();
    let collateral = folder.join("tdx/_collateral/00806f050000-20260630-ev19-6a6788.json");
    endorsements.add(&std::fs::read(collateral).unwrap()).unwrap();
    let judge = |nonce: &[u8]| authenticate_tdx(&evidence, nonce, &endorsements, &Roots::builtin().unwrap(), SOME_TIME);
    let authentic = judge(b"challenge").unwrap();
    assert_eq!((authentic.platform(), authentic.pcrs()), (Platform::AzureTdxVtpm, &evidence.pcrs));
    assert_eq!(judge(b"another").unwrap_err().code, Code::NonceMismatch);
}
