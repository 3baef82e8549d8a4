//! Collateral against the memory of what was seen: the same evidence after older and after newer collateral.

use super::pair::{Outcome, Pair};
use super::snp_case::{self, HIERARCHY};
use super::tdx_case::{self, NOW};
use serde_json::json;
use strongroom_appraisal::tdx::{self, AuthenticQuote};
use strongroom_appraisal::{AuthenticReport, Endorsements, Seen, SeenKind, Sightings, authenticate_recording};
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::intel::{CollateralSpec, PckSpec, qe_identity, tcb_info};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;

/// A revocation list of the ARK of that number, thisUpdate so many seconds ago.
fn report(number: u64, age: u64) -> AuthenticReport {
    let crl = HIERARCHY.ark.numbered_crl(&[], NOW - age..NOW + 10, Some(number)).unwrap();
    snp_case::Case { crls: vec![crl], ..snp_case::Case::sound() }.run().unwrap()
}

fn quote(collateral: CollateralSpec) -> AuthenticQuote {
    tdx_case::Case { collateral, ..tdx_case::Case::sound() }.run().unwrap()
}

fn refused(seen: &mut Seen, verify: impl FnOnce(&mut Seen) -> strongroom_wire::Result<()>) -> Outcome {
    let before = seen.clone();
    let refusal = verify(seen).err()?;
    assert_eq!(*seen, before, "what was refused left no trace");
    Some((refusal.what, refusal.code))
}

/// Evidence after the same and after newer evidence; each row is newer in one number alone.
pub(crate) fn pairs() -> Vec<Pair> {
    let window = |begins: u64| begins..NOW + 100;
    let at = move |begins: u64| CollateralSpec {
        tcb_info: tcb_info(&window(begins)),
        qe_identity: qe_identity(&window(begins)),
        root_crl_window: window(begins),
        pck_crl_window: window(begins),
        ..CollateralSpec::default()
    };
    let old = NOW - 50;
    let evaluated = |mut spec: CollateralSpec, info: u32, identity: u32| {
        spec.tcb_info["tcbEvaluationDataNumber"] = json!(info);
        spec.qe_identity["tcbEvaluationDataNumber"] = json!(identity);
        spec
    };
    let rows = [
        ("TCB info's evaluation", evaluated(at(old), 21, 20), "tcb-evaluation", "tcb-info/b0c06f000000"),
        ("QE identity's evaluation", evaluated(at(old), 20, 21), "tcb-evaluation", "qe-identity"),
        (
            "TCB info's date",
            CollateralSpec { tcb_info: at(old + 1).tcb_info, ..at(old) },
            "issue-date",
            "tcb-info/b0c06f000000",
        ),
        (
            "QE identity's date",
            CollateralSpec { qe_identity: at(old + 1).qe_identity, ..at(old) },
            "issue-date",
            "qe-identity/b0c06f000000",
        ),
        ("root's list", CollateralSpec { root_crl_number: Some(2), ..at(old) }, "crl-number", "Intel SGX Root CA"),
        ("PCK list", CollateralSpec { pck_crl_number: Some(2), ..at(old) }, "crl-number", "Intel SGX PCK Platform CA"),
        (
            "root's list date",
            CollateralSpec { root_crl_window: window(old + 1), ..at(old) },
            "crl-this-update",
            "Intel SGX Root CA",
        ),
        (
            "PCK list date",
            CollateralSpec { pck_crl_window: window(old + 1), ..at(old) },
            "crl-this-update",
            "Intel SGX PCK Platform CA",
        ),
    ];
    let after = move |seen_first: CollateralSpec| -> Outcome {
        let mut seen = Seen::default();
        quote(seen_first).verify_newest(&mut seen).unwrap();
        let now = quote(at(old));
        refused(&mut seen, |seen| now.verify_newest(seen))
    };
    let mut pairs: Vec<Pair> = Vec::new();
    for (what, newer, kind, subject) in rows {
        let check: &'static str = format!("{kind} of `{}/{subject}`", tdx_root()).leak();
        pairs.push(Pair::new(what, move || after(at(old)), move || after(newer), check, Code::CollateralRolledBack));
    }
    for (what, number, age, kind) in
        [("AMD's list", 6, 40, "crl-number"), ("AMD's list date", 5, 39, "crl-this-update")]
    {
        let after = |number, age| {
            let mut seen = Seen::default();
            report(number, age).verify_newest(&mut seen).unwrap();
            refused(&mut seen, |seen| report(5, 40).verify_newest(seen))
        };
        let check: &'static str = format!("{kind} of `{}/Milan`", report(5, 40).root()).leak();
        let code = Code::CollateralRolledBack;
        pairs.push(Pair::new(what, move || after(5, 40), move || after(number, age), check, code));
    }
    pairs
}

