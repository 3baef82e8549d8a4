//! The thread that runs a model's graph.

use super::encoder::Sequence;
use super::queue::Queue;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

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

/// Starts a thread around `run`, which gives one vector a sequence. It ends when the sender is dropped, or where `run`
/// panics; the sender sees either as a closed channel, and so does whoever waits for vectors.
///
/// # Errors
/// `io` no thread can be had.
pub(super) fn start<F>(run: F) -> Result<mpsc::UnboundedSender<Job>>
where
    F: FnMut(&[&Sequence]) -> Reply + Send + 'static,
{
    // As many as there are permits.
    let (jobs, mut taken) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("inference".to_owned()).spawn(move || work(&mut taken, run));
    thread.map_err(|e| Refusal::new(Code::Io, "inference thread").because(e))?;
    Ok(jobs)
}

fn work(jobs: &mut mpsc::UnboundedReceiver<Job>, mut run: impl FnMut(&[&Sequence]) -> Reply) {
    let mut queue = Queue::new();
    loop {
        if queue.is_empty() {
            // Nothing is under way: sleep until something is, or nobody can ask any more.
            let Some(job) = jobs.blocking_recv() else { return };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn job(semaphore: &Arc<Semaphore>) -> (Job, oneshot::Receiver<Reply>) {
        let (reply, vectors) = oneshot::channel();
        let permits = [1, 1].map(|n| Arc::clone(semaphore).try_acquire_many_owned(n).unwrap());
        let sequence = Sequence { ids: Prompt::new(vec![1]), segments: vec![0] };
        (Job { sequences: vec![sequence], reply, permits }, vectors)
    }

    #[tokio::test]
    async fn thread_that_answers_goes_on() {
        let worker = start(|batch| Ok(batch.iter().map(|_| vec![0.5]).collect())).unwrap();
        let semaphore = Arc::new(Semaphore::new(2));
        for _ in 0..2 {
            let (job, vectors) = job(&semaphore);
            worker.send(job).unwrap();
            assert_eq!(vectors.await.unwrap().unwrap(), [[0.5]]);
        }
        assert!(!worker.is_closed());
    }

    #[tokio::test]
    async fn thread_that_panics_closes_its_channel_and_keeps_nothing_of_its_requests() {
        let worker = start(|_| panic!("graph")).unwrap();
        let semaphore = Arc::new(Semaphore::new(2));
        let (job, vectors) = job(&semaphore);
        worker.send(job).unwrap();
        assert!(vectors.await.is_err());
        worker.closed().await;
        assert_eq!(semaphore.available_permits(), 2);
    }
}
