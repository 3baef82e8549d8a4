//! A fake Intel hierarchy, one changed field at a time: authentication.

use super::pair::Pair;
use super::tdx_case::{Case, HIERARCHY, NOW, ROOTS, from_now, refused, with_identity, with_info, with_quote};
use serde_json::{Value, json};
use strongroom_appraisal::tdx::{self, TcbStatus};
use strongroom_appraisal::{Endorsements, Roots};
use strongroom_devkit::intel::{ALWAYS, Authority, CollateralSpec, Hierarchy, PLATFORM_CA, PckSpec, ROOT, TCB_SIGNING};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_wire::{Code, Realm, Root};

/// A sound case whose collateral is edited after it was signed.
fn with_edit(edit: impl Fn(&mut Value) + 'static) -> Case {
    Case { edit: Some(Box::new(edit)), ..Case::sound() }
}

#[test]
fn sound_quote_of_each_version_and_body_authentic_under_its_test_root() {
    for (version, body_type) in [(4, 2), (5, 2), (5, 3), (5, 4)] {
        let authentic = with_quote(QuoteSpec { version, body_type, ..QuoteSpec::default() }).run().unwrap();
        let key = HIERARCHY.root.key_digest().unwrap();
        assert_eq!((authentic.root(), ROOTS.realm()), (Root::Test(key), Realm::Test(key)));
        assert_eq!(authentic.tcb_status(), TcbStatus::UpToDate);
        assert_eq!(authentic.advisories().count(), 0);
        assert_eq!(authentic.platform().facts().ppid, [0x99; 16]);
        assert_eq!(authentic.platform().collateral().evaluation(), 20);
        assert!(authentic.checks().iter().all(|check| check.ok) && authentic.checks().len() >= 14);
    }
}

// ── Signatures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_flipped_byte_of_what_is_signed_refused() {
    let pck = HIERARCHY.issue(PckSpec::default()).unwrap();
    let signed = QuoteSpec::default().quote(&pck).unwrap().signed().len();
    for at in 0..signed {
        let code = refused(Case { flip: Some(at), ..Case::sound() });
        let own = [Code::VersionUnsupported, Code::PlatformUnsupported, Code::SigningKeyUnsupported, Code::Malformed];
        assert!(code == Code::EvidenceSignatureInvalid || own.contains(&code), "{at:#x}: {code}");
    }
}

#[test]
fn flipped_bit_of_each_part_of_the_authentication_data_refused_with_its_code() {
    let start = 48 + 584 + 4;
    for (at, code) in [
        (start, Code::EvidenceSignatureInvalid),
        (start + 63, Code::EvidenceSignatureInvalid),
        (start + 64, Code::AttestationKeyMismatch),
        (start + 127, Code::AttestationKeyMismatch),
        (start + 134, Code::QeReportSignatureInvalid),
        (start + 134 + 383, Code::QeReportSignatureInvalid),
        (start + 134 + 384, Code::QeReportSignatureInvalid),
        (start + 134 + 384 + 63, Code::QeReportSignatureInvalid),
        (start + 134 + 450, Code::AttestationKeyMismatch),
    ] {
        assert_eq!(refused(Case { flip: Some(at), ..Case::sound() }), code, "{at}");
    }
}

#[test]
fn every_flipped_byte_of_the_authentication_data_before_the_chain_refused() {
    let start = 48 + 584;
    for at in start..start + 4 + 134 + 450 + 32 + 6 {
        refused(Case { flip: Some(at), ..Case::sound() });
    }
}

#[test]
fn qe_report_that_commits_to_another_key_or_to_more_refused() {
    let quote = QuoteSpec { qe_report_data: Some([7; 64]), ..QuoteSpec::default() };
    assert_eq!(refused(with_quote(quote)), Code::AttestationKeyMismatch);
}

#[test]
fn quote_without_a_chain_inside_refused() {
    let quote = QuoteSpec { certification: 1, ..QuoteSpec::default() };
    assert_eq!(refused(with_quote(quote)), Code::EndorsementMissing);
}

// ── The platform's chain ───────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn test_hierarchy_under_intels_root_refused() {
    let intel = Roots::builtin().unwrap();
    assert_eq!(refused(Case { roots: Some(intel), ..Case::sound() }), Code::RootUntrusted);
}

