//! Authentic guests of Azure's, of fake hierarchies, against policies: one changed thing at a time.

use super::azure::{NONCE, VEK, VTPM};
use super::pair::{Outcome, Pair};
use super::snp_case::{self, HIERARCHY};
use super::snp_policy::{ANY, exactly};
use super::tdx_case;
use serde_json::{Value, json};
use strongroom_appraisal::azure::{AuthenticVtpm, appraise_snp, appraise_tdx, authenticate_snp, authenticate_tdx};
use strongroom_appraisal::tdx::AuthenticQuote;
use strongroom_appraisal::{Appraisal, AuthenticReport, Endorsements, Policy, Seen, Verdict};
use strongroom_devkit::azure::{SNP, TDX, hcl_report, report_data};
use strongroom_devkit::intel::{CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::azure::Evidence;
use strongroom_wire::digest::Sha256;

const DOCUMENT: Sha256 = Sha256([0xd0; 32]);

/// A guest of Azure's, one field of which each test changes.
#[derive(Clone)]
struct Guest {
    pcrs: [[u8; 32]; 24],
    configuration: Value,
    report: ReportSpec,
    quote: QuoteSpec,
}

/// SHA-256(32 zero bytes ‖ digest), by hand.
fn extended(digest: Sha256) -> [u8; 32] {
    Sha256::of(&[[0; 32], digest.0].concat()).0
}

impl Guest {
    fn sound() -> Self {
        let mut pcrs: [[u8; 32]; 24] = core::array::from_fn(|number| [0xa0 + u8::try_from(number).unwrap(); 32]);
        pcrs[8] = extended(DOCUMENT);
        let configuration = json!({ "secure-boot": true, "console-enabled": false, "vmUniqueId": "a guest" });
        Self { pcrs, configuration, report: ReportSpec::default(), quote: QuoteSpec::default() }
    }

    fn pcr(number: usize, value: u8) -> Self {
        let mut guest = Self::sound();
        guest.pcrs[number] = [value; 32];
        guest
    }

    fn configured(member: &str, value: Value) -> Self {
        let mut guest = Self::sound();
        guest.configuration[member] = value;
        guest
    }

    fn evidence(&self, kind: u32, hardware: &[u8], runtime: &str, td_quote: Option<Vec<u8>>) -> Evidence {
        let (message, signature) = VTPM.quote(NONCE, &self.pcrs).unwrap();
        let hcl_report = hcl_report(kind, hardware, runtime).unwrap();
        Evidence { hcl_report, message, signature, pcrs: self.pcrs, td_quote, vcek: None }
    }

    fn on_snp(self) -> AuthenticVtpm<AuthenticReport> {
        self.on_snp_with(&[])
    }

    fn on_snp_with(self, lists: &[Vec<u8>]) -> AuthenticVtpm<AuthenticReport> {
        let runtime = VTPM.runtime_data_of(&self.configuration).unwrap();
        let spec = ReportSpec { report_data: report_data(&runtime), ..self.report.clone() };
        let evidence = self.evidence(SNP, &spec.sign(&VEK).unwrap(), &runtime, None);
        let mut given = Endorsements::new();
        given.add(&VEK.certificate).unwrap();
        given.add(HIERARCHY.ask.certificate()).unwrap();
        lists.iter().for_each(|list| given.add(list).unwrap());
        authenticate_snp(&evidence, NONCE, &given, &snp_case::ROOTS, snp_case::NOW).unwrap()
    }

    fn on_tdx(self) -> AuthenticVtpm<AuthenticQuote> {
        let runtime = VTPM.runtime_data_of(&self.configuration).unwrap();
        let spec = QuoteSpec { report_data: report_data(&runtime), ..self.quote.clone() };
        let quote = spec.sign(&tdx_case::HIERARCHY.issue(PckSpec::default()).unwrap()).unwrap();
        let evidence = self.evidence(TDX, &[0x81], &runtime, Some(quote));
        let mut given = Endorsements::new();
        given.add(&tdx_case::HIERARCHY.collateral(&CollateralSpec::default()).unwrap()).unwrap();
        authenticate_tdx(&evidence, NONCE, &given, &tdx_case::ROOTS, tdx_case::NOW).unwrap()
    }
}

/// Which table of a section a changed line stands in.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Table {
    Own,
    Hardware,
    Pcr,
}

