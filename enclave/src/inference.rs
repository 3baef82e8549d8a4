//! The models: each is of a kind, takes the calls of its kind, and has one thread that runs its graph.
//!
//! The graph itself uses every core, and a bounded number of requests may wait for it. All models together tokenise as many
//! requests at a time as there are cores. What a request holds of these bounds goes with its work and ends with it, also where
//! the caller hangs up in between.

mod classifier;
mod embedder;
mod encoder;
mod generation;
mod graph;
mod labels;
mod pooling;
mod queue;
mod rows;
mod session;
mod shares;
pub mod tensor;
mod token_classifier;
mod turns;
mod worker;

pub use classifier::{Classes, Classifier};
pub use embedder::{Embedder, Embeddings};
pub use encoder::Input;
pub use generation::{
    Answering, Ask, Asked, Chat, Chosen, Event, Finish, Form, Generator, Likely, Message, Sampling, Schema,
};
pub use token_classifier::{Aggregation, Entity, Strategy, TokenClasses, TokenClassifier};

use crate::api::Authorized;
use crate::memory::ModelFiles;
use crate::runtime::Runtime;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tensor::TensorModel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use turns::Turns;

/// Requests of one model that may wait or be under way.
const JOBS: usize = 256;

/// The models that are served, by name. Clones are of the same models: each runs as long as one of them has it.
#[derive(Debug, Clone, Default)]
pub struct Models {
    models: BTreeMap<String, Arc<Model>>,
    turns: Turns,
}

/// One loaded model.
#[derive(Debug)]
pub struct Model {
    manifest: Sha256,
    kind: Kind,
}

/// What a model is for.
#[derive(Debug)]
pub enum Kind {
    /// Text to vectors.
    Embedding(Embedder),
    /// Text to the likelihoods of labels.
    Classification(Classifier),
    /// Text to the labels of its tokens.
    TokenClassification(TokenClassifier),
    /// Tensors to tensors, without a tokenizer.
    Tensors(TensorModel),
    /// Text to more text.
    Generation(Generator),
}

impl Models {
    /// Adds a model under its name, or has it in the place of the one of that name.
    pub fn insert(&mut self, name: String, mut model: Model) {
        model.share(&self.turns);
        self.models.insert(name, Arc::new(model));
    }

    /// What the model called `name` is for, if it is there.
    pub(crate) fn kind(&self, name: &str) -> Option<&'static str> {
        self.models.get(name).map(|model| model.kind().name())
    }

    /// The model called `name`, for as long as somebody has it.
    pub(crate) fn weak(&self, name: &str) -> Option<Weak<Model>> {
        self.models.get(name).map(Arc::downgrade)
    }

    /// Takes a model out, if it is there.
    pub fn remove(&mut self, name: &str) {
        self.models.remove(name);
    }

    /// The names and manifests of all models, in the order of the names; evidence of the enclave has them, too.
    pub fn list(&self) -> impl Iterator<Item = (&str, Sha256)> {
        self.models.iter().map(|(name, model)| (name.as_str(), model.manifest))
    }

    /// The manifest of the model called `name`.
    ///
    /// # Errors
    /// `model-unknown`.
    pub fn manifest(&self, name: &str) -> Result<Sha256> {
        self.find(name).map(|model| model.manifest())
    }

    /// The model that a call is authorised for.
    ///
    /// # Errors
    /// `model-unknown`.
    pub fn get(&self, call: &Authorized) -> Result<&Model> {
        self.find(call.model())
    }

    fn find(&self, name: &str) -> Result<&Model> {
        // The name is the caller's text: it stays out of the refusal, which is logged.
        self.models.get(name).map(Arc::as_ref).ok_or_else(|| Refusal::new(Code::ModelUnknown, "model of that name"))
    }

    /// Requests that wait for a model or are with one.
    pub fn queued(&self) -> usize {
        self.models.values().map(|model| model.queued()).sum()
    }

    /// Whether every model's thread runs.
    pub fn are_alive(&self) -> bool {
        self.models.values().all(|model| model.is_alive())
    }

    /// Resolves when the thread of a model has ended, which it does only where it panicked, and gives the model's name.
    pub async fn ended(&self) -> &str {
        let ends = self.models.iter().map(async |(name, model)| {
            model.ended().await;
            name.as_str()
        });
        match ends.collect::<FuturesUnordered<_>>().next().await {
            Some(name) => name,
            None => core::future::pending().await,
        }
    }
}