#[test]
fn chain_of_another_hierarchy_refused_and_with_its_broken_link_too() {
    let other = Hierarchy::generate().unwrap();
    let pck = other.issue(PckSpec::default()).unwrap();
    assert_eq!(refused(Case { pck: Some(pck), ..Case::sound() }), Code::RootUntrusted);
    // The same with the trusted root's certificate at its end: the link is simply broken.
    let pck = other.platform_ca.issue(PckSpec::default(), &HIERARCHY.root).unwrap();
    assert_eq!(refused(Case { pck: Some(pck), ..Case::sound() }), Code::CertificateSignatureInvalid);
}

#[test]
fn pck_signed_by_a_stranger_with_the_authoritys_name_refused() {
    let stranger = HIERARCHY.root.intermediate(PLATFORM_CA, 77, ALWAYS).unwrap();
    let mut pck = stranger.issue(PckSpec::default(), &HIERARCHY.root).unwrap();
    let honest = [&pck.certificate, HIERARCHY.platform_ca.certificate(), HIERARCHY.root.certificate()];
    pck.chain = strongroom_devkit::intel::pem_chain(&honest).unwrap().into_bytes();
    assert_eq!(refused(Case { pck: Some(pck), ..Case::sound() }), Code::CertificateSignatureInvalid);
}

#[test]
fn pck_under_the_root_itself_or_under_a_key_of_another_purpose_refused() {
    for issuer in [&HIERARCHY.root, &HIERARCHY.tcb_signing] {
        let pck = issuer.issue(PckSpec::default(), &HIERARCHY.root).unwrap();
        assert_eq!(refused(Case { pck: Some(pck), ..Case::sound() }), Code::CertificateUnsuitable);
    }
}

#[test]
fn authority_by_name_without_the_right_to_be_one_refused() {
    let leaf = HIERARCHY.root.signer(PLATFORM_CA, 78, ALWAYS).unwrap();
    let pck = leaf.issue(PckSpec::default(), &HIERARCHY.root).unwrap();
    assert_eq!(refused(Case { pck: Some(pck), ..Case::sound() }), Code::CertificateUnsuitable);
}

#[test]
fn certificate_of_another_purpose_as_pck_refused() {
    let spec = PckSpec { subject: TCB_SIGNING.into(), ..PckSpec::default() };
    assert_eq!(refused(Case::of(spec)), Code::CertificateUnsuitable);
}

#[test]
fn pck_without_sgx_extensions_refused_and_without_platform_instance_accepted() {
    let spec = PckSpec { sgx_extensions: false, ..PckSpec::default() };
    assert_eq!(refused(Case::of(spec)), Code::CertificateUnsuitable);
    let spec = PckSpec { platform_instance: None, ..PckSpec::default() };
    assert_eq!(Case::of(spec).run().unwrap().platform().facts().platform_instance, None);
}

#[test]
fn pck_outside_its_validity_refused() {
    for (validity, code) in
        [(from_now(-9, -1), Code::CertificateExpired), (from_now(1, 9), Code::CertificateNotYetValid)]
    {
        assert_eq!(refused(Case::of(PckSpec { validity, ..PckSpec::default() })), code);
    }
    assert!(Case::of(PckSpec { validity: from_now(0, 0), ..PckSpec::default() }).run().is_ok());
}

// ── Collateral ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn quote_without_collateral_refused_after_its_signatures_held() {
    let pck = HIERARCHY.issue(PckSpec::default()).unwrap();
    let evidence = QuoteSpec::default().sign(&pck).unwrap();
    let mut trace = Vec::new();
    let refusal = tdx::authenticate_traced(&evidence, &Endorsements::new(), &ROOTS, NOW, &mut trace).unwrap_err();
    assert_eq!(refusal.code, Code::CollateralMissing);
    let (last, others) = trace.split_last().unwrap();
    assert!(others.iter().all(|check| check.ok) && others.last().unwrap().name == "signature");
    assert_eq!((last.ok, last.code), (false, Some(Code::CollateralMissing)));
}