const SNP_HARDWARE: [(&str, &str); 3] = [("tcb", ANY), ("chip", ANY), ("revocation-list", ANY)];

/// A sound policy of that section with one line, in that table, in place of the one of its name.
pub(crate) fn text(section: &str, table: Table, line: &str) -> String {
    let registers = [("mrtd", "4d"), ("rtmr0", "70"), ("rtmr1", "71"), ("rtmr2", "72")];
    let hardware: Vec<(String, String)> = if section == "azure-snp-vtpm" {
        let rules = SNP_HARDWARE.map(|(name, rule)| (name.to_owned(), rule.to_owned()));
        [("measurement".to_owned(), exactly("4d", 48))].into_iter().chain(rules).collect()
    } else {
        let rules = registers.map(|(name, byte)| (name.to_owned(), exactly(byte, 48)));
        rules.into_iter().chain([("ppid".to_owned(), ANY.to_owned())]).collect()
    };
    let pcrs =
        [2, 4, 9, 11, 12, 13].map(|number: u8| (number.to_string(), exactly(&format!("{:02x}", 0xa0 + number), 32)));
    let own = [("deployment".to_owned(), exactly("d0", 32))];
    let changed = line.split_once('=').map(|(name, _)| name.trim().to_owned());
    let lines = |of: Table, rules: &[(String, String)]| {
        let kept = rules.iter().filter(|(name, _)| table != of || Some(name) != changed.as_ref());
        let kept = kept.map(|(name, rule)| format!("{name} = {rule}\n")).collect::<String>();
        kept + if table == of { line } else { "" }
    };
    format!(
        "version = 1\n[{section}]\n{}\n[{section}.hardware]\n{}\n[{section}.pcr]\n{}\n",
        lines(Table::Own, &own),
        lines(Table::Hardware, &hardware),
        lines(Table::Pcr, &pcrs),
    )
}

fn policy(section: &str, table: Table, line: &str) -> Policy {
    let text = text(section, table, line);
    Policy::parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

/// The only check that fails, or `None`.
fn failed<E>(appraisal: Appraisal<E>) -> Outcome {
    let failed: Vec<(String, Code)> =
        appraisal.checks().iter().filter_map(|check| Some((check.name.clone(), check.code?))).collect();
    assert!(failed.len() <= 1, "{failed:?}");
    let verdict = if failed.is_empty() { Verdict::Accepted } else { Verdict::Refused };
    assert_eq!(appraisal.verdict(), verdict);
    assert_eq!(appraisal.into_verified().err().map(|refusal| refusal.code), failed.first().map(|(_, code)| *code));
    failed.into_iter().next()
}

fn judge_snp(guest: Guest, policy: &Policy) -> Outcome {
    failed(appraise_snp(&guest.on_snp(), policy, Some(DOCUMENT)))
}

fn judge_tdx(guest: Guest, policy: &Policy) -> Outcome {
    failed(appraise_tdx(&guest.on_tdx(), policy, Some(DOCUMENT)))
}

/// Under one policy, a guest with one thing changed; on both kinds of hardware.
pub(crate) fn guest_pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut row = |what: &str, table: Table, line: &str, accepted: Guest, refused: Guest, check, code| {
        let (snp, tdx) = (policy("azure-snp-vtpm", table, line), policy("azure-tdx-vtpm", table, line));
        let (other, again) = (accepted.clone(), refused.clone());
        let policy = snp.clone();
        pairs.push(Pair::new(
            format!("{what}, SNP"),
            move || judge_snp(accepted, &snp),
            move || judge_snp(refused, &policy),
            check,
            code,
        ));
        let policy = tdx.clone();
        pairs.push(Pair::new(
            format!("{what}, TDX"),
            move || judge_tdx(other, &tdx),
            move || judge_tdx(again, &policy),
            check,
            code,
        ));
    };
    let measured = Code::MeasurementNotApproved;
    for (number, check) in [(2, "pcr-2"), (4, "pcr-4"), (9, "pcr-9"), (11, "pcr-11"), (12, "pcr-12"), (13, "pcr-13")] {
        row(check, Table::Own, "", Guest::sound(), Guest::pcr(number, 0xee), check, measured);
    }
    let seven = format!("7 = {}", exactly("a7", 32));
    row("pcr-7 where named", Table::Pcr, &seven, Guest::sound(), Guest::pcr(7, 0xee), "pcr-7", measured);
    // The other two of the firmware's PCRs are named by the policy, whose rules would refuse first.
    for number in [0, 1, 3, 5, 6, 7] {
        let what = format!("firmware without PCR {number}");
        let (check, code) = ("firmware-measured", Code::SoftwareNotMeasured);
        row(&what, Table::Own, "", Guest::sound(), Guest::pcr(number, 0), check, code);
    }
    let state = Code::PlatformStateMismatch;
    let insecure = Guest::configured("secure-boot", json!(false));
    row("secure boot", Table::Own, "", Guest::sound(), insecure, "secure-boot", state);
    let console = Guest::configured("console-enabled", json!(true));
    let line = "console-enabled = { exactly = false }";
    row("console", Table::Own, line, Guest::sound(), console, "console-enabled", state);
    let other = Guest::configured("vmUniqueId", json!("another"));
    let line = "vm-id = { one-of = [\"a guest\"] }";
    row("virtual machine", Table::Own, line, Guest::sound(), other, "vm-id", Code::PlatformNotApproved);
    pairs
}

