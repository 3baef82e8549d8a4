//! What a client accepts: a policy that names it, and the roots that evidence must end at.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_appraisal::{Policy, Roots, Seen, UnixTime};
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
    memory: Option<Box<dyn Memory>>,
}

/// What was seen of revocation lists, kept by whoever gives it to [`Terms::remembering`].
pub trait Memory: Send + Sync {
    /// Calls `compare` once with what was seen, and keeps what it raised, refused or not, before this returns. Called at
    /// every attestation, on the thread that makes it: it must not take long.
    ///
    /// # Errors
    /// What `compare` refused, and those of keeping. Either way the peer is refused.
    fn compare(&self, compare: &mut dyn FnMut(&mut Seen) -> Result<()>) -> Result<()>;
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
        Ok(Self { inner: Arc::new(Inner { policy, roots, memory: None }) })
    }

    /// The same terms under which, besides, no revocation list may be older than one that `memory` has seen
    /// (`collateral-rolled-back`). Without a memory only its dates and the policy judge a list.
    #[must_use]
    pub fn remembering(self, memory: impl Memory + 'static) -> Self {
        let (policy, roots) = (self.policy().clone(), self.roots().clone());
        Self { inner: Arc::new(Inner { policy, roots, memory: Some(Box::new(memory)) }) }
    }

    pub(crate) fn memory(&self) -> Option<&dyn Memory> {
        self.inner.memory.as_deref()
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
