//! What a client accepts: a policy that names it, and the roots that evidence must end at.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_appraisal::{Policy, Roots, UnixTime};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

/// A policy that fixes what it accepts, and roots. Every connection is made under terms, so that nobody is even connected
/// to where nothing could be accepted. Clones share one policy.
#[derive(Clone)]
pub struct Terms {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    roots: Roots,
}

impl core::fmt::Debug for Terms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Terms").field("policy", &self.policy_digest()).finish_non_exhaustive()
    }
}

impl Terms {
    /// Takes a policy that fixes measurement, deployment document, and the digest or signer of the model.
    ///
    /// # Errors
    /// `no-reference-values` the policy leaves one of them open.
    pub fn new(policy: Policy, roots: Roots) -> Result<Self> {
        policy.fixes_software()?;
        policy.fixes_model()?;
        Ok(Self { inner: Arc::new(Inner { policy, roots }) })
    }

    /// What is accepted.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// What evidence must end at.
    pub fn roots(&self) -> &Roots {
        &self.inner.roots
    }

    /// SHA-256 of the policy document.
    pub fn policy_digest(&self) -> Sha256 {
        self.inner.policy.digest()
    }
}

/// The machine's clock, in seconds since 1970; zero, at which no certificate is valid, where it is set before that.
pub fn system_time() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
