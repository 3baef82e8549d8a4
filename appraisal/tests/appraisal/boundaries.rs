//! Limits at their last value and at the first beyond it, what stands beside what is looked for, and the words of a verdict.

use super::snp_case::{self, HIERARCHY, NOW, ROOTS};
use super::tdx_case;
use serde_json::Value;
use std::collections::BTreeSet;
use strongroom_appraisal::tdx::{self, AuthenticQuote, Collateral};
use strongroom_appraisal::{
    Abi, BitSet, Endorsements, Expected, Firmware, Hex, Policy, Roots, Rule, Verdict, appraise, authenticate,
};
use strongroom_devkit::amd::{ALWAYS, VekSpec};
use strongroom_devkit::intel::{CollateralSpec, pem_chain, tcb_info};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::snp::{CertificateKind, CertificateTable, TableEntry};
use strongroom_wire::{Code, Realm, Refusal, Result, Root, limits};

fn code<T>(outcome: Result<T>) -> Option<Code> {
    outcome.err().map(|refusal| refusal.code)
}

fn add(bytes: &[u8]) -> Option<Code> {
    code(Endorsements::new().add(bytes))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = strongroom_wire::bytes::to_base64(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| core::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn list() -> Vec<u8> {
    HIERARCHY.ark.crl(&[], NOW - 10..NOW + 10).unwrap()
}

// ── Endorsements ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn endorsement_of_the_longest_length_accepted_and_one_byte_more_refused() {
    let mut bytes = tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap();
    bytes.resize(limits::ENDORSEMENT, b' ');
    assert_eq!((add(&bytes), code(Collateral::parse(&bytes))), (None, None));
    bytes.push(b' ');
    assert_eq!((add(&bytes), code(Collateral::parse(&bytes))), (Some(Code::TooLarge), Some(Code::TooLarge)));
}

#[test]
fn as_many_endorsements_as_the_limit_accepted_and_one_more_of_any_kind_refused() {
    let (certificate, crl) = (HIERARCHY.ark.certificate().to_vec(), list());
    let collateral = tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap();
    for last in [&certificate, &crl, &collateral] {
        let mut endorsements = Endorsements::new();
        for _ in 1..limits::ENDORSEMENTS {
            endorsements.add(&certificate).unwrap();
        }
        assert_eq!(code(endorsements.add(last)), None);
        assert_eq!(code(endorsements.add(last)), Some(Code::TooLarge));
    }
    // Each kind counts.
    for first in [&crl, &collateral] {
        let mut endorsements = Endorsements::new();
        endorsements.add(first).unwrap();
        for _ in 1..limits::ENDORSEMENTS {
            endorsements.add(&certificate).unwrap();
        }
        assert_eq!(code(endorsements.add(&certificate)), Some(Code::TooLarge));
    }
}

#[test]
fn list_in_pem_is_read_and_another_label_refused() {
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let mut endorsements = Endorsements::new();
    for text in [
        pem("CERTIFICATE", &vek.certificate),
        pem("CERTIFICATE", HIERARCHY.ask.certificate()) + &pem("X509 CRL", &list()),
    ] {
        endorsements.add(text.as_bytes()).unwrap();
    }
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    assert!(authenticate(&evidence, &endorsements, &ROOTS, NOW).unwrap().revocation_judged());
    assert_eq!(add(pem("CRL", &list()).as_bytes()), Some(Code::Malformed));
    assert_eq!(add(pem("X509 CRL", HIERARCHY.ark.certificate()).as_bytes()), Some(Code::Malformed));
}

#[test]
fn table_entry_of_an_unknown_kind_passed_over_and_of_a_known_kind_read() {
    let table = |kind| CertificateTable { entries: vec![TableEntry { kind, data: vec![1, 2, 3] }] }.encode().unwrap();
    assert_eq!(add(&table(CertificateKind::Other([7; 16]))), None);
    assert_eq!(add(&table(CertificateKind::Vcek)), Some(Code::Malformed));
    assert_eq!(add(&table(CertificateKind::Crl)), Some(Code::Malformed));
}

// ── Intel's collateral ─────────────────────────────────────────────────────────────────────────────────────────────────

fn collateral_with(member: &str, value: Value) -> Vec<u8> {
    let whole = tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap();
    let mut document: Value = serde_json::from_slice(&whole).unwrap();
    document[member] = value;
    document.to_string().into_bytes()
}

#[test]
fn chain_of_three_certificates_accepted_and_of_four_refused() {
    let root = tdx_case::HIERARCHY.root.certificate();
    let chain = |count: usize| Value::from(pem_chain(&vec![root; count]).unwrap());
    for member in ["tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain"] {
        assert_eq!(add(&collateral_with(member, chain(3))), None, "{member}");
        assert_eq!(add(&collateral_with(member, chain(4))), Some(Code::Malformed), "{member}");
    }
}

#[test]
fn list_of_the_collateral_in_pem_read_and_under_another_label_or_twice_refused() {
    let list = tdx_case::HIERARCHY.root.crl(&[], ALWAYS).unwrap();
    let with = |text: String| add(&collateral_with("root_ca_crl", text.into()));
    assert_eq!(with(pem("X509 CRL", &list)), None);
    assert_eq!(with(pem("CERTIFICATE", &list)), Some(Code::Malformed));
    assert_eq!(with(pem("X509 CRL", &list) + &pem("X509 CRL", &list)), Some(Code::Malformed));
}

/// The quote of the sound case, authenticated with all of these sets.
fn with_sets(sets: &[CollateralSpec]) -> Result<AuthenticQuote> {
    let pck = tdx_case::HIERARCHY.issue(strongroom_devkit::intel::PckSpec::default()).unwrap();
    let evidence = strongroom_devkit::quote::QuoteSpec::default().sign(&pck).unwrap();
    let mut endorsements = Endorsements::new();
    for set in sets {
        endorsements.add(&tdx_case::HIERARCHY.collateral(set).unwrap()).unwrap();
    }
    tdx::authenticate(&evidence, &endorsements, &tdx_case::ROOTS, NOW)
}

#[test]
fn set_that_fails_for_itself_says_more_than_one_of_another_platform_whatever_their_order() {
    let mut foreign = CollateralSpec::default();
    foreign.tcb_info["fmspc"] = "000000000000".into();
    let expired = CollateralSpec { pck_crl_window: NOW - 9..NOW - 1, ..CollateralSpec::default() };
    let late = CollateralSpec { tcb_info: tcb_info(&(NOW + 1..NOW + 9)), ..CollateralSpec::default() };
    let refused = |sets: &[&CollateralSpec]| {
        code(with_sets(&sets.iter().map(|set| (*set).clone()).collect::<Vec<_>>())).expect("accepted")
    };
    assert_eq!(refused(&[&foreign]), Code::CollateralMismatch);
    assert_eq!(refused(&[&foreign, &expired]), Code::CrlExpired);
    assert_eq!(refused(&[&expired, &foreign]), Code::CrlExpired);
    assert_eq!(
        (refused(&[&expired, &late]), refused(&[&late, &expired])),
        (Code::CrlExpired, Code::CollateralNotYetValid)
    );
    assert!(with_sets(&[foreign, expired, CollateralSpec::default()]).is_ok());
}

#[test]
fn newest_of_several_sets_counts_and_of_equally_new_ones_the_first() {
    let ending = |ends: u64| CollateralSpec { pck_crl_window: NOW - 9..ends, ..CollateralSpec::default() };
    let ends = |sets: &[CollateralSpec]| *with_sets(sets).unwrap().platform().valid().end();
    assert_eq!(
        (ends(&[ending(NOW + 5), ending(NOW + 7)]), ends(&[ending(NOW + 7), ending(NOW + 5)])),
        (NOW + 5, NOW + 7)
    );
    let mut newer = ending(NOW + 3);
    newer.tcb_info["tcbEvaluationDataNumber"] = 21.into();
    newer.qe_identity["tcbEvaluationDataNumber"] = 21.into();
    assert_eq!((ends(&[newer.clone(), ending(NOW + 7)]), ends(&[ending(NOW + 7), newer])), (NOW + 3, NOW + 3));
}

#[test]
fn collateral_says_whose_it_is() {
    let authentic = with_sets(&[CollateralSpec::default()]).unwrap();
    assert_eq!(authentic.platform().collateral().fmspc(), [0xb0, 0xc0, 0x6f, 0, 0, 0]);
    assert_eq!(authentic.platform().collateral().root(), authentic.root());
}

// ── Roots ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn roots_of_two_realms_refused_and_of_one_accepted() {
    let vendor = include_bytes!("../../src/roots/ark-milan.pem");
    let intel = include_bytes!("../../src/roots/intel-sgx-root.pem");
    let test = HIERARCHY.ark.certificate();
    assert_eq!(Roots::named(&[vendor, intel]).unwrap().realm(), Realm::Vendor);
    assert_eq!(Roots::named(&[test]).unwrap().realm(), ROOTS.realm());
    assert_eq!(code(Roots::named(&[vendor, test])), Some(Code::RealmMismatch));
    assert_eq!(code(Roots::named(&[test, vendor])), Some(Code::RealmMismatch));
    assert_eq!(code(Roots::named(&[])), Some(Code::Usage));
}