#[test]
fn collateral_edited_after_it_was_signed_refused() {
    for (member, from, to) in [
        ("tcb_info", "\"Revoked\"", "\"UpToDate\""),
        ("tcb_info", "{", "{ "),
        ("qe_identity", "\"Revoked\"", "\"UpToDate\""),
    ] {
        let case = with_edit(move |document| {
            document[member] = document[member].as_str().unwrap().replacen(from, to, 1).into();
        });
        assert_eq!(refused(case), Code::CollateralSignatureInvalid, "{member}");
    }
    for member in ["tcb_info_signature", "qe_identity_signature"] {
        let case = with_edit(move |document| document[member] = "00".repeat(64).into());
        assert_eq!(refused(case), Code::CollateralSignatureInvalid, "{member}");
    }
    // TCB info does not stand in for QE identity, though both are signed by the same key.
    let case = with_edit(|document| {
        document["qe_identity"] = document["tcb_info"].clone();
        document["qe_identity_signature"] = document["tcb_info_signature"].clone();
    });
    assert_eq!(refused(case), Code::Malformed);
}

#[test]
fn collateral_without_a_member_or_with_a_broken_one_refused_when_it_is_added() {
    let whole: Value = serde_json::from_slice(&HIERARCHY.collateral(&CollateralSpec::default()).unwrap()).unwrap();
    let add =
        |document: &Value| Endorsements::new().add(document.to_string().as_bytes()).map_err(|refusal| refusal.code);
    assert_eq!(add(&whole), Ok(()));
    for member in whole.as_object().unwrap().keys() {
        let mut without = whole.clone();
        without.as_object_mut().unwrap().remove(member);
        assert_eq!(add(&without), Err(Code::Malformed), "{member}");
        if !["tcb_info", "qe_identity"].contains(&member.as_str()) {
            let mut broken = whole.clone();
            broken[member] = "zz".into();
            assert_eq!(add(&broken), Err(Code::Malformed), "{member}");
        }
    }
    let mut more = whole.clone();
    more["pck_certificate_chain"] = "of another quote".into();
    assert_eq!(add(&more), Ok(()));
}

#[test]
fn collateral_signed_by_another_key_or_an_authority_refused() {
    let chain = |certificates: &[&[u8]]| Value::from(strongroom_devkit::intel::pem_chain(certificates).unwrap());
    let root = HIERARCHY.root.certificate();
    let other = HIERARCHY.root.signer(TCB_SIGNING, 5, ALWAYS).unwrap();
    let named = HIERARCHY.root.intermediate(TCB_SIGNING, 6, ALWAYS).unwrap();
    let stranger = Authority::root(ROOT, ALWAYS).unwrap();
    let foreign = stranger.signer(TCB_SIGNING, 7, ALWAYS).unwrap();
    for (signer, end, code) in [
        (&other, root, Code::CollateralSignatureInvalid),
        (&HIERARCHY.platform_ca, root, Code::CertificateUnsuitable),
        (&named, root, Code::CertificateUnsuitable),
        (&foreign, root, Code::CertificateSignatureInvalid),
        (&foreign, stranger.certificate(), Code::RootUntrusted),
    ] {
        for member in ["tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
            let chain = chain(&[signer.certificate(), end]);
            assert_eq!(refused(with_edit(move |document| document[member] = chain.clone())), code, "{member}");
        }
    }
}

#[test]
fn collateral_dates_hold_to_the_second() {
    let date = |seconds: i64| strongroom_devkit::intel::tcb_info(&from_now(seconds, seconds))["issueDate"].clone();
    for with in [with_info, with_identity] {
        assert!(with("/issueDate", date(0)).run().is_ok());
        assert!(with("/nextUpdate", date(0)).run().is_ok());
        assert_eq!(refused(with("/issueDate", date(1))), Code::CollateralNotYetValid);
        assert_eq!(refused(with("/nextUpdate", date(-1))), Code::CollateralExpired);
        assert_eq!(refused(with("/nextUpdate", json!("tomorrow"))), Code::Malformed);
    }
}

#[test]
fn revocation_list_outside_its_window_or_forged_refused() {
    for (window, code) in
        [(from_now(-9, -1), Code::CrlExpired), (from_now(1, 9), Code::CrlExpired), (from_now(0, 0), Code::Internal)]
    {
        let root = CollateralSpec { root_crl_window: window.clone(), ..CollateralSpec::default() };
        let pck = CollateralSpec { pck_crl_window: window, ..CollateralSpec::default() };
        for collateral in [root, pck] {
            let result = Case { collateral, ..Case::sound() }.run().map(drop);
            assert_eq!(result, if code == Code::Internal { Ok(()) } else { Err(code) });
        }
    }
    for member in ["root_ca_crl", "pck_crl"] {
        let forged = with_edit(move |document| {
            let mut der = hex::decode(document[member].as_str().unwrap()).unwrap();
            *der.last_mut().unwrap() ^= 1;
            document[member] = hex::encode(der).into();
        });
        assert_eq!(refused(forged), Code::CrlSignatureInvalid, "{member}");
        let other = if member == "pck_crl" { "root_ca_crl" } else { "pck_crl" };
        let swapped = with_edit(move |document| document[member] = document[other].clone());
        assert_eq!(refused(swapped), Code::CrlMissing, "{member}");
    }
}

