//! The thread that runs a graph of tensors, for one request at a time or for rows of several.

use super::{Tensor, batch};
use std::collections::VecDeque;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The outputs of one request.
pub(super) type Reply = Result<Vec<Tensor>>;

/// One request: who asks, its inputs in the graph's order, who waits, and what it holds of the model's bounds until it is over.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) identity: String,
    pub(super) inputs: Vec<Tensor>,
    pub(super) reply: oneshot::Sender<Reply>,
    pub(super) permits: [OwnedSemaphorePermit; 2],
}

/// Starts a thread around `run`, which gives all outputs for the inputs in the graph's order. It ends when the sender is dropped,
/// or where `run` panics; the sender sees either as a closed channel, and so does whoever waits.
///
/// # Errors
/// `io` no thread can be had.
pub(super) fn start<F>(takes_batches: bool, run: F) -> Result<mpsc::UnboundedSender<Job>>
where
    F: FnMut(&[&Tensor]) -> Reply + Send + 'static,
{
    // As many as there are permits.
    let (jobs, mut taken) = mpsc::unbounded_channel();
    let thread =
        thread::Builder::new().name("inference".to_owned()).spawn(move || work(&mut taken, takes_batches, run));
    thread.map_err(|e| Refusal::new(Code::Io, "inference thread").because(e))?;
    Ok(jobs)
}

fn work(jobs: &mut mpsc::UnboundedReceiver<Job>, takes_batches: bool, mut run: impl FnMut(&[&Tensor]) -> Reply) {
    let mut waiting = VecDeque::new();
    let mut most = if takes_batches { batch::ROWS } else { 0 };
    loop {
        if waiting.is_empty() {
            // Nothing is under way: sleep until something is, or nobody can ask any more.
            let Some(job) = jobs.blocking_recv() else { return };
            waiting.push_back(job);
        }
        while let Ok(job) = jobs.try_recv() {
            waiting.push_back(job);
        }
        // A caller who hung up gets nothing done for.
        waiting.retain(|job| !job.reply.is_closed());
        let batch = next(&mut waiting, most);
        let replies = replies(&batch, &mut most, &mut run);
        for (Job { reply: caller, permits, inputs, .. }, reply) in batch.into_iter().zip(replies) {
            // Before the answer, so that who has it can ask again; who hung up during the run needs none.
            drop((permits, inputs));
            drop(caller.send(reply));
        }
    }
}

/// The first that waits, with others of the same identity that fit beside it: at most `most` rows. Rows of two identities never share
/// a run: a graph may mix them whatever it calls their dimension, as one that quantises by the largest value of all rows does.
fn next(waiting: &mut VecDeque<Job>, most: usize) -> Vec<Job> {
    let Some(first) = waiting.pop_front() else { return Vec::new() };
    let Some(mut rows) = batch::rows(&first.inputs).filter(|rows| *rows < most) else { return vec![first] };
    let identity = first.identity.clone();
    let mut size = batch::size(&first.inputs);
    let mut batch = vec![first];
    let mut at = 0;
    while let Some(job) = waiting.get(at) {
        let more = batch::rows(&job.inputs).map_or(usize::MAX, |more| rows.saturating_add(more));
        let larger = size.saturating_add(batch::size(&job.inputs));
        let is_alike = batch.first().is_some_and(|first| batch::are_alike(&first.inputs, &job.inputs));
        if job.identity != identity || !is_alike || more > most || larger > batch::BYTES {
            at += 1;
            continue;
        }
        (rows, size) = (more, larger);
        batch.extend(waiting.remove(at));
    }
    batch
}

/// What `run` gives for each request in `batch`. Where it fails for several, each runs again alone, and fails only where it does so
/// by itself: the runtime's error for a batch does not tell whose it is. Where outputs were too large together and are not alone,
/// batches have half as many rows from then on.
fn replies(batch: &[Job], most: &mut usize, run: &mut impl FnMut(&[&Tensor]) -> Reply) -> Vec<Reply> {
    let mut is_too_large = false;
    if let [_, _, ..] = batch {
        match together(batch, run) {
            Ok(parts) => return parts.into_iter().map(Ok).collect(),
            Err(refusal) => {
                is_too_large = refusal.code == Code::TooLarge;
                tracing::debug!(%refusal, requests = batch.len(), "inference failed in a batch, running each request alone");
            }
        }
    }
    let alone = |job: &Job| {
        let outputs = run(&job.inputs.iter().collect::<Vec<_>>());
        // Other refusals are the caller's to hear of.
        outputs.inspect_err(|refusal| {
            if refusal.code == Code::RuntimeFailed {
                tracing::error!(%refusal, "inference failed");
            }
        })
    };
    let replies: Vec<Reply> = batch.iter().map(alone).collect();
    if is_too_large && replies.iter().all(Result::is_ok) {
        let rows = batch.iter().filter_map(|job| batch::rows(&job.inputs)).sum();
        *most = (*most).min(rows) / 2;
    }
    replies
}

fn together(batch: &[Job], run: &mut impl FnMut(&[&Tensor]) -> Reply) -> Result<Vec<Vec<Tensor>>> {
    let inputs: Vec<&[Tensor]> = batch.iter().map(|job| job.inputs.as_slice()).collect();
    let rows: Vec<usize> = inputs.iter().map(|inputs| batch::rows(inputs).unwrap_or_default()).collect();
    let joined = batch::join(&inputs)?;
    batch::split(&run(&joined.iter().collect::<Vec<_>>())?, &rows)
}

#[cfg(test)]
mod tests;
