//! What a judgement says, whatever the platform.

use crate::{AuthenticReport, Policy, UnixTime};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code, Refusal, Result};

/// What the caller knows beside the policy.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The 64 bytes that report data must be. `None` only where there is no nonce to compare with: the result is then
    /// evidence of some time, not of now.
    pub report_data: Option<[u8; 64]>,
    /// SHA-256 of the deployment document that the peer showed. `None` only where none was shown.
    pub deployment: Option<Sha256>,
}

impl Expected {
    /// Nothing to compare with. What is judged so is evidence of some time and of nobody in particular, and never gives a
    /// [`VerifiedEnclave`].
    pub const UNBOUND: Self = Self { report_data: None, deployment: None };

    pub(crate) const fn is_bound(&self) -> bool {
        self.report_data.is_some() && self.deployment.is_some()
    }
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

/// Every check that was made on authentic evidence `E`, and what follows from all of them.
#[derive(Debug, Clone)]
pub struct Appraisal<E = AuthenticReport> {
    checks: Vec<Check>,
    authentic: E,
    policy: Sha256,
    fixes_software: bool,
    bound: bool,
}

/// Authentic evidence `E` that satisfied a policy which fixes its software.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `Appraisal::into_verified`.
/// let forged = strongroom_appraisal::VerifiedEnclave { authentic: todo!(), policy: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedEnclave<E = AuthenticReport> {
    authentic: E,
    policy: Sha256,
}

impl<E> Appraisal<E> {
    /// What all of `checks`, made under `policy`, say of evidence `authentic` `at` that moment. `fixes_software` is whether the policy's section for
    /// this platform names measurement and deployment document, `bound` whether nonce and document were compared.
    pub(crate) fn new(
        mut checks: Vec<Check>,
        authentic: E,
        at: UnixTime,
        policy: &Policy,
        fixes_software: bool,
        bound: bool,
    ) -> Self {
        checks.extend(policy.validity_checks(at));
        Self { checks, authentic, policy: policy.digest(), fixes_software, bound }
    }

    /// Every check that was made, in a fixed order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

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

    /// The proof, where every check held, under a policy that fixes measurement and deployment document, and report data
    /// and document were compared.
    pub fn into_verified(self) -> Result<VerifiedEnclave<E>> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        match (self.verdict(), self.bound) {
            (Verdict::Accepted, true) => Ok(VerifiedEnclave { authentic: self.authentic, policy: self.policy }),
            (Verdict::Accepted, false) => {
                Err(Refusal::new(Code::ReportDataMismatch, "evidence").got("bound to nothing"))
            }
            _ => Err(Refusal::new(Code::NoReferenceValues, "policy does not fix measurement and deployment")),
        }
    }
}

impl<E> VerifiedEnclave<E> {
    /// The authentic evidence.
    pub const fn authentic(&self) -> &E {
        &self.authentic
    }

    /// Digest of the policy that accepted it.
    pub const fn policy_digest(&self) -> Sha256 {
        self.policy
    }
}
