//! An authentic report of a fake hierarchy against policies, one changed field at a time: appraisal.

use super::pair::{Outcome, Pair};
use super::snp_case::{Case, HIERARCHY, NOW};
use strongroom_appraisal::{Expected, Policy, Verdict, appraise};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::Tcb;

const EXPECTED: Expected = Expected { report_data: Some([0x77; 64]), deployment: Some(Sha256([0xd0; 32])) };
const ANY: &str = "{ any = { because = \"test\" } }";

fn exactly(byte: &str, n: usize) -> String {
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

fn guest() -> ReportSpec {
    ReportSpec { host_data: [0xd0; 32], report_data: [0x77; 64], ..ReportSpec::default() }
}

fn with(report: ReportSpec) -> Case {
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

fn outcome(case: Case, lines: &str) -> Outcome {
    judge(case, &policy(lines), &EXPECTED)
}

/// Under the same policy, a report with one field changed.
pub(crate) fn guest_pairs() -> Vec<Pair> {
    let row = |what: &str, lines: &str, accepted: ReportSpec, refused: ReportSpec, check, code| {
        let (lines, again) = (lines.to_owned(), lines.to_owned());
        let (accepted, refused) = (with(accepted), with(refused));
        Pair::new(what, move || outcome(accepted, &lines), move || outcome(refused, &again), check, code)
    };
    let mut pairs = Vec::new();
    for (what, report, check, code) in departures() {
        pairs.push(row(what, "", guest(), report, check, code));
    }
    // Bits that may be demanded either way: the rule, its bit in POLICY, its bit in PLATFORM_INFO.
    for (check, guest_bit, platform_bit) in BITS {
        let set = |on: bool| ReportSpec {
            policy: guest_bit.map_or(guest().policy, |bit| guest().policy & !(1 << bit) | u64::from(on) << bit),
            platform_info: platform_bit.map_or(0x25, |bit| 0x25 & !(1 << bit) | u64::from(on) << bit),
            ..guest()
        };
        for on in [true, false] {
            let lines = format!("{check} = {{ exactly = {on} }}");
            let what = format!("{check} {on}");
            pairs.push(row(&what, &lines, set(on), set(!on), check, bit_code(check)));
        }
    }
    for (what, lines, accepted, refused, check, code) in named_values() {
        pairs.push(row(what, &lines, accepted, refused, check, code));
    }
    pairs
}

const BITS: [(&str, Option<u32>, Option<u32>); 12] = [
    ("debug", Some(19), None),
    ("smt-allowed", Some(16), None),
    ("single-socket", Some(20), None),
    ("cxl", Some(21), None),
    ("aes-256-xts", Some(22), None),
    ("page-swap-disabled", Some(25), None),
    ("smt", None, Some(0)),
    ("tsme", None, Some(1)),
    ("ecc", None, Some(2)),
    ("rapl-disabled", None, Some(3)),
    ("ciphertext-hiding", None, Some(4)),
    ("alias-check", None, Some(5)),
];

fn bit_code(check: &str) -> Code {
    if check == "debug" { Code::DebugEnabled } else { Code::PlatformStateMismatch }
}

/// Under a policy that says nothing beyond what it must.
fn departures() -> Vec<(&'static str, ReportSpec, &'static str, Code)> {
    let reserved = Code::ReservedNotZero;
    let raw = |at| ReportSpec { raw: vec![(at, 1)], ..guest() };
    let milan = |microcode| Some([4, 0, 0, 0, 0, 0, 24, microcode]);
    let mut last = [0x77; 64];
    last[63] = 0;
    vec![
        ("debug", ReportSpec { policy: 0xb_0000, ..guest() }, "debug", Code::DebugEnabled),
        ("agent allowed", ReportSpec { policy: 0x7_0000, ..guest() }, "migration-agent", Code::MigrationAgentEnabled),
        ("agent's id", ReportSpec { report_id_ma: [0; 32], ..guest() }, "migration-agent", Code::MigrationAgentEnabled),
        ("cxl", ReportSpec { policy: 0x23_0000, ..guest() }, "cxl", Code::PlatformStateMismatch),
        ("privilege level", ReportSpec { vmpl: 1, ..guest() }, "vmpl", Code::VmplMismatch),
        ("bit 17", ReportSpec { policy: 0x1_0000, ..guest() }, "guest-policy-bit-17", Code::PlatformStateMismatch),
        ("bit 26", ReportSpec { policy: 0x3_0000 | 1 << 26, ..guest() }, "guest-policy-reserved", reserved),
        ("bit 63", ReportSpec { policy: 0x3_0000 | 1 << 63, ..guest() }, "guest-policy-reserved", reserved),
        ("reserved after the key information", raw(0x4c), "reserved-zero", reserved),
        ("reserved before the chip id", raw(0x18b), "reserved-zero", reserved),
        ("reserved between the versions", raw(0x1eb), "reserved-zero", reserved),
        ("reserved before the signature", raw(0x29f), "reserved-zero", reserved),
        ("mitigations before version 5", raw(0x1f8), "reserved-zero", reserved),
        ("reserved byte of CURRENT_TCB", raw(0x38 + 2), "reserved-zero", reserved),
        ("reserved byte of COMMITTED_TCB", raw(0x1e0 + 5), "reserved-zero", reserved),
        ("reserved byte of LAUNCH_TCB", raw(0x1f0 + 3), "reserved-zero", reserved),
        ("committed TCB", ReportSpec { committed_tcb: milan(218), ..guest() }, "committed-tcb", Code::TcbTooOld),
        ("launch TCB", ReportSpec { launch_tcb: milan(218), ..guest() }, "launch-tcb", Code::TcbTooOld),
        (
            "committed above current",
            ReportSpec { committed_tcb: milan(220), ..guest() },
            "committed-at-most-current",
            Code::PlatformStateMismatch,
        ),
        ("measurement", ReportSpec { measurement: [0x4e; 48], ..guest() }, "measurement", Code::MeasurementNotApproved),
        ("report data", ReportSpec { report_data: last, ..guest() }, "report-data", Code::ReportDataMismatch),
    ]
}

type Named = (&'static str, String, ReportSpec, ReportSpec, &'static str, Code);

/// Under a policy that names the value.
fn named_values() -> Vec<Named> {
    let measured = Code::MeasurementNotApproved;
    let state = Code::PlatformStateMismatch;
    let old = Code::TcbTooOld;
    let milan = |microcode| Some([4, 0, 0, 0, 0, 0, 24, microcode]);
    let current = |microcode| ReportSpec { current_tcb: milan(microcode), committed_tcb: milan(1), ..guest() };
    let abi = |minor: u64, major: u64| ReportSpec { policy: 0x3_0000 | major << 8 | minor, ..guest() };
    let runs = |current_version| ReportSpec { current_version, ..guest() };
    let committed = |committed_version| ReportSpec { committed_version, ..guest() };
    let vector = |launch_mit_vector, current_mit_vector| ReportSpec {
        version: 5,
        launch_mit_vector,
        current_mit_vector,
        ..guest()
    };
    let author = |key_info, byte| ReportSpec { key_info, author_key_digest: [byte; 48], ..guest() };
    let firmware = || "firmware = { at-least = { major = 1, minor = 55, build = 12 } }".to_owned();
    let bits = |name: &str| format!("{name} = {{ at-least = [0, 3] }}");
    let floor = |name: &str| format!("{name} = {{ at-least = {{ major = 1, minor = 31 }} }}");
    let key = || format!("author-key-digest = {}", exactly("aa", 48));
    let chip = |byte| ReportSpec { cpuid: [0x19, 0x01, byte], ..guest() };
    let below_committed = format!("committed-tcb = {ANY}");
    vec![
        ("current TCB", below_committed, current(219), current(218), "current-tcb", old),
        ("minor version of the interface", floor("abi"), abi(31, 1), abi(30, 1), "abi", state),
        ("major version of the interface", floor("abi"), abi(0, 2), abi(255, 0), "abi", state),
        ("build that runs", firmware(), runs([12, 55, 1]), runs([11, 55, 1]), "firmware", old),
        ("minor that runs", firmware(), runs([12, 55, 1]), runs([99, 54, 1]), "firmware", old),
        ("major that runs", firmware(), runs([0, 0, 2]), runs([99, 99, 0]), "firmware", old),
        ("committed build", firmware(), committed([12, 55, 1]), committed([11, 55, 1]), "firmware", old),
        ("mitigation at launch", bits("launch-mitigations"), vector(9, 0), vector(8, 0), "launch-mitigations", state),
        ("other mitigations", bits("launch-mitigations"), vector(!0, 0), vector(!1, 0), "launch-mitigations", state),
        ("mitigation now", bits("current-mitigations"), vector(0, 11), vector(0, 3), "current-mitigations", state),
        (
            "mitigations of an older report",
            bits("current-mitigations"),
            vector(0, 9),
            ReportSpec { version: 4, ..vector(0, 9) },
            "current-mitigations",
            state,
        ),
        (
            "guest's version",
            "guest-svn = { at-least = 7 }".into(),
            ReportSpec { guest_svn: 7, ..guest() },
            ReportSpec { guest_svn: 6, ..guest() },
            "guest-svn",
            measured,
        ),
        (
            "family",
            format!("family-id = {}", exactly("fa", 16)),
            ReportSpec { family_id: [0xfa; 16], ..guest() },
            ReportSpec { family_id: [0xfb; 16], ..guest() },
            "family-id",
            measured,
        ),
        (
            "image",
            format!("image-id = {}", exactly("1a", 16)),
            ReportSpec { image_id: [0x1a; 16], ..guest() },
            ReportSpec { image_id: [0x1b; 16], ..guest() },
            "image-id",
            measured,
        ),
        (
            "ID key",
            format!("id-key-digest = {}", exactly("1d", 48)),
            ReportSpec { id_key_digest: [0x1d; 48], ..guest() },
            ReportSpec { id_key_digest: [0x1e; 48], ..guest() },
            "id-key-digest",
            measured,
        ),
        ("author key", key(), author(1, 0xaa), author(1, 0xab), "author-key-digest", measured),
        ("author key that is not enabled", key(), author(1, 0xaa), author(0, 0xaa), "author-key-digest", measured),
        ("stepping", "cpuid = { exactly = \"190101\" }".into(), chip(1), chip(2), "cpuid", Code::PlatformNotApproved),
        ("level among two", "vmpl = { one-of = [1, 2] }".into(), at_level(2), at_level(3), "vmpl", Code::VmplMismatch),
    ]
}

fn at_level(vmpl: u32) -> ReportSpec {
    ReportSpec { vmpl, ..guest() }
}

/// Of the same report, a policy with one value changed.
pub(crate) fn policy_pairs() -> Vec<Pair> {
    let floor = |name: &str, what: &str| format!("{name} = {{ at-least = {{ {what} }} }}");
    let row = |what: String, case: Case, accepted: String, refused: String, check, code| {
        let again = case.clone();
        Pair::new(what, move || outcome(case, &accepted), move || outcome(again, &refused), check, code)
    };
    let mut pairs = Vec::new();
    let others = format!("committed-tcb = {ANY}\ncurrent-tcb = {ANY}\nlaunch-tcb = {ANY}\n");
    let sound = [("bootloader", 4), ("tee", 0), ("snp", 24), ("microcode", 219)];
    let turin = [("fmc", 1), ("bootloader", 1), ("tee", 1), ("snp", 4), ("microcode", 81)];
    let levels = |sound: &[(&str, u8)], raised: Option<usize>| {
        let level =
            |(at, (name, level)): (usize, &(&str, u8))| format!("{name} = {}", level + u8::from(raised == Some(at)));
        sound.iter().enumerate().map(level).collect::<Vec<_>>().join(", ")
    };
    for check in ["tcb", "committed-tcb", "current-tcb", "launch-tcb"] {
        let open = others.lines().filter(|line| !line.starts_with(&format!("{check} ")));
        let mut open = open.map(|line| format!("{line}\n")).collect::<String>();
        if check != "tcb" {
            open.push_str(&format!("tcb = {ANY}\n"));
        }
        for at in 0..sound.len() {
            let line = |raised| format!("{open}{}", floor(check, &levels(&sound, raised)));
            let what = format!("{} of {check}", sound[at].0);
            pairs.push(row(what, with(guest()), line(None), line(Some(at)), check, Code::TcbTooOld));
        }
        let line =
            |raised| format!("{open}product = {{ exactly = \"Turin\" }}\n{}", floor(check, &levels(&turin, raised)));
        let report = ReportSpec { host_data: [0xd0; 32], report_data: [0x77; 64], ..Case::turin().report };
        let case = Case { report, ..Case::turin() };
        let what = format!("Turin's fmc of {check}");
        pairs.push(row(what, case, line(None), line(Some(0)), check, Code::TcbTooOld));
    }
    let platform = Code::PlatformNotApproved;
    let chip: String = (0..64).map(|byte| format!("{byte:02x}")).collect();
    let id = |name: &str, byte: &str, n| format!("{name} = {}", exactly(byte, n));
    let measured = Code::MeasurementNotApproved;
    let (yes, no) = ("{ exactly = true }", "{ exactly = false }");
    let rows = [
        ("chip", format!("chip = {{ one-of = [\"{chip}\"] }}"), id("chip", "00", 64), platform),
        ("product", "product = { exactly = \"Milan\" }".into(), "product = { exactly = \"Genoa\" }".into(), platform),
        ("cpuid", "cpuid = { one-of = [\"190101\"] }".into(), "cpuid = { one-of = [\"190102\"] }".into(), platform),
        ("vmpl", "vmpl = { one-of = [0, 1] }".into(), "vmpl = { one-of = [1, 2] }".into(), Code::VmplMismatch),
        ("deployment", id("deployment", "d0", 32), id("deployment", "d1", 32), Code::DeploymentNotApproved),
        ("measurement", id("measurement", "4d", 48), id("measurement", "4e", 48), measured),
        ("family-id", id("family-id", "00", 16), id("family-id", "01", 16), measured),
        ("image-id", id("image-id", "00", 16), id("image-id", "01", 16), measured),
        ("id-key-digest", id("id-key-digest", "00", 48), id("id-key-digest", "01", 48), measured),
        ("author-key-digest", id("author-key-digest", "00", 48), id("author-key-digest", "01", 48), measured),
        ("guest-svn", "guest-svn = { at-least = 0 }".into(), "guest-svn = { at-least = 1 }".into(), measured),
        (
            "migration-agent",
            format!("migration-agent = {no}"),
            format!("migration-agent = {yes}"),
            Code::MigrationAgentEnabled,
        ),
        ("revocation-list", format!("revocation-list = {no}"), format!("revocation-list = {yes}"), Code::CrlMissing),
    ];
    for (check, accepted, refused, code) in rows {
        pairs.push(row(check.into(), with(guest()), accepted, refused, check, code));
    }
    pairs
}

/// What a policy says of the revocation list that was given.
pub(crate) fn revocation_pairs() -> Vec<Pair> {
    let list = |number, age: u64| {
        let crl = HIERARCHY.ark.numbered_crl(&[], NOW - age..NOW + 10, number).unwrap();
        Case { crls: vec![crl], ..with(guest()) }
    };
    let without = || with(guest());
    let row = |what: &str, lines: &str, accepted: Case, refused: Case, check, code| {
        let (lines, again) = (lines.to_owned(), lines.to_owned());
        Pair::new(what, move || outcome(accepted, &lines), move || outcome(refused, &again), check, code)
    };
    let old = Code::CrlTooOld;
    let (number, age) = ("crl-number = { at-least = 6 }", "crl-age = { at-most = 100 }");
    let demanded = "revocation-list = { exactly = true }";
    vec![
        row("list", demanded, list(None, 10), without(), "revocation-list", Code::CrlMissing),
        row("number", number, list(Some(6), 10), list(Some(5), 10), "crl-number", old),
        row("list without a number", number, list(Some(6), 10), list(None, 10), "crl-number", old),
        row("number of no list", number, list(Some(6), 10), without(), "crl-number", old),
        row("age", age, list(None, 100), list(None, 101), "crl-age", old),
        row("age of no list", age, list(None, 100), without(), "crl-age", old),
    ]
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
    assert!(appraise(&authentic, &policy(""), &EXPECTED).into_verified().is_ok());
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
