//! An authentic report of a fake hierarchy against policies, one changed field at a time: appraisal.

use super::pair::{Outcome, Pair};
use super::snp_case::{Case, HIERARCHY, NOW};
use super::snp_policy_pairs::{guest_pairs, policy_pairs, revocation_pairs};
use strongroom_appraisal::{Expected, Policy, Verdict, appraise};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::Tcb;

const EXPECTED: Expected = Expected { report_data: Some([0x77; 64]), deployment: Some(Sha256([0xd0; 32])) };
pub(crate) const ANY: &str = "{ any = { because = \"test\" } }";

pub(crate) fn exactly(byte: &str, n: usize) -> String {
    format!("{{ exactly = \"{}\" }}", byte.repeat(n))
}

/// A sound policy with these lines in place of those of the same name.
fn text(lines: &str) -> String {
    let defaults = [
        ("measurement", exactly("4d", 48)),
        ("deployment", exactly("d0", 32)),
        ("tcb", "{ at-least = { bootloader = 4, tee = 0, snp = 24, microcode = 219 } }".into()),
        ("product", "{ exactly = \"Milan\" }".into()),
        ("chip", ANY.into()),
        ("revocation-list", ANY.into()),
    ];
    let changed: Vec<&str> = lines.lines().filter_map(|line| Some(line.split_once('=')?.0.trim())).collect();
    let mut text = "version = 1\n[snp]\n".to_owned();
    for (name, value) in defaults.iter().filter(|(name, _)| !changed.contains(name)) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text.push_str(lines);
    text
}

fn policy(lines: &str) -> Policy {
    let text = text(lines);
    Policy::parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

pub(crate) fn guest() -> ReportSpec {
    ReportSpec { host_data: [0xd0; 32], report_data: [0x77; 64], ..ReportSpec::default() }
}

pub(crate) fn with(report: ReportSpec) -> Case {
    Case { report, ..Case::sound() }
}

/// The only check that fails, or `None`.
fn judge(case: Case, policy: &Policy, expected: &Expected) -> Outcome {
    let appraisal = appraise(&case.run().unwrap(), policy, expected);
    let failed: Vec<(String, Code)> =
        appraisal.checks().iter().filter_map(|check| Some((check.name.clone(), check.code?))).collect();
    assert!(failed.len() <= 1, "{failed:?}");
    let verdict = if failed.is_empty() { Verdict::Accepted } else { Verdict::Refused };
    assert_eq!(appraisal.verdict(), verdict);
    assert_eq!(appraisal.into_verified().err().map(|refusal| refusal.code), failed.first().map(|(_, code)| *code));
    failed.into_iter().next()
}

fn judged(report: ReportSpec, policy: &Policy, expected: &Expected) -> Option<Code> {
    judge(with(report), policy, expected).map(|(_, code)| code)
}

pub(crate) fn outcome(case: Case, lines: &str) -> Outcome {
    judge(case, &policy(lines), &EXPECTED)
}

#[test]
fn each_departure_of_the_guest_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(guest_pairs());
}

#[test]
fn each_departure_of_the_policy_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(policy_pairs());
}

#[test]
fn revocation_list_that_is_missing_unnumbered_or_too_old_refused_and_its_twin_accepted() {
    Pair::hold(revocation_pairs());
}

#[test]
fn newest_of_several_lists_counts_and_age_grows_with_a_kept_key() {
    let list = |number, age: u64| HIERARCHY.ark.numbered_crl(&[], NOW - age..NOW + 10, Some(number)).unwrap();
    let spec = strongroom_devkit::amd::VekSpec::default();
    let vek = HIERARCHY.issue(spec).unwrap();
    let case = Case { crls: vec![list(7, 50), list(u64::MAX, 90), list(3, 20)], ..with(guest()) };
    let first = case.run_with(&vek).unwrap();
    assert_eq!((first.crl_number(), first.crl_age()), (Some(u64::MAX), Some(20)));
    let later = first.endorsement_key().authenticate(&guest().sign(&vek).unwrap(), NOW + 5).unwrap();
    assert_eq!(later.crl_age(), Some(25));
    let without = with(guest()).run_with(&vek).unwrap();
    assert_eq!((without.crl_number(), without.crl_age()), (None, None));
}

