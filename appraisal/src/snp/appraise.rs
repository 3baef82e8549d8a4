//! Is this report what was approved: every check of a policy, all made and all reported.

use super::AuthenticReport;
use crate::policy::{Abi, BitSet, Firmware, Floor, SnpPolicy};
use crate::{Appraisal, Expected, Hex, Policy, Rule, VerifiedEnclave};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::{Report, Tcb};
use strongroom_wire::{Check, Code, Root};

/// Judges an authentic report by `policy`. Makes every check, whatever the others said.
pub fn appraise(authentic: &AuthenticReport, policy: &Policy, expected: &Expected) -> Appraisal {
    let report = authentic.report();
    let Some(section) = policy.snp() else {
        return Appraisal::new(
            vec![policy.platform_not_named("snp")],
            authentic.clone(),
            authentic.at(),
            policy,
            false,
            false,
        );
    };
    let mut checks = hardware_checks(authentic, section);
    let host_data = Hex(report.host_data);
    let code = if report.host_data == [0; 32] { Code::DeploymentMissing } else { Code::DeploymentNotApproved };
    checks.push(section.deployment.check("deployment", code, &host_data, Hex::to_string));
    checks.extend(guest_as_a_whole(report, section));
    checks.extend(binding_checks(report, expected));
    Appraisal::new(
        checks,
        authentic.clone(),
        authentic.at(),
        policy,
        section.fixes_software().is_ok(),
        expected.is_bound(),
    )
}

/// Every check of the section but those of HOST_DATA and report data, which under a paravisor are not the guest's.
pub(crate) fn hardware_checks(authentic: &AuthenticReport, section: &SnpPolicy) -> Vec<Check> {
    let report = authentic.report();
    let mut checks = guest_checks(report, section);
    checks.extend(tcb_checks(authentic, section));
    checks.extend(platform_checks(authentic, section));
    checks.extend(revocation_checks(authentic, section));
    checks.extend(software_checks(report, section));
    checks
}

/// That the fields which were taken from one bundle are of one guest of it.
fn guest_as_a_whole(report: &Report, policy: &SnpPolicy) -> Vec<Check> {
    let fields: [(&str, &[u8]); 2] = [("measurement", &report.measurement), ("deployment", &report.host_data)];
    let measured = BTreeMap::from(fields);
    policy.guests.iter().map(|guests| guests.check(&measured)).collect()
}

fn guest_checks(report: &Report, policy: &SnpPolicy) -> Vec<Check> {
    let guest = report.policy;
    // A guest without a migration agent shows all ones; anything else is an agent's report id.
    let agent = guest.migration_agent() || report.report_id_ma.iter().any(|byte| *byte != 0xff);
    let [minor, major] = guest.abi();
    let state = Code::PlatformStateMismatch;
    let bit = |name: &str, rule: &Rule<bool>, got: bool| rule.check(name, state, &got, bool::to_string);
    vec![
        policy.debug.check("debug", Code::DebugEnabled, &guest.debug(), bool::to_string),
        policy.migration_agent.check("migration-agent", Code::MigrationAgentEnabled, &agent, bool::to_string),
        policy.vmpl.check("vmpl", Code::VmplMismatch, &report.vmpl, u32::to_string),
        policy.abi.check("abi", state, Some(&Abi { major, minor }), Abi::ge),
        bit("smt-allowed", &policy.smt_allowed, guest.smt()),
        bit("single-socket", &policy.single_socket, guest.single_socket()),
        bit("cxl", &policy.cxl, guest.cxl()),
        bit("aes-256-xts", &policy.aes_256_xts, guest.aes_256_xts()),
        bit("page-swap-disabled", &policy.page_swap_disabled, guest.page_swap_disabled()),
        Check::new("guest-policy-bit-17", guest.reserved_one(), state, guest.reserved_one(), true),
        Check::new(
            "guest-policy-reserved",
            guest.reserved_zero() == 0,
            Code::ReservedNotZero,
            format!("{:#x}", guest.0),
            "no bit from 26 on",
        ),
    ]
}

fn platform_checks(authentic: &AuthenticReport, policy: &SnpPolicy) -> Vec<Check> {
    let report = authentic.report();
    let platform = report.platform_info;
    let not_approved = Code::PlatformNotApproved;
    let bit =
        |name: &str, rule: &Rule<bool>, got: bool| rule.check(name, Code::PlatformStateMismatch, &got, bool::to_string);
    let mitigations = |name: &str, floor: &Floor<BitSet>, vector: u64| {
        let given = (report.version >= 5).then_some(BitSet(vector));
        floor.check(name, Code::PlatformStateMismatch, given.as_ref(), |got, wanted| got.contains(*wanted))
    };
    vec![
        bit("smt", &policy.smt, platform.smt()),
        bit("tsme", &policy.tsme, platform.tsme()),
        bit("ecc", &policy.ecc, platform.ecc()),
        bit("rapl-disabled", &policy.rapl_disabled, platform.rapl_disabled()),
        bit("ciphertext-hiding", &policy.ciphertext_hiding, platform.ciphertext_hiding()),
        bit("alias-check", &policy.alias_check, platform.alias_check()),
        mitigations("launch-mitigations", &policy.launch_mitigations, report.launch_mit_vector),
        mitigations("current-mitigations", &policy.current_mitigations, report.current_mit_vector),
        reserved_check(report),
        policy.product_rule().check("product", not_approved, &authentic.product().to_owned(), String::clone),
        policy.cpuid.check("cpuid", not_approved, &Hex(report.cpuid), Hex::to_string),
        policy.chip.check("chip", report.chip_id, authentic.at()),
        provider_check(authentic, policy),
    ]
}

