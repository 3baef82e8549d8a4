//! Time is Tokio's, which jumps to the next timer while nobody works: hours pass in no time.

use super::*;
use crate::attester::tests::Unsigned;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_wire::attester::Quote;
use strongroom_wire::snp::TableEntry;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::Instant;

/// A processor whose host gives this table, at a TCB that can be changed.
#[derive(Debug, Default)]
struct Processor {
    table: Vec<u8>,
    tcb: AtomicU64,
}

impl crate::attester::Attester for Processor {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
        let mut quote = Unsigned::default().quote(report_data)?;
        quote.evidence[0x180..0x188].copy_from_slice(&self.tcb.load(Ordering::SeqCst).to_le_bytes());
        Ok(Quote { certificates: self.table.clone(), ..quote })
    }
}

impl Processor {
    async fn own(self: &Arc<Self>) -> OwnEvidence {
        let attester: Arc<dyn crate::attester::Attester> = self.clone();
        OwnEvidence::fetch(attester, [7; 64]).await.unwrap()
    }
}

fn table(kinds: &[CertificateKind]) -> Vec<u8> {
    let entry = |kind: &CertificateKind| TableEntry { kind: *kind, data: vec![1] };
    CertificateTable { entries: kinds.iter().map(entry).collect() }.encode().unwrap()
}

const KEY: CertificateKind = CertificateKind::Vcek;
const LIST: CertificateKind = CertificateKind::Crl;

/// A verifier that fails as long as it is told to, and counts.
#[derive(Clone)]
struct Played(Arc<Mutex<Script>>);

struct Script {
    begun: Instant,
    fails: bool,
    /// How long each set lasts.
    lasts: u64,
    /// When it was asked.
    asked: Vec<u64>,
}

impl Played {
    fn new(lasts: u64) -> Self {
        Self(Arc::new(Mutex::new(Script { begun: Instant::now(), fails: false, lasts, asked: Vec::new() })))
    }

    fn open(&self) -> Staple {
        let clock = self.clone();
        Staple::open(self.clone(), Arc::new(move || clock.0.lock().unwrap().begun.elapsed().as_secs()))
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().unwrap());
    }

    fn asked(&self) -> Vec<u64> {
        self.0.lock().unwrap().asked.clone()
    }
}

impl Source for Played {
    async fn fetch(&self, _report: &[u8], _lacks: Lacks) -> Result<EndorsementSet> {
        let mut script = self.0.lock().unwrap();
        let now = script.begun.elapsed().as_secs();
        script.asked.push(now);
        if script.fails {
            return Err(Refusal::new(Code::EndorsementUnavailable, "test"));
        }
        let number = u8::try_from(script.asked.len()).unwrap();
        let endorsements = vec![Endorsement::certificate(&[number]), Endorsement::crl(&[number])];
        let expires = now + script.lasts;
        Ok(EndorsementSet { v: 1, platform: "snp".into(), endorsement_key: true, endorsements, expires })
    }
}

fn stapled(staple: &Staple, own: &OwnEvidence) -> Vec<String> {
    staple.endorsements(own).into_iter().map(|endorsement| endorsement.r#type).collect()
}

#[tokio::test(start_paused = true)]
async fn what_the_host_s_table_lacks_is_stapled_and_nothing_else() {
    for (kinds, want, asks) in [
        (&[][..], &["certificate", "crl"][..], 1),
        (&[KEY], &["certificate-table", "crl"], 1),
        (&[LIST], &["certificate-table", "certificate"], 1),
        (&[KEY, LIST], &["certificate-table"], 0),
    ] {
        let table = if kinds.is_empty() { Vec::new() } else { table(kinds) };
        let own = Arc::new(Processor { table, ..Processor::default() }).own().await;
        let played = Played::new(1000);
        let staple = played.open();
        staple.prepare(&own).await;
        assert_eq!(stapled(&staple, &own), want);
        assert_eq!(played.asked().len(), asks);
    }
}

#[tokio::test(start_paused = true)]
async fn enclave_without_a_source_staples_the_host_s_table_alone_and_does_not_wait() {
    let own = Arc::new(Processor { table: table(&[KEY]), ..Processor::default() }).own().await;
    let staple = Staple::of_host();
    staple.prepare(&own).await;
    assert_eq!(stapled(&staple, &own), ["certificate-table"]);
}

#[tokio::test(start_paused = true)]
async fn set_is_renewed_before_it_ends_and_again() {
    let own = Arc::new(Processor::default()).own().await;
    let played = Played::new(10_000);
    let staple = played.open();
    staple.prepare(&own).await;
    sleep(Duration::from_secs(20_000)).await;
    let asked = played.asked();
    assert!(asked.len() >= 4, "{asked:?}");
    // Half way, and up to a fifth of that earlier.
    assert!(asked.windows(2).all(|pair| (4_000..=5_001).contains(&(pair[1] - pair[0]))), "{asked:?}");
    assert_eq!(staple.endorsements(&own)[0], Endorsement::certificate(&[u8::try_from(asked.len()).unwrap()]));
}

#[tokio::test(start_paused = true)]
async fn old_set_stays_while_no_new_one_can_be_had_and_the_source_is_asked_ever_less_often() {
    let own = Arc::new(Processor::default()).own().await;
    let played = Played::new(1_000);
    let staple = played.open();
    staple.prepare(&own).await;
    played.set(|script| script.fails = true);
    sleep(Duration::from_secs(10_000)).await;
    assert_eq!(staple.endorsements(&own)[0], Endorsement::certificate(&[1]));
    let asked = played.asked();
    // Doubling from a second to ten minutes: ten questions, and then one in ten minutes.
    assert!((20..40).contains(&asked.len()), "{asked:?}");
    assert!(asked[1] < 1_000, "long before the set ends");
    played.set(|script| script.fails = false);
    sleep(LONGEST_WAIT).await;
    assert_ne!(staple.endorsements(&own)[0], Endorsement::certificate(&[1]));
}

#[tokio::test(start_paused = true)]
async fn boot_goes_on_after_the_first_refusal_and_the_set_comes_later() {
    let own = Arc::new(Processor::default()).own().await;
    let played = Played::new(1_000);
    played.set(|script| script.fails = true);
    let staple = played.open();
    staple.prepare(&own).await;
    assert_eq!(stapled(&staple, &own), [""; 0]);
    assert_eq!(played.asked(), [0]);
    played.set(|script| script.fails = false);
    sleep(FIRST_WAIT).await;
    sleep(FIRST_WAIT).await;
    assert_eq!(stapled(&staple, &own), ["certificate", "crl"]);
}

#[tokio::test(start_paused = true)]
async fn other_tcb_has_another_key_and_is_asked_for_at_once() {
    let processor = Arc::new(Processor::default());
    let own = processor.own().await;
    let played = Played::new(100_000);
    let staple = played.open();
    staple.prepare(&own).await;
    // The same platform once more is nothing new.
    staple.endorsements(&processor.own().await);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(played.asked().len(), 1);
    processor.tcb.store(5, Ordering::SeqCst);
    staple.endorsements(&processor.own().await);
    sleep(SPACING).await;
    assert_eq!(played.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_any_more_where_nobody_staples() {
    let own = Arc::new(Processor::default()).own().await;
    let played = Played::new(1_000);
    let staple = played.open();
    staple.prepare(&own).await;
    drop(staple);
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!(played.asked().len(), 1);
}
