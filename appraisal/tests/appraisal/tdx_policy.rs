//! An authentic quote of a fake hierarchy against policies, one changed field at a time: appraisal.

use super::pair::{Outcome, Pair};
use super::tdx_case::Case;
use serde_json::json;
use strongroom_appraisal::tdx::{AuthenticQuote, appraise};
use strongroom_appraisal::{Expected, Policy, Verdict};
use strongroom_devkit::intel::PckSpec;
use strongroom_devkit::quote::QuoteSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

pub(crate) const EXPECTED: Expected = Expected { report_data: Some([0x77; 64]), deployment: Some(Sha256([0xd0; 32])) };

fn hex_rule(byte: &str, n: usize) -> String {
    format!("{{ exactly = \"{}\" }}", byte.repeat(n))
}

fn text(change: &str) -> String {
    let required = [
        ("mrtd", hex_rule("4d", 48)),
        ("rtmr0", hex_rule("70", 48)),
        ("rtmr1", hex_rule("71", 48)),
        ("rtmr2", hex_rule("72", 48)),
        ("deployment", hex_rule("d0", 32)),
        ("ppid", hex_rule("99", 16)),
    ];
    let changed = change.split_once('=').map(|(name, _)| name.trim());
    let mut text = "version = 1\n[tdx]\n".to_owned();
    for (name, value) in required.iter().filter(|(name, _)| Some(*name) != changed) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text.push_str(change);
    text
}

pub(crate) fn policy(change: &str) -> Policy {
    let text = text(change);
    Policy::parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

fn mrconfigid(rest: u8) -> [u8; 48] {
    let mut value = [rest; 48];
    value[..32].fill(0xd0);
    value
}

pub(crate) fn guest() -> QuoteSpec {
    QuoteSpec { mrconfigid: mrconfigid(0), report_data: [0x77; 64], ..QuoteSpec::default() }
}

fn authentic(quote: QuoteSpec) -> AuthenticQuote {
    Case { quote, ..Case::sound() }.run().unwrap()
}

/// The name and code of the only check that fails, or `None`.
pub(crate) fn judged(authentic: &AuthenticQuote, policy: &Policy, expected: &Expected) -> Outcome {
    let appraisal = appraise(authentic, policy, expected);
    let failed: Vec<(String, Code)> =
        appraisal.checks().iter().filter_map(|check| check.code.map(|code| (check.name.clone(), code))).collect();
    assert!(failed.len() <= 1, "{failed:?}");
    let verdict = if failed.is_empty() { Verdict::Accepted } else { Verdict::Refused };
    assert_eq!(appraisal.verdict(), verdict);
    assert_eq!(appraisal.into_verified().err().map(|refusal| refusal.code), failed.first().map(|(_, code)| *code));
    failed.into_iter().next()
}

fn failed(name: &str, code: Code) -> Option<(String, Code)> {
    Some((name.to_owned(), code))
}

#[test]
fn sound_guest_accepted() {
    assert_eq!(judged(&authentic(guest()), &policy(""), &EXPECTED), None);
    let td15 = QuoteSpec { version: 5, body_type: 4, ..guest() };
    assert_eq!(judged(&authentic(td15), &policy(""), &EXPECTED), None);
}

fn outcome(quote: QuoteSpec, lines: &str) -> Outcome {
    judged(&authentic(quote), &policy(lines), &EXPECTED)
}

#[test]
fn each_departure_of_the_guest_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(guest_pairs());
}

#[test]
fn each_departure_of_the_policy_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(policy_pairs());
}