/// Reserved bytes of the report, and of the three TCB versions that authentication did not compare as bytes.
fn reserved_check(report: &Report) -> Check {
    let layout = report.tcb_layout();
    let versions = [
        ("CURRENT_TCB", report.current_tcb),
        ("COMMITTED_TCB", report.committed_tcb),
        ("LAUNCH_TCB", report.launch_tcb),
    ];
    let versions = versions.into_iter().filter(|(_, raw)| layout.write(&layout.read(*raw)) != *raw);
    let offsets = report.reserved_not_zero.iter().map(|at| format!("{at:#x}"));
    let found: Vec<String> = offsets.chain(versions.map(|(name, _)| name.to_owned())).collect();
    Check::new("reserved-zero", found.is_empty(), Code::ReservedNotZero, found.join(" "), "no byte")
}

/// COMMITTED is never above CURRENT ("COMMITTED_TCB" of the firmware ABI); LAUNCH may be above both, where provisional
/// firmware was taken back since, and REPORTED is whatever the host set, which the certificate proves.
fn tcb_checks(authentic: &AuthenticReport, policy: &SnpPolicy) -> Vec<Check> {
    let report = authentic.report();
    let read = |raw| report.tcb_layout().read(raw);
    let (current, committed) = (read(report.current_tcb), read(report.committed_tcb));
    let floor = |name: &str, own: &Option<Floor<Tcb>>, got: &Tcb| {
        own.as_ref().unwrap_or(&policy.tcb).check(name, Code::TcbTooOld, Some(got), Tcb::at_least)
    };
    let running = Firmware::read(report.current_version).min(Firmware::read(report.committed_version));
    vec![
        policy.tcb.check("tcb", Code::TcbTooOld, Some(&authentic.tcb()), Tcb::at_least),
        floor("committed-tcb", &policy.committed_tcb, &committed),
        floor("current-tcb", &policy.current_tcb, &current),
        floor("launch-tcb", &policy.launch_tcb, &read(report.launch_tcb)),
        Check::new(
            "committed-at-most-current",
            current.at_least(&committed),
            Code::PlatformStateMismatch,
            format!("COMMITTED_TCB {committed}"),
            format!("at most CURRENT_TCB {current}"),
        ),
        policy.firmware.check("firmware", Code::TcbTooOld, Some(&running), Firmware::ge),
    ]
}

fn revocation_checks(authentic: &AuthenticReport, policy: &SnpPolicy) -> Vec<Check> {
    let old = Code::CrlTooOld;
    let judged = authentic.revocation_judged();
    vec![
        policy.revocation_list.check("revocation-list", Code::CrlMissing, &judged, bool::to_string),
        policy.crl_number.check("crl-number", old, authentic.crl_number().as_ref(), u64::ge),
        policy.crl_age.check("crl-age", old, authentic.crl_age().as_ref()),
    ]
}

/// A VLEK is a provider's on every one of its machines: it passes only where the policy says whose it may be.
fn provider_check(authentic: &AuthenticReport, policy: &SnpPolicy) -> Check {
    let code = Code::PlatformNotApproved;
    match (authentic.provider(), &policy.provider) {
        (None, _) => Check::new("provider", true, code, "none, signed with a VCEK", "none, or as the policy says"),
        (Some(provider), Some(rule)) => rule.check("provider", code, &provider.to_owned(), String::clone),
        (Some(provider), None) => Check::new("provider", false, code, provider, "none: the policy names no provider"),
    }
}

fn software_checks(report: &Report, policy: &SnpPolicy) -> Vec<Check> {
    let measured = Code::MeasurementNotApproved;
    // A digest beside a cleared AUTHOR_KEY_EN is nobody's word.
    let author = if report.key_info.author_key() { report.author_key_digest } else { [0; 48] };
    vec![
        policy.measurement.check("measurement", measured, &Hex(report.measurement), Hex::to_string),
        policy.guest_svn.check("guest-svn", measured, Some(&report.guest_svn), u32::ge),
        policy.family_id.check("family-id", measured, &Hex(report.family_id), Hex::to_string),
        policy.image_id.check("image-id", measured, &Hex(report.image_id), Hex::to_string),
        policy.id_key_digest.check("id-key-digest", measured, &Hex(report.id_key_digest), Hex::to_string),
        policy.author_key_digest.check("author-key-digest", measured, &Hex(author), Hex::to_string),
    ]
}

fn binding_checks(report: &Report, expected: &Expected) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(document) = expected.deployment {
        let host_data = Sha256(report.host_data);
        let missing = host_data == Sha256([0; 32]);
        let code = if missing { Code::DeploymentMissing } else { Code::DeploymentMismatch };
        checks.push(Check::new("deployment-document", host_data == document && !missing, code, host_data, document));
    }
    if let Some(want) = expected.report_data {
        let got = report.report_data;
        checks.push(Check::new(
            "report-data",
            got == want,
            Code::ReportDataMismatch,
            hex::encode(got),
            hex::encode(want),
        ));
    }
    checks
}

impl VerifiedEnclave<AuthenticReport> {
    /// The report.
    pub fn report(&self) -> &Report {
        self.authentic().report()
    }

    /// The root that it was verified under.
    pub fn root(&self) -> Root {
        self.authentic().root()
    }

    /// The TCB of its platform.
    pub fn tcb(&self) -> Tcb {
        self.authentic().tcb()
    }

    /// `Milan`, `Genoa` or `Turin`.
    pub fn product(&self) -> &str {
        self.authentic().product()
    }
}
