//! Steps 4 and 5: the models are opened into memory, compared with their statements, and loaded.

use super::pulled::Named;
use super::{Attested, Measured};
use crate::api::{Access, Serving};
use crate::change::{Changes, Parts, Room};
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
use std::sync::Arc;
use strongroom_artifact::ladder::VerifiedModel;
use strongroom_registry_client::{RegistryClient, open_model};
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
    registry: RegistryClient,
    verified: VerifiedModel,
    files: ModelFiles,
}

/// A model that may be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Where it came from.
    pub(crate) registry: RegistryClient,
    pub(crate) verified: VerifiedModel,
    pub(crate) model: Model,
}

impl Loaded {
    /// What evidence says of it.
    pub(crate) fn served(&self) -> WorkloadModel {
        WorkloadModel {
            name: self.name.clone(),
            manifest: self.verified.manifest_digest(),
            statement: self.verified.statement_commitment(),
        }
    }
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
            opened.push(OpenedModel { name, registry, verified, files });
        }
        Ok(Self { measured, models: opened, keyed })
    }

    /// Loads the models into a runtime that is there already. The files are given up: what the runtime made of them stays.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub(crate) async fn load_into(self, runtime: Runtime) -> Result<Vec<Loaded>> {
        let models = self.models;
        blocking(move || load(&runtime, models)).await
    }

    /// Loads the runtime and the models into it, and opens the desk that gives evidence of them for `channel_key`, with
    /// endorsements of the verifier where the host gave none and the verifier has some. The first lease is asked for, which nobody waits for. The files are given up: what the runtime made of them stays.
    ///
    /// # Errors
    /// As [`Runtime::load`] and [`Model::load`].
    pub async fn load(self, config: &Config, channel_key: &[u8], access: Access) -> Result<Serving> {
        let Self { measured, models, keyed } = self;
        let settings = measured.deployment().settings();
        let (library, digest) = (config.onnxruntime.clone(), settings.runtime.onnxruntime);
        let loading = move || {
            let runtime = Runtime::load(&library, digest)?;
            let loaded = load(&runtime, models)?;
            Ok((runtime, loaded))
        };
        let (runtime, loaded) = blocking(loading).await?;
        let workload = Workload {
            deployment: bytes::to_base64(measured.deployment().raw()),
            models: loaded.iter().map(Loaded::served).collect(),
        };
        let digest = workload.digest()?;
        let staple = Staple::open(
            OfVerifier::new(measured.deployment().clone(), measured.attester(), measured.clock()),
            Arc::new(clock::now),
        );
        staple.prepare(measured.evidence()).await;
        let bound = Bound { channel_key: channel_key.to_vec(), workload };
        let desk = Desk::open(measured.attester(), bound.clone(), staple.clone())?;
        let leases = leases(&measured, &bound, config.advertise);
        let tenure = match leases.clone().filter(|_| keyed) {
            Some(leases) => Tenure::hold(leases, Duration::from_secs(settings.max_unleased())),
            None => Tenure::without_lease(),
        };
        let is_replaceable = settings.models.iter().any(|model| model.replaceable);
        let room = Room::new(config.model_memory.map(|mebibytes| u64::from(mebibytes).saturating_mul(1 << 20)));
        let parts = Parts { measured, runtime, staple, leases, room };
        let changes = is_replaceable.then(|| Changes::of(parts, &loaded, bound, keyed).map(Arc::new)).transpose()?;
        let mut models = Models::default();
        for Loaded { name, verified, model, .. } in loaded {
            models.insert(name.clone(), model);
            changes.iter().for_each(|changes| changes.hold(&models, &name, verified.manifest().plain_size()));
        }
        let (access, tenure) = (Arc::new(access), Arc::new(tenure));
        Ok(Serving { access, models, workload: digest, desk, tenure, changes })
    }
}

/// Leases are asked for by whoever was given keys, of a verifier that signs tokens: Confidential Containers' gives none.
fn leases(measured: &Measured, bound: &Bound, addr: Option<SocketAddr>) -> Option<lease::OfVerifier> {
    let deployment = measured.deployment().clone();
    let gives_leases = !deployment.settings().verifier.token_key.is_empty();
    let (attester, clock, bound) = (measured.attester(), measured.clock(), bound.clone());
    gives_leases.then(|| lease::OfVerifier { deployment, attester, bound, addr, clock })
}

async fn blocking<T: Send + 'static>(load: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.map_err(|e| Refusal::new(Code::Internal, "loading thread").because(e))?
}

fn load(runtime: &Runtime, opened: Vec<OpenedModel>) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for OpenedModel { name, registry, verified, files } in opened {
        let model = Model::load(runtime, verified.manifest_digest(), &files);
        let model = model.map_err(|refusal| refusal.within(format!("model `{name}`")))?;
        tracing::info!(model = name, kind = model.kind().name(), "loaded");
        loaded.push(Loaded { name, registry, verified, model });
    }
    Ok(loaded)
}
