use super::*;
use std::sync::{Arc, Mutex};
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::Confirmation;
use strongroom_wire::lease::{AUDIENCE, Lease};
use strongroom_wire::{Result, Root};
use tokio::time::sleep;

const MAX: Duration = Duration::from_secs(900);

/// A verifier that says this, by how often it was asked before; and the seconds at which it was asked.
struct Played {
    says: Box<dyn Fn(usize) -> Said + Send + Sync>,
    asked: Arc<Mutex<Vec<u64>>>,
    began: Instant,
}

enum Said {
    /// A lease of so many seconds.
    Yes(u64),
    No(Code),
    Nothing,
}

impl Source for Played {
    async fn take(&self) -> Result<Lease> {
        let before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(self.began.elapsed().as_secs());
            asked.len() - 1
        };
        match (self.says)(before) {
            Said::Yes(seconds) => Ok(lease(seconds)),
            Said::No(code) => Err(Refusal::new(code, "lease")),
            Said::Nothing => core::future::pending().await,
        }
    }
}

fn lease(seconds: u64) -> Lease {
    Lease {
        aud: AUDIENCE.into(),
        iss: "verifier".into(),
        sub: String::new(),
        jti: "1".into(),
        iat: 100,
        exp: 100 + seconds,
        nonce: Sha256([1; 32]),
        root: Root::Amd,
        cnf: Confirmation { jkt: String::new() },
        workload: Sha256([2; 32]),
        routes: vec![],
    }
}

fn hold(says: impl Fn(usize) -> Said + Send + Sync + 'static) -> (Tenure, Arc<Mutex<Vec<u64>>>) {
    let asked = Arc::<Mutex<Vec<u64>>>::default();
    let source = Played { says: Box::new(says), asked: Arc::clone(&asked), began: Instant::now() };
    (Tenure::hold(source, MAX), asked)
}

/// Why and when it ends.
async fn end(says: impl Fn(usize) -> Said + Send + Sync + 'static) -> (Code, u64, Vec<u64>) {
    let began = Instant::now();
    let (tenure, asked) = hold(says);
    assert!(tenure.lasts());
    let code = tenure.ended().await.code;
    assert!(!tenure.lasts());
    assert_eq!(tenure.ended().await.code, code, "whoever asks later is told the same");
    let asked = asked.lock().unwrap().clone();
    (code, began.elapsed().as_secs(), asked)
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_before_half_of_it_is_over() {
    let (tenure, asked) = hold(|_| Said::Yes(300));
    sleep(Duration::from_secs(100_000)).await;
    assert!(tenure.lasts());
    let asked = asked.lock().unwrap().clone();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 600 && pauses.iter().all(|pause| (119..=151).contains(pause)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn lease_that_lasts_longer_than_one_may_go_without_is_renewed_before_half_of_that_is_over() {
    let (tenure, asked) = hold(|_| Said::Yes(100_000));
    sleep(Duration::from_secs(10_000)).await;
    assert!(tenure.lasts() && asked.lock().unwrap().len() >= 22);
}

#[tokio::test(start_paused = true)]
async fn refusal_that_is_meant_for_good_ends_it_at_once_and_any_other_is_met_by_asking_again() {
    for code in [Code::Revoked, Code::Quarantined, Code::MeasurementNotApproved, Code::PromotionDemoted] {
        let (ended, at, asked) = end(move |before| if before == 0 { Said::Yes(300) } else { Said::No(code) }).await;
        assert_eq!((ended, asked.len()), (code, 2));
        assert!(at <= 151, "{at}");
    }
    let (ended, at, asked) = end(|before| if before == 0 { Said::Yes(300) } else { Said::No(Code::Network) }).await;
    assert_eq!((ended, at), (Code::Unleased, 900));
    assert!(asked.len() > 20, "{asked:?}");
    // First after a second, and never later than after half a minute.
    let pauses: Vec<u64> = asked.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[..5].is_sorted() && pauses[0] <= 1 && pauses.iter().all(|pause| *pause <= 30), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn verifier_that_is_back_in_time_ends_nothing() {
    let away = |before: usize| if (1..=20).contains(&(before % 22)) { Said::No(Code::Busy) } else { Said::Yes(300) };
    let (tenure, asked) = hold(away);
    sleep(Duration::from_secs(50_000)).await;
    assert!(tenure.lasts() && asked.lock().unwrap().len() > 1000);
}

#[tokio::test(start_paused = true)]
async fn verifier_that_never_answers_ends_it_after_as_long_as_the_document_allows() {
    assert_eq!(end(|_| Said::Nothing).await, (Code::Unleased, 900, vec![0]));
    let (ended, at, asked) = end(|before| if before == 0 { Said::Yes(300) } else { Said::Nothing }).await;
    assert_eq!((ended, at, asked.len()), (Code::Unleased, 900, 2));
}

#[tokio::test(start_paused = true)]
async fn deployment_without_leases_goes_on() {
    let tenure = Tenure::without_lease();
    assert!(tokio::time::timeout(Duration::from_secs(1_000_000), tenure.ended()).await.is_err());
    assert!(tenure.lasts());
}
