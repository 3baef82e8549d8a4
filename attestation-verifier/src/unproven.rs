//! What may not fill the audit log, however often it happens: refusals of peers that proved nothing, which anybody on the network
//! can cause, and reads of the log itself. The first of a kind and code is an entry at once; those of the minute after it are
//! counted, and their number is one entry.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use strongroom_appraisal::UnixTime;
use strongroom_wire::time::is_within;
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::store::Store;
use crate::trail::Trail;

/// In seconds: one row for each kind and code in so long.
const WINDOW: u64 = 60;

/// What was refused since the last row that says so. It holds an entry for each kind and code, of which there are few.
#[derive(Debug, Default)]
pub(crate) struct Unproven {
    seen: Mutex<BTreeMap<Which, Seen>>,
}

/// A kind, and the refusal's code; `None`: reads of the log.
type Which = (Kind, Option<Code>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// When the last row was written.
    since: UnixTime,
    /// Refusals after it.
    unrecorded: u64,
}

impl Unproven {
    /// Whether a refusal at `now` is a row: `None` where it is only counted, else how many were counted before it.
    fn note(&self, which: Which, now: UnixTime) -> Option<u64> {
        let mut seen = self.lock();
        match seen.get_mut(&which) {
            Some(seen) if is_within(WINDOW, seen.since, now) => {
                seen.unrecorded = seen.unrecorded.saturating_add(1);
                None
            }
            _ => {
                let before = seen.insert(which, Seen { since: now, unrecorded: 0 });
                Some(before.map_or(0, |before| before.unrecorded))
            }
        }
    }

    /// What was counted and has no row yet, of windows that are over at `now`, or of all.
    fn take(&self, now: UnixTime, all: bool) -> Vec<(Which, Seen)> {
        let mut seen = self.lock();
        let over = |seen: &Seen| all || !is_within(WINDOW, seen.since, now);
        seen.retain(|_, seen| seen.unrecorded > 0 || !over(seen));
        let counted = seen.iter_mut().filter(|(_, seen)| over(seen));
        let take = |(which, seen): (&Which, &mut Seen)| {
            let taken = (*which, *seen);
            *seen = Seen { since: now, unrecorded: 0 };
            taken
        };
        counted.map(take).collect()
    }

    /// Counts what was taken and could not be recorded again, with what was counted since.
    fn give_back(&self, which: Which, taken: Seen) {
        let mut seen = self.lock();
        let seen = seen.entry(which).or_insert(Seen { unrecorded: 0, ..taken });
        seen.since = seen.since.min(taken.since);
        seen.unrecorded = seen.unrecorded.saturating_add(taken.unrecorded);
    }

