//! The evidence desk: many nonces, one report.
//!
//! The processor makes few reports a second and its host throttles it, while anyone may ask for evidence. So whoever waits
//! while a report is being made is answered together by the next one: it carries the root of the Merkle tree over their
//! nonces ([`strongroom_wire::merkle`]), and each answer brings the path of its own.
//!
//! What answers have in common, most of it the deployment document, is written once and shared: a caller costs the memory of
//! a nonce and a path.

use crate::attester::{Attester, OwnEvidence};
use crate::staple::Staple;
use axum::body::Bytes;
use serde::Serialize;
use std::sync::Arc;
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Endorsement, Workload};
use strongroom_wire::merkle::{self, Sibling};
use strongroom_wire::{Code, Refusal, Result, bytes};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Nonces that may wait for the next report: far below the depth of a Merkle path, and at a report a second as many callers
/// as connections.
const QUEUE: usize = 1024;

/// What evidence of this enclave is bound to, besides the nonce.
#[derive(Debug, Clone)]
pub struct Bound {
    /// DER SubjectPublicKeyInfo of the TLS key.
    pub channel_key: Vec<u8>,
    /// What is served behind it.
    pub workload: Workload,
}

/// [`strongroom_wire::evidence::EvidenceAnswer`] as JSON: parts to be read one after the other, the first two of which it
/// shares with other answers.
#[derive(Debug)]
pub struct Answer([Bytes; 3]);

/// The members that answers of one report have in common.
#[derive(Serialize)]
struct OfReport {
    v: u32,
    platform: &'static str,
    evidence: String,
    endorsements: Vec<Endorsement>,
}

/// The members that all answers have in common.
#[derive(Serialize)]
struct OfEnclave {
    channel_key: String,
    workload: Workload,
}

/// The members of one answer.
#[derive(Serialize)]
struct OfNonce {
    nonce: Sha256,
    path: Vec<Sibling>,
}

impl Answer {
    /// The parts, in their order.
    pub fn into_parts(self) -> [Bytes; 3] {
        self.0
    }
}

/// The JSON object of `members` with `first` in place of its first brace and `last` in place of its last.
fn part(first: &[u8], members: &impl Serialize, last: &[u8]) -> Result<Bytes> {
    let bug = || Refusal::new(Code::Internal, "writing an evidence answer");
    let json = serde_json::to_vec(members).map_err(|e| bug().because(e))?;
    let inner = json.strip_prefix(b"{").and_then(|json| json.strip_suffix(b"}")).ok_or_else(bug)?;
    Ok([first, inner, last].concat().into())
}

/// Takes nonces and gives answers. Its worker ends when the desk is dropped.
#[derive(Debug)]
pub struct Desk {
    queue: mpsc::Sender<Ask>,
}

struct Ask {
    nonce: [u8; 32],
    answer: oneshot::Sender<Result<Answer>>,
}

impl Desk {
    /// Opens the desk on the current Tokio runtime.
    ///
    /// # Errors
    /// `malformed` or `too-large` the workload is none.
    pub fn open(attester: Arc<dyn Attester>, bound: Bound, staple: Staple) -> Result<Self> {
        Self::with_queue(attester, bound, staple, QUEUE)
    }

    fn with_queue(attester: Arc<dyn Attester>, bound: Bound, staple: Staple, length: usize) -> Result<Self> {
        let Bound { channel_key, workload } = bound;
        let workload_digest = workload.digest()?;
        let of_enclave = part(b"", &OfEnclave { channel_key: bytes::to_base64(&channel_key), workload }, b",")?;
        let (queue, asks) = mpsc::channel(length);
        tokio::spawn(Worker { attester, staple, channel_key, workload_digest, of_enclave }.run(asks));
        Ok(Self { queue })
    }

    /// Evidence for `nonce`.
    ///
    /// # Errors
    /// `busy` too many wait already; else as [`OwnEvidence::fetch`].
    pub async fn answer(&self, nonce: [u8; 32]) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let gone = || Refusal::new(Code::Internal, "evidence worker is gone");
        self.queue.try_send(Ask { nonce, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::new(Code::Busy, "evidence queue").got("full"),
            TrySendError::Closed(_) => gone(),
        })?;
        answered.await.map_err(|_| gone())?
    }

    /// Whether somebody answers.
    pub fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Resolves when nobody answers any more, which is so only where the worker panicked.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }
}

struct Worker {
    attester: Arc<dyn Attester>,
    staple: Staple,
    channel_key: Vec<u8>,
    workload_digest: Sha256,
    of_enclave: Bytes,
}

impl Worker {
    async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        let mut batch = Vec::new();
        while asks.recv_many(&mut batch, QUEUE).await > 0 {
            // Who has gone in the meantime is not worth a leaf.
            batch.retain(|ask| !ask.answer.is_closed());
            if !batch.is_empty() {
                self.answer_batch(core::mem::take(&mut batch)).await;
            }
        }
    }

    async fn answer_batch(&self, batch: Vec<Ask>) {
        let nonces: Vec<[u8; 32]> = batch.iter().map(|ask| ask.nonce).collect();
        let (root, paths) = merkle::tree(&nonces);
        let bound = report_data(Purpose::ClientChannel, &root, &self.channel_key, &self.workload_digest);
        let own = OwnEvidence::fetch(Arc::clone(&self.attester), bound).await;
        let of_report = own.and_then(|own| of_report(&own, self.staple.endorsements(&own)));
        if let Err(refusal) = &of_report {
            tracing::error!(%refusal, nonces = nonces.len(), "no evidence");
        }
        for (ask, path) in batch.into_iter().zip(paths) {
            let answer = of_report.clone().and_then(|of_report| {
                let of_nonce = part(b"", &OfNonce { nonce: Sha256(ask.nonce), path }, b"}")?;
                Ok(Answer([of_report, self.of_enclave.clone(), of_nonce]))
            });
            // Who has gone needs no answer.
            drop(ask.answer.send(answer));
        }
    }
}