/// Under the same policy, a quote with one field changed.
pub(crate) fn guest_pairs() -> Vec<Pair> {
    let measured = Code::MeasurementNotApproved;
    let state = Code::PlatformStateMismatch;
    let rtmr = |at: usize| {
        let mut rtmr = guest().rtmr;
        rtmr[at][47] ^= 1;
        QuoteSpec { rtmr, ..guest() }
    };
    let td15 = QuoteSpec { version: 5, body_type: 3, ..guest() };
    let extended = QuoteSpec { body_type: 4, ..td15.clone() };
    let mut last = [0x77; 64];
    last[63] = 0;
    let cases = vec![
        ("debug", guest(), QuoteSpec { td_attributes: 1 | 1 << 28, ..guest() }, "debug", Code::DebugEnabled),
        (
            "migratable",
            guest(),
            QuoteSpec { td_attributes: 1 << 28 | 1 << 29, ..guest() },
            "migratable",
            Code::MigrationAgentEnabled,
        ),
        ("SEPT_VE_DISABLE", guest(), QuoteSpec { td_attributes: 0, ..guest() }, "sept-ve-disable", state),
        (
            "performance monitoring",
            guest(),
            QuoteSpec { td_attributes: 1 << 28 | 1 << 63, ..guest() },
            "perfmon",
            state,
        ),
        ("key locker", guest(), QuoteSpec { td_attributes: 1 << 28 | 1 << 31, ..guest() }, "key-locker", state),
        (
            "reserved low attribute",
            guest(),
            QuoteSpec { td_attributes: 1 << 28 | 1 << 4, ..guest() },
            "td-attributes",
            Code::ReservedNotZero,
        ),
        (
            "reserved high attribute",
            guest(),
            QuoteSpec { td_attributes: 1 << 28 | 1 << 40, ..guest() },
            "td-attributes",
            Code::ReservedNotZero,
        ),
        (
            "attribute of a hidden service TD",
            guest(),
            QuoteSpec { td_attributes: 1 << 28 | 1 << 17, ..guest() },
            "td-attributes",
            Code::ReservedNotZero,
        ),
        (
            "service TD",
            td15.clone(),
            QuoteSpec { mrservicetd: [1; 48], ..td15.clone() },
            "service-td",
            Code::MigrationAgentEnabled,
        ),
        (
            "service TD of now",
            extended.clone(),
            QuoteSpec { cur_servtd_hash: [1; 48], ..extended.clone() },
            "service-td",
            Code::MigrationAgentEnabled,
        ),
        (
            "service TD at launch",
            extended.clone(),
            QuoteSpec { mrservicetd: [1; 48], ..extended.clone() },
            "service-td",
            Code::MigrationAgentEnabled,
        ),
        (
            "service TD bound at launch and hidden now",
            extended.clone(),
            QuoteSpec { init_servtd_hash: [1; 48], ..extended.clone() },
            "service-td",
            Code::MigrationAgentEnabled,
        ),
        (
            "attributes of a service TD at launch without its hash",
            extended.clone(),
            QuoteSpec { init_servtd_attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..extended.clone() },
            "service-td-attributes",
            Code::MigrationAgentEnabled,
        ),
        (
            "attributes of a service TD now without its hash",
            extended.clone(),
            QuoteSpec { cur_servtd_attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..extended.clone() },
            "service-td-attributes",
            Code::MigrationAgentEnabled,
        ),
        (
            "another VM of the TD asked",
            extended.clone(),
            QuoteSpec { vmid: 1, ..extended.clone() },
            "vmid",
            Code::VmplMismatch,
        ),
        ("fixed XFAM bit", guest(), QuoteSpec { xfam: 0x0006_02e6, ..guest() }, "xfam-fixed-bits", state),
        (
            "reserved header byte",
            guest(),
            QuoteSpec { header_reserved: [0, 0, 1, 0], ..guest() },
            "reserved-zero",
            Code::ReservedNotZero,
        ),
        ("QE vendor", guest(), QuoteSpec { qe_vendor_id: [1; 16], ..guest() }, "qe-vendor", Code::PlatformNotApproved),
        ("MRTD", guest(), QuoteSpec { mrtd: [0x4e; 48], ..guest() }, "mrtd", measured),
        ("RTMR0", guest(), rtmr(0), "rtmr0", measured),
        ("RTMR1", guest(), rtmr(1), "rtmr1", measured),
        ("RTMR2", guest(), rtmr(2), "rtmr2", measured),
        ("RTMR3", guest(), rtmr(3), "rtmr3", measured),
        ("report data", guest(), QuoteSpec { report_data: last, ..guest() }, "report-data", Code::ReportDataMismatch),
        (
            "module behind",
            guest(),
            QuoteSpec { tee_tcb_svn: svn(4), ..guest() },
            "tcb-status",
            Code::TcbStatusNotAccepted,
        ),
        ("module revoked", guest(), QuoteSpec { tee_tcb_svn: svn(2), ..guest() }, "tcb-status", Code::TcbRevoked),
    ];
    let row = |(what, accepted, refused, check, code): (&str, QuoteSpec, QuoteSpec, &'static str, Code)| {
        Pair::new(what, || outcome(accepted, ""), || outcome(refused, ""), check, code)
    };
    cases.into_iter().map(row).collect()
}

