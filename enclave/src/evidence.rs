//! The evidence desk: many nonces, one report.
//!
//! The processor makes few reports a second and its host throttles it, while anyone may ask for evidence. So whoever waits
//! while a report is being made is answered together by the next one: it carries the root of the Merkle tree over their
//! nonces ([`strongroom_wire::merkle`]), and each answer brings the path of its own.

use crate::attester::{Attester, OwnEvidence};
use std::sync::Arc;
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer, Workload};
use strongroom_wire::merkle::{self, Sibling};
use strongroom_wire::{Code, Refusal, Result, bytes};
use tokio::sync::{mpsc, oneshot};

/// Nonces that may wait for the next report: far below the depth of a Merkle path, and at a report a second as many callers
/// as connections.
const QUEUE: usize = 1024;

/// What evidence of this enclave is bound to, besides the nonce.
#[derive(Debug)]
pub struct Bound {
    /// DER SubjectPublicKeyInfo of the TLS key.
    pub channel_key: Vec<u8>,
    /// What is served behind it.
    pub workload: Workload,
}

/// Takes nonces and gives answers. Its worker ends when the desk is dropped.
#[derive(Debug)]
pub struct Desk {
    queue: mpsc::Sender<Ask>,
}

struct Ask {
    nonce: [u8; 32],
    answer: oneshot::Sender<Result<EvidenceAnswer>>,
}

impl Desk {
    /// Opens the desk on the current Tokio runtime.
    ///
    /// # Errors
    /// `malformed` or `too-large` the workload is none.
    pub fn open(attester: Arc<dyn Attester>, bound: Bound) -> Result<Self> {
        Self::with_queue(attester, bound, QUEUE)
    }

    fn with_queue(attester: Arc<dyn Attester>, bound: Bound, length: usize) -> Result<Self> {
        let workload = bound.workload.digest()?;
        let (queue, asks) = mpsc::channel(length);
        tokio::spawn(Worker { attester, bound, workload }.run(asks));
        Ok(Self { queue })
    }

    /// Evidence for `nonce`.
    ///
    /// # Errors
    /// `busy` too many wait already; else as [`OwnEvidence::fetch`].
    pub async fn answer(&self, nonce: [u8; 32]) -> Result<EvidenceAnswer> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| Refusal::new(Code::Busy, "evidence queue").got("full");
        self.queue.try_send(Ask { nonce, answer }).map_err(busy)?;
        answered.await.map_err(|_| Refusal::new(Code::Internal, "evidence worker is gone"))?
    }
}

struct Worker {
    attester: Arc<dyn Attester>,
    bound: Bound,
    workload: Sha256,
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
        let bound = report_data(Purpose::ClientChannel, &root, &self.bound.channel_key, &self.workload);
        let evidence = OwnEvidence::fetch(Arc::clone(&self.attester), bound).await;
        if let Err(refusal) = &evidence {
            tracing::error!(%refusal, nonces = nonces.len(), "no evidence");
        }
        for (ask, path) in batch.into_iter().zip(paths) {
            let answer = evidence.as_ref().map(|own| self.answer(own, ask.nonce, path)).map_err(Clone::clone);
            // Who has gone needs no answer.
            drop(ask.answer.send(answer));
        }
    }

    fn answer(&self, own: &OwnEvidence, nonce: [u8; 32], path: Vec<Sibling>) -> EvidenceAnswer {
        let table = &own.quote().certificates;
        let endorsement = Endorsement { r#type: "certificate-table".to_owned(), data: bytes::to_base64(table) };
        EvidenceAnswer {
            v: 1,
            platform: "snp".to_owned(),
            evidence: bytes::to_base64(&own.quote().evidence),
            endorsements: if table.is_empty() { Vec::new() } else { vec![endorsement] },
            channel_key: bytes::to_base64(&self.bound.channel_key),
            workload: self.bound.workload.clone(),
            nonce: Sha256(nonce),
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    // The lock is the processor's, which the tests keep busy on purpose; each test has its own.
    #![allow(clippy::await_holding_lock)]

    use super::*;
    use crate::attester::tests::Unsigned;
    use std::sync::atomic::Ordering;
    use strongroom_wire::snp::Report;

    fn desk(attester: Arc<Unsigned>, queue: usize) -> Desk {
        let workload = Workload { deployment: bytes::to_base64(b"document"), models: Vec::new() };
        Desk::with_queue(attester, Bound { channel_key: b"key".to_vec(), workload }, queue).unwrap()
    }

    /// What a client does with an answer, but for the signature.
    fn verified(answer: &EvidenceAnswer, nonce: &[u8; 32]) -> bool {
        let report = Report::parse(&bytes::from_base64(&answer.evidence, "evidence").unwrap()).unwrap();
        answer.expected_report_data(nonce, b"key").is_ok_and(|want| want == report.report_data)
    }

    #[tokio::test]
    async fn single_nonce_answered_by_a_report_of_its_own() {
        let answer = desk(Arc::default(), QUEUE).answer([3; 32]).await.unwrap();
        assert!(verified(&answer, &[3; 32]));
        assert!(answer.path.is_empty());
        assert!(!verified(&answer, &[4; 32]));
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
