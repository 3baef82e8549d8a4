//! Is this what was approved: every check of a policy, all made and all reported.

use crate::policy::{Floor, Rule, SnpPolicy};
use crate::{AuthenticReport, Policy};
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::{Report, Tcb};
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// What the caller knows beside the policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// The 64 bytes that report data must be. `None` only where there is no nonce to compare with: the result is then
    /// evidence of some time, not of now.
    pub report_data: Option<[u8; 64]>,
    /// SHA-256 of the deployment document that the peer showed. `None` only where none was shown.
    pub deployment: Option<Sha256>,
}

/// How far a judgement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A check did not hold.
    Refused,
    /// The hardware signed it and its platform is acceptable; the software was not judged.
    Authentic,
    /// Measurement and deployment document are those that the policy fixes.
    Accepted,
}

impl Verdict {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Authentic => "authentic",
            Self::Accepted => "accepted",
        }
    }
}

/// Every check that was made, and what follows from all of them.
#[derive(Debug, Clone)]
pub struct Appraisal {
    /// In a fixed order.
    pub checks: Vec<Check>,
    authentic: AuthenticReport,
    policy: Sha256,
    fixes_software: bool,
}

/// An authentic report that satisfied a policy which fixes its software.
///
/// ```compile_fail
/// // There is no other way to one than `Appraisal::into_verified`.
/// let forged = strongroom_appraisal::VerifiedEnclave { authentic: todo!(), policy: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedEnclave {
    authentic: AuthenticReport,
    policy: Sha256,
}

/// Judges an authentic report by `policy`. Makes every check, whatever the others said.
pub fn appraise(authentic: &AuthenticReport, policy: &Policy, expected: &Expected) -> Appraisal {
    let report = authentic.report();
    let mut checks = platform_checks(authentic, policy.snp());
    checks.extend(software_checks(report, policy.snp()));
    checks.extend(binding_checks(report, expected));
    Appraisal {
        checks,
        authentic: authentic.clone(),
        policy: policy.digest(),
        fixes_software: policy.fixes_software().is_ok(),
    }
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
        rule("debug", Code::DebugEnabled, &policy.debug, &guest.debug(), bool::to_string),
        rule("migration-agent", Code::MigrationAgentEnabled, &policy.migration_agent, &agent, bool::to_string),
        rule("vmpl", Code::VmplMismatch, &policy.vmpl, &report.vmpl, u32::to_string),
        Check::new(
            "guest-policy-bit-17",
            guest.reserved_one(),
            Code::PlatformStateMismatch,
            guest.reserved_one(),
            true,
        ),
        Check::new("reserved-zero", reserved.is_empty(), Code::ReservedNotZero, &reserved, "no byte"),
        Check::new("tcb", tcb_holds, Code::TcbTooOld, authentic.tcb(), tcb_want),
        rule("chip", Code::PlatformNotApproved, &policy.chip, &crate::Hex(report.chip_id), |chip| hex::encode(chip.0)),
        rule(
            "revocation-list",
            Code::CrlMissing,
            &policy.revocation_list,
            &authentic.revocation_judged(),
            bool::to_string,
        ),
    ]
}

fn software_checks(report: &Report, policy: &SnpPolicy) -> Vec<Check> {
    let measurement = crate::Hex(report.measurement);
    let host_data = crate::Hex(report.host_data);
    vec![
        rule("measurement", Code::MeasurementNotApproved, &policy.measurement, &measurement, |value| {
            hex::encode(value.0)
        }),
        rule("deployment", Code::DeploymentNotApproved, &policy.deployment, &host_data, |value| hex::encode(value.0)),
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

fn rule<T: PartialEq>(name: &str, code: Code, rule: &Rule<T>, got: &T, show: impl Fn(&T) -> String) -> Check {
    Check::new(name, rule.allows(got), code, show(got), rule.describe(&show))
}

impl Appraisal {
    /// The first check that did not hold.
    pub fn refusal(&self) -> Option<Refusal> {
        self.checks.iter().find_map(Check::refusal)
    }

    /// What all checks come to.
    pub fn verdict(&self) -> Verdict {
        match (self.checks.iter().all(|check| check.ok), self.fixes_software) {
            (false, _) => Verdict::Refused,
            (true, false) => Verdict::Authentic,
            (true, true) => Verdict::Accepted,
        }
    }

    /// The proof, where every check held under a policy that fixes measurement and deployment document.
    pub fn into_verified(self) -> Result<VerifiedEnclave> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if !self.fixes_software {
            return Err(Refusal::new(Code::NoReferenceValues, "policy does not fix measurement and deployment"));
        }
        Ok(VerifiedEnclave { authentic: self.authentic, policy: self.policy })
    }
}

impl VerifiedEnclave {
    /// The report.
    pub const fn report(&self) -> &Report {
        self.authentic.report()
    }

    /// The root that it was verified under.
    pub const fn root(&self) -> Root {
        self.authentic.root()
    }

    /// The TCB of its platform.
    pub const fn tcb(&self) -> Tcb {
        self.authentic.tcb()
    }

    /// `Milan`, `Genoa` or `Turin`.
    pub fn product(&self) -> &str {
        self.authentic.product()
    }

    /// Digest of the policy that accepted it.
    pub const fn policy_digest(&self) -> Sha256 {
        self.policy
    }
}