fn tdx_root() -> String {
    quote(CollateralSpec::default()).root().to_string()
}

#[test]
fn collateral_older_than_what_was_seen_refused_and_as_new_accepted() {
    Pair::hold(pairs());
}

#[test]
fn newer_collateral_raises_what_is_remembered() {
    let mut seen = Seen::default();
    for number in [5, 5, 7] {
        report(number, 40).verify_newest(&mut seen).unwrap();
    }
    let remembered: Vec<u64> =
        seen.iter().filter(|(kind, ..)| *kind == SeenKind::CrlNumber).map(|(_, _, number)| number).collect();
    assert_eq!(remembered, [7]);
}

#[test]
fn report_without_a_list_is_compared_with_nothing_and_remembers_nothing() {
    let mut seen = Seen::default();
    snp_case::Case::sound().run().unwrap().verify_newest(&mut seen).unwrap();
    assert_eq!(seen, Seen::default());
}

#[test]
fn tcb_info_of_another_kind_of_platform_has_numbers_of_its_own() {
    let mut seen = Seen::default();
    quote(CollateralSpec::default()).verify_newest(&mut seen).unwrap();
    let count = seen.iter().count();
    let mut other = CollateralSpec::default();
    other.tcb_info["fmspc"] = json!("B0C06F000001");
    other.tcb_info["tcbEvaluationDataNumber"] = json!(19);
    let case = tdx_case::Case::of(PckSpec { fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 1], ..PckSpec::default() });
    tdx_case::Case { collateral: other, ..case }.run().unwrap().verify_newest(&mut seen).unwrap();
    // Its TCB info's two, and when the QE identity was issued.
    assert_eq!(seen.iter().count(), count + 3);
}

/// The default quote with all of these sets at once, and what was sighted.
fn among(sets: &[CollateralSpec]) -> (Result<AuthenticQuote, Code>, Sightings) {
    let mut endorsements = Endorsements::new();
    for set in sets {
        endorsements.add(&tdx_case::HIERARCHY.collateral(set).unwrap()).unwrap();
    }
    let evidence = QuoteSpec::default().sign(&tdx_case::HIERARCHY.issue(PckSpec::default()).unwrap()).unwrap();
    let (mut trace, mut sightings) = (Vec::new(), Sightings::default());
    let roots = &tdx_case::ROOTS;
    let result = tdx::authenticate_recording(&evidence, &endorsements, roots, NOW, &mut trace, &mut sightings);
    (result.map_err(|refusal| refusal.code), sightings)
}

/// Numbers 9 of both lists, of which the PCK authority's names that PCK.
fn revoking(serial: u32) -> CollateralSpec {
    CollateralSpec {
        revoked_by_authority: vec![serial],
        root_crl_number: Some(9),
        pck_crl_number: Some(9),
        ..CollateralSpec::default()
    }
}

#[test]
fn collateral_that_proves_a_revocation_refused_whatever_set_stands_beside_it() {
    let (serial, clean) = (PckSpec::default().serial, CollateralSpec::default());
    assert!(among(&[revoking(serial + 1), clean.clone()]).0.is_ok());
    // Serial 2 is the platform authority's, 4 the TCB signing key's.
    let [by_root, signer] = [2, 4].map(|serial| CollateralSpec { revoked_by_root: vec![serial], ..clean.clone() });
    // Its documents belong to another platform, and are outdated; its list counts all the same.
    let mut foreign = revoking(serial);
    foreign.tcb_info["fmspc"] = json!("B0C06F000001");
    let mut expired = revoking(serial);
    expired.tcb_info = tcb_info(&(NOW - 20..NOW - 10));
    for revoking in [revoking(serial), by_root, signer, foreign, expired] {
        for sets in [[clean.clone(), revoking.clone()], [revoking, clean.clone()]] {
            assert_eq!(among(&sets).0.unwrap_err(), Code::CertificateRevoked);
        }
    }
}

