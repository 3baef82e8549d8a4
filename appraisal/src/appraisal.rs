//! What a judgement says, whatever the platform.

use crate::{AuthenticReport, Policy};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code, Refusal, Result};

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

/// Every check that was made on authentic evidence `E`, and what follows from all of them.
#[derive(Debug, Clone)]
pub struct Appraisal<E = AuthenticReport> {
    /// In a fixed order.
    pub checks: Vec<Check>,
    authentic: E,
    policy: Sha256,
    fixes_software: bool,
}

/// Authentic evidence `E` that satisfied a policy which fixes its software.
///
/// ```compile_fail
/// // There is no other way to one than `Appraisal::into_verified`.
/// let forged = strongroom_appraisal::VerifiedEnclave { authentic: todo!(), policy: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedEnclave<E = AuthenticReport> {
    authentic: E,
    policy: Sha256,
}

impl<E> Appraisal<E> {
    /// What all of `checks`, made under `policy`, say of `authentic`. `fixes_software` is whether the policy's section for
    /// this platform names measurement and deployment document.
    pub(crate) const fn new(checks: Vec<Check>, authentic: E, policy: &Policy, fixes_software: bool) -> Self {
        Self { checks, authentic, policy: policy.digest(), fixes_software }
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

    /// The proof, where every check held under a policy that fixes measurement and deployment document.
    pub fn into_verified(self) -> Result<VerifiedEnclave<E>> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if !self.fixes_software {
            return Err(Refusal::new(Code::NoReferenceValues, "policy does not fix measurement and deployment"));
        }
        Ok(VerifiedEnclave { authentic: self.authentic, policy: self.policy })
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
