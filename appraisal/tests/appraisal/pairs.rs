//! A fake hierarchy, one changed field at a time.

use std::sync::LazyLock;
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, Verdict, appraise, authenticate};
use strongroom_devkit::amd::{ALWAYS, Authority, Hierarchy, Vek, VekSpec};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Code, Realm, Root};

const NOW: u64 = 1_800_000_000;

static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(|| Hierarchy::shared().unwrap());
static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::test(HIERARCHY.ark.certificate()).unwrap());

/// Everything that goes into one authentication; each test changes one field.
struct Case {
    spec: VekSpec,
    report: ReportSpec,
    intermediate: Vec<u8>,
    crls: Vec<Vec<u8>>,
    now: u64,
    flip: Option<usize>,
}

impl Case {
    fn sound() -> Self {
        let intermediate = HIERARCHY.ask.certificate().to_vec();
        Self {
            spec: VekSpec::default(),
            report: ReportSpec::default(),
            intermediate,
            crls: vec![],
            now: NOW,
            flip: None,
        }
    }

    fn vlek() -> Self {
        let intermediate = HIERARCHY.asvk.certificate().to_vec();
        let report = ReportSpec { key_info: 1 << 2, version: 2, chip_id: Some([0; 64]), ..ReportSpec::default() };
        Self { spec: VekSpec::vlek(), intermediate, report, ..Self::sound() }
    }

    fn run(self) -> Result<strongroom_appraisal::AuthenticReport, Code> {
        let vek = HIERARCHY.issue(self.spec.clone()).unwrap();
        self.run_with(&vek)
    }

    fn run_with(self, vek: &Vek) -> Result<strongroom_appraisal::AuthenticReport, Code> {
        let mut endorsements = Endorsements::new();
        endorsements.add(&vek.certificate).unwrap();
        endorsements.add(&self.intermediate).unwrap();
        for crl in &self.crls {
            endorsements.add(crl).unwrap();
        }
        let mut evidence = self.report.sign(vek).unwrap();
        if let Some(at) = self.flip {
            evidence[at] ^= 1;
        }
        authenticate(&evidence, &endorsements, &ROOTS, self.now).map_err(|refusal| refusal.code)
    }
}

fn refused(case: Case) -> Code {
    case.run().expect_err("accepted")
}

#[test]
fn sound_vcek_report_authentic_under_its_test_root() {
    let authentic = Case::sound().run().unwrap();
    let key = HIERARCHY.ark.key_digest().unwrap();
    assert_eq!(authentic.root(), Root::Test(key));
    assert_eq!(ROOTS.realm(), Realm::Test(key));
    assert_eq!(authentic.product(), "Milan");
    assert!(authentic.checks().iter().all(|check| check.ok));
}

#[test]
fn sound_vlek_report_of_version_2_authentic_without_a_chip_id() {
    assert_eq!(Case::vlek().run().unwrap().provider(), Some("devkit cloud"));
}

#[test]
fn every_flipped_byte_of_the_signed_part_refused() {
    // Every byte once; the exhaustive bit by bit run belongs to the deeper suite. Fields that parsing looks at before the
    // signature may refuse with a code of their own.
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    for at in 0..0x2a0 {
        let code = Case { flip: Some(at), ..Case::sound() }.run_with(&vek).expect_err("accepted");
        let own = [Code::VersionUnsupported, Code::SigningKeyUnsupported, Code::EndorsementMissing];
        assert!(code == Code::EvidenceSignatureInvalid || own.contains(&code), "{at:#x}: {code}");
    }
}

#[test]
fn flipped_bit_of_the_signature_refused() {
    for at in [0x2a0, 0x2a0 + 47, 0x2a0 + 48, 0x2e8, 0x2e8 + 71] {
        assert_eq!(refused(Case { flip: Some(at), ..Case::sound() }), Code::EvidenceSignatureInvalid, "{at:#x}");
    }
}