impl Model {
    /// Loads the files of an opened model: `model.onnx`, which tells the kind, `tokenizer.json` and the settings beside them. One
    /// without a tokenizer is of tensors. Blocks.
    ///
    /// # Errors
    /// `model-unsupported` a needed file is missing or says what is not served here; `runtime-failed` the runtime does not
    /// take the graph.
    pub fn load(runtime: &Runtime, manifest: Sha256, files: &ModelFiles) -> Result<Self> {
        let session = session::load(runtime, files)?;
        let kind = if files.get("tokenizer.json").is_none() {
            Kind::Tensors(TensorModel::load(session)?)
        } else if Generator::is_for(&session) {
            Kind::Generation(Generator::load(session, files)?)
        } else if TokenClassifier::is_for(&session) {
            Kind::TokenClassification(TokenClassifier::load(session, files)?)
        } else if Classifier::is_for(&session) {
            Kind::Classification(Classifier::load(session, files)?)
        } else {
            Kind::Embedding(Embedder::load(session, files)?)
        };
        Ok(Self { manifest, kind })
    }

    /// The digest of its OCI manifest.
    pub const fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// What it is for.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The model as one that embeds.
    ///
    /// # Errors
    /// `request-invalid` it is of another kind.
    pub fn embedder(&self) -> Result<&Embedder> {
        match &self.kind {
            Kind::Embedding(embedder) => Ok(embedder),
            other => Err(other.is_not("a model that embeds text")),
        }
    }

    /// The model as one that classifies text.
    ///
    /// # Errors
    /// `request-invalid` it is of another kind.
    pub fn classifier(&self) -> Result<&Classifier> {
        match &self.kind {
            Kind::Classification(classifier) => Ok(classifier),
            other => Err(other.is_not("a model that classifies text")),
        }
    }

    /// The model as one that classifies the tokens of a text.
    ///
    /// # Errors
    /// `request-invalid` it is of another kind.
    pub fn token_classifier(&self) -> Result<&TokenClassifier> {
        match &self.kind {
            Kind::TokenClassification(classifier) => Ok(classifier),
            other => Err(other.is_not("a model that classifies tokens")),
        }
    }

    /// The model as one of tensors.
    ///
    /// # Errors
    /// `request-invalid` it is of another kind.
    pub fn tensors(&self) -> Result<&TensorModel> {
        match &self.kind {
            Kind::Tensors(model) => Ok(model),
            other => Err(other.is_not("a model of tensors")),
        }
    }

    /// The model as one that generates text.
    ///
    /// # Errors
    /// `request-invalid` it is of another kind.
    pub fn generator(&self) -> Result<&Generator> {
        match &self.kind {
            Kind::Generation(generator) => Ok(generator),
            other => Err(other.is_not("a model that generates text")),
        }
    }

    fn share(&mut self, turns: &Turns) {
        match &mut self.kind {
            Kind::Embedding(encoder)
            | Kind::Classification(Classifier { encoder, .. })
            | Kind::TokenClassification(TokenClassifier { encoder, .. }) => encoder.turns = turns.clone(),
            Kind::Tensors(_) => {}
            Kind::Generation(generator) => generator.share(turns),
        }
    }

    fn queued(&self) -> usize {
        match &self.kind {
            Kind::Embedding(encoder)
            | Kind::Classification(Classifier { encoder, .. })
            | Kind::TokenClassification(TokenClassifier { encoder, .. }) => {
                JOBS.saturating_sub(encoder.jobs.available_permits())
            }
            Kind::Tensors(tensors) => tensors.queued(),
            Kind::Generation(generator) => generator.queued(),
        }
    }

    /// Whether its thread runs.
    pub fn is_alive(&self) -> bool {
        match &self.kind {
            Kind::Embedding(encoder)
            | Kind::Classification(Classifier { encoder, .. })
            | Kind::TokenClassification(TokenClassifier { encoder, .. }) => !encoder.worker.is_closed(),
            Kind::Tensors(model) => model.is_alive(),
            Kind::Generation(generator) => generator.is_alive(),
        }
    }

    async fn ended(&self) {
        match &self.kind {
            Kind::Embedding(encoder)
            | Kind::Classification(Classifier { encoder, .. })
            | Kind::TokenClassification(TokenClassifier { encoder, .. }) => encoder.worker.closed().await,
            Kind::Tensors(model) => model.ended().await,
            Kind::Generation(generator) => generator.ended().await,
        }
    }
}

impl Kind {
    /// What logs and refusals call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embedding(_) => "a model that embeds text",
            Self::Classification(_) => "a model that classifies text",
            Self::TokenClassification(_) => "a model that classifies tokens",
            Self::Tensors(_) => "a model of tensors",
            Self::Generation(_) => "a model that generates text",
        }
    }

    fn is_not(&self, wanted: &str) -> Refusal {
        Refusal::new(Code::RequestInvalid, "model").got(self.name()).want(wanted)
    }
}

fn reserve(of: &Arc<Semaphore>, many: usize) -> Result<OwnedSemaphorePermit> {
    let many = u32::try_from(many).unwrap_or(u32::MAX);
    Arc::clone(of).try_acquire_many_owned(many).map_err(|_| Refusal::new(Code::Busy, "inference queue").got("full"))
}

#[cfg(test)]
pub(crate) use generation::tests as generation_tests;

#[cfg(test)]
pub(crate) mod tests;
