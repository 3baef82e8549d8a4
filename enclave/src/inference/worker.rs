//! The thread that runs a model's graph.

use super::encoder::Sequence;
use super::queue::{Place, Queue, by_request};
use super::rows::Rows;
use std::sync::Arc;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The vectors of one request.
pub(super) type Reply = Result<Vec<Vec<f32>>>;

/// What came of each sequence of a batch, in its order.
pub(super) type Vectors = Vec<Result<Vec<f32>>>;

/// One request: who asks, at least one sequence, who waits for the vectors, and what it holds of the model's bounds until it is over.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) identity: Arc<str>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) reply: oneshot::Sender<Reply>,
    pub(super) permits: [OwnedSemaphorePermit; 2],
}

struct Waiter {
    reply: oneshot::Sender<Reply>,
    permits: [OwnedSemaphorePermit; 2],
}

/// Starts a thread around `run`, which gives one vector a sequence, of `rows` that may go through it together. It ends when the sender is
/// dropped, or where `run` panics; the sender sees either as a closed channel, and so does whoever waits for vectors.
///
/// # Errors
/// `io` no thread can be had.
pub(super) fn start<F>(rows: Rows, run: F) -> Result<mpsc::UnboundedSender<Job>>
where
    F: FnMut(&[&Sequence]) -> Result<Vectors> + Send + 'static,
{
    // As many as there are permits.
    let (jobs, mut taken) = mpsc::unbounded_channel();
    let thread =
        thread::Builder::new().name("inference".to_owned()).spawn(move || work(&mut taken, Queue::new(rows), run));
    thread.map_err(|e| Refusal::new(Code::Io, "inference thread").because(e))?;
    Ok(jobs)
}

fn work(
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    mut queue: Queue<Waiter>,
    mut run: impl FnMut(&[&Sequence]) -> Result<Vectors>,
) {
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
        let replies = replies(&batch, |places| {
            let sequences: Vec<&Sequence> = places.iter().map(|place| &place.sequence).collect();
            run(&sequences)
        });
        for (Waiter { reply: caller, permits }, reply) in queue.complete(&batch, replies) {
            // Before the answer, so that who has it can ask again; who hung up during the run needs none.
            drop(permits);
            drop(caller.send(reply));
        }
    }
}

/// What `run` gives for each request in `batch`. A request that fails among others runs again alone, and fails only where it
/// does so by itself: neither the runtime's error for a batch nor a number that spoils its neighbours tells whose it is.
fn replies(batch: &[Place], mut run: impl FnMut(&[Place]) -> Result<Vectors>) -> Vec<Reply> {
    let mut together = run(batch).map(Vec::into_iter);
    let is_shared = by_request(batch).nth(1).is_some();
    let mut reply = |places: &[Place]| {
        let first: Reply = match &mut together {
            // All of its vectors are taken, so that the next request's are next, and only then is one that failed looked for.
            Ok(vectors) => vectors.by_ref().take(places.len()).collect::<Vectors>().into_iter().collect(),
            Err(refusal) => Err(refusal.clone()),
        };
        let last = match first {
            Err(refusal) if is_shared => {
                tracing::warn!(%refusal, sequences = places.len(), "inference failed in a batch, running a request alone");
                run(places).and_then(|vectors| vectors.into_iter().collect())
            }
            first => first,
        };
        last.inspect_err(|refusal| tracing::error!(%refusal, sequences = places.len(), "inference failed"))
    };
    by_request(batch).map(&mut reply).collect()
}