/// Of one guest, a policy with one rule changed.
pub(crate) fn policy_pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    let measured = Code::MeasurementNotApproved;
    let rows = [
        (Table::Hardware, "measurement", exactly("4d", 48), exactly("4e", 48), "measurement", measured),
        (
            Table::Hardware,
            "debug",
            "{ exactly = false }".into(),
            "{ exactly = true }".into(),
            "debug",
            Code::DebugEnabled,
        ),
        (
            Table::Hardware,
            "revocation-list",
            ANY.into(),
            "{ exactly = true }".into(),
            "revocation-list",
            Code::CrlMissing,
        ),
        (Table::Pcr, "4", exactly("a4", 32), exactly("a5", 32), "pcr-4", measured),
        (Table::Own, "deployment", exactly("d0", 32), exactly("d1", 32), "deployment", Code::DeploymentNotApproved),
        (
            Table::Own,
            "deployment",
            format!("{{ one-of = [\"{}\", \"{}\"] }}", "d1".repeat(32), "d0".repeat(32)),
            format!("{{ one-of = [\"{}\"] }}", "d1".repeat(32)),
            "deployment",
            Code::DeploymentNotApproved,
        ),
    ];
    for (table, name, accepted, refused, check, code) in rows {
        let policy = |rule: &str| policy("azure-snp-vtpm", table, &format!("{name} = {rule}"));
        let several = if accepted.contains("one-of") { ", one of several" } else { "" };
        let (accepted, refused) = (policy(&accepted), policy(&refused));
        pairs.push(Pair::new(
            format!("{name}{several}, SNP"),
            move || judge_snp(Guest::sound(), &accepted),
            move || judge_snp(Guest::sound(), &refused),
            check,
            code,
        ));
    }
    let rows = [
        ("mrtd", exactly("4d", 48), exactly("4e", 48), "mrtd", measured),
        ("rtmr3", exactly("00", 48), exactly("01", 48), "rtmr3", measured),
        (
            "sept-ve-disable",
            "{ exactly = true }".into(),
            "{ exactly = false }".into(),
            "sept-ve-disable",
            Code::PlatformStateMismatch,
        ),
    ];
    for (name, accepted, refused, check, code) in rows {
        let policy = |rule: &str| policy("azure-tdx-vtpm", Table::Hardware, &format!("{name} = {rule}"));
        let (accepted, refused) = (policy(&accepted), policy(&refused));
        pairs.push(Pair::new(
            format!("{name}, TDX"),
            move || judge_tdx(Guest::sound(), &accepted),
            move || judge_tdx(Guest::sound(), &refused),
            check,
            code,
        ));
    }
    pairs
}

#[test]
fn each_departure_of_an_azure_guest_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(guest_pairs());
}

#[test]
fn each_rule_of_an_azure_policy_refuses_and_its_twin_accepts() {
    Pair::hold(policy_pairs());
}