#[test]
fn vendor_root_that_was_not_named_vouches_for_nothing() {
    // Evidence under AMD's roots is at hand only as captured; that the set is the named one shows in what is wanted.
    let milan = Roots::named(&[include_bytes!("../../src/roots/ark-milan.pem")]).unwrap();
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&HIERARCHY.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    let wanted = |roots: &Roots| authenticate(&evidence, &endorsements, roots, NOW).unwrap_err().want.unwrap();
    let named = |want: &str| {
        let names = ["ARK-Milan", "ARK-Genoa", "ARK-Turin", "Intel SGX Root CA"];
        names.into_iter().filter(|name| want.contains(name)).collect::<BTreeSet<_>>()
    };
    assert_eq!(named(&wanted(&milan)), BTreeSet::from(["ARK-Milan"]));
    assert_eq!(named(&wanted(&Roots::builtin().unwrap())), BTreeSet::from(["ARK-Milan", "ARK-Genoa", "ARK-Turin"]));
}

#[test]
fn root_in_pem_accepted_and_under_another_label_or_twice_refused() {
    let der = HIERARCHY.ark.certificate();
    let of = |text: String| Roots::test(text.as_bytes()).map(|roots| roots.realm());
    assert_eq!(of(pem("CERTIFICATE", der)).unwrap(), Realm::Test(HIERARCHY.ark.key_digest().unwrap()));
    assert_eq!(code(of(pem("X509 CRL", der))), Some(Code::Malformed));
    assert_eq!(code(of(pem("CERTIFICATE", der) + &pem("CERTIFICATE", der))), Some(Code::Malformed));
    assert_eq!(code(of(String::new())), Some(Code::Malformed));
}

