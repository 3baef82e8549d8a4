//! Models of plain tensors: any graph whose inputs and outputs are tensors, as the Open Inference Protocol calls them.
//!
//! Each has one thread, and a bounded number of requests, of a bounded size together, that may wait for it. What a request
//! holds of these bounds goes with its work and ends with it. Requests of one identity share a run where the graph's author named the
//! first dimension of everything a batch (`Graph::takes_batches`); a request that fails among others runs again alone.

mod batch;
mod data;
mod graph;
mod worker;

pub use data::{Data, Datatype};
pub use graph::Port;

use super::JOBS;
use crate::api::Authorized;
use crate::prompt::Prompt;
use graph::Graph;
use ort::session::Session;
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};
use worker::{Job, Reply};

/// Bytes of the inputs of one model's requests that may wait or be under way: those of eight of the largest bodies, each of
/// which numbers in JSON may make four times as long.
const BYTES: usize = 8 * 4 * limits::API_BODY;

/// A tensor with its name: of an input, of an output.
#[derive(Debug)]
pub struct Tensor {
    /// Which input or output of the graph it is.
    pub name: String,
    /// Its dimensions; none where it is a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the dimensions say.
    pub data: Prompt<Data>,
}

/// A loaded model of plain tensors.
#[derive(Debug)]
pub struct TensorModel {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    worker: mpsc::UnboundedSender<Job>,
    jobs: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// How many elements a tensor of that shape has; `None` where no memory has so many.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

impl TensorModel {
    /// The model of a loaded graph.
    ///
    /// # Errors
    /// `model-unsupported` it has an input or output that is no tensor of a type that the protocol names.
    pub(super) fn load(session: Session) -> Result<Self> {
        let mut graph = Graph::of(session)?;
        let (inputs, outputs) = (graph.inputs.clone(), graph.outputs.clone());
        let worker = worker::start(graph.takes_batches(), move |inputs| graph.run(inputs))?;
        Ok(Self::new(inputs, outputs, worker))
    }

    fn new(inputs: Vec<Port>, outputs: Vec<Port>, worker: mpsc::UnboundedSender<Job>) -> Self {
        let [jobs, bytes] = [JOBS, BYTES].map(|many| Arc::new(Semaphore::new(many)));
        Self { inputs, outputs, worker, jobs, bytes }
    }

    /// What it takes, in the graph's order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it gives, in the graph's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Requests that wait for it or are with it.
    pub(super) fn queued(&self) -> usize {
        JOBS.saturating_sub(self.jobs.available_permits())
    }

    /// Whether its thread runs.
    pub(super) fn is_alive(&self) -> bool {
        !self.worker.is_closed()
    }

    /// Resolves when its thread has ended, which it does only where it panicked.
    pub(super) async fn ended(&self) {
        self.worker.closed().await;
    }

    /// Runs the graph for a caller who is authorised to that and gives all outputs, in the graph's order. `inputs` are in any order.
    ///
    /// # Errors
    /// `request-invalid` an input is missing, given twice, not the graph's, empty, or of another type or shape; `busy` too much
    /// waits already; `too-large` the outputs are over [`limits::TENSOR_ANSWER`]; `runtime-failed`.
    pub async fn infer(&self, call: &Authorized, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        call.verify_for(CallAction::Infer)?;
        let inputs = self.arrange(inputs)?;
        let size = batch::size(&inputs);
        let permits = [super::reserve(&self.jobs, 1)?, super::reserve(&self.bytes, size)?];
        let (reply, outputs) = oneshot::channel::<Reply>();
        let gone = || Refusal::new(Code::RuntimeFailed, "inference thread is gone");
        self.worker.send(Job { identity: call.identity().to_string(), inputs, reply, permits }).map_err(|_| gone())?;
        outputs.await.map_err(|_| gone())?
    }

    /// The graph's inputs in its order, each of them once.
    fn arrange(&self, mut given: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, what);
        if given.len() != self.inputs.len() {
            return Err(invalid("number of inputs").got(given.len()).want(self.inputs.len()));
        }
        let mut arranged = Vec::with_capacity(given.len());
        for port in &self.inputs {
            let at = given.iter().position(|tensor| tensor.name == port.name);
            let at = at.ok_or_else(|| invalid("inputs").got("not all of them").want(format!("`{}` too", port.name)))?;
            let tensor = given.swap_remove(at);
            port.admit(&tensor)?;
            let many = elements(&tensor.shape);
            // Some of the runtime's kernels divide by a dimension.
            if many != Some(tensor.data.expose().count()) || many == Some(0) {
                return Err(invalid("elements of an input")
                    .got(tensor.data.expose().count())
                    .want("as the shape says, one at least"));
            }
            if matches!(tensor.data.expose(), Data::Bytes(strings) if strings.iter().any(|text| text.contains('\0'))) {
                return Err(invalid("text of an input")
                    .got("a zero byte")
                    .want("none: the runtime's strings end at one"));
            }
            arranged.push(tensor);
        }
        Ok(arranged)
    }
}

#[cfg(test)]
pub(crate) mod tests;