#[test]
fn report_signed_with_another_algorithm_or_key_kind_refused() {
    let report = ReportSpec { signature_algo: 2, ..ReportSpec::default() };
    assert_eq!(refused(Case { report, ..Case::sound() }), Code::SigningKeyUnsupported);
    let report = ReportSpec { key_info: 7 << 2, ..ReportSpec::default() };
    assert_eq!(refused(Case { report, ..Case::sound() }), Code::SigningKeyUnsupported);
}

#[test]
fn report_of_a_vlek_with_only_a_vcek_given_refused() {
    let report = ReportSpec { key_info: 1 << 2, ..ReportSpec::default() };
    assert_eq!(refused(Case { report, ..Case::sound() }), Code::EndorsementMissing);
}

#[test]
fn report_without_its_intermediate_refused() {
    let asvk = HIERARCHY.asvk.certificate().to_vec();
    assert_eq!(refused(Case { intermediate: asvk, ..Case::sound() }), Code::IntermediateMissing);
}

#[test]
fn endorsement_key_signed_by_somebody_elses_intermediate_of_that_name_refused() {
    let stranger = HIERARCHY.ark.intermediate("SEV-Milan", 7, ALWAYS).unwrap();
    let intermediate = stranger.certificate().to_vec();
    assert_eq!(refused(Case { intermediate, ..Case::sound() }), Code::CertificateSignatureInvalid);
}

#[test]
fn chain_that_ends_at_another_root_refused() {
    let other = Authority::root("ARK-Milan", ALWAYS).unwrap();
    let crossed = HIERARCHY.ask.reissue(&other, 9, ALWAYS).unwrap();
    // Without the foreign root at hand the signature under the trusted root of that name simply fails.
    assert_eq!(refused(Case { intermediate: crossed.clone(), ..Case::sound() }), Code::CertificateSignatureInvalid);
    // With it, the chain is whole and ends elsewhere.
    let mut endorsements = Endorsements::new();
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    for der in [&vek.certificate, &crossed, &other.certificate().to_vec()] {
        endorsements.add(der).unwrap();
    }
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    assert_eq!(authenticate(&evidence, &endorsements, &ROOTS, NOW).unwrap_err().code, Code::RootUntrusted);
}

