//! Steps 4 and 5: the models are opened into memory, compared with their statements, and loaded.

use super::pulled::Named;
use super::{Attested, Measured};
use crate::api::{Access, Serving};
use crate::clock;
use crate::config::Config;
use crate::evidence::{Bound, Desk};
use crate::inference::{Model, Models};
use crate::lease::{self, Tenure};
use crate::memory::{ModelFiles, OpeningFiles};
use crate::runtime::Runtime;
use crate::staple::{OfVerifier, Staple};
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_artifact::ladder::VerifiedModel;
use strongroom_registry_client::open_model;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Workload, WorkloadModel};
use strongroom_wire::{Code, Refusal, Result, bytes};

/// Models that are verified to the last byte, in sealed memory.
#[derive(Debug)]
pub struct Opened {
    measured: Measured,
    models: Vec<OpenedModel>,
    keyed: bool,
}

#[derive(Debug)]
struct OpenedModel {
    name: String,
    verified: VerifiedModel,
    files: ModelFiles,
}

impl Opened {
    /// Streams every layer of every model once: digest, seal, memory. The keys end here.
    ///
    /// # Errors
    /// As [`open_model`]; `io` no memory is left.
    pub async fn open(attested: Attested) -> Result<Self> {
        let Attested { measured, models, keyed } = attested;
        let mut opened = Vec::new();
        for Named { name, registry, model } in models {
            let within = |refusal: Refusal| refusal.within(format!("model `{name}`"));
            let (verified, files) = open_model(&registry, model, OpeningFiles::default()).await.map_err(within)?;
            opened.push(OpenedModel { name, verified, files });
        }
        Ok(Self { measured, models: opened, keyed })
    }

    /// Loads the runtime and the models into it, and opens the desk that gives evidence of them for `channel_key`, with
    /// endorsements of the verifier where the host gave none and the verifier has some. The first lease is asked for, which nobody waits for. The files are given up: what the runtime made of them stays.
    ///
    /// # Errors
    /// As [`Runtime::load`] and [`Model::load`].
    pub async fn load(self, config: &Config, channel_key: &[u8], access: Access) -> Result<Serving> {
        let Self { measured, models, keyed } = self;
        let settings = measured.deployment().settings();
        let served = |model: &OpenedModel| WorkloadModel {
            name: model.name.clone(),
            manifest: model.verified.manifest_digest(),
            statement: model.verified.statement_commitment(),
        };
        let workload = Workload {
            deployment: bytes::to_base64(measured.deployment().raw()),
            models: models.iter().map(served).collect(),
        };
        let (library, digest) = (config.onnxruntime.clone(), settings.runtime.onnxruntime);
        let loaded = tokio::task::spawn_blocking(move || load_all(library, digest, models)).await;
        let models = loaded.map_err(|e| Refusal::new(Code::Internal, "loading thread").because(e))??;
        let staple = Staple::open(
            OfVerifier::new(measured.deployment().clone(), measured.attester(), measured.clock()),
            Arc::new(clock::now),
        );
        staple.prepare(measured.evidence()).await;
        let bound = Bound { channel_key: channel_key.to_vec(), workload };
        let tenure = tenure(&measured, keyed, &bound, config.advertise);
        let desk = Desk::open(measured.attester(), bound, staple)?;
        Ok(Serving { access, models, desk, tenure })
    }
}

/// Leases are asked for by whoever was given keys, of a verifier that signs tokens: Confidential Containers' gives none.
fn tenure(measured: &Measured, keyed: bool, bound: &Bound, addr: Option<SocketAddr>) -> Tenure {
    let settings = measured.deployment().settings();
    if !keyed || settings.verifier.token_key.is_empty() {
        return Tenure::without_lease();
    }
    let source = lease::OfVerifier {
        deployment: measured.deployment().clone(),
        attester: measured.attester(),
        bound: bound.clone(),
        addr,
        clock: measured.clock(),
    };
    Tenure::hold(source, Duration::from_secs(settings.max_unleased()))
}

fn load_all(library: PathBuf, digest: Sha256, opened: Vec<OpenedModel>) -> Result<Models> {
    let runtime = Runtime::load(&library, digest)?;
    let mut models = Models::default();
    for OpenedModel { name, verified, files } in opened {
        let model = Model::load(&runtime, verified.manifest_digest(), &files);
        let model = model.map_err(|refusal| refusal.within(format!("model `{name}`")))?;
        tracing::info!(model = name, kind = model.kind().name(), "loaded");
        models.insert(name, model);
    }
    Ok(models)
}