#[test]
fn launch_on_firmware_that_was_taken_back_since_is_no_contradiction() {
    let launch_tcb = Some([4, 0, 0, 0, 0, 0, 24, 250]);
    assert_eq!(outcome(with(ReportSpec { launch_tcb, ..guest() }), ""), None);
}

#[test]
fn policy_whose_demand_is_empty_out_of_range_or_without_scale_refused() {
    let code = |lines: &str| Policy::parse(text(lines).as_bytes()).err().map(|refusal| refusal.code);
    let tcb = "{ at-least = { bootloader = 0, tee = 0, snp = 0, microcode = 0 } }";
    for (accepted, refused) in [
        ("launch-mitigations = { at-least = [63] }".to_owned(), "launch-mitigations = { at-least = [64] }".to_owned()),
        ("current-mitigations = { at-least = [0] }".into(), "current-mitigations = { at-least = [] }".into()),
        ("crl-age = { at-most = 1 }".into(), "crl-age = { any = { because = \" \" } }".into()),
        ("crl-number = { at-least = 1 }".into(), "crl-number = { any = { because = \"\" } }".into()),
        ("smt = { one-of = [true] }".into(), "smt = { one-of = [] }".into()),
        (
            "family-id = { one-of = [\"00000000000000000000000000000000\"] }".into(),
            "family-id = { one-of = [] }".into(),
        ),
        (format!("tcb = {ANY}\nlaunch-tcb = {tcb}"), format!("tcb = {ANY}\nlaunch-tcb = {tcb}\nproduct = {ANY}")),
        (format!("committed-tcb = {ANY}"), "committed-tcb = { any = { because = \"\" } }".into()),
    ] {
        assert_eq!(code(&accepted), None, "{accepted}");
        assert_eq!(code(&refused), Some(Code::PolicyInvalid), "{refused}");
    }
    assert_eq!(code("abi = { at-least = { major = 1, minor = 2, build = 3 } }"), Some(Code::UnknownField));
}

#[test]
fn sound_guest_accepted() {
    assert_eq!(outcome(with(guest()), ""), None);
}

#[test]
fn report_data_that_differs_in_its_last_byte_refused() {
    let mut report_data = [0x77; 64];
    report_data[63] = 0;
    assert_eq!(judged(ReportSpec { report_data, ..guest() }, &policy(""), &EXPECTED), Some(Code::ReportDataMismatch));
}

#[test]
fn report_signed_with_a_providers_key_accepted_only_where_the_policy_names_the_provider() {
    let vlek = || ReportSpec { key_info: 1 << 2, ..guest() };
    let judged = |change: &str| {
        let authentic = Case { report: vlek(), ..Case::vlek() }.run().unwrap();
        appraise(&authentic, &policy(change), &EXPECTED).refusal().map(|refusal| refusal.code)
    };
    assert_eq!(judged("provider = { exactly = \"devkit cloud\" }"), None);
    assert_eq!(judged("provider = { any = { because = \"test\" } }"), None);
    assert_eq!(judged("provider = { exactly = \"another cloud\" }"), Some(Code::PlatformNotApproved));
    assert_eq!(judged(""), Some(Code::PlatformNotApproved));
}

#[test]
fn revocation_list_is_demanded_where_the_policy_says_nothing() {
    let policy = |line: &str| {
        let any = "{ any = { because = \"x\" } }";
        let text =
            format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n{line}");
        Policy::parse(text.as_bytes()).unwrap()
    };
    let crl = HIERARCHY.ark.crl(&[], NOW - 10..NOW + 10).unwrap();
    let without = Case { report: guest(), ..Case::sound() }.run().unwrap();
    let with = Case { report: guest(), crls: vec![crl], ..Case::sound() }.run().unwrap();
    let code = |authentic, line| appraise(authentic, &policy(line), &EXPECTED).refusal().map(|refusal| refusal.code);
    assert_eq!(code(&with, ""), None);
    assert_eq!(code(&without, ""), Some(Code::CrlMissing));
    assert_eq!(code(&without, "revocation-list = { any = { because = \"x\" } }"), None);
}

