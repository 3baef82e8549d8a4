//! How often a peer may fail to show who it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_wire::time::is_within;
use strongroom_wire::{Code, Refusal, Result};

/// Failures of one peer within [`WINDOW`] after which its further ones are `busy`.
pub(super) const MOST: u32 = 10;
/// In seconds.
const WINDOW: u64 = 60;
/// Peers whose failures are counted at one time.
const PEERS: usize = 1024;

/// The failures of this minute.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Counted>>);

#[derive(Debug)]
struct Counted {
    since: UnixTime,
    count: u32,
}

impl Failures {
    /// Counts one more of `peer`. A peer without an address shares its count with all others of the kind.
    ///
    /// # Errors
    /// `busy`: it has failed [`MOST`] times within this minute already.
    pub(super) fn count(&self, peer: Option<IpAddr>, now: UnixTime) -> Result<()> {
        let peer = peer.unwrap_or(IpAddr::from([0; 16]));
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, counted| is_within(WINDOW, counted.since, now));
        if failures.get(&peer).is_some_and(|counted| counted.count >= MOST) {
            return Err(Refusal::new(Code::Busy, "too many wrong admin tokens and certificates").got(peer));
        }
        if failures.len() < PEERS || failures.contains_key(&peer) {
            let counted = failures.entry(peer).or_insert(Counted { since: now, count: 0 });
            counted.count = counted.count.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_steps_back_ends_the_minute() {
        let (failures, peer) = (Failures::default(), Some(IpAddr::from([127, 0, 0, 1])));
        for _ in 0..MOST {
            failures.count(peer, 10_000).unwrap();
        }
        assert_eq!(failures.count(peer, 10_000).unwrap_err().code, Code::Busy);
        failures.count(peer, 9_999).unwrap();
    }
}
