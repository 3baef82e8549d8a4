//! A fake Intel hierarchy, one changed field at a time: quoting enclave, TDX module, TCB level, and the proof that is kept.

use super::pair::Pair;
use super::tdx_case::{Case, HIERARCHY, NOW, ROOTS, refused, with_identity, with_info, with_quote};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_appraisal::Endorsements;
use strongroom_appraisal::tdx::{self, TcbStatus};
use strongroom_devkit::intel::{CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_wire::Code;

fn status(case: Case) -> (TcbStatus, Vec<String>) {
    let authentic = case.run().unwrap_or_else(|code| panic!("{code}"));
    (authentic.tcb_status(), authentic.advisories().map(str::to_owned).collect())
}

/// The same quote with one field of its quoting enclave or its TDX module changed.
pub(crate) fn identity_pairs() -> Vec<Pair> {
    let mut attributes = QuoteSpec::default().qe_attributes;
    attributes[0] |= 2;
    let svn = |version| [5, version, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let default = QuoteSpec::default;
    let (enclave, module) = (Code::QeIdentityMismatch, Code::TdxModuleMismatch);
    let rows = [
        ("MRSIGNER", QuoteSpec { qe_mrsigner: [0xdd; 32], ..default() }, "qe-identity", enclave),
        ("ISVPRODID", QuoteSpec { qe_isv_prod_id: 1, ..default() }, "qe-identity", enclave),
        ("MISCSELECT", QuoteSpec { qe_miscselect: [1, 0, 0, 0], ..default() }, "qe-identity", enclave),
        ("ATTRIBUTES", QuoteSpec { qe_attributes: attributes, ..default() }, "qe-identity", enclave),
        ("ISVSVN", QuoteSpec { qe_isv_svn: 1, ..default() }, "qe-identity", Code::TcbNotSupported),
        ("MRSIGNERSEAM", QuoteSpec { mrsignerseam: [1; 48], ..default() }, "tdx-module", module),
        ("SEAMATTRIBUTES", QuoteSpec { seam_attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..default() }, "tdx-module", module),
        ("module's version", QuoteSpec { tee_tcb_svn: svn(2), ..default() }, "tdx-module", module),
    ];
    let row = |(what, changed, check, code)| {
        Pair::new(what, || Case::sound().outcome(), || with_quote(changed).outcome(), check, code)
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn identity_of_another_enclave_or_module_refused_by_its_own_check_and_its_twin_authentic() {
    Pair::hold(identity_pairs());
}

#[test]
fn attribute_of_the_quoting_enclave_outside_the_mask_does_not_count() {
    let mut kss = QuoteSpec::default().qe_attributes;
    kss[8] ^= 1;
    assert!(with_quote(QuoteSpec { qe_attributes: kss, ..QuoteSpec::default() }).run().is_ok());
}

#[test]
fn tdx_module_of_a_listed_version_is_judged_by_the_signer_of_that_version() {
    let svn = |version| [5, version, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for version in [0, 1, 3] {
        assert!(with_quote(QuoteSpec { tee_tcb_svn: svn(version), ..QuoteSpec::default() }).run().is_ok(), "{version}");
    }
    // Before version 1 the signer is the one of `tdxModule`.
    let mut case = with_info("/tdxModule/mrsigner", json!("01".repeat(48)));
    assert!(case.run_again().is_ok());
    case.quote.tee_tcb_svn = svn(0);
    assert_eq!(refused(case), Code::TdxModuleMismatch);
}

#[test]
fn each_svn_below_a_level_falls_to_the_next() {
    let platform = |spec: PckSpec| status(Case::of(spec)).0;
    for component in [0, 1, 2, 3, 4, 5, 7] {
        let mut spec = PckSpec::default();
        spec.sgx_components[component] -= 1;
        // The second level asks for less of the first two components, the third of the fifth; nothing of the others.
        let want = match component {
            0 | 1 => Ok(TcbStatus::OutOfDate),
            4 => Ok(TcbStatus::Revoked),
            _ => Err(Code::TcbNotSupported),
        };
        assert_eq!(Case::of(spec).run().map(|authentic| authentic.tcb_status()), want, "{component}");
    }
    assert_eq!(platform(PckSpec { pce_svn: 11, ..PckSpec::default() }), TcbStatus::UpToDate);
    assert_eq!(platform(PckSpec { pce_svn: 10, ..PckSpec::default() }), TcbStatus::Revoked);
    assert_eq!(refused(Case::of(PckSpec { pce_svn: 4, ..PckSpec::default() })), Code::TcbNotSupported);
    assert_eq!(platform(PckSpec { sgx_components: [9; 16], ..PckSpec::default() }), TcbStatus::UpToDate);
}

fn launched(svn: [u8; 3]) -> QuoteSpec {
    let mut tee_tcb_svn = [0; 16];
    tee_tcb_svn[..3].copy_from_slice(&svn);
    QuoteSpec { tee_tcb_svn, ..QuoteSpec::default() }
}

#[test]
fn tdx_components_and_the_modules_own_level_come_to_one_status() {
    for (svn, want, advisories) in [
        ([5, 1, 4], Ok(TcbStatus::UpToDate), vec![]),
        ([9, 1, 9], Ok(TcbStatus::UpToDate), vec![]),
        ([4, 1, 4], Ok(TcbStatus::OutOfDate), vec!["INTEL-SA-00003"]),
        ([5, 1, 3], Ok(TcbStatus::OutOfDate), vec!["INTEL-SA-00007"]),
        ([3, 1, 3], Ok(TcbStatus::OutOfDate), vec!["INTEL-SA-00003", "INTEL-SA-00007"]),
        ([2, 1, 4], Ok(TcbStatus::Revoked), vec!["INTEL-SA-00002"]),
        ([5, 1, 2], Ok(TcbStatus::Revoked), vec!["INTEL-SA-00006", "INTEL-SA-00007"]),
        ([5, 1, 1], Err(Code::TcbNotSupported), vec![]),
        ([1, 1, 4], Err(Code::TcbNotSupported), vec![]),
        // A module without a version is judged by the platform's level alone, its SVN included.
        ([5, 0, 4], Ok(TcbStatus::UpToDate), vec![]),
        ([4, 0, 4], Ok(TcbStatus::Revoked), vec!["INTEL-SA-00006", "INTEL-SA-00007"]),
        ([2, 0, 4], Err(Code::TcbNotSupported), vec![]),
    ] {
        let result = with_quote(launched(svn)).run();
        assert_eq!(result.as_ref().map(|authentic| authentic.tcb_status()).map_err(|code| *code), want, "{svn:?}");
        let got: Vec<String> = result.map(|a| a.advisories().map(str::to_owned).collect()).unwrap_or_default();
        assert_eq!(got, advisories, "{svn:?}");
    }
}

#[test]
fn quoting_enclave_below_its_level_makes_the_whole_out_of_date_or_revoked() {
    for (svn, want) in [
        (5, (TcbStatus::UpToDate, vec![])),
        (3, (TcbStatus::OutOfDate, vec!["INTEL-SA-00005".to_owned()])),
        (2, (TcbStatus::Revoked, vec!["INTEL-SA-00004".to_owned()])),
    ] {
        assert_eq!(status(with_quote(QuoteSpec { qe_isv_svn: svn, ..QuoteSpec::default() })), want, "{svn}");
    }
}

#[test]
fn each_status_of_intels_is_reported_in_its_words() {
    for name in [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    ] {
        assert_eq!(status(with_info("/tcbLevels/0/tcbStatus", json!(name))).0.as_str(), name);
    }
    assert_eq!(refused(with_info("/tcbLevels/0/tcbStatus", json!("Splendid"))), Code::Malformed);
    let case = with_info("/tcbLevels/0/tcbStatus", json!("ConfigurationNeeded"));
    let case = Case { quote: launched([4, 1, 4]), ..case };
    assert_eq!(status(case).0, TcbStatus::OutOfDateConfigurationNeeded);
}

#[test]
fn td_updated_under_way_is_advised_to_relaunch() {
    let td15 = |launched_on: [u8; 3], now: [u8; 3]| {
        let now = launched(now).tee_tcb_svn;
        QuoteSpec { version: 5, body_type: 3, tee_tcb_svn2: Some(now), ..launched(launched_on) }
    };
    for (before, now, want) in [
        ([5, 1, 4], [5, 1, 4], Ok(TcbStatus::UpToDate)),
        ([3, 1, 4], [5, 1, 4], Ok(TcbStatus::TDRelaunchAdvised)),
        ([3, 1, 4], [3, 1, 4], Ok(TcbStatus::OutOfDate)),
        ([3, 1, 4], [5, 3, 4], Ok(TcbStatus::TDRelaunchAdvised)),
        ([5, 1, 4], [3, 1, 4], Ok(TcbStatus::OutOfDate)),
        ([2, 1, 4], [5, 1, 4], Ok(TcbStatus::Revoked)),
        ([5, 1, 4], [2, 1, 4], Ok(TcbStatus::Revoked)),
        ([5, 1, 4], [1, 1, 4], Err(Code::TcbNotSupported)),
        ([5, 1, 4], [5, 2, 4], Err(Code::TdxModuleMismatch)),
    ] {
        let result = with_quote(td15(before, now)).run().map(|authentic| authentic.tcb_status());
        assert_eq!(result, want, "{before:?} {now:?}");
    }
    let case = with_info("/tcbLevels/0/tcbStatus", json!("ConfigurationNeeded"));
    let case = Case { quote: td15([3, 1, 4], [5, 1, 4]), ..case };
    assert_eq!(status(case).0, TcbStatus::TDRelaunchAdvisedConfigurationNeeded);
}

#[test]
fn lower_of_both_evaluation_numbers_counts() {
    let evaluation = |case: Case| case.run().unwrap().platform().collateral().evaluation();
    assert_eq!(evaluation(with_info("/tcbEvaluationDataNumber", json!(19))), 19);
    assert_eq!(evaluation(with_identity("/tcbEvaluationDataNumber", json!(18))), 18);
}

#[test]
fn more_levels_than_the_limit_refused() {
    let levels = |n: usize| Value::from(vec![CollateralSpec::default().tcb_info["tcbLevels"][0].clone(); n]);
    let limit = strongroom_wire::limits::TCB_LEVELS;
    assert_eq!(refused(with_info("/tcbLevels", levels(limit + 1))), Code::TooLarge);
}

// ── The kept proof ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn kept_platform_authenticates_its_further_quotes_and_nobody_elses() {
    let pck = HIERARCHY.issue(PckSpec::default()).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&HIERARCHY.collateral(&CollateralSpec::default()).unwrap()).unwrap();
    let first = QuoteSpec::default().sign(&pck).unwrap();
    let platform = tdx::authenticate(&first, &endorsements, &ROOTS, NOW).unwrap().platform().clone();
    let code = |evidence: &[u8], now| platform.authenticate(evidence, now).map(|a| a.tcb_status()).map_err(|r| r.code);

    let second = QuoteSpec { report_data: [9; 64], ..QuoteSpec::default() }.sign(&pck).unwrap();
    assert_eq!(code(&second, NOW), Ok(TcbStatus::UpToDate));
    assert_eq!(platform.authenticate(&second, NOW).unwrap().quote().body.report_data, [9; 64]);
    let mut changed = second.clone();
    changed[48 + 136] ^= 1;
    assert_eq!(code(&changed, NOW), Err(Code::EvidenceSignatureInvalid));
    let outdated = QuoteSpec { tee_tcb_svn: launched([4, 1, 4]).tee_tcb_svn, ..QuoteSpec::default() };
    assert_eq!(code(&outdated.sign(&pck).unwrap(), NOW), Ok(TcbStatus::OutOfDate));
    let other = HIERARCHY.issue(PckSpec::default()).unwrap();
    assert_eq!(code(&QuoteSpec::default().sign(&other).unwrap(), NOW), Err(Code::CollateralMismatch));

    let valid = platform.valid();
    assert_eq!((*valid.start(), *valid.end()), (1_796_083_200, 1_803_859_200));
    assert_eq!(code(&second, *valid.end()), Ok(TcbStatus::UpToDate));
    assert_eq!(code(&second, valid.end() + 1), Err(Code::CollateralExpired));
    assert_eq!(code(&second, valid.start() - 1), Err(Code::CollateralNotYetValid));
}

#[test]
fn newest_of_two_sets_counts_whichever_comes_first() {
    let older = CollateralSpec::default();
    let mut newer = CollateralSpec::default();
    newer.tcb_info["tcbEvaluationDataNumber"] = json!(21);
    newer.qe_identity["tcbEvaluationDataNumber"] = json!(21);
    newer.tcb_info["tcbLevels"][0]["tcbStatus"] = json!("OutOfDate");
    let pck = HIERARCHY.issue(PckSpec::default()).unwrap();
    let evidence = QuoteSpec::default().sign(&pck).unwrap();
    for order in [[&older, &newer], [&newer, &older]] {
        let mut endorsements = Endorsements::new();
        for spec in order {
            endorsements.add(&HIERARCHY.collateral(spec).unwrap()).unwrap();
        }
        let authentic = tdx::authenticate(&evidence, &endorsements, &ROOTS, NOW).unwrap();
        assert_eq!(authentic.tcb_status(), TcbStatus::OutOfDate);
    }
}

// ── Damage anywhere ────────────────────────────────────────────────────────────────────────────────────────────────────

static SOUND: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let pck = HIERARCHY.issue(PckSpec::default()).unwrap();
    [QuoteSpec::default().sign(&pck).unwrap(), HIERARCHY.collateral(&CollateralSpec::default()).unwrap()]
});

proptest! {
    /// Some bytes mean nothing (line ends and labels of PEM, unknown members): changing them may change nothing, but no
    /// change makes another quote or another status of it.
    #[test]
    fn damaged_quote_or_collateral_is_refused_or_says_the_same(which in 0usize..2, at: prop::sample::Index, value: u8) {
        let mut given = SOUND.clone();
        let at = at.index(given[which].len());
        given[which][at] = value;
        let [evidence, collateral] = given;
        let mut endorsements = Endorsements::new();
        if endorsements.add(&collateral).is_ok() && let Ok(authentic) = tdx::authenticate(&evidence, &endorsements, &ROOTS, NOW) {
            prop_assert_eq!(authentic.quote().signed(), &SOUND[0][..632]);
            prop_assert_eq!(authentic.tcb_status(), TcbStatus::UpToDate);
            prop_assert_eq!(authentic.platform().collateral().evaluation(), 20);
        }
    }

    #[test]
    fn arbitrary_collateral_never_panics(bytes: Vec<u8>) {
        prop_assert!(tdx::Collateral::parse(&bytes).is_err());
    }
}
