//! Whom a set is asked of.

use super::Lacks;
use crate::attester::Attester;
use crate::clock::Clock;
use crate::kbs::Verifier;
use std::sync::Arc;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::endorsements::EndorsementSet;
use strongroom_wire::{Code, Refusal, Result};

/// Gives sets.
pub trait Source: Send + Sync + 'static {
    /// A set for the raw `report`, of which the host's table `lacks` something.
    ///
    /// # Errors
    /// There is none.
    fn fetch(&self, report: &[u8], lacks: Lacks) -> impl Future<Output = Result<EndorsementSet>> + Send;
}

/// The verifier of a deployment.
#[derive(Debug)]
pub struct OfVerifier {
    deployment: Deployment,
    attester: Arc<dyn Attester>,
    clock: Clock,
}

impl OfVerifier {
    /// The verifier that `deployment` names; nothing is connected yet.
    pub fn new(deployment: Deployment, attester: Arc<dyn Attester>, clock: Clock) -> Self {
        Self { deployment, attester, clock }
    }
}

impl Source for OfVerifier {
    async fn fetch(&self, report: &[u8], lacks: Lacks) -> Result<EndorsementSet> {
        let verifier = Verifier::of_deployment(&self.deployment, self.clock.clone())?;
        let set = verifier.endorsements(report).await?;
        if set.endorsement_key || !lacks.key {
            return Ok(set);
        }
        // A verifier asks its vendor for the chips of those alone who attest. The keys of the session are not needed.
        tracing::info!("the verifier does not know this platform yet: attesting");
        drop(verifier.attest(Arc::clone(&self.attester)).await?);
        let set = verifier.endorsements(report).await?;
        if set.endorsement_key {
            return Ok(set);
        }
        Err(Refusal::new(Code::EndorsementMissing, "verifier's endorsement set").got("none of this platform's key"))
    }
}
