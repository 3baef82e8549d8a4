//! Embeddings: text to tokens, tokens to batches, batches through ONNX Runtime, vectors back in the order of the inputs.
//!
//! Each model has one thread that runs its graph (the graph itself uses every core) and a bounded number of requests that
//! may wait for it. All models together tokenise as many requests at a time as there are cores. What a request holds of these
//! bounds goes with its work and ends with it, also where the caller hangs up in between. Requests share batches, so a
//! vector's last bits depend on what else was asked at the time, as they do on the machine's vector instructions; nothing else
//! of a request shows in another's answer, also where it fails.

mod encoder;
mod graph;
mod pooling;
mod queue;
mod turns;
mod worker;

pub use encoder::Input;

use crate::api::Authorized;
use crate::memory::ModelFiles;
use crate::runtime::Runtime;
use encoder::Encoder;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use graph::Graph;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use turns::Turns;
use worker::{Job, Reply};

/// Requests of one model that may wait or be under way, and tokens of all of them: eight of the largest requests.
const JOBS: usize = 256;
const TOKENS: usize = 8 * limits::API_TOKENS;

/// The models that are served, by name.
#[derive(Debug, Default)]
pub struct Models {
    models: BTreeMap<String, Model>,
    turns: Turns,
}

/// One loaded model.
#[derive(Debug)]
pub struct Model {
    manifest: Sha256,
    dimensions: usize,
    encoder: Arc<Encoder>,
    worker: mpsc::UnboundedSender<Job>,
    jobs: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    turns: Turns,
}

/// What came out for one request.
#[derive(Debug)]
pub struct Embeddings {
    /// One vector an input, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that went through the model, special ones included, padding not.
    pub tokens: usize,
}

impl Models {
    /// Adds a model under its name.
    pub fn insert(&mut self, name: String, mut model: Model) {
        model.turns = self.turns.clone();
        self.models.insert(name, model);
    }

    /// The names and manifests of all models, in the order of the names, for somebody who may ask.
    pub fn list(&self, _caller: &Authorized) -> impl Iterator<Item = (&str, Sha256)> {
        self.models.iter().map(|(name, model)| (name.as_str(), model.manifest))
    }

    /// The model called `name`, for somebody who may ask.
    ///
    /// # Errors
    /// `model-unknown`.
    pub fn get(&self, _caller: &Authorized, name: &str) -> Result<&Model> {
        // The name is the caller's text: it stays out of the refusal, which is logged.
        self.models.get(name).ok_or_else(|| Refusal::new(Code::ModelUnknown, "model of that name"))
    }

    /// Whether every model's thread runs.
    pub fn are_alive(&self) -> bool {
        self.models.values().all(|model| !model.worker.is_closed())
    }

    /// Resolves when the thread of a model has ended, which it does only where it panicked, and gives the model's name.
    pub async fn ended(&self) -> &str {
        let ends = self.models.iter().map(async |(name, model)| {
            model.worker.closed().await;
            name.as_str()
        });
        match ends.collect::<FuturesUnordered<_>>().next().await {
            Some(name) => name,
            None => core::future::pending().await,
        }
    }
}

impl Model {
    /// Loads the files of an opened model: `model.onnx`, `tokenizer.json` and the settings beside them. Blocks.
    ///
    /// # Errors
    /// `model-unsupported` a needed file is missing or says what is not served here; `runtime-failed` the runtime does not
    /// take the graph.
    pub fn load(runtime: &Runtime, manifest: Sha256, files: &ModelFiles) -> Result<Self> {
        let encoder = Encoder::load(files)?;
        let mut graph = Graph::load(runtime, files)?;
        // The first run is the slowest, tells the number of dimensions, and shows a graph that cannot run at all.
        let probe = encoder.encode(&Input::text(String::new()))?;
        let dimensions = graph.run(&[&probe], encoder.padding())?.pop().transpose()?.map_or(0, |vector| vector.len());
        let padding = encoder.padding();
        let worker = worker::start(move |batch| graph.run(batch, padding))?;
        Ok(Self::new(manifest, dimensions, encoder, worker))
    }

    fn new(manifest: Sha256, dimensions: usize, encoder: Encoder, worker: mpsc::UnboundedSender<Job>) -> Self {
        Self {
            manifest,
            dimensions,
            encoder: Arc::new(encoder),
            worker,
            jobs: Arc::new(Semaphore::new(JOBS)),
            tokens: Arc::new(Semaphore::new(TOKENS)),
            turns: Turns::default(),
        }
    }

    /// The digest of its OCI manifest.
    pub const fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// The length of every vector.
    pub const fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Embeds `inputs` for `caller`.
    ///
    /// # Errors
    /// `busy` too much waits already; `too-large` an input over [`limits::API_INPUT`], inputs over [`limits::API_BODY`]
    /// together, or too many tokens for one request; `request-invalid` a token that the model does not have;
    /// `runtime-failed`.
    pub async fn embed(&self, _caller: &Authorized, inputs: Vec<Input>) -> Result<Embeddings> {
        if inputs.is_empty() {
            return Err(Refusal::new(Code::RequestInvalid, "input").got("none").want("at least one"));
        }
        encoder::bound(&inputs)?;
        // Taken before work is spent on a request. Whoever waits for a turn waits here, where hanging up ends it.
        let job = reserve(&self.jobs, 1)?;
        let turn = self.turns.next().await?;
        let (reply, vectors) = oneshot::channel::<Reply>();
        let encoder = Arc::clone(&self.encoder);
        // A thread goes on when the caller hangs up and this future is dropped, until it sees that nobody waits any more. So
        // what the request holds goes with it, and comes back with the outcome or is dropped with that.
        let encoding = tokio::task::spawn_blocking(move || {
            let encoded = encoder.encode_all(&inputs, || reply.is_closed());
            drop(inputs);
            drop(turn);
            encoded.map(|(sequences, tokens)| (sequences, tokens, reply, job))
        });
        let encoded = encoding.await.map_err(|_| Refusal::new(Code::Internal, "tokenizer thread"))?;
        let (sequences, tokens, reply, job) = encoded?;
        let permits = [job, reserve(&self.tokens, tokens)?];
        let gone = || Refusal::new(Code::RuntimeFailed, "inference thread is gone");
        self.worker.send(Job { sequences, reply, permits }).map_err(|_| gone())?;
        let vectors = vectors.await.map_err(|_| gone())??;
        Ok(Embeddings { vectors, tokens })
    }
}

fn reserve(of: &Arc<Semaphore>, many: usize) -> Result<OwnedSemaphorePermit> {
    let many = u32::try_from(many).unwrap_or(u32::MAX);
    Arc::clone(of).try_acquire_many_owned(many).map_err(|_| Refusal::new(Code::Busy, "inference queue").got("full"))
}

#[cfg(test)]
pub(crate) mod tests;
