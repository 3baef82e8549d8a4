//! Every single bit of one SNP and of one TDX case, flipped alone: what a signature covers is refused. What none covers is
//! listed here, with its reason, and has no effect on the verdict.
//!
//! A flip is put before the whole verification as far as it can matter. What was verified without the flipped part is kept,
//! and a chain inside a quote is judged up to the question for collateral, which is asked only once the chain has held.

use super::{snp_case, tdx_case};
use serde_json::Value;
use std::ops::Range;
use std::sync::LazyLock;
use strongroom_appraisal::tdx::{self, Collateral, VerifiedCollateral};
use strongroom_appraisal::{Endorsements, authenticate};
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::intel::{CollateralSpec, Pck, PckSpec, pem_chain};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::snp::REPORT_LEN;

const NOW: u64 = 1_800_000_000;

/// The bytes of `sound` in `range` of which at least one bit can be flipped without a refusal, in order.
fn uncovered_in(sound: &[u8], range: Range<usize>, accepted: impl Fn(&[u8]) -> bool + Sync) -> Vec<usize> {
    assert!(accepted(sound), "refused as it is");
    let flip = |range: Range<usize>| -> Vec<usize> {
        let mut bytes = sound.to_vec();
        let mut any_bit = |at: &usize| {
            (0..8).any(|bit| {
                bytes[*at] ^= 1 << bit;
                let accepted = accepted(&bytes);
                bytes[*at] ^= 1 << bit;
                accepted
            })
        };
        range.filter(|at| any_bit(at)).collect()
    };
    let (flip, middle) = (&flip, range.start.midpoint(range.end));
    std::thread::scope(|scope| {
        let first = scope.spawn(move || flip(range.start..middle));
        let second = flip(middle..range.end);
        first.join().unwrap().into_iter().chain(second).collect()
    })
}

fn uncovered(sound: &[u8], accepted: impl Fn(&[u8]) -> bool + Sync) -> Vec<usize> {
    uncovered_in(sound, 0..sound.len(), accepted)
}

const COVERED: [usize; 0] = [];

// ── SNP ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A report, and its endorsements: of the key, of the intermediate, and the root's revocation list.
fn snp() -> (Vec<u8>, [Vec<u8>; 3]) {
    let hierarchy = &snp_case::HIERARCHY;
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let report = ReportSpec::default().sign(&vek).unwrap();
    let list = hierarchy.ark.crl(&[7], NOW - 1000..NOW + 1000).unwrap();
    let given = [vek.certificate.clone(), hierarchy.ask.certificate().to_vec(), list];
    (report, given)
}

/// Whether the report is authentic with these endorsements, added in the order given.
fn is_authentic(report: &[u8], given: &[&[u8]]) -> bool {
    let mut endorsements = Endorsements::new();
    given.iter().try_for_each(|endorsement| endorsements.add(endorsement)).is_ok()
        && authenticate(report, &endorsements, &snp_case::ROOTS, NOW).is_ok()
}

/// Behind the signature, which ends with its 144 bytes of R and S at 0x330, the format has nothing that is signed. Those
/// bytes must be zero, and a policy that is asked refuses a report in which they are not.
#[test]
fn snp_report_flipped_anywhere_but_behind_its_signature_refused() {
    let (report, [key, intermediate, list]) = snp();
    let mut endorsements = Endorsements::new();
    [&key, &intermediate, &list].into_iter().for_each(|given| endorsements.add(given).unwrap());
    let authentic = authenticate(&report, &endorsements, &snp_case::ROOTS, NOW).unwrap();
    let kept = authentic.endorsement_key();
    let free = uncovered(&report, |report| kept.authenticate(report, NOW).is_ok());
    assert_eq!(free, (0x330..REPORT_LEN).collect::<Vec<_>>());
    for at in free {
        let mut report = report.clone();
        report[at] ^= 0x80;
        let authentic = kept.authenticate(&report, NOW).unwrap();
        assert_eq!(authentic.report().reserved_not_zero, [at]);
    }
}

#[test]
fn snp_endorsement_certificate_with_any_bit_flipped_refused() {
    let (report, [key, intermediate, list]) = snp();
    assert_eq!(uncovered(&key, |key| is_authentic(&report, &[key, &intermediate, &list])), COVERED);
}

#[test]
fn snp_intermediate_with_any_bit_flipped_refused() {
    let (report, [key, intermediate, list]) = snp();
    assert_eq!(uncovered(&intermediate, |intermediate| is_authentic(&report, &[&key, intermediate, &list])), COVERED);
}

/// A list of which the issuer's name is flipped is none of the root's. Like no list at all it leaves a report authentic, which a
/// policy that demands a list, as all do that do not say otherwise, refuses.
#[test]
fn snp_revocation_list_with_any_bit_flipped_refused_or_not_counted() {
    let (report, [key, intermediate, list]) = snp();
    let judged = |list: &[u8]| {
        let mut endorsements = Endorsements::new();
        let added = [&key[..], &intermediate, list].into_iter().try_for_each(|given| endorsements.add(given));
        let authentic = added.and_then(|()| authenticate(&report, &endorsements, &snp_case::ROOTS, NOW));
        authentic.is_ok_and(|authentic| authentic.revocation_judged())
    };
    assert_eq!(uncovered(&list, judged), COVERED);
}

// ── TDX ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

static PCK: LazyLock<Pck> = LazyLock::new(|| tdx_case::HIERARCHY.issue(PckSpec::default()).unwrap());