// ── What people read ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn verdicts_are_called_what_they_are() {
    let names = [Verdict::Refused, Verdict::Authentic, Verdict::Accepted].map(Verdict::as_str);
    assert_eq!(names, ["refused", "authentic", "accepted"]);
    let authentic = snp_case::Case::sound().run().unwrap();
    let verdict = appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND).verdict();
    assert_eq!((verdict, authentic.root()), (Verdict::Authentic, Root::Test(HIERARCHY.ark.key_digest().unwrap())));
}

#[test]
fn check_of_a_list_says_which_one_it_was_and_a_stale_one_when_it_was_current() {
    let number = |number| {
        let crl = HIERARCHY.ark.numbered_crl(&[], NOW - 10..NOW + 10, number).unwrap();
        let authentic = snp_case::Case { crls: vec![crl], ..snp_case::Case::sound() }.run().unwrap();
        let check = authentic.checks().iter().find(|check| check.name == "revocation").unwrap().clone();
        check.got.unwrap()
    };
    assert_eq!(number(Some(7)), format!("a current list of number 7, thisUpdate {}", NOW - 10));
    assert_eq!(number(None), format!("a current list without a number, thisUpdate {}", NOW - 10));
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let mut endorsements = Endorsements::new();
    let stale = HIERARCHY.ark.crl(&[], NOW - 10..NOW - 1).unwrap();
    for bytes in [&vek.certificate, HIERARCHY.ask.certificate(), &stale] {
        endorsements.add(bytes).unwrap();
    }
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    let refusal: Refusal = authenticate(&evidence, &endorsements, &ROOTS, NOW).unwrap_err();
    assert_eq!((refusal.code, refusal.want), (Code::CrlExpired, Some(format!("{}..{}", NOW - 10, NOW - 1))));
}