#[test]
fn test_hierarchy_under_amds_roots_refused() {
    let mut endorsements = Endorsements::new();
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    endorsements.add(&HIERARCHY.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    assert!(authenticate(&evidence, &endorsements, &ROOTS, NOW).is_ok());
    let amd = Roots::builtin().unwrap();
    assert_eq!(authenticate(&evidence, &endorsements, &amd, NOW).unwrap_err().code, Code::RootUntrusted);
}

#[test]
fn endorsement_key_as_intermediate_refused() {
    // An authority by name and signature, without the right to be one.
    let spec = VekSpec { subject: "SEV-Milan".into(), ..VekSpec::default() };
    let leaf = HIERARCHY.ark.issue(spec).unwrap();
    let code = refused(Case { intermediate: leaf.certificate, ..Case::sound() });
    assert_eq!(code, Code::CertificateSignatureInvalid);
}

#[test]
fn validity_holds_to_the_second() {
    let spec = VekSpec { validity: 1000..2000, ..VekSpec::default() };
    let ark = HIERARCHY.ark.reissue(&HIERARCHY.ark, 1, 0..4000).unwrap();
    let roots = Roots::test(&ark).unwrap();
    let ask = HIERARCHY.ask.reissue(&HIERARCHY.ark, 2, 500..3000).unwrap();
    let vek = HIERARCHY.issue(spec).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.add(&vek.certificate).unwrap();
    endorsements.add(&ask).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    let at = |now| authenticate(&evidence, &endorsements, &roots, now).map(|_| ()).map_err(|refusal| refusal.code);
    assert_eq!(at(999), Err(Code::CertificateNotYetValid));
    assert_eq!((at(1000), at(2000)), (Ok(()), Ok(())));
    assert_eq!(at(2001), Err(Code::CertificateExpired));
}

#[test]
fn intermediate_outside_its_validity_refused() {
    for (validity, code) in
        [(NOW + 1..NOW + 9, Code::CertificateNotYetValid), (NOW - 9..NOW - 1, Code::CertificateExpired)]
    {
        let intermediate = HIERARCHY.ask.reissue(&HIERARCHY.ark, 3, validity).unwrap();
        assert_eq!(refused(Case { intermediate, ..Case::sound() }), code);
    }
}

#[test]
fn revocation_lists_judge_where_they_are_given() {
    let serial = 0x01_00_01;
    let window = NOW - 10..NOW + 10;
    let with = |crl: Vec<u8>| Case { crls: vec![crl], ..Case::sound() }.run().map(|report| report.revocation_judged());
    assert_eq!(Case::sound().run().map(|report| report.revocation_judged()), Ok(false));
    assert_eq!(with(HIERARCHY.ark.crl(&[], window.clone()).unwrap()), Ok(true));
    assert_eq!(with(HIERARCHY.ark.crl(&[serial + 1], window.clone()).unwrap()), Ok(true));
    assert_eq!(with(HIERARCHY.ark.crl(&[serial], window.clone()).unwrap()), Err(Code::CertificateRevoked));
    assert_eq!(with(HIERARCHY.ark.crl(&[], NOW - 10..NOW - 1).unwrap()), Err(Code::CrlExpired));
    assert_eq!(with(HIERARCHY.ark.crl(&[], NOW + 1..NOW + 10).unwrap()), Err(Code::CrlExpired));
    let mut forged = HIERARCHY.ark.crl(&[], window).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(with(forged), Err(Code::CrlSignatureInvalid));
}

#[test]
fn stale_list_beside_a_current_one_still_revokes() {
    let current = HIERARCHY.ark.crl(&[], NOW - 10..NOW + 10).unwrap();
    let stale = HIERARCHY.ark.crl(&[0x01_00_01], NOW - 99..NOW - 50).unwrap();
    assert_eq!(refused(Case { crls: vec![current, stale], ..Case::sound() }), Code::CertificateRevoked);
}

#[test]
fn report_of_another_product_refused() {
    let report = ReportSpec { cpuid: [0x19, 0x11, 0], ..ReportSpec::default() };
    assert_eq!(refused(Case { report, ..Case::sound() }), Code::ProductMismatch);
}

#[test]
fn report_of_another_tcb_refused_in_each_component() {
    for changed in [
        [5, 0, 0, 0, 0, 0, 24, 219],
        [4, 1, 0, 0, 0, 0, 24, 219],
        [4, 0, 0, 0, 0, 0, 23, 219],
        [4, 0, 0, 0, 0, 0, 24, 218],
        [4, 0, 1, 0, 0, 0, 24, 219],
    ] {
        let report = ReportSpec { tcb: Some(changed), ..ReportSpec::default() };
        assert_eq!(refused(Case { report, ..Case::sound() }), Code::TcbMismatch, "{changed:?}");
    }
}

#[test]
fn report_of_another_chip_refused() {
    let mut chip: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
    let same = ReportSpec { chip_id: Some(chip), ..ReportSpec::default() };
    assert!(Case { report: same, ..Case::sound() }.run().is_ok());
    chip[63] ^= 1;
    let other = ReportSpec { chip_id: Some(chip), ..ReportSpec::default() };
    assert_eq!(refused(Case { report: other, ..Case::sound() }), Code::ChipIdMismatch);
}

#[test]
fn turin_report_with_its_short_chip_id_authentic_and_with_more_of_it_refused() {
    let turin = |chip_id| {
        let report = ReportSpec { cpuid: [0x1a, 0x02, 0x01], version: 5, chip_id, ..ReportSpec::default() };
        Case { spec: VekSpec::turin(), report, ..Case::sound() }.run()
    };
    let mut chip = [0; 64];
    chip[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(turin(Some(chip)).unwrap().tcb().fmc, Some(1));
    chip[8] = 9;
    assert_eq!(turin(Some(chip)).unwrap_err(), Code::ChipIdMismatch);
}

#[test]
fn endorsement_key_without_an_extension_refused() {
    let spec = VekSpec { hwid: None, ..VekSpec::default() };
    assert_eq!(refused(Case { spec, ..Case::sound() }), Code::CertificateUnsuitable);
    let spec = VekSpec { csp_id: None, ..VekSpec::vlek() };
    assert_eq!(refused(Case { spec, ..Case::vlek() }), Code::CertificateUnsuitable);
}

#[test]
fn kept_endorsement_key_authenticates_its_own_reports_within_its_dates_and_nothing_else() {
    let vek = HIERARCHY.issue(VekSpec { validity: NOW - 100..NOW + 100, ..VekSpec::default() }).unwrap();
    let crl = HIERARCHY.ark.crl(&[], NOW - 50..NOW + 50).unwrap();
    let first = Case { crls: vec![crl], ..Case::sound() }.run_with(&vek).unwrap();
    let kept = first.endorsement_key();
    assert_eq!(kept.valid(), NOW - 50..=NOW + 50);
    let code = |report: &ReportSpec, vek: &Vek, now| {
        kept.authenticate(&report.sign(vek).unwrap(), now).map(|report| report.revocation_judged()).map_err(|e| e.code)
    };
    let report = guest();
    assert_eq!(code(&report, &vek, NOW), Ok(true));
    assert_eq!((code(&report, &vek, NOW - 50), code(&report, &vek, NOW + 50)), (Ok(true), Ok(true)));
    assert_eq!(code(&report, &vek, NOW - 51), Err(Code::CertificateNotYetValid));
    assert_eq!(code(&report, &vek, NOW + 51), Err(Code::CertificateExpired));
    let other = HIERARCHY.issue(VekSpec::default()).unwrap();
    assert_eq!(code(&report, &other, NOW), Err(Code::EvidenceSignatureInvalid));
    assert_eq!(code(&ReportSpec { key_info: 1 << 2, ..guest() }, &vek, NOW), Err(Code::SigningKeyUnsupported));
    assert_eq!(code(&ReportSpec { chip_id: Some([1; 64]), ..guest() }, &vek, NOW), Err(Code::ChipIdMismatch));
    let tcb = Some([4, 0, 0, 0, 0, 0, 24, 218]);
    assert_eq!(code(&ReportSpec { tcb, ..guest() }, &vek, NOW), Err(Code::TcbMismatch));
}

// ── Appraisal ──────────────────────────────────────────────────────────────────────────────────────────────────────────

fn policy(change: &str) -> Policy {
    let defaults = [
        ("measurement", format!("{{ exactly = \"{}\" }}", "4d".repeat(48))),
        ("deployment", format!("{{ exactly = \"{}\" }}", "d0".repeat(32))),
        ("tcb", "{ at-least = { bootloader = 4, tee = 0, snp = 24, microcode = 219 } }".into()),
        ("product", "{ exactly = \"Milan\" }".into()),
        ("chip", "{ any = { because = \"test\" } }".into()),
        ("revocation-list", "{ any = { because = \"test\" } }".into()),
    ];
    let changed = change.split_once('=').map(|(name, _)| name.trim());
    let mut text = "version = 1\n[snp]\n".to_owned();
    for (name, value) in defaults.iter().filter(|(name, _)| Some(*name) != changed) {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text.push_str(change);
    Policy::parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

fn guest() -> ReportSpec {
    ReportSpec { host_data: [0xd0; 32], report_data: [0x77; 64], ..ReportSpec::default() }
}

const EXPECTED: Expected = Expected { report_data: Some([0x77; 64]), deployment: Some(Sha256([0xd0; 32])) };

/// The code of the only check that fails, or `None`.
fn judged(report: ReportSpec, policy: &Policy, expected: &Expected) -> Option<Code> {
    let authentic = Case { report, ..Case::sound() }.run().unwrap();
    let appraisal = appraise(&authentic, policy, expected);
    let failed: Vec<Code> = appraisal.checks().iter().filter_map(|check| check.code).collect();
    assert!(failed.len() <= 1, "{failed:?}");
    let verdict = if failed.is_empty() { Verdict::Accepted } else { Verdict::Refused };
    assert_eq!(appraisal.verdict(), verdict);
    assert_eq!(appraisal.into_verified().err().map(|refusal| refusal.code), failed.first().copied());
    failed.first().copied()
}

#[test]
fn sound_guest_accepted() {
    assert_eq!(judged(guest(), &policy(""), &EXPECTED), None);
}

#[test]
fn each_departure_of_the_guest_refused_with_its_own_code() {
    let cases = [
        (ReportSpec { policy: 0xb_0000, ..guest() }, Code::DebugEnabled),
        (ReportSpec { policy: 0x7_0000, ..guest() }, Code::MigrationAgentEnabled),
        (ReportSpec { report_id_ma: [0; 32], ..guest() }, Code::MigrationAgentEnabled),
        (ReportSpec { vmpl: 1, ..guest() }, Code::VmplMismatch),
        (ReportSpec { policy: 0x1_0000, ..guest() }, Code::PlatformStateMismatch),
        (ReportSpec { raw: vec![(0x4c, 1)], ..guest() }, Code::ReservedNotZero),
        (ReportSpec { measurement: [0x4e; 48], ..guest() }, Code::MeasurementNotApproved),
        (ReportSpec { report_data: [0x78; 64], ..guest() }, Code::ReportDataMismatch),
    ];
    for (report, code) in cases {
        assert_eq!(judged(report, &policy(""), &EXPECTED), Some(code));
    }
}

#[test]
fn report_data_that_differs_in_its_last_byte_refused() {
    let mut report_data = [0x77; 64];
    report_data[63] = 0;
    assert_eq!(judged(ReportSpec { report_data, ..guest() }, &policy(""), &EXPECTED), Some(Code::ReportDataMismatch));
}

#[test]
fn each_departure_of_the_policy_refused_with_its_own_code() {
    let cases = [
        ("tcb = { at-least = { bootloader = 4, tee = 0, snp = 25, microcode = 219 } }", Code::TcbTooOld),
        ("tcb = { at-least = { fmc = 0, bootloader = 4, tee = 0, snp = 24, microcode = 219 } }", Code::TcbTooOld),
        (&format!("chip = {{ exactly = \"{}\" }}", "00".repeat(64)), Code::PlatformNotApproved),
        ("revocation-list = { exactly = true }", Code::CrlMissing),
        ("debug = { exactly = true }", Code::DebugEnabled),
        ("vmpl = { one-of = [1, 2] }", Code::VmplMismatch),
        ("product = { exactly = \"Genoa\" }", Code::PlatformNotApproved),
        (&format!("deployment = {{ one-of = [\"{}\"] }}", "d1".repeat(32)), Code::DeploymentNotApproved),
    ];
    for (change, code) in cases {
        assert_eq!(judged(guest(), &policy(change), &EXPECTED), Some(code), "{change}");
    }
}

#[test]
fn guest_that_a_policy_names_accepted() {
    let cases = [
        (ReportSpec { policy: 0xb_0000, ..guest() }, "debug = { exactly = true }"),
        (ReportSpec { vmpl: 1, ..guest() }, "vmpl = { one-of = [0, 1] }"),
        (guest(), "tcb = { any = { because = \"test\" } }"),
    ];
    for (report, change) in cases {
        assert_eq!(judged(report, &policy(change), &EXPECTED), None, "{change}");
    }
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

#[test]
fn sev_crate_verifies_the_same_chain_and_report() {
    use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
    use sev::firmware::guest::AttestationReport;
    use sev::parser::ByteParser;
    let vek = HIERARCHY.issue(VekSpec::default()).unwrap();
    let evidence = ReportSpec { version: 3, ..guest() }.sign(&vek).unwrap();
    let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
    let ca = ca::Chain { ark: certificate(HIERARCHY.ark.certificate()), ask: certificate(HIERARCHY.ask.certificate()) };
    let chain = Chain { ca, vek: certificate(&vek.certificate) };
    let report = AttestationReport::from_bytes(&evidence).unwrap();
    (&chain, &report).verify().unwrap();
    let mut other = evidence;
    other[0x90] ^= 1;
    let report = AttestationReport::from_bytes(&other).unwrap();
    assert!((&chain, &report).verify().is_err());
}