#[test]
fn tdx_list_that_revokes_is_remembered_by_its_refusal_and_an_older_one_refused_after_it() {
    let judge = |seen: &mut Seen, set: CollateralSpec| {
        let (result, sightings) = among(&[set]);
        match result {
            Ok(quote) => quote.verify_newest(seen).err().map(|refusal| refusal.code),
            Err(code) => {
                sightings.remember(seen);
                Some(code)
            }
        }
    };
    let serial = PckSpec::default().serial;
    let older = || CollateralSpec { root_crl_number: Some(8), pck_crl_number: Some(8), ..CollateralSpec::default() };
    let mut seen = Seen::default();
    assert_eq!(judge(&mut seen, older()), None);
    assert_eq!(judge(&mut seen, revoking(serial)), Some(Code::CertificateRevoked));
    assert_eq!(judge(&mut seen, older()), Some(Code::CollateralRolledBack));
    assert_eq!(judge(&mut seen, revoking(serial + 1)), None);
}

#[test]
fn newest_list_of_several_sets_is_what_is_remembered() {
    let mut seen = Seen::default();
    let serial = PckSpec::default().serial;
    let (both, _) = among(&[CollateralSpec::default(), revoking(serial + 1)]);
    both.unwrap().verify_newest(&mut seen).unwrap();
    let lists: Vec<u64> = seen.iter().filter(|(kind, ..)| *kind == SeenKind::CrlNumber).map(|(.., n)| n).collect();
    assert_eq!(lists, [9, 9]);
    assert_eq!(quote(CollateralSpec::default()).verify_newest(&mut seen).unwrap_err().code, Code::CollateralRolledBack);
}

#[test]
fn snp_list_that_revokes_is_remembered_by_its_refusal_and_an_older_one_refused_after_it() {
    let judge = |seen: &mut Seen, serials: &[u32], number: u64| {
        let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
        let mut endorsements = Endorsements::new();
        let crl = HIERARCHY.ark.numbered_crl(serials, NOW - 10..NOW + 10, Some(number)).unwrap();
        for given in [vek.certificate.as_slice(), HIERARCHY.ask.certificate(), &crl] {
            endorsements.add(given).unwrap();
        }
        let evidence = ReportSpec::default().sign(&vek).unwrap();
        let (mut trace, mut sightings) = (Vec::new(), Sightings::default());
        let roots = &snp_case::ROOTS;
        match authenticate_recording(&evidence, &endorsements, roots, NOW, &mut trace, &mut sightings) {
            Ok(report) => report.verify_newest(seen).err().map(|refusal| refusal.code),
            Err(refusal) => {
                sightings.remember(seen);
                Some(refusal.code)
            }
        }
    };
    // The intermediate's.
    let serial = 0x01_00_01;
    let mut seen = Seen::default();
    assert_eq!(judge(&mut seen, &[], 8), None);
    assert_eq!(judge(&mut seen, &[serial], 9), Some(Code::CertificateRevoked));
    assert_eq!(judge(&mut seen, &[], 8), Some(Code::CollateralRolledBack));
    assert_eq!(judge(&mut seen, &[], 9), None);
}

#[test]
fn what_was_sighted_lowers_nothing_that_is_remembered() {
    let mut seen = Seen::default();
    let (_, newer) = among(&[revoking(0)]);
    newer.remember(&mut seen);
    let remembered = seen.clone();
    let (_, older) = among(&[CollateralSpec::default()]);
    assert_ne!(older, newer);
    older.remember(&mut seen);
    assert_eq!(seen, remembered);
}