/// TEE_TCB_SVN with a module of that SVN.
fn svn(module: u8) -> [u8; 16] {
    let mut svn = guest().tee_tcb_svn;
    svn[0] = module;
    svn
}

/// Of the same quote, a policy with one value changed.
pub(crate) fn policy_pairs() -> Vec<Pair> {
    let platform = Code::PlatformNotApproved;
    let measured = Code::MeasurementNotApproved;
    let state = Code::PlatformStateMismatch;
    let cases: Vec<(String, &'static str, Code)> = vec![
        (format!("ppid = {}", hex_rule("98", 16)), "ppid", platform),
        (format!("platform-instance = {}", hex_rule("1e", 16)), "platform-instance", platform),
        ("fmspc = { one-of = [\"b0c06f000001\"] }".into(), "fmspc", platform),
        ("dynamic-platform = { exactly = false }".into(), "dynamic-platform", platform),
        ("cached-keys = { exactly = true }".into(), "cached-keys", platform),
        ("smt = { exactly = false }".into(), "smt", platform),
        (format!("mrseam = {}", hex_rule("5f", 48)), "mrseam", platform),
        (format!("mrsignerseam = {}", hex_rule("01", 48)), "mrsignerseam", platform),
        (format!("qe-vendor = {}", hex_rule("01", 16)), "qe-vendor", platform),
        (format!("mrowner = {}", hex_rule("01", 48)), "mrowner", measured),
        (format!("mrownerconfig = {}", hex_rule("01", 48)), "mrownerconfig", measured),
        (format!("rtmr3 = {}", hex_rule("01", 48)), "rtmr3", measured),
        (format!("deployment = {}", hex_rule("d1", 32)), "deployment", Code::DeploymentNotApproved),
        (format!("xfam = {}", hex_rule("03", 8)), "xfam", state),
        ("tcb-evaluation = { at-least = 21 }".into(), "tcb-evaluation", Code::CollateralTooOld),
        ("tcb-status = { exactly = \"OutOfDate\" }".into(), "tcb-status", Code::TcbStatusNotAccepted),
        ("debug = { exactly = true }".into(), "debug", Code::DebugEnabled),
        ("migratable = { exactly = true }".into(), "migratable", Code::MigrationAgentEnabled),
        (format!("service-td = {}", hex_rule("01", 48)), "service-td", Code::MigrationAgentEnabled),
        ("sept-ve-disable = { exactly = false }".into(), "sept-ve-disable", state),
        ("perfmon = { exactly = true }".into(), "perfmon", state),
        ("key-locker = { exactly = true }".into(), "key-locker", state),
        ("pks = { exactly = true }".into(), "pks", state),
    ];
    let row = |(change, check, code): (String, &'static str, Code)| {
        Pair::new(check, || outcome(guest(), ""), move || outcome(guest(), &change), check, code)
    };
    cases.into_iter().map(row).collect()
}

