//! Step 3: the verifier is shown evidence, and gives the keys.

use super::Measured;
use super::Pulled;
use super::pulled::Named;
use crate::kbs::Verifier;
use strongroom_artifact::ladder::OpenableModel;
use strongroom_wire::{Refusal, Result};

/// Trusted models, each with the key that its manifest commits to where it is sealed.
#[derive(Debug)]
pub struct Attested {
    pub(super) measured: Measured,
    pub(super) models: Vec<Named<OpenableModel>>,
    /// Whether the verifier was asked for keys.
    pub(super) keyed: bool,
}

impl Attested {
    /// Attests to the document's verifier, where a model is sealed, and fetches one key a sealed model.
    ///
    /// # Errors
    /// `key-commitment-mismatch` the key is another model's; `statement-missing`; else as [`Verifier::attest`] and
    /// [`crate::kbs::Session::key`].
    pub async fn attest(pulled: Pulled) -> Result<Self> {
        let Pulled { measured, models } = pulled;
        // A deployment of plain models needs no key, and so no verifier: its clients appraise the enclave themselves. A promotion
        // of theirs rests on what the registry showed.
        let sealed = models.iter().any(|named| named.model.manifest().sealing().is_some());
        let session = match sealed {
            true => {
                let verifier = Verifier::of_deployment(measured.deployment(), measured.clock())?;
                Some(verifier.attest(measured.attester()).await?)
            }
            false => None,
        };
        let mut openable = Vec::new();
        for Named { name, registry, model } in models {
            let within = |refusal: Refusal| refusal.within(format!("model `{name}`"));
            let key = match (&session, model.manifest().sealing()) {
                (Some(session), Some(sealing)) => Some(session.key(&sealing.key).await.map_err(within)?),
                _ => None,
            };
            let model = model.with_key(key).map_err(within)?;
            openable.push(Named { name, registry, model });
        }
        Ok(Self { measured, models: openable, keyed: sealed })
    }

    /// Whether the verifier was asked for keys.
    pub(crate) const fn keyed(&self) -> bool {
        self.keyed
    }
}
