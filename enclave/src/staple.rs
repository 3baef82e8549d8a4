//! Endorsements for clients, where the host gives its guest none: the verifier's set, asked for with this guest's own evidence
//! and stapled to its evidence answers ([`strongroom_wire::endorsements`]).
//!
//! The host's word comes first: the verifier is asked only for what the host's certificate table lacks, an endorsement key or
//! a revocation list. A set is renewed half way to its end, and when the platform's TCB changes, for which there is another
//! key. Where no new one can be had the old one stays: the client says whether it still holds. Nothing of it is judged here:
//! an attester does not grade itself.

mod source;

pub use source::{OfVerifier, Source};

use crate::attester::OwnEvidence;
use core::time::Duration;
use std::sync::Arc;
use strongroom_wire::endorsements::{EndorsementSet, renew_after};
use strongroom_wire::evidence::Endorsement;
use strongroom_wire::snp::{CertificateKind, CertificateTable};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The first wait after a failure; doubled after each further one, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Far below the times after which revocation lists end, and far above what a verifier notices of its guests.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// Between two questions, however often the platform changes.
const SPACING: Duration = Duration::from_secs(5);
/// How long a boot waits for the first answer: longer than the verifier waits for a vendor. Clients of an enclave without
/// endorsements refuse it, and the set may come later.
const BOOT: Duration = Duration::from_secs(30);

/// Seconds since 1970-01-01T00:00:00Z, whenever it is asked. It is the host's clock: a wrong one has a set asked for too
/// often, or used past its end, which clients then refuse.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What evidence is handed out with. Clones have the same set.
#[derive(Debug, Clone)]
pub struct Staple {
    held: watch::Receiver<Held>,
    want: watch::Sender<Option<Want>>,
}

/// What the host's table of a report lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacks {
    /// The certificate of the key that signed it.
    pub key: bool,
    /// A revocation list.
    pub list: bool,
}

#[derive(Debug, Default)]
struct Held {
    set: Option<Arc<EndorsementSet>>,
    /// Questions that were answered, well or not.
    answers: u64,
}

/// What a set is wanted for. The same chip at the same TCB is the same want, whatever the report is about.
#[derive(Debug, Clone)]
struct Want {
    report: Arc<[u8]>,
    chip: [u8; 64],
    tcb: [u8; 8],
    lacks: Lacks,
}

impl Lacks {
    /// What `table`, as the host gave it, lacks. One that does not parse is handed on as it is, beside a whole set.
    fn of(table: &[u8]) -> Self {
        let entries = CertificateTable::parse(table).unwrap_or_default().entries;
        let none = |kinds: &[CertificateKind]| !entries.iter().any(|entry| kinds.contains(&entry.kind));
        Self { key: none(&[CertificateKind::Vcek, CertificateKind::Vlek]), list: none(&[CertificateKind::Crl]) }
    }

    const fn any(self) -> bool {
        self.key || self.list
    }
}

impl Want {
    fn of(own: &OwnEvidence) -> Option<Self> {
        // What TDX quotes are verified with no verifier hands to guests yet.
        let report = own.report()?;
        let lacks = Lacks::of(&own.quote().certificates);
        let (chip, tcb) = (report.chip_id, report.reported_tcb);
        lacks.any().then(|| Self { report: own.quote().evidence.as_slice().into(), chip, tcb, lacks })
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.chip, self.tcb, self.lacks) == (other.chip, other.tcb, other.lacks)
    }
}

impl Staple {
    /// What the host gives, and nothing else.
    pub fn of_host() -> Self {
        Self { held: watch::channel(Held::default()).1, want: watch::channel(None).0 }
    }

    /// What the host gives, and what it lacks from `source`. The task that asks ends when the last clone is dropped.
    pub fn open(source: impl Source, clock: Clock) -> Self {
        let (holds, held) = watch::channel(Held::default());
        let (want, wanted) = watch::channel(None);
        tokio::spawn(renew(source, clock, wanted, holds));
        Self { held, want }
    }

    /// What is to be stapled to `own`; what it lacks is asked for meanwhile.
    pub fn endorsements(&self, own: &OwnEvidence) -> Vec<Endorsement> {
        let mut endorsements: Vec<_> = Endorsement::of_host(&own.quote().certificates).into_iter().collect();
        if let Some(want) = self.note(own)
            && let Some(set) = &self.held.borrow().set
        {
            let lacking = |endorsement: &&Endorsement| match endorsement.r#type.as_str() {
                "crl" => want.lacks.list,
                _ => want.lacks.key,
            };
            endorsements.extend(set.endorsements.iter().filter(lacking).cloned());
        }
        endorsements
    }

    /// Waits for the first answer for `own`, where there is something to ask for: half a minute at most.
    pub async fn prepare(&self, own: &OwnEvidence) {
        if self.note(own).is_none() || self.want.receiver_count() == 0 {
            return;
        }
        let mut held = self.held.clone();
        // The log has the reason where there was an answer without a set.
        if timeout(BOOT, held.wait_for(|held| held.answers > 0)).await.is_err() {
            tracing::warn!("no endorsements from the verifier yet: going on without");
        }
    }

    fn note(&self, own: &OwnEvidence) -> Option<Want> {
        let want = Want::of(own)?;
        self.want.send_if_modified(|noted| {
            let is_new = !noted.as_ref().is_some_and(|noted| noted.is_same(&want));
            if is_new {
                *noted = Some(want.clone());
            }
            is_new
        });
        Some(want)
    }
}

/// Asks `source` for what is wanted, again and again, until nobody can want anything any more.
async fn renew(
    source: impl Source,
    clock: Clock,
    mut wanted: watch::Receiver<Option<Want>>,
    holds: watch::Sender<Held>,
) {
    let mut wait = FIRST_WAIT;
    loop {
        let Ok(want) = wanted.wait_for(Option::is_some).await.map(|want| want.clone()) else { return };
        let Some(want) = want else { continue };
        let fetched = source.fetch(&want.report, want.lacks).await;
        let failed = fetched.is_err();
        let pause = match fetched {
            Ok(set) => {
                let pause = Duration::from_secs(renew_after(set.expires, clock()));
                tracing::info!(expires = set.expires, seconds = pause.as_secs(), "endorsements stapled");
                holds.send_modify(|held| held.set = Some(Arc::new(set)));
                wait = FIRST_WAIT;
                pause
            }
            Err(refusal) => {
                tracing::warn!(%refusal, ?wait, "no endorsements from the verifier");
                let longer = wait.saturating_mul(2).min(LONGEST_WAIT);
                core::mem::replace(&mut wait, longer)
            }
        };
        holds.send_modify(|held| held.answers = held.answers.saturating_add(1));
        tokio::select! {
            () = sleep(earlier(pause)) => {}
            // Another TCB has another key; a verifier that did not answer is not asked sooner for it.
            changed = changed(&mut wanted), if !failed => if changed.is_err() { return },
            () = holds.closed() => return,
        }
    }
}

async fn changed(wanted: &mut watch::Receiver<Option<Want>>) -> Result<(), watch::error::RecvError> {
    sleep(SPACING).await;
    wanted.changed().await
}

/// Up to a fifth earlier, by chance: guests that booted together do not ask together for ever.
pub(crate) fn earlier(pause: Duration) -> Duration {
    let mut random = [0];
    // Without randomness all ask at once, which is a nuisance and nothing else.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    pause.saturating_sub(pause.saturating_mul(u32::from(random)) / (5 * 255))
}

#[cfg(test)]
mod tests;
