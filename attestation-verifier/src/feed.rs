//! What routers are told: who holds a lease now (`strongroom_wire::feed`).
//!
//! All of it is in the store, so that every replica says the same and what one was told another says at its next look. One feed is
//! made a second at the most, or when the audit log has grown, in which every change of a lease, route or revocation is an entry.
//!
//! `seq` is the number of entries of that log, and below it, in its lower half, the seconds since the newest one: what was said with
//! fewer entries known is older, and of what was said with the same the later is newer, whichever replica said it, before a restart or
//! after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_appraisal::UnixTime;
use strongroom_wire::feed::{Backend, BackendState, Feed};
use strongroom_wire::{Result, limits};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::Verifier;
use crate::revocation::Mark;
use crate::store::{StoredLease, Transaction};

/// How long an answer is kept back at the most: by then there is a newer feed, whatever happened.
const WAIT: Duration = Duration::from_millis(1500);
/// How long a feed is given out, where nothing changed.
const FRESH: Duration = Duration::from_secs(1);
/// Between two looks at whether something changed.
const LOOK: Duration = Duration::from_millis(100);
/// Answers that are kept back at one time: that many routers. Whoever comes beyond is answered at once.
const WAITING: usize = 64;

/// The newest feed, and who waits for one.
#[derive(Debug)]
pub(crate) struct Feeds {
    newest: Mutex<Option<Newest>>,
    waiting: Semaphore,
}

#[derive(Debug, Clone)]
struct Newest {
    feed: Arc<Feed>,
    /// Entries of the audit log that it was made with.
    entries: u64,
    made: Instant,
    looked: Instant,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { newest: Mutex::default(), waiting: Semaphore::new(WAITING) }
    }
}

impl Verifier {
    /// Answers `GET /v1/feed`: the newest feed, signed by the key of that `kid` where there is one, kept back until it is newer than
    /// number `after` where the router waits for that.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn feed(&self, after: u64, wait: bool, kid: &str) -> Result<String> {
        // Places may be held by anybody; nobody is kept from the feed by that.
        let place = if wait { self.feeds.waiting.try_acquire().ok() } else { None };
        let until = Instant::now().checked_add(WAIT).filter(|_| place.is_some());
        loop {
            let newest = self.newest_feed().await?;
            let now = Instant::now();
            match until.filter(|until| newest.feed.seq <= after && now < *until) {
                Some(until) => sleep_until(until.min(newest.looked.checked_add(LOOK).unwrap_or(until))).await,
                None => return self.tokens.signer_of(kid).sign(&*newest.feed),
            }
        }
    }

    async fn newest_feed(&self) -> Result<Newest> {
        let mut newest = self.feeds.newest.lock().await;
        let now = Instant::now();
        if let Some(newest) = newest.as_ref().filter(|newest| now.duration_since(newest.looked) < LOOK) {
            return Ok(newest.clone());
        }
        let mut store = self.store.begin_reading().await?;
        let (entries, last) = store.log_end().await?;
        let fresh = |newest: &&mut Newest| newest.entries == entries && now.duration_since(newest.made) < FRESH;
        if let Some(newest) = newest.as_mut().filter(fresh) {
            newest.looked = now;
            return Ok(newest.clone());
        }
        let time = self.clock.now();
        // A clock that stands still, or that was set back, takes nothing from the order in which this one speaks.
        let before = newest.as_ref().map_or(0, |newest| newest.feed.seq);
        let seq = sequence(entries, last, time).max(before.saturating_add(1));
        let feed = Arc::new(made(&mut store, seq, time).await?);
        Ok(newest.insert(Newest { feed, entries, made: now, looked: now }).clone())
    }
}

fn sequence(entries: u64, last: UnixTime, now: UnixTime) -> u64 {
    entries.saturating_mul(1 << 32).saturating_add(now.saturating_sub(last).min(u32::MAX.into()))
}

async fn made(store: &mut Transaction<'_>, seq: u64, now: UnixTime) -> Result<Feed> {
    let (table, leases) = (store.routes().await?, store.leases().await?);
    let revoked: BTreeSet<Mark> = store.revocations().await?.into_iter().map(|revocation| revocation.mark).collect();
    let stated = stated(&leases, &revoked, now);
    // No more than a router reads.
    let mut room = limits::BACKENDS;
    Ok(table.feed(seq, now, |name, route| {
        let has = |(lease, _): &&(&StoredLease, BackendState)| {
            lease.routes.iter().any(|routed| routed == name) && route.deployments.contains(&lease.document)
        };
        let backends = stated.iter().filter(has).filter_map(|(lease, state)| backend(lease, *state)).take(room);
        let backends: BTreeMap<_, _> = backends.collect();
        room = room.saturating_sub(backends.len());
        backends
    }))
}

/// Those whose connections are to be cut off first, then those that may have some; one whose lease ended has nothing to be told of.
fn stated<'a>(
    leases: &'a [StoredLease],
    revoked: &BTreeSet<Mark>,
    now: UnixTime,
) -> Vec<(&'a StoredLease, BackendState)> {
    let is_revoked = |lease: &&StoredLease| lease.subject.marks().any(|mark| revoked.contains(mark));
    let (out, on): (Vec<_>, Vec<_>) = leases.iter().partition(is_revoked);
    let live = on.into_iter().filter(|lease| now < lease.expires).map(|lease| (lease, BackendState::Live));
    out.into_iter().map(|lease| (lease, BackendState::Revoked)).chain(live).collect()
}

fn backend(lease: &StoredLease, state: BackendState) -> Option<(String, Backend)> {
    Some((lease.holder.clone(), Backend { addr: lease.addr?, expires: lease.expires, state }))
}

#[cfg(test)]
mod tests {
    use super::sequence;

    #[test]
    fn sequence_grows_with_the_log_and_within_it_with_time() {
        let ordered = [
            sequence(1, 100, 100),
            sequence(1, 100, 101),
            // However long nothing was said, and however far the clock goes back.
            sequence(1, 0, u64::MAX),
            sequence(2, 100, 100),
            sequence(3, 101, 7),
            sequence(4, 101, 7),
        ];
        assert!(ordered.is_sorted_by(|one, next| one < next), "{ordered:?}");
        assert_eq!(sequence(u64::MAX, 0, 1), u64::MAX);
    }
}