/// Header, body, both signatures, the attestation key, the quoting enclave's report and its authentication data, and all
/// lengths and types between them.
#[test]
fn tdx_quote_with_any_bit_before_its_chain_flipped_refused() {
    let quote = QuoteSpec::default().sign(&PCK).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap()).unwrap();
    let authentic = tdx::authenticate(&quote, &endorsements, &tdx_case::ROOTS, NOW).unwrap();
    let kept = authentic.platform();
    let head = 0..quote.len() - PCK.chain.len();
    assert_eq!(uncovered_in(&quote, head, |quote| kept.authenticate(quote, NOW).is_ok()), COVERED);
}

/// Free is the root's certificate at the end of the chain: the root that counts is the one that was configured, for its key
/// alone, and the chain's copy of it is read but nothing is decided by it. With it goes the line's end behind it.
#[test]
fn tdx_chain_in_a_quote_flipped_anywhere_but_in_its_copy_of_the_root_refused() {
    let quote = QuoteSpec::default().sign(&PCK).unwrap();
    let chain = quote.len() - PCK.chain.len();
    let judge = |quote: &[u8]| tdx::authenticate(quote, &Endorsements::new(), &tdx_case::ROOTS, NOW).unwrap_err().code;
    let free = uncovered_in(&quote, chain..quote.len(), |quote| judge(quote) == Code::CollateralMissing);
    let text = core::str::from_utf8(&PCK.chain).unwrap();
    let root = chain + text.rfind("-----BEGIN").unwrap() + "-----BEGIN CERTIFICATE-----".len();
    assert!(free.first().is_some_and(|first| *first > root) && free.last() == Some(&(quote.len() - 1)), "{free:?}");
    // Where it is no certificate any more, it is refused too.
    assert_eq!(judge(&quote[..root]), Code::Malformed);
}

/// Collateral with one level of each kind, and chains without the root's copy, which nothing is decided by.
static COLLATERAL: LazyLock<Value> = LazyLock::new(|| {
    let mut spec = CollateralSpec::default();
    for levels in ["/tcbLevels", "/tdxModuleIdentities", "/tdxModuleIdentities/0/tcbLevels"] {
        spec.tcb_info.pointer_mut(levels).unwrap().as_array_mut().unwrap().truncate(1);
    }
    spec.qe_identity["tcbLevels"].as_array_mut().unwrap().truncate(1);
    let hierarchy = &tdx_case::HIERARCHY;
    let mut document: Value = serde_json::from_slice(&hierarchy.collateral(&spec).unwrap()).unwrap();
    for (member, authority) in [
        ("pck_crl_issuer_chain", &hierarchy.platform_ca),
        ("tcb_info_issuer_chain", &hierarchy.tcb_signing),
        ("qe_identity_issuer_chain", &hierarchy.tcb_signing),
    ] {
        document[member] = pem_chain(&[authority.certificate()]).unwrap().into();
    }
    document
});

fn member(name: &str) -> &'static str {
    COLLATERAL[name].as_str().unwrap()
}

/// The bytes of a member of collateral that are not covered. `sound` is what the member carries, and `write` how it carries it: `None` where
/// it cannot, as JSON has no text that is not UTF-8.
fn uncovered_member(name: &str, sound: &[u8], write: impl Fn(&[u8]) -> Option<String> + Sync) -> Vec<usize> {
    const HERE: &str = "the member under test";
    let mut document = COLLATERAL.clone();
    document[name] = HERE.into();
    let text = document.to_string();
    let (before, after) = text.split_once(&format!("\"{HERE}\"")).unwrap();
    uncovered(sound, |bytes| {
        let Some(written) = write(bytes) else { return false };
        let text = [before, &Value::from(written).to_string(), after].concat();
        let collateral = Collateral::parse(text.as_bytes());
        collateral.and_then(|given| VerifiedCollateral::verify(&given, &tdx_case::ROOTS, NOW)).is_ok()
    })
}

#[test]
fn tdx_tcb_info_with_any_bit_of_its_text_flipped_refused() {
    let text = member("tcb_info").as_bytes();
    assert_eq!(uncovered_member("tcb_info", text, |text| String::from_utf8(text.to_vec()).ok()), COVERED);
}

#[test]
fn tdx_qe_identity_with_any_bit_of_its_text_flipped_refused() {
    let text = member("qe_identity").as_bytes();
    assert_eq!(uncovered_member("qe_identity", text, |text| String::from_utf8(text.to_vec()).ok()), COVERED);
}

/// How hex writes a byte is free, the byte is not.
#[test]
fn tdx_collateral_with_any_bit_of_a_list_or_a_signature_flipped_refused() {
    for name in ["tcb_info_signature", "qe_identity_signature", "root_ca_crl", "pck_crl"] {
        let bytes = hex::decode(member(name)).unwrap();
        assert_eq!(uncovered_member(name, &bytes, |bytes| Some(hex::encode(bytes))), COVERED, "{name}");
    }
}

#[test]
fn tdx_collateral_with_any_bit_of_a_certificate_flipped_refused() {
    let (authority, signer) = (&tdx_case::HIERARCHY.platform_ca, &tdx_case::HIERARCHY.tcb_signing);
    for (name, certificate) in
        [("pck_crl_issuer_chain", authority), ("tcb_info_issuer_chain", signer), ("qe_identity_issuer_chain", signer)]
    {
        let pem = |der: &[u8]| pem_chain(&[der]).ok();
        assert_eq!(uncovered_member(name, certificate.certificate(), pem), COVERED, "{name}");
    }
}
