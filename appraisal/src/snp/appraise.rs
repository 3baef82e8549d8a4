//! Is this report what was approved: every check of a policy, all made and all reported.

use super::AuthenticReport;
use crate::policy::{Floor, SnpPolicy};
use crate::{Appraisal, Expected, Hex, Policy, VerifiedEnclave};
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::{Report, Tcb};
use strongroom_wire::{Check, Code, Root};

/// Judges an authentic report by `policy`. Makes every check, whatever the others said.
pub fn appraise(authentic: &AuthenticReport, policy: &Policy, expected: &Expected) -> Appraisal {
    let report = authentic.report();
    let Some(section) = policy.snp() else {
        return Appraisal::new(vec![policy.platform_not_named("snp")], authentic.clone(), policy, false, expected);
    };
    let mut checks = platform_checks(authentic, section);
    checks.extend(software_checks(report, section));
    checks.extend(binding_checks(report, expected));
    Appraisal::new(checks, authentic.clone(), policy, section.fixes_software().is_ok(), expected)
}

fn platform_checks(authentic: &AuthenticReport, policy: &SnpPolicy) -> Vec<Check> {
    let report = authentic.report();
    let guest = report.policy;
    // A guest without a migration agent shows all ones; anything else is an agent's report id.
    let agent = guest.migration_agent() || report.report_id_ma.iter().any(|byte| *byte != 0xff);
    let reserved = report.reserved_not_zero.iter().map(|at| format!("{at:#x}")).collect::<Vec<_>>().join(" ");
    let tcb_holds = match &policy.tcb {
        Floor::AtLeast(floor) => authentic.tcb().at_least(floor),
        Floor::Any { .. } => true,
    };
    let tcb_want = match &policy.tcb {
        Floor::AtLeast(floor) => format!("at least {floor}"),
        Floor::Any { because } => format!("any, because {because}"),
    };
    vec![
        policy.debug.check("debug", Code::DebugEnabled, &guest.debug(), bool::to_string),
        policy.migration_agent.check("migration-agent", Code::MigrationAgentEnabled, &agent, bool::to_string),
        policy.vmpl.check("vmpl", Code::VmplMismatch, &report.vmpl, u32::to_string),
        Check::new(
            "guest-policy-bit-17",
            guest.reserved_one(),
            Code::PlatformStateMismatch,
            guest.reserved_one(),
            true,
        ),
        Check::new("reserved-zero", reserved.is_empty(), Code::ReservedNotZero, &reserved, "no byte"),
        Check::new("tcb", tcb_holds, Code::TcbTooOld, authentic.tcb(), tcb_want),
        policy.product_rule().check(
            "product",
            Code::PlatformNotApproved,
            &authentic.product().to_owned(),
            String::clone,
        ),
        policy.chip.check("chip", Code::PlatformNotApproved, &Hex(report.chip_id), |chip| hex::encode(chip.0)),
        provider_check(authentic, policy),
        policy.revocation_list.check(
            "revocation-list",
            Code::CrlMissing,
            &authentic.revocation_judged(),
            bool::to_string,
        ),
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
    let measurement = Hex(report.measurement);
    let host_data = Hex(report.host_data);
    vec![
        policy
            .measurement
            .check("measurement", Code::MeasurementNotApproved, &measurement, |value| hex::encode(value.0)),
        policy.deployment.check("deployment", Code::DeploymentNotApproved, &host_data, |value| hex::encode(value.0)),
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
    pub const fn report(&self) -> &Report {
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