#[test]
fn document_is_bound_by_one_extension_of_the_named_pcr_from_zero() {
    let open = policy("azure-snp-vtpm", Table::Own, &format!("deployment = {ANY}"));
    let codes = |guest: Guest, document| -> Vec<Code> {
        let appraisal = appraise_snp(&guest.on_snp(), &open, Some(document));
        appraisal.checks().iter().filter_map(|check| check.code).collect()
    };
    assert_eq!(codes(Guest::sound(), DOCUMENT), []);
    assert_eq!(codes(Guest::sound(), Sha256([0xd1; 32])), [Code::DeploymentMismatch]);
    assert_eq!(codes(Guest::pcr(8, 0), DOCUMENT), [Code::DeploymentMissing]);
    assert_eq!(codes(Guest::pcr(8, 0xd0), DOCUMENT), [Code::DeploymentMismatch], "the digest itself is no extension");
    let mut twice = Guest::sound();
    twice.pcrs[8] = Sha256::of(&[extended(DOCUMENT), DOCUMENT.0].concat()).0;
    assert_eq!(codes(twice, DOCUMENT), [Code::DeploymentMismatch]);
    // Another PCR, where the policy names it: PCR 8 is then one of the boot chain like the others.
    let mut elsewhere = Guest::pcr(8, 0xa8);
    elsewhere.pcrs[15] = extended(DOCUMENT);
    let eight = format!("8 = {}", exactly("a8", 32));
    let text = text("azure-snp-vtpm", Table::Pcr, &eight).replace("deployment =", "deployment-pcr = 15\ndeployment =");
    let named = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(judge_snp(elsewhere.clone(), &named), None);
    elsewhere.pcrs[15] = [0xaf; 32];
    let refused = appraise_snp(&elsewhere.on_snp(), &named, None).refusal().unwrap();
    assert_eq!(refused.code, Code::DeploymentNotApproved);
}

#[test]
fn policy_that_leaves_software_open_or_compares_no_document_proves_nothing() {
    let cases = [
        (Table::Own, format!("deployment = {ANY}")),
        (Table::Hardware, format!("measurement = {ANY}")),
        (Table::Pcr, format!("2 = {ANY}")),
        (Table::Pcr, format!("4 = {ANY}")),
        (Table::Pcr, format!("9 = {ANY}")),
        (Table::Pcr, format!("11 = {ANY}")),
        (Table::Pcr, format!("12 = {ANY}")),
        (Table::Pcr, format!("13 = {ANY}")),
    ];
    for (table, line) in cases {
        let open = policy("azure-snp-vtpm", table, &line);
        assert_eq!(open.fixes_software().unwrap_err().code, Code::NoReferenceValues, "{line}");
        let appraisal = appraise_snp(&Guest::sound().on_snp(), &open, Some(DOCUMENT));
        assert_eq!(appraisal.verdict(), Verdict::Authentic, "{line}");
        assert_eq!(appraisal.into_verified().unwrap_err().code, Code::NoReferenceValues);
    }
    for register in ["mrtd", "rtmr1", "rtmr2"] {
        let open = policy("azure-tdx-vtpm", Table::Hardware, &format!("{register} = {ANY}"));
        assert_eq!(open.fixes_software().unwrap_err().code, Code::NoReferenceValues, "{register}");
        assert_eq!(appraise_tdx(&Guest::sound().on_tdx(), &open, Some(DOCUMENT)).verdict(), Verdict::Authentic);
    }
    let sound = policy("azure-snp-vtpm", Table::Own, "");
    let unbound = appraise_snp(&Guest::sound().on_snp(), &sound, None);
    assert_eq!(unbound.verdict(), Verdict::Accepted);
    assert_eq!(unbound.into_verified().unwrap_err().code, Code::ReportDataMismatch);
}

#[test]
fn guest_of_one_platform_under_a_policy_of_another_refused() {
    let refused = Some(("platform".to_owned(), Code::PlatformNotApproved));
    let (snp, tdx) = (policy("azure-snp-vtpm", Table::Own, ""), policy("azure-tdx-vtpm", Table::Own, ""));
    assert_eq!(judge_snp(Guest::sound(), &tdx), refused);
    assert_eq!(judge_tdx(Guest::sound(), &snp), refused);
    let bare = format!("version = 1\n[snp]\nmeasurement = {ANY}\ndeployment = {ANY}\ntcb = {ANY}\nchip = {ANY}\n");
    assert_eq!(judge_snp(Guest::sound(), &Policy::parse(bare.as_bytes()).unwrap()), refused);
    // And the other way round: the paravisor's report is no SNP guest's.
    let hardware = Guest::sound().on_snp().hardware().clone();
    let appraisal = strongroom_appraisal::appraise(&hardware, &snp, &strongroom_appraisal::Expected::UNBOUND);
    assert_eq!(failed(appraisal), refused);
}