fn of_report(own: &OwnEvidence, endorsements: Vec<Endorsement>) -> Result<Bytes> {
    let members = OfReport {
        v: 1,
        platform: own.tee().platform(),
        evidence: bytes::to_base64(&own.quote().evidence),
        endorsements,
    };
    part(b"{", &members, b",")
}

#[cfg(test)]
mod tests {
    // The lock is the processor's, which the tests keep busy on purpose; each test has its own.
    #![allow(clippy::await_holding_lock)]

    use super::*;
    use crate::attester::tests::Unsigned;
    use std::sync::atomic::Ordering;
    use strongroom_wire::evidence::EvidenceAnswer;
    use strongroom_wire::snp::Report;

    fn desk(attester: Arc<Unsigned>, queue: usize) -> Desk {
        let workload = Workload { deployment: bytes::to_base64(b"document"), models: Vec::new() };
        Desk::with_queue(attester, Bound { channel_key: b"key".to_vec(), workload }, Staple::of_host(), queue).unwrap()
    }

    fn parsed(answer: &Answer) -> EvidenceAnswer {
        EvidenceAnswer::parse(&answer.0.concat()).unwrap()
    }

    /// What a client does with an answer, but for the signature.
    fn verified(answer: &Answer, nonce: &[u8; 32]) -> bool {
        let answer = parsed(answer);
        let report = Report::parse(&bytes::from_base64(&answer.evidence, "evidence").unwrap()).unwrap();
        answer.expected_report_data(nonce, b"key").is_ok_and(|want| want == report.report_data)
    }

    #[tokio::test]
    async fn single_nonce_answered_by_a_report_of_its_own() {
        let answer = desk(Arc::default(), QUEUE).answer([3; 32]).await.unwrap();
        assert!(verified(&answer, &[3; 32]));
        assert!(parsed(&answer).path.is_empty());
        assert!(!verified(&answer, &[4; 32]));
    }

    #[tokio::test]
    async fn answer_is_the_format_s_json_and_shares_what_is_common() {
        let desk = desk(Arc::default(), QUEUE);
        let (first, second) = (desk.answer([3; 32]).await.unwrap(), desk.answer([4; 32]).await.unwrap());
        let answer = parsed(&first);
        assert_eq!(first.0.concat(), serde_json::to_vec(&answer).unwrap());
        assert_eq!((answer.nonce, answer.workload.deployment()), (Sha256([3; 32]), Ok(b"document".to_vec())));
        assert_eq!(first.0[1].as_ptr(), second.0[1].as_ptr());
    }

    #[tokio::test]
    async fn desk_with_its_worker_is_alive_and_without_it_is_not() {
        let (queue, asks) = mpsc::channel(1);
        let desk = Desk { queue };
        assert!(desk.is_alive());
        drop(asks);
        desk.ended().await;
        assert!(!desk.is_alive());
        assert_eq!(desk.answer([3; 32]).await.unwrap_err().code, Code::Internal);
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fifty_nonces_that_wait_for_one_report_share_the_next_and_every_path_holds() {
        let attester = Arc::new(Unsigned::default());
        let desk = Arc::new(desk(Arc::clone(&attester), QUEUE));
        let ask = |n: u8| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { (n, desk.answer([n; 32]).await.unwrap()) })
        };
        let held = attester.busy.lock().unwrap();
        let first = ask(0);
        until(|| attester.entered.load(Ordering::SeqCst) == 1).await;
        let waiting: Vec<_> = (1..=50).map(ask).collect();
        until(|| desk.queue.capacity() == QUEUE - 50).await;
        drop(held);
        for task in waiting.into_iter().chain([first]) {
            let (n, answer) = task.await.unwrap();
            assert!(verified(&answer, &[n; 32]));
            assert!(!verified(&answer, &[n + 1; 32]));
        }
        assert_eq!(attester.answered.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nonce_that_finds_the_queue_full_refused_and_the_others_answered() {
        let attester = Arc::new(Unsigned::default());
        let desk = Arc::new(desk(Arc::clone(&attester), 2));
        let ask = |n: u8| {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move { desk.answer([n; 32]).await })
        };
        let held = attester.busy.lock().unwrap();
        let first = ask(0);
        until(|| attester.entered.load(Ordering::SeqCst) == 1).await;
        let waiting = [ask(1), ask(2)];
        until(|| desk.queue.capacity() == 0).await;
        assert_eq!(desk.answer([3; 32]).await.unwrap_err().code, Code::Busy);
        drop(held);
        for task in waiting.into_iter().chain([first]) {
            assert!(task.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn report_over_other_report_data_never_handed_out() {
        let attester = Unsigned { carries: Some([0; 64]), ..Unsigned::default() };
        let refusal = desk(Arc::new(attester), QUEUE).answer([3; 32]).await.unwrap_err();
        assert_eq!(refusal.code, Code::ReportDataMismatch);
    }
}