#[test]
fn guest_that_a_policy_names_accepted() {
    let any = "{ any = { because = \"test\" } }";
    let td15 = QuoteSpec { version: 5, body_type: 3, mrservicetd: [1; 48], ..guest() };
    let mut extended_rtmr = guest().rtmr;
    extended_rtmr[3] = [0x73; 48];
    let cases = [
        (QuoteSpec { td_attributes: 1 | 1 << 28, ..guest() }, "debug = { one-of = [true, false] }".to_owned()),
        (QuoteSpec { td_attributes: 1 << 28 | 1 << 29, ..guest() }, format!("migratable = {any}")),
        (QuoteSpec { td_attributes: 0, ..guest() }, format!("sept-ve-disable = {any}")),
        (QuoteSpec { td_attributes: 1 << 28 | 1 << 63, ..guest() }, "perfmon = { exactly = true }".into()),
        (QuoteSpec { td_attributes: 1 << 28 | 1 << 31, ..guest() }, "key-locker = { exactly = true }".into()),
        (QuoteSpec { td_attributes: 1 << 28 | 1 << 30, ..guest() }, "pks = { exactly = true }".into()),
        (td15, format!("service-td = {}", hex_rule("01", 48))),
        (QuoteSpec { rtmr: extended_rtmr, ..guest() }, format!("rtmr3 = {}", hex_rule("73", 48))),
        (
            QuoteSpec { tee_tcb_svn: svn(4), ..guest() },
            "tcb-status = { one-of = [\"UpToDate\", \"OutOfDate\"] }".into(),
        ),
        (guest(), "dynamic-platform = { exactly = true }".into()),
        (guest(), "cached-keys = { exactly = false }".into()),
        (guest(), "smt = { exactly = true }".into()),
        (guest(), "tcb-evaluation = { at-least = 20 }".into()),
        (guest(), format!("platform-instance = {}", hex_rule("1d", 16))),
        (guest(), "fmspc = { exactly = \"b0c06f000000\" }".into()),
        (guest(), "xfam = { exactly = \"e702060000000000\" }".into()),
        (guest(), format!("mrseam = {}", hex_rule("5e", 48))),
    ];
    for (quote, change) in cases {
        assert_eq!(judged(&authentic(quote), &policy(&change), &EXPECTED), None, "{change}");
    }
}

#[test]
fn revoked_tcb_refused_whatever_the_policy_says() {
    let revoked = authentic(QuoteSpec { tee_tcb_svn: svn(2), ..guest() });
    let any = policy("tcb-status = { any = { because = \"test\" } }");
    assert_eq!(judged(&revoked, &any, &EXPECTED), failed("tcb-status", Code::TcbRevoked));
    let refused = |change: &str| Policy::parse(text(change).as_bytes()).unwrap_err().code;
    assert_eq!(refused("tcb-status = { one-of = [\"UpToDate\", \"Revoked\"] }"), Code::PolicyInvalid);
    assert_eq!(refused("tcb-status = { exactly = \"Splendid\" }"), Code::PolicyInvalid);
}

#[test]
fn configuration_that_is_not_stated_fails_a_policy_that_asks_for_it() {
    let pck = PckSpec { configuration: None, ..PckSpec::default() };
    let authentic = Case { quote: guest(), ..Case::of(pck) }.run().unwrap();
    assert_eq!(judged(&authentic, &policy(""), &EXPECTED), None);
    for name in ["dynamic-platform", "cached-keys", "smt"] {
        let either = policy(&format!("{name} = {{ one-of = [true, false] }}"));
        assert_eq!(judged(&authentic, &either, &EXPECTED), failed(name, Code::PlatformNotApproved));
    }
}

#[test]
fn platform_without_an_instance_id_is_none_that_a_policy_names() {
    let pck = PckSpec { platform_instance: None, ..PckSpec::default() };
    let authentic = Case { quote: guest(), ..Case::of(pck) }.run().unwrap();
    let named = policy(&format!("platform-instance = {}", hex_rule("1d", 16)));
    assert_eq!(judged(&authentic, &named, &EXPECTED), failed("platform-instance", Code::PlatformNotApproved));
}

#[test]
fn all_bytes_of_mrconfigid_are_compared_with_the_deployment_document() {
    let judge = |mrconfigid, expected: &Expected| {
        let authentic = authentic(QuoteSpec { mrconfigid, ..guest() });
        let open = policy("deployment = { any = { because = \"test\" } }");
        let appraisal = appraise(&authentic, &open, expected);
        appraisal.checks().iter().find_map(|check| check.code)
    };
    assert_eq!(judge(mrconfigid(0), &EXPECTED), None);
    assert_eq!(judge(mrconfigid(1), &EXPECTED), Some(Code::DeploymentMismatch));
    let other = Expected { deployment: Some(Sha256([0xd1; 32])), ..EXPECTED };
    assert_eq!(judge(mrconfigid(0), &other), Some(Code::DeploymentMismatch));
    let zero = Expected { deployment: Some(Sha256([0; 32])), ..EXPECTED };
    assert_eq!(judge([0; 48], &zero), Some(Code::DeploymentMissing));
    // The policy's own rule compares all 48 bytes too.
    let long = authentic(QuoteSpec { mrconfigid: mrconfigid(1), ..guest() });
    let alone = Expected { deployment: None, ..EXPECTED };
    assert_eq!(judged(&long, &policy(""), &alone), failed("deployment", Code::DeploymentNotApproved));
}

