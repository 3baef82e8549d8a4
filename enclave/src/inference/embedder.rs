//! Embeddings: text to tokens, tokens to batches, batches through ONNX Runtime, vectors back in the order of the inputs.
//!
//! Requests share batches, so a vector's last bits depend on what else was asked at the time, as they do on the machine's
//! vector instructions; nothing else of a request shows in another's answer, also where it fails. Where the graph lets more of one row
//! show in another ([`Rows::OfOne`]), requests of one identity share batches and no others.

use super::encoder::{self, Encode, Encoded, Encoder, Input};
use super::graph::Graph;
use super::rows::Rows;
use super::turns::Turns;
use super::worker::{self, Job, Reply};
use super::{JOBS, reserve};
use crate::api::Authorized;
use crate::memory::ModelFiles;
use ort::session::Session;
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Tokens of all requests of one model that may wait or be under way: eight of the largest requests.
pub(super) const TOKENS: usize = 8 * limits::API_TOKENS;

/// A loaded model that embeds text.
#[derive(Debug)]
pub struct Embedder {
    dimensions: usize,
    pub(super) encoder: Arc<Encoder>,
    pub(super) worker: mpsc::UnboundedSender<Job>,
    pub(super) jobs: Arc<Semaphore>,
    pub(super) tokens: Arc<Semaphore>,
    pub(super) turns: Turns,
}

/// What came out for one request.
#[derive(Debug)]
pub struct Embeddings {
    /// One vector an input, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that went through the model, special ones included, padding not.
    pub tokens: usize,
}

impl Embedder {
    /// A model whose graph `session` holds: with `tokenizer.json` and the settings beside it. Blocks.
    ///
    /// # Errors
    /// `model-unsupported` a needed file is missing or says what is not served here; `runtime-failed` the graph does not run.
    pub(super) fn load(session: Session, files: &ModelFiles) -> Result<Self> {
        let encoder = Encoder::load(files)?;
        let mut graph = Graph::new(session, files)?;
        // The first run is the slowest, tells the number of dimensions, and shows a graph that cannot run at all.
        let probe = encoder.encode(&Input::text(String::new()))?;
        let numbers = graph.run(&[&probe], encoder.padding())?.pop().transpose()?.map_or(0, |vector| vector.len());
        let dimensions = numbers.checked_div(graph.vectors_of(&probe)).unwrap_or(0);
        let padding = encoder.padding();
        let worker = worker::start(Rows::of(files)?, move |batch| graph.run(batch, padding))?;
        Ok(Self::new(dimensions, encoder, worker))
    }

    pub(super) fn new(dimensions: usize, encoder: Encoder, worker: mpsc::UnboundedSender<Job>) -> Self {
        Self {
            dimensions,
            encoder: Arc::new(encoder),
            worker,
            jobs: Arc::new(Semaphore::new(JOBS)),
            tokens: Arc::new(Semaphore::new(TOKENS)),
            turns: Turns::default(),
        }
    }

    /// The length of every vector; where the graph gives one a token, of each of those.
    pub const fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Embeds `inputs` for a caller who is authorised to that.
    ///
    /// # Errors
    /// `busy` too much waits already; `too-large` an input over [`limits::API_INPUT`], inputs over [`limits::API_BODY`]
    /// together, or too many tokens for one request; `request-invalid` a token that the model does not have;
    /// `runtime-failed`.
    pub async fn embed(&self, call: &Authorized, inputs: Vec<Input>) -> Result<Embeddings> {
        call.verify_for(CallAction::Embed)?;
        self.run(call, inputs).await
    }

    /// What the graph gives for each of `inputs`, for whatever `call` was authorised to.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub(super) async fn run(&self, call: &Authorized, inputs: Vec<Input>) -> Result<Embeddings> {
        let encode: Encode<()> = |encoder, input| Ok((encoder.encode(input)?, ()));
        self.run_by(call, inputs, limits::API_TOKENS, 1, encode).await.map(|(embeddings, _)| embeddings)
    }

    /// The same with at most `most` tokens, each of which counts as `weight` among those that wait, and what `encode` keeps of each input
    /// beside.
    ///
    /// # Errors
    /// As [`Self::embed`], and as `encode`.
    pub(super) async fn run_by<T: Send + 'static>(
        &self,
        call: &Authorized,
        inputs: Vec<Input>,
        most: usize,
        weight: usize,
        encode: Encode<T>,
    ) -> Result<(Embeddings, Vec<T>)> {
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
            let encoded = encoder.encode_all(&inputs, most, encode, || reply.is_closed());
            drop(inputs);
            drop(turn);
            encoded.map(|encoded| (encoded, reply, job))
        });
        let encoded = encoding.await.map_err(|_| Refusal::new(Code::Internal, "tokenizer thread"))?;
        let (Encoded { sequences, kept, tokens }, reply, job) = encoded?;
        let permits = [job, reserve(&self.tokens, tokens.saturating_mul(weight))?];
        call.spend(tokens, 0);
        let gone = || Refusal::new(Code::RuntimeFailed, "inference thread is gone");
        let identity = Arc::from(call.identity().to_string());
        self.worker.send(Job { identity, sequences, reply, permits }).map_err(|_| gone())?;
        let vectors = vectors.await.map_err(|_| gone())??;
        Ok((Embeddings { vectors, tokens }, kept))
    }
}