    /// Writes the rows of what was counted in windows that are over, or in all. What cannot be recorded stays counted, and
    /// does not stand in the way of the others.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`: of the first that could not be recorded.
    async fn summarise(&self, store: &Store, clock: &Clock, all: bool) -> Result<()> {
        let mut outcome = Ok(());
        for (which, seen) in self.take(clock.now(), all) {
            let detail = json!({ "since": seen.since, "unrecorded": seen.unrecorded });
            let event = Event { kind: which.0, subject: "-".to_owned(), code: which.1, detail };
            if let Err(refusal) = store.record(clock, &event).await {
                self.give_back(which, seen);
                outcome = outcome.and(Err(refusal));
            }
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Which, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifier {
    /// Records the refusal of a peer that proved nothing, or only counts it. The operator's log has each.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`: it could not be recorded, and was counted.
    pub(crate) async fn refused_unproven(&self, trail: Trail, refusal: &Refusal) -> Result<()> {
        self.counted(trail, Some(refusal)).await
    }

    /// Records that the log was read, or only counts it.
    ///
    /// # Errors
    /// As [`Self::refused_unproven`].
    pub(crate) async fn read_is_counted(&self, trail: Trail) -> Result<()> {
        self.counted(trail, None).await
    }

    async fn counted(&self, mut trail: Trail, refusal: Option<&Refusal>) -> Result<()> {
        let (which, now) = ((trail.kind(), refusal.map(|refusal| refusal.code)), self.clock.now());
        let row = self.unproven.note(which, now);
        if let Some(before @ 1..) = row {
            trail.note("unrecorded", before);
        }
        let event = trail.event(refusal);
        let Some(before) = row else { return Ok(()) };
        let recorded = self.store.record(&self.clock, &event).await;
        if recorded.is_err() {
            let unrecorded = before.saturating_add(1);
            self.unproven.give_back(which, Seen { since: now, unrecorded });
        }
        recorded.map(drop)
    }

    /// Writes the rows of what was counted, each minute and once more when it ends.
    pub(crate) async fn summarise_until(&self, stopped: impl Future<Output = ()>) {
        let mut stopped = core::pin::pin!(stopped);
        loop {
            let stopping = tokio::time::timeout(Duration::from_secs(WINDOW), &mut stopped).await.is_ok();
            if let Err(refusal) = self.unproven.summarise(&self.store, &self.clock, stopping).await {
                tracing::error!(%refusal, "counted refusals are not recorded");
            }
            if let Err(refusal) = self.store.forget_expired_changes(self.clock.now()).await {
                tracing::error!(%refusal, "changes whose time is over are kept");
            }
            if stopping {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use strongroom_wire::Realm;

    const KIND: Kind = Kind::Attestation;
    const ROOT: Which = (KIND, Some(Code::RootUntrusted));

    #[test]
    fn first_refusal_of_a_code_is_a_row_and_those_of_its_minute_are_counted() {
        let unproven = Unproven::default();
        assert_eq!(unproven.note(ROOT, 100), Some(0));
        for now in 100..100 + WINDOW {
            assert_eq!(unproven.note(ROOT, now), None);
        }
        assert_eq!(unproven.note((KIND, Some(Code::EndorsementMissing)), 100), Some(0));
        assert_eq!(unproven.note((Kind::Admin, ROOT.1), 100), Some(0));
        assert_eq!(unproven.note(ROOT, 100 + WINDOW), Some(WINDOW));
        assert_eq!(unproven.note(ROOT, 100 + WINDOW), None);
    }

    #[test]
    fn counted_refusals_are_taken_once_and_when_their_minute_is_over() {
        let unproven = Unproven::default();
        unproven.note(ROOT, 100);
        unproven.note(ROOT, 101);
        assert!(unproven.take(100 + WINDOW - 1, false).is_empty());
        let seen = Seen { since: 100, unrecorded: 1 };
        assert_eq!(unproven.take(100 + WINDOW, false), [(ROOT, seen)]);
        // The summary counts as the row of its minute, and one in which nothing comes ends it.
        assert_eq!(unproven.note(ROOT, 101 + WINDOW), None);
        assert_eq!(unproven.take(102 + WINDOW, true).len(), 1);
        assert!(unproven.take(102 + 2 * WINDOW, false).is_empty());
        assert_eq!(unproven.note(ROOT, 102 + 2 * WINDOW), Some(0));
    }

    #[test]
    fn clock_that_steps_back_mutes_no_row_and_no_summary() {
        let unproven = Unproven::default();
        unproven.note(ROOT, 10_000);
        assert_eq!(unproven.note(ROOT, 10_001), None);
        assert_eq!(unproven.note(ROOT, 9_999), Some(1));
        assert_eq!(unproven.note(ROOT, 9_999), None);
        let seen = Seen { since: 9_999, unrecorded: 1 };
        assert!(unproven.take(10_000, false).is_empty());
        assert_eq!(unproven.take(9_998, false), [(ROOT, seen)]);
    }

    #[tokio::test]
    async fn summary_that_cannot_be_recorded_loses_no_count_and_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let (unproven, clock) = (Unproven::default(), Clock::of(|| 100 + WINDOW));
        let codes = [Code::EndorsementMissing, Code::RootUntrusted];
        for code in codes {
            for _ in 0..3 {
                unproven.note((KIND, Some(code)), 100);
            }
        }
        // Of this connection alone: nothing of it is in the file.
        let fails = "CREATE TEMP TRIGGER fails BEFORE INSERT ON leaves WHEN instr(new.leaf, 'endorsement-missing') > 0
            BEGIN SELECT RAISE(ABORT, 'disk full'); END";
        store.execute(fails).await;
        assert_eq!(unproven.summarise(&store, &clock, false).await.unwrap_err().code, Code::StoreFailed);
        assert_eq!(summaries(&store).await, [("root-untrusted".to_owned(), 2)]);
        store.execute("DROP TRIGGER IF EXISTS fails").await;
        // What comes after it is counted with it.
        unproven.give_back((KIND, Some(codes[0])), Seen { since: 101, unrecorded: 5 });
        unproven.summarise(&store, &clock, false).await.unwrap();
        let all = [("root-untrusted".to_owned(), 2), ("endorsement-missing".to_owned(), 7)];
        assert_eq!(summaries(&store).await, all);
        unproven.summarise(&store, &clock, true).await.unwrap();
        assert_eq!(summaries(&store).await, all);
    }

    async fn summaries(store: &Store) -> Vec<(String, u64)> {
        let rows = store.begin().await.unwrap().audit(0, 100, None).await.unwrap();
        rows.into_iter().map(|row| (row.code, row.detail["unrecorded"].as_u64().unwrap())).collect()
    }
}