#[test]
fn section_that_misses_a_pcr_of_the_boot_chain_or_names_what_proves_nothing_refused() {
    let code = |text: &str| Policy::parse(text.as_bytes()).err().map(|refusal| refusal.code);
    let sound = text("azure-snp-vtpm", Table::Own, "");
    assert_eq!(code(&sound), None);
    for number in [2, 4, 9, 11, 12, 13] {
        let without: Vec<&str> = sound.lines().filter(|line| !line.starts_with(&format!("{number} ="))).collect();
        assert_eq!(code(&without.join("\n")), Some(Code::PolicyInvalid), "{number}");
    }
    let with = |table, line: &str| code(&text("azure-snp-vtpm", table, line));
    for name in ["16", "23", "24", "-1", "04", "+4", "x"] {
        let line = format!("{name} = {}", exactly("00", 32));
        let line = if name == "+4" { line.replace("+4", "\"+4\"") } else { line };
        assert_eq!(with(Table::Pcr, &line), Some(Code::PolicyInvalid), "{name}");
    }
    assert_eq!(with(Table::Pcr, "7 = { one-of = [] }"), Some(Code::PolicyInvalid));
    assert_eq!(
        with(Table::Pcr, &format!("8 = {}", exactly("00", 32))),
        Some(Code::PolicyInvalid),
        "the document's PCR"
    );
    assert_eq!(with(Table::Own, "deployment-pcr = 7"), Some(Code::PolicyInvalid));
    assert_eq!(with(Table::Own, "deployment-pcr = 16"), Some(Code::PolicyInvalid));
    assert_eq!(with(Table::Own, "deployment-pcr = 15"), Some(Code::PolicyInvalid), "PCR 8 is then not given");
    assert_eq!(with(Table::Own, "vm-id = { one-of = [] }"), Some(Code::PolicyInvalid));
    assert_eq!(with(Table::Own, "other = 1"), Some(Code::UnknownField));
    assert_eq!(with(Table::Hardware, "other = 1"), Some(Code::UnknownField));
    let host_data = format!("deployment = {ANY}");
    assert_eq!(with(Table::Hardware, &host_data), Some(Code::UnknownField), "HOST_DATA is the paravisor's");
    assert_eq!(with(Table::Hardware, "debug = { any = { because = \"\" } }"), Some(Code::PolicyInvalid));
    assert_eq!(
        with(Table::Hardware, "tcb = { at-least = { bootloader = 1, tee = 0, snp = 1, microcode = 1 } }"),
        Some(Code::PolicyInvalid)
    );
}

#[test]
fn collateral_of_the_hardware_that_is_older_than_what_was_seen_refused_and_as_new_accepted() {
    let list = |number| HIERARCHY.ark.numbered_crl(&[], snp_case::NOW - 10..snp_case::NOW + 10, Some(number)).unwrap();
    let after = |seen_first, number| {
        let mut seen = Seen::default();
        let first = snp_case::Case { crls: vec![list(seen_first)], ..snp_case::Case::sound() }.run().unwrap();
        first.verify_newest(&mut seen).unwrap();
        Guest::sound().on_snp_with(&[list(number)]).verify_newest(&mut seen).map_err(|refusal| refusal.code)
    };
    assert_eq!((after(7, 7), after(7, 8)), (Ok(()), Ok(())));
    assert_eq!(after(8, 7), Err(Code::CollateralRolledBack));
    let after = |evaluation: u32| {
        let mut collateral = CollateralSpec::default();
        collateral.tcb_info["tcbEvaluationDataNumber"] = evaluation.into();
        let mut seen = Seen::default();
        tdx_case::Case { collateral, ..tdx_case::Case::sound() }.run().unwrap().verify_newest(&mut seen).unwrap();
        Guest::sound().on_tdx().verify_newest(&mut seen).map_err(|refusal| refusal.code)
    };
    assert_eq!((after(20), after(21)), (Ok(()), Err(Code::CollateralRolledBack)));
}
