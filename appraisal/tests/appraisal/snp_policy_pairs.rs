//! The tables of SNP appraisal: a report or a policy with one thing changed, and the check that refuses it.

use super::pair::Pair;
use super::snp_case::{Case, HIERARCHY, NOW};
use super::snp_policy::{ANY, exactly, guest, outcome, with};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;

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
