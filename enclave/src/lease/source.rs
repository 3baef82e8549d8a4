//! Whom a lease is asked of.

use crate::attester::Attester;
use crate::clock::Clock;
use crate::evidence::Bound;
use crate::kbs::Verifier;
use core::net::SocketAddr;
use std::sync::Arc;
use strongroom_wire::Result;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::lease::Lease;

/// Gives leases.
pub trait Source: Send + Sync + 'static {
    /// A lease that was given for evidence of this moment.
    ///
    /// # Errors
    /// There is none.
    fn take(&self) -> impl Future<Output = Result<Lease>> + Send;
}

/// The verifier of a deployment, asked for a lease of this enclave.
#[derive(Debug, Clone)]
pub struct OfVerifier {
    /// It names the verifier.
    pub deployment: Deployment,
    /// Makes the evidence.
    pub attester: Arc<dyn Attester>,
    /// What that is bound to.
    pub bound: Bound,
    /// Where routers reach the enclave, as its host says.
    pub addr: Option<SocketAddr>,
    /// Whose floor each lease raises.
    pub clock: Clock,
}

impl Source for OfVerifier {
    async fn take(&self) -> Result<Lease> {
        let verifier = Verifier::of_deployment(&self.deployment, self.clock.clone())?;
        verifier.lease(Arc::clone(&self.attester), &self.bound, self.addr).await
    }
}