#[test]
fn evidence_that_was_compared_with_nothing_gives_no_proof() {
    let authentic = Case { report: guest(), ..Case::sound() }.run().unwrap();
    for expected in
        [Expected::UNBOUND, Expected { report_data: None, ..EXPECTED }, Expected { deployment: None, ..EXPECTED }]
    {
        let appraisal = appraise(&authentic, &policy(""), &expected);
        assert_eq!(appraisal.verdict(), Verdict::Accepted);
        assert_eq!(appraisal.into_verified().unwrap_err().code, Code::ReportDataMismatch);
    }
    let verified = appraise(&authentic, &policy(""), &EXPECTED).into_verified().unwrap();
    assert_eq!((verified.report(), verified.root()), (authentic.report(), authentic.root()));
    assert_eq!((verified.tcb(), verified.product()), (authentic.tcb(), "Milan"));
    assert_eq!(authentic.tcb().microcode, 219);
    assert_eq!(verified.policy_digest(), policy("").digest());
}

#[test]
fn floor_without_its_product_refused() {
    let floor = "tcb = { at-least = { bootloader = 4, tee = 0, snp = 24, microcode = 219 } }";
    let any = "{ any = { because = \"x\" } }";
    let parse = |product: &str| {
        let text =
            format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\nchip = {any}\n{floor}\n{product}");
        Policy::parse(text.as_bytes()).map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!(parse("product = { exactly = \"Milan\" }"), Ok(()));
    assert_eq!(parse(""), Err(Code::PolicyInvalid));
    assert_eq!(parse("product = { one-of = [\"Milan\", \"Genoa\"] }"), Err(Code::PolicyInvalid));
}

#[test]
fn deployment_document_other_than_host_data_refused() {
    let other = Expected { deployment: Some(Sha256([0xd1; 32])), ..EXPECTED };
    assert_eq!(judged(guest(), &policy(""), &other), Some(Code::DeploymentMismatch));
}

#[test]
fn guest_without_host_data_refused_even_where_the_document_would_hash_to_zero() {
    let zero = policy(&format!("deployment = {{ exactly = \"{}\" }}", "00".repeat(32)));
    let expected = Expected { deployment: Some(Sha256([0; 32])), ..EXPECTED };
    let report = ReportSpec { host_data: [0; 32], ..guest() };
    assert_eq!(judged(report, &zero, &expected), Some(Code::DeploymentMissing));
}

#[test]
fn policy_that_leaves_software_open_gives_at_most_authentic() {
    for change in ["measurement = { any = { because = \"test\" } }", "deployment = { any = { because = \"test\" } }"] {
        let authentic = Case { report: guest(), ..Case::sound() }.run().unwrap();
        let appraisal = appraise(&authentic, &policy(change), &EXPECTED);
        assert_eq!(appraisal.verdict(), Verdict::Authentic);
        assert_eq!(appraisal.into_verified().unwrap_err().code, Code::NoReferenceValues);
    }
    let authentic = Case::sound().run().unwrap();
    let defaults = appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
    assert_eq!(defaults.verdict(), Verdict::Authentic);
}

#[test]
fn policy_without_a_required_field_or_with_an_unknown_one_refused() {
    let text = |lines: &str| format!("version = 1\n[snp]\n{lines}");
    let any = "{ any = { because = \"x\" } }";
    let whole = format!("measurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n");
    let code = |text: String| Policy::parse(text.as_bytes()).err().map(|refusal| refusal.code);
    assert_eq!(code(text(&whole)), None);
    for field in ["measurement", "deployment", "tcb", "chip"] {
        let without = whole.lines().filter(|line| !line.starts_with(field)).collect::<Vec<_>>().join("\n");
        assert_eq!(code(text(&without)), Some(Code::PolicyInvalid), "{field}");
    }
    assert_eq!(code(text(&format!("{whole}mesurement = {any}"))), Some(Code::UnknownField));
    assert_eq!(code(text(&whole.replace("\"x\"", "\" \""))), Some(Code::PolicyInvalid));
    assert_eq!(code(text(&whole).replace("version = 1", "version = 2")), Some(Code::PolicyInvalid));
    let empty = whole.replacen(any, "{ one-of = [] }", 1);
    assert_eq!(code(text(&empty)), Some(Code::PolicyInvalid));
}

#[test]
fn tcb_of_the_certificate_is_what_a_floor_is_held_against() {
    let authentic = Case::sound().run().unwrap();
    assert_eq!(authentic.tcb(), Tcb { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 });
}