#[test]
fn policy_that_leaves_software_open_gives_at_most_authentic() {
    let authentic = authentic(guest());
    for field in ["mrtd", "rtmr1", "rtmr2", "deployment"] {
        let open = policy(&format!("{field} = {{ any = {{ because = \"test\" }} }}"));
        let appraisal = appraise(&authentic, &open, &EXPECTED);
        assert_eq!(appraisal.verdict(), Verdict::Authentic, "{field}");
        assert_eq!(appraisal.into_verified().unwrap_err().code, Code::NoReferenceValues);
        assert_eq!(open.fixes_software().unwrap_err().code, Code::NoReferenceValues);
    }
    let open = policy("rtmr0 = { any = { because = \"the machines differ\" } }");
    assert_eq!(appraise(&authentic, &open, &EXPECTED).verdict(), Verdict::Accepted);
    let defaults = appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
    assert_eq!(defaults.verdict(), Verdict::Authentic);
}

#[test]
fn policy_of_another_platform_refuses_and_a_policy_of_none_is_none() {
    let snp = "version = 1\n[snp]\nmeasurement = { any = { because = \"x\" } }\ndeployment = { any = { because = \"x\" } }\n\
               tcb = { any = { because = \"x\" } }\nchip = { any = { because = \"x\" } }\n";
    let authentic = authentic(guest());
    let refused = Some((String::from("platform"), Code::PlatformNotApproved));
    assert_eq!(judged(&authentic, &Policy::parse(snp.as_bytes()).unwrap(), &EXPECTED), refused);
    let both = format!("{snp}{}", text("").trim_start_matches("version = 1\n"));
    let both = Policy::parse(both.as_bytes()).unwrap();
    assert_eq!(judged(&authentic, &both, &EXPECTED), None);
    assert_eq!(both.fixes_software().unwrap_err().code, Code::NoReferenceValues);
    assert_eq!(Policy::parse(b"version = 1\n").unwrap_err().code, Code::PolicyInvalid);
}

#[test]
fn policy_without_a_required_field_or_with_an_unknown_one_refused() {
    let code = |text: String| Policy::parse(text.as_bytes()).err().map(|refusal| refusal.code);
    for field in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "deployment", "ppid"] {
        let without = text("").lines().filter(|line| !line.starts_with(field)).collect::<Vec<_>>().join("\n");
        assert_eq!(code(without), Some(Code::PolicyInvalid), "{field}");
    }
    assert_eq!(code(text("rtmr4 = { exactly = true }")), Some(Code::UnknownField));
    for field in ["mrtd", "ppid", "fmspc", "xfam", "service-td", "pks", "tcb-status"] {
        assert_eq!(code(text(&format!("{field} = {{ one-of = [] }}"))), Some(Code::PolicyInvalid), "{field}");
        assert_eq!(code(text(&format!("{field} = {{ any = {{ because = \" \" }} }}"))), Some(Code::PolicyInvalid));
    }
    for field in ["crl-number", "crl-age", "root-crl-number", "root-crl-age", "collateral-age"] {
        assert_eq!(
            code(text(&format!("{field} = {{ any = {{ because = \"\" }} }}"))),
            Some(Code::PolicyInvalid),
            "{field}"
        );
    }
    assert_eq!(code(text("tcb-evaluation = { any = { because = \"\" } }")), Some(Code::PolicyInvalid));
}

#[test]
fn proof_shows_what_was_proved() {
    let policy = policy("");
    let verified = appraise(&authentic(guest()), &policy, &EXPECTED).into_verified().unwrap();
    assert_eq!(verified.policy_digest(), policy.digest());
    assert_eq!(verified.authentic().quote().body.mrtd, [0x4d; 48]);
    assert_eq!(json!(verified.authentic().tcb_status().as_str()), json!("UpToDate"));
}
