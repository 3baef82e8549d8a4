//! Terms with a memory: a revocation list that is older than one seen is refused, and one that revokes is not forgotten.

use crate::enclave::{Enclave, Guest, NOW, terms};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_appraisal::Seen;
use strongroom_client::{Memory, Provisional, Terms};
use strongroom_devkit::amd::Hierarchy;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer};
use strongroom_wire::{Code, Refusal, Result};

/// Serial of the ASK of every hierarchy of devkit's.
const ASK: u32 = 0x01_00_01;

/// Keeps what was seen for as long as a test runs.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Seen>>);

impl Memory for Kept {
    fn compare(&self, compare: &mut dyn FnMut(&mut Seen) -> Result<()>) -> Result<()> {
        compare(&mut self.0.lock().unwrap())
    }
}

/// A memory that cannot be kept.
struct Broken;

impl Memory for Broken {
    fn compare(&self, compare: &mut dyn FnMut(&mut Seen) -> Result<()>) -> Result<()> {
        compare(&mut Seen::default())?;
        Err(Refusal::new(Code::Io, "memory"))
    }
}

fn staple(answer: &mut EvidenceAnswer, serials: &[u32], number: u64) {
    let list = Hierarchy::shared().unwrap().ark.numbered_crl(serials, NOW - 1000..NOW + 1000, Some(number)).unwrap();
    answer.endorsements.push(Endorsement { r#type: "crl".into(), data: to_base64(&list) });
}

/// The enclave that [`terms`] approve, which staples a list of number 1, of which more is made by `tamper`.
async fn enclave(tamper: fn(&mut EvidenceAnswer)) -> Enclave {
    Guest { tamper, ..Guest::approved() }.run().await
}

async fn attest(enclave: &Enclave, terms: &Terms) -> Option<Code> {
    let provisional = Provisional::connect(terms, &enclave.authority(), Duration::from_secs(10)).await.unwrap();
    provisional.attest(NOW).await.err().map(|refusal| refusal.code)
}

#[tokio::test]
async fn list_older_than_one_seen_refused_and_as_new_accepted() {
    let (old, new) = (enclave(|_| {}).await, enclave(|answer| staple(answer, &[], 6)).await);
    let remembering = terms().remembering(Kept::default());
    for (enclave, expected) in [(&old, None), (&new, None), (&new, None), (&old, Some(Code::CollateralRolledBack))] {
        assert_eq!(attest(enclave, &remembering).await, expected);
    }
    assert_eq!(attest(&old, &terms()).await, None, "without a memory its dates alone count");
    assert_eq!(remembering.policy_digest(), terms().policy_digest());
}

#[tokio::test]
async fn list_that_revokes_is_remembered_though_the_enclave_was_refused() {
    let (old, revoking) = (enclave(|_| {}).await, enclave(|answer| staple(answer, &[ASK], 9)).await);
    let remembering = terms().remembering(Kept::default());
    for (enclave, expected) in
        [(&old, None), (&revoking, Some(Code::CertificateRevoked)), (&old, Some(Code::CollateralRolledBack))]
    {
        assert_eq!(attest(enclave, &remembering).await, expected);
    }
}

#[tokio::test]
async fn enclave_refused_where_the_memory_cannot_be_kept() {
    let enclave = enclave(|_| {}).await;
    assert_eq!(attest(&enclave, &terms().remembering(Broken)).await, Some(Code::Io));
}