#[test]
fn rules_are_shown_as_they_read() {
    let show = u32::to_string;
    assert_eq!(Rule::Exactly(1).describe(show), "1");
    assert_eq!(Rule::OneOf(vec![1, 2]).describe(show), "one of 1, 2");
    assert_eq!(Rule::<u32>::Any { because: "of a reason".into() }.describe(show), "any, because of a reason");
    // What a report of version 2 without a revocation list does not say.
    let report = ReportSpec { version: 2, ..ReportSpec::default() };
    let authentic = snp_case::Case { report, ..snp_case::Case::sound() }.run().unwrap();
    let appraisal = appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
    for name in ["launch-mitigations", "current-mitigations", "crl-number", "crl-age"] {
        let check = appraisal.checks().iter().find(|check| check.name == name).unwrap();
        assert_eq!((check.ok, check.got.as_deref()), (true, Some("not stated")), "{name}");
    }
}

#[test]
fn policy_that_names_manifest_or_signer_fixes_the_model_and_one_that_names_neither_does_not() {
    let of = |model: &str| {
        let any = "{ any = { because = \"test\" } }";
        let text =
            format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n{model}");
        code(Policy::parse(text.as_bytes()).unwrap().fixes_model())
    };
    let hex = "0a".repeat(32);
    assert_eq!(of(&format!("[model]\nmanifest = {{ exactly = \"sha256:{hex}\" }}\n")), None);
    assert_eq!(of(&format!("[model]\nsigner = {{ one-of = [\"{hex}\"] }}\n")), None);
    assert_eq!((of(""), of("[model]\n")), (Some(Code::NoReferenceValues), Some(Code::NoReferenceValues)));
}

#[test]
fn certificate_that_fits_the_report_is_found_among_others_and_the_first_is_named_where_none_does() {
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let other_chip = VekSpec { hwid: Some(vec![9; 64]), ..VekSpec::default() };
    let other_chip = HIERARCHY.issue(other_chip).unwrap().certificate;
    let report = ReportSpec::default().sign(&vek).unwrap();
    let with = |certificates: &[&[u8]]| {
        let mut endorsements = Endorsements::new();
        for certificate in certificates.iter().copied().chain([HIERARCHY.ask.certificate()]) {
            endorsements.add(certificate).unwrap();
        }
        code(authenticate(&report, &endorsements, &ROOTS, NOW))
    };
    let own = vek.certificate.as_slice();
    assert_eq!([with(&[own, &other_chip]), with(&[&other_chip, own])], [None; 2]);
    assert_eq!(with(&[&other_chip]), Some(Code::EvidenceSignatureInvalid), "nor did that one's key sign it");
}

#[test]
fn rule_and_value_are_shown_in_words() {
    assert_eq!(Hex([0xab, 0x01]).to_string(), "ab01");
    assert_eq!(Abi { major: 1, minor: 51 }.to_string(), "1.51");
    assert_eq!(Firmware { major: 1, minor: 55, build: 7 }.to_string(), "1.55.7");
    assert_eq!(serde_json::from_str::<BitSet>("[3, 3]").unwrap(), BitSet(8), "a bit named twice is the bit");
    assert_eq!([BitSet(0), BitSet(1 | 1 << 2 | 1 << 63)].map(|set| set.to_string()), ["no bit", "bits 0 2 63"]);
    let rule = Rule::<Hex<2>>::ReferenceValues("image".to_owned());
    assert_eq!(rule.describe(Hex::to_string), "the value in reference values `image`, which were not taken");
}
