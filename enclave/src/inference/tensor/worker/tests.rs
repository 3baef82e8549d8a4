use super::super::tests::{integers, tensor};
use super::*;
use crate::inference::tensor::Data;
use std::sync::Arc;
use strongroom_wire::Code;
use tokio::sync::Semaphore;

/// A request of rows of one element each.
fn job(semaphore: &Arc<Semaphore>, elements: &[i32]) -> (Job, oneshot::Receiver<Reply>) {
    let (reply, outputs) = oneshot::channel();
    let permits = [1, 1].map(|n| Arc::clone(semaphore).try_acquire_many_owned(n).unwrap());
    let inputs = vec![tensor("x", &[elements.len(), 1], Data::Int32(elements.to_vec()))];
    (Job { identity: "app".into(), inputs, reply, permits }, outputs)
}

fn echo(inputs: &[&Tensor]) -> Reply {
    Ok(inputs.iter().map(|input| tensor("y", &input.shape, Data::Int32(integers(input)))).collect())
}

fn failed() -> Reply {
    Err(Refusal::new(Code::RuntimeFailed, "graph"))
}

type Outcome = core::result::Result<Vec<i32>, Code>;

/// What a graph that does `run` makes of two requests that wait at one time, of 2 and 3, and of 4; and the rows of each run.
async fn two_requests(takes_batches: bool, run: fn(&[&Tensor]) -> Reply) -> ([Outcome; 2], Vec<usize>) {
    let (entered, has_entered) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (ran, runs) = std::sync::mpsc::channel();
    let mut entered = Some(entered);
    let worker = start(takes_batches, move |inputs| {
        // The first run is of the request that holds the thread until the two others wait.
        if let Some(entered) = entered.take() {
            entered.send(()).unwrap();
            released.recv().unwrap();
        } else {
            ran.send(inputs[0].shape[0]).unwrap();
        }
        run(inputs)
    });
    let worker = worker.unwrap();
    let semaphore = Arc::new(Semaphore::new(6));
    let [held, one, other] = [&[1][..], &[2, 3], &[4]].map(|elements| job(&semaphore, elements));
    worker.send(held.0).unwrap();
    has_entered.await.unwrap();
    worker.send(one.0).unwrap();
    worker.send(other.0).unwrap();
    release.send(()).unwrap();
    assert!(held.1.await.unwrap().is_ok());
    let outcome = |reply: Reply| reply.map(|outputs| integers(&outputs[0])).map_err(|refusal| refusal.code);
    let outcomes = [outcome(one.1.await.unwrap()), outcome(other.1.await.unwrap())];
    assert_eq!(semaphore.available_permits(), 6);
    (outcomes, runs.try_iter().collect())
}

#[tokio::test]
async fn requests_that_wait_share_a_run_where_the_graph_takes_batches_and_run_alone_where_not() {
    let want = [Ok(vec![2, 3]), Ok(vec![4])];
    assert_eq!(two_requests(true, echo).await, (want.clone(), vec![3]));
    assert_eq!(two_requests(false, echo).await, (want, vec![2, 1]));
}

#[tokio::test]
async fn request_that_fails_a_batch_leaves_another_caller_s_whole() {
    let run = |inputs: &[&Tensor]| if integers(inputs[0]).contains(&2) { failed() } else { echo(inputs) };
    assert_eq!(two_requests(true, run).await, ([Err(Code::RuntimeFailed), Ok(vec![4])], vec![3, 2, 1]));
}

#[tokio::test]
async fn outputs_of_another_number_of_rows_are_nobody_s_and_each_runs_alone() {
    let run = |inputs: &[&Tensor]| {
        let one_row = inputs[0].shape[0] == 3;
        if one_row { Ok(vec![tensor("y", &[1, 1], Data::Int32(vec![9]))]) } else { echo(inputs) }
    };
    assert_eq!(two_requests(true, run).await, ([Ok(vec![2, 3]), Ok(vec![4])], vec![3, 2, 1]));
}

#[tokio::test]
async fn thread_that_panics_closes_its_channel_and_keeps_nothing_of_its_requests() {
    let worker = start(true, |_| panic!("graph")).unwrap();
    let semaphore = Arc::new(Semaphore::new(2));
    let (job, outputs) = job(&semaphore, &[1]);
    worker.send(job).unwrap();
    assert!(outputs.await.is_err());
    worker.closed().await;
    assert_eq!(semaphore.available_permits(), 2);
}

#[test]
fn rows_of_one_identity_share_a_run_and_of_two_never() {
    let semaphore = Arc::new(Semaphore::new(6));
    let of = |identity: &str| Job { identity: identity.into(), ..job(&semaphore, &[1]).0 };
    let mut waiting = VecDeque::from([of("app"), of("other"), of("app")]);
    let identities = |batch: Vec<Job>| batch.into_iter().map(|job| job.identity).collect::<Vec<_>>();
    assert_eq!(identities(next(&mut waiting, batch::ROWS)), ["app", "app"]);
    assert_eq!(identities(next(&mut waiting, batch::ROWS)), ["other"]);
}

#[test]
fn batches_whose_outputs_are_too_large_together_alone_become_smaller() {
    let semaphore = Arc::new(Semaphore::new(4));
    let batch = [job(&semaphore, &[1, 2]).0, job(&semaphore, &[3, 4]).0];
    let most_after = |limit: usize| {
        let mut most = batch::ROWS;
        let mut run = |inputs: &[&Tensor]| {
            let is_over = inputs[0].shape[0] > limit;
            if is_over { Err(Refusal::too_large("outputs", "more", limit)) } else { echo(inputs) }
        };
        (replies(&batch, &mut most, &mut run).iter().all(Result::is_ok), most)
    };
    assert_eq!(most_after(4), (true, batch::ROWS));
    assert_eq!(most_after(3), (true, 2));
    assert_eq!(most_after(1), (false, batch::ROWS), "what is too large by itself");
}

#[test]
fn batch_is_of_rows_up_to_its_bounds_and_of_one_shape() {
    let semaphore = Arc::new(Semaphore::new(100));
    let queue =
        |sizes: &[usize]| -> VecDeque<Job> { sizes.iter().map(|size| job(&semaphore, &vec![0; *size]).0).collect() };
    let rows = |batch: &[Job]| batch.iter().map(|job| job.inputs[0].shape[0]).collect::<Vec<_>>();
    let mut waiting = queue(&[batch::ROWS - 1, 2, 1]);
    assert_eq!(rows(&next(&mut waiting, batch::ROWS)), [batch::ROWS - 1, 1]);
    assert_eq!(rows(&next(&mut waiting, batch::ROWS)), [2]);
    let wide = |elements: usize| {
        let mut job = job(&semaphore, &[]).0;
        job.inputs = vec![tensor("x", &[1, elements], Data::Int32(vec![0; elements]))];
        job
    };
    let half = batch::BYTES / 8;
    for (sizes, together) in [([half, half], 2), ([half, half + 1], 1), ([half + 1, half + 1], 1)] {
        let mut waiting = sizes.into_iter().map(wide).collect();
        assert_eq!(next(&mut waiting, batch::ROWS).len(), together);
    }
}
