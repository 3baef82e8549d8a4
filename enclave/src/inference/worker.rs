//! The thread that runs a model's graph.

use super::encoder::Sequence;
use super::queue::Queue;
use std::sync::mpsc;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The vectors of one request.
pub(super) type Reply = Result<Vec<Vec<f32>>>;

/// One request: at least one sequence, who waits for the vectors, and what it holds of the model's bounds until it is over.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) sequences: Vec<Sequence>,
    pub(super) reply: oneshot::Sender<Reply>,
    pub(super) permits: [OwnedSemaphorePermit; 2],
}

struct Waiter {
    reply: oneshot::Sender<Reply>,
    permits: [OwnedSemaphorePermit; 2],
}

/// Starts a thread around `run`, which gives one vector a sequence. It ends when the sender is dropped.
///
/// # Errors
/// `io` no thread can be had.
pub(super) fn start<F>(run: F) -> Result<mpsc::Sender<Job>>
where
    F: FnMut(&[&Sequence]) -> Reply + Send + 'static,
{
    let (jobs, taken) = mpsc::channel();
    let thread = thread::Builder::new().name("inference".to_owned()).spawn(move || work(&taken, run));
    thread.map_err(|e| Refusal::new(Code::Io, "inference thread").because(e))?;
    Ok(jobs)
}

fn work(jobs: &mpsc::Receiver<Job>, mut run: impl FnMut(&[&Sequence]) -> Reply) {
    let mut queue = Queue::new();
    loop {
        if queue.is_empty() {
            // Nothing is under way: sleep until something is, or nobody can ask any more.
            let Ok(job) = jobs.recv() else { return };
            push(&mut queue, job);
        }
        while let Ok(job) = jobs.try_recv() {
            push(&mut queue, job);
        }
        // A caller who hung up gets nothing done for.
        queue.forget(|waiter| waiter.reply.is_closed());
        let batch = queue.batch();
        if batch.is_empty() {
            continue;
        }
        let sequences: Vec<&Sequence> = batch.iter().map(|place| &place.sequence).collect();
        let vectors = run(&sequences);
        if let Err(refusal) = &vectors {
            tracing::error!(%refusal, sequences = batch.len(), "inference failed");
        }
        for (Waiter { reply: caller, permits }, reply) in queue.complete(&batch, vectors) {
            // Before the answer, so that who has it can ask again; who hung up during the run needs none.
            drop(permits);
            drop(caller.send(reply));
        }
    }
}

fn push(queue: &mut Queue<Waiter>, job: Job) {
    queue.push(job.sequences, Waiter { reply: job.reply, permits: job.permits });
}