#[test]
fn certificate_on_its_issuers_list_refused_and_on_the_others_not() {
    let pck = PckSpec::default().serial;
    for (by_root, by_authority, held) in [
        (vec![], vec![pck + 1], true),
        (vec![], vec![pck], false),
        (vec![pck], vec![], true),
        (vec![2], vec![], false),
        (vec![4], vec![], false),
        (vec![3], vec![2, 4], true),
    ] {
        let collateral = CollateralSpec {
            revoked_by_root: by_root.clone(),
            revoked_by_authority: by_authority.clone(),
            ..CollateralSpec::default()
        };
        let result = Case { collateral, ..Case::sound() }.run().map(drop);
        assert_eq!(result, if held { Ok(()) } else { Err(Code::CertificateRevoked) }, "{by_root:?} {by_authority:?}");
    }
}

/// The same quote and collateral, one member of which is of something else, or of another time.
pub(crate) fn platform_pairs() -> Vec<Pair> {
    let mismatch = Code::CollateralMismatch;
    let mut pairs = Vec::new();
    let mut row = |what: String, accepted: Case, refused: Case, check, code| {
        pairs.push(Pair::new(what, move || accepted.outcome(), move || refused.outcome(), check, code));
    };
    for (pointer, sound, other, check) in [
        ("/fmspc", json!("B0C06F000000"), json!("B0C06F000001"), "collateral-platform"),
        ("/pceId", json!("0000"), json!("0001"), "collateral-platform"),
        ("/id", json!("TDX"), json!("SGX"), "collateral-format"),
        ("/version", json!(3), json!(2), "collateral-format"),
    ] {
        row(format!("TCB info's {pointer}"), with_info(pointer, sound), with_info(pointer, other), check, mismatch);
    }
    for (pointer, sound, other) in [("/id", json!("TD_QE"), json!("QE")), ("/version", json!(2), json!(3))] {
        let (accepted, refused) = (with_identity(pointer, sound), with_identity(pointer, other));
        row(format!("QE identity's {pointer}"), accepted, refused, "collateral-format", mismatch);
    }
    let date = |seconds: i64| strongroom_devkit::intel::tcb_info(&from_now(seconds, seconds))["issueDate"].clone();
    let check = "collateral-dates";
    type Change = fn(&str, Value) -> Case;
    let documents: [(Change, &str); 2] = [(with_info, "TCB info"), (with_identity, "QE identity")];
    for (with, what) in documents {
        let begins = |seconds| with("/issueDate", date(seconds));
        let ends = |seconds| with("/nextUpdate", date(seconds));
        row(format!("{what}'s issue date"), begins(0), begins(1), check, Code::CollateralNotYetValid);
        row(format!("{what}'s next update"), ends(0), ends(-1), check, Code::CollateralExpired);
    }
    let key = |validity| Case::of(PckSpec { validity, ..PckSpec::default() });
    row("PCK's notBefore".into(), key(from_now(0, 9)), key(from_now(1, 9)), "pck-chain", Code::CertificateNotYetValid);
    row("PCK's notAfter".into(), key(from_now(-9, 0)), key(from_now(-9, -1)), "pck-chain", Code::CertificateExpired);
    pairs
}

#[test]
fn collateral_of_another_platform_or_time_refused_by_its_own_check_and_its_twin_authentic() {
    Pair::hold(platform_pairs());
    let collateral = CollateralSpec { processor: true, ..CollateralSpec::default() };
    assert_eq!(refused(Case { collateral, ..Case::sound() }), Code::CollateralMismatch);
}

#[test]
fn platform_of_the_processor_authority_with_its_own_collateral_authentic() {
    let pck = HIERARCHY.processor_ca.issue(PckSpec::default(), &HIERARCHY.root).unwrap();
    let collateral = CollateralSpec { processor: true, ..CollateralSpec::default() };
    assert!(Case { pck: Some(pck), collateral, ..Case::sound() }.run().is_ok());
}
