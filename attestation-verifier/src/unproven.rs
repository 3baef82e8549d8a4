//! Refusals of peers that proved nothing: anybody on the network can cause any number of them, and no number of them may
//! fill the audit log. The first of a kind and code is a row at once; those of the minute after it are counted, and their
//! number is one row.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use strongroom_appraisal::UnixTime;
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::audit::{Event, Kind};
use crate::trail::Trail;

/// In seconds: one row for each kind and code in so long.
const WINDOW: u64 = 60;

/// What was refused since the last row that says so. It holds an entry for each kind and code, of which there are few.
#[derive(Debug, Default)]
pub(crate) struct Unproven {
    seen: Mutex<BTreeMap<(Kind, Code), Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// When the last row was written.
    since: UnixTime,
    /// Refusals after it.
    unrecorded: u64,
}

impl Unproven {
    /// Whether a refusal at `now` is a row: `None` where it is only counted, else how many were counted before it.
    fn note(&self, kind: Kind, code: Code, now: UnixTime) -> Option<u64> {
        let mut seen = self.lock();
        match seen.get_mut(&(kind, code)) {
            Some(seen) if now.saturating_sub(seen.since) < WINDOW => {
                seen.unrecorded = seen.unrecorded.saturating_add(1);
                None
            }
            _ => {
                let before = seen.insert((kind, code), Seen { since: now, unrecorded: 0 });
                Some(before.map_or(0, |before| before.unrecorded))
            }
        }
    }

    /// What was counted and has no row yet, of windows that are over at `now`, or of all.
    fn take(&self, now: UnixTime, all: bool) -> Vec<(Kind, Code, Seen)> {
        let mut seen = self.lock();
        let over = |seen: &Seen| all || now.saturating_sub(seen.since) >= WINDOW;
        seen.retain(|_, seen| seen.unrecorded > 0 || !over(seen));
        let counted = seen.iter_mut().filter(|(_, seen)| over(seen));
        let take = |((kind, code), seen): (&(Kind, Code), &mut Seen)| {
            let taken = (*kind, *code, *seen);
            *seen = Seen { since: now, unrecorded: 0 };
            taken
        };
        counted.map(take).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Kind, Code), Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifier {
    /// Records the refusal of a peer that proved nothing, or only counts it. The operator's log has each.
    ///
    /// # Errors
    /// `store-failed`.
    pub(crate) async fn refused_unproven(&self, mut trail: Trail, refusal: &Refusal) -> Result<()> {
        let row = self.unproven.note(trail.kind(), refusal.code, self.clock.now());
        if let Some(before @ 1..) = row {
            trail.note("unrecorded", before);
        }
        let event = trail.event(Some(refusal));
        match row {
            Some(_) => self.store.record(&self.clock, &event).await.map(drop),
            None => Ok(()),
        }
    }

    /// Writes the rows of what was counted, each minute and once more when it ends.
    pub(crate) async fn summarise_until(&self, stopped: impl Future<Output = ()>) {
        let mut stopped = core::pin::pin!(stopped);
        loop {
            let stopping = tokio::time::timeout(Duration::from_secs(WINDOW), &mut stopped).await.is_ok();
            if let Err(refusal) = self.summarise(stopping).await {
                tracing::error!(%refusal, "counted refusals are not recorded");
            }
            if stopping {
                return;
            }
        }
    }

    async fn summarise(&self, all: bool) -> Result<()> {
        for (kind, code, seen) in self.unproven.take(self.clock.now(), all) {
            let detail = json!({ "since": seen.since, "unrecorded": seen.unrecorded });
            let event = Event { kind, subject: "-".to_owned(), code: Some(code), detail };
            self.store.record(&self.clock, &event).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::Attestation;

    #[test]
    fn first_refusal_of_a_code_is_a_row_and_those_of_its_minute_are_counted() {
        let unproven = Unproven::default();
        assert_eq!(unproven.note(KIND, Code::RootUntrusted, 100), Some(0));
        for now in 100..100 + WINDOW {
            assert_eq!(unproven.note(KIND, Code::RootUntrusted, now), None);
        }
        assert_eq!(unproven.note(KIND, Code::EndorsementMissing, 100), Some(0));
        assert_eq!(unproven.note(Kind::Admin, Code::RootUntrusted, 100), Some(0));
        assert_eq!(unproven.note(KIND, Code::RootUntrusted, 100 + WINDOW), Some(WINDOW));
        assert_eq!(unproven.note(KIND, Code::RootUntrusted, 100 + WINDOW), None);
    }

    #[test]
    fn counted_refusals_are_taken_once_and_when_their_minute_is_over() {
        let unproven = Unproven::default();
        unproven.note(KIND, Code::RootUntrusted, 100);
        unproven.note(KIND, Code::RootUntrusted, 101);
        assert!(unproven.take(100 + WINDOW - 1, false).is_empty());
        let seen = Seen { since: 100, unrecorded: 1 };
        assert_eq!(unproven.take(100 + WINDOW, false), [(KIND, Code::RootUntrusted, seen)]);
        // The summary counts as the row of its minute, and one in which nothing comes ends it.
        assert_eq!(unproven.note(KIND, Code::RootUntrusted, 101 + WINDOW), None);
        assert_eq!(unproven.take(102 + WINDOW, true).len(), 1);
        assert!(unproven.take(102 + 2 * WINDOW, false).is_empty());
        assert_eq!(unproven.note(KIND, Code::RootUntrusted, 102 + 2 * WINDOW), Some(0));
    }
}