fn push(queue: &mut Queue<Waiter>, job: Job) {
    queue.push(&job.identity, job.sequences, Waiter { reply: job.reply, permits: job.permits });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;
    use tokio::sync::Semaphore;

    fn job(semaphore: &Arc<Semaphore>) -> (Job, oneshot::Receiver<Reply>) {
        job_of(semaphore, &[1])
    }

    /// A request of sequences of one token each.
    fn job_of(semaphore: &Arc<Semaphore>, tokens: &[u32]) -> (Job, oneshot::Receiver<Reply>) {
        let (reply, vectors) = oneshot::channel();
        let permits = [1, 1].map(|n| Arc::clone(semaphore).try_acquire_many_owned(n).unwrap());
        let sequence = |token: &u32| Sequence { ids: Prompt::new(vec![*token]), segments: vec![0] };
        let sequences = tokens.iter().map(sequence).collect();
        (Job { identity: Arc::from("a"), sequences, reply, permits }, vectors)
    }

    #[tokio::test]
    async fn thread_that_answers_goes_on() {
        let worker = start(Rows::OfAll, |batch| Ok(batch.iter().map(|_| Ok(vec![0.5])).collect())).unwrap();
        let semaphore = Arc::new(Semaphore::new(2));
        for _ in 0..2 {
            let (job, vectors) = job(&semaphore);
            worker.send(job).unwrap();
            assert_eq!(vectors.await.unwrap().unwrap(), [[0.5]]);
        }
        assert!(!worker.is_closed());
    }

    type Outcome = core::result::Result<Vec<Vec<f32>>, Code>;

    /// What a graph that `fails` at these sequences makes of two requests in one batch, of tokens 2, 3 and of tokens 4, 5, and
    /// the sizes of the batches that ran for them.
    async fn two_requests(fails: fn(&[u32]) -> Result<Vectors>) -> ([Outcome; 2], Vec<usize>) {
        let (entered, has_entered) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (ran, batches) = std::sync::mpsc::channel();
        let mut entered = Some(entered);
        let worker = start(Rows::OfAll, move |batch| {
            // The first batch is of the request that holds the thread until the two others wait.
            if let Some(entered) = entered.take() {
                entered.send(()).unwrap();
                released.recv().unwrap();
            } else {
                ran.send(batch.len()).unwrap();
            }
            fails(&batch.iter().map(|sequence| sequence.ids.expose()[0]).collect::<Vec<_>>())
        });
        let worker = worker.unwrap();
        let semaphore = Arc::new(Semaphore::new(6));
        let [held, one, other] = [&[1][..], &[2, 3], &[4, 5]].map(|tokens| job_of(&semaphore, tokens));
        worker.send(held.0).unwrap();
        has_entered.await.unwrap();
        worker.send(one.0).unwrap();
        worker.send(other.0).unwrap();
        release.send(()).unwrap();
        assert!(held.1.await.unwrap().is_ok());
        let replies = [one.1.await.unwrap(), other.1.await.unwrap()].map(|reply| reply.map_err(|refusal| refusal.code));
        assert_eq!(semaphore.available_permits(), 6);
        (replies, batches.try_iter().collect())
    }

    fn vectors(tokens: &[u32]) -> Vectors {
        tokens.iter().map(|token| Ok(vec![f32::from(u8::try_from(*token).unwrap())])).collect()
    }

    fn failed() -> Refusal {
        Refusal::new(Code::RuntimeFailed, "graph")
    }

    #[tokio::test]
    async fn request_that_fails_the_run_of_a_batch_leaves_another_caller_s_whole() {
        let ([one, other], batches) = two_requests(|tokens| Ok(vectors(tokens))).await;
        assert_eq!((one, other, batches), (Ok(vec![vec![2.0], vec![3.0]]), Ok(vec![vec![4.0], vec![5.0]]), vec![4]));
        let run = |tokens: &[u32]| if tokens.contains(&2) { Err(failed()) } else { Ok(vectors(tokens)) };
        let ([one, other], batches) = two_requests(run).await;
        assert_eq!((one, other), (Err(Code::RuntimeFailed), Ok(vec![vec![4.0], vec![5.0]])));
        assert_eq!(batches, [4, 2, 2]);
    }

    #[tokio::test]
    async fn request_with_a_failed_vector_leaves_another_caller_s_whole_and_alone_runs_again() {
        let run = |tokens: &[u32]| {
            let vector = |(token, vector)| if token == &2 { Err(failed()) } else { vector };
            Ok(tokens.iter().zip(vectors(tokens)).map(vector).collect())
        };
        let ([one, other], batches) = two_requests(run).await;
        assert_eq!((one, other), (Err(Code::RuntimeFailed), Ok(vec![vec![4.0], vec![5.0]])));
        assert_eq!(batches, [4, 2]);
    }

    #[tokio::test]
    async fn requests_that_fail_only_together_both_get_their_vectors() {
        let run = |tokens: &[u32]| if tokens.len() > 2 { Err(failed()) } else { Ok(vectors(tokens)) };
        let ([one, other], batches) = two_requests(run).await;
        assert_eq!((one, other), (Ok(vec![vec![2.0], vec![3.0]]), Ok(vec![vec![4.0], vec![5.0]])));
        assert_eq!(batches, [4, 2, 2]);
    }

    #[tokio::test]
    async fn thread_that_panics_closes_its_channel_and_keeps_nothing_of_its_requests() {
        let worker = start(Rows::OfAll, |_| panic!("graph")).unwrap();
        let semaphore = Arc::new(Semaphore::new(2));
        let (job, vectors) = job(&semaphore);
        worker.send(job).unwrap();
        assert!(vectors.await.is_err());
        worker.closed().await;
        assert_eq!(semaphore.available_permits(), 2);
    }
}
