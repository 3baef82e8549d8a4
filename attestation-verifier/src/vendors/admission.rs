//! What may be asked of a vendor, on whose behalf.
//!
//! A report that comes without its VCEK cannot be authenticated before the VCEK is there, so whoever may attest may invent
//! chips, and each would be a question to AMD, who shuts out who asks too much. Nobody can be stopped from inventing; what
//! it costs is bounded:
//!
//! 1. A chip is asked for only where its report was made for the session that it came in, names the document that came with
//!    it, and some release policy approves measurement, document and chip (`vendors.rs`). A policy that names its chips
//!    leaves nothing to invent.
//! 2. What is kept is not asked for, and what is being asked for is not asked for twice.
//! 3. A chip that AMD does not know, or that was answered with a lie, is not asked for again for ten minutes; where AMD is
//!    out of order, not for half a minute.
//! 4. A peer asks for eight new chips at once and one a minute, all peers together for 32 and one in ten seconds: a rack that
//!    boots is served, and AMD sees less of a liar than of an operator who restarts a fleet without a cache.
//!
//! What a liar gains is that new chips of others, from the same network or beyond the common budget, are `busy` for a while.
//! Chips that were seen before are never held up. Chains and lists are of six kinds in all, and only rule 3 is for them.

use super::unavailable;
use crate::budget::{Budget, PeerBudgets, Rate};
use crate::clock::is_within;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_endorsements::{Kind, Product};
use strongroom_wire::snp::Report;
use strongroom_wire::{Code, Refusal, Result};

/// Questions of all peers.
const ALL: Rate = Rate { burst: 32, interval: 10 };
/// Questions of one peer.
const PEER: Rate = Rate { burst: 8, interval: 60 };
/// How long an answer that will stay is remembered, in seconds.
const LASTING: u64 = 600;
/// How long a failure that may pass is, in seconds. Peers are told to come back after it.
pub(crate) const PASSING: u64 = 30;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Vcek { chip: [u8; 64], tcb: [u8; 8] },
    Authorities(Kind, Product),
    List(Kind, Product),
}

/// Decides who may ask.
#[derive(Debug)]
pub(super) struct Admission(Mutex<State>);

#[derive(Debug)]
struct State {
    all: Budget,
    peers: PeerBudgets,
    /// How many wait for each question that is under way.
    under_way: HashMap<Question, usize>,
    failed: HashMap<Question, (UnixTime, Refusal)>,
}

/// The right to ask; the question is under way as long as it lasts.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    question: Question,
}

impl Question {
    pub(super) const fn vcek(report: &Report) -> Self {
        Self::Vcek { chip: report.chip_id, tcb: report.reported_tcb }
    }
}

impl Default for Admission {
    fn default() -> Self {
        let peers = PeerBudgets::new(PEER);
        let (under_way, failed) = (HashMap::new(), HashMap::new());
        Self(Mutex::new(State { all: Budget::default(), peers, under_way, failed }))
    }
}

impl Admission {
    /// Lets `peer` ask, for as many requests as it may take to find the answer.
    ///
    /// # Errors
    /// The refusal that the question met a short time ago; `busy`: a budget is spent.
    pub(super) fn admit(
        self: &Arc<Self>,
        question: Question,
        requests: u32,
        peer: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<Admitted> {
        let mut state = self.lock();
        state.failed.retain(|_, (since, refusal)| is_within(memory(refusal), *since, now));
        if let Some((_, refusal)) = state.failed.get(&question) {
            return Err(refusal.clone());
        }
        if !state.under_way.contains_key(&question) && matches!(question, Question::Vcek { .. }) {
            if !state.peers.has(peer, requests, now) {
                return Err(Refusal::new(Code::Busy, "questions for chips that nobody has asked for, of one peer"));
            }
            if !state.all.has(requests, ALL, now) {
                return Err(Refusal::new(Code::Busy, "questions for chips that nobody has asked for"));
            }
            state.peers.spend(peer, requests, now);
            state.all.spend(requests);
        }
        let waiting = state.under_way.entry(question.clone()).or_default();
        *waiting = waiting.saturating_add(1);
        Ok(Admitted { admission: Arc::clone(self), question })
    }

    /// Remembers that the answer to a question was none.
    pub(super) fn failed(&self, question: Question, refusal: Refusal, now: UnixTime) {
        self.lock().failed.insert(question, (now, refusal));
    }

    /// No entry is ever half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// `outcome`, with its refusal remembered.
    pub(super) fn end<T>(self, outcome: Result<T>, now: UnixTime) -> Result<T> {
        let outcome = outcome.map_err(unavailable);
        if let Err(refusal) = &outcome {
            self.admission.failed(self.question.clone(), refusal.clone(), now);
        }
        outcome
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if let Some(waiting) = state.under_way.get_mut(&self.question) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                state.under_way.remove(&self.question);
            }
        }
    }
}

fn memory(refusal: &Refusal) -> u64 {
    if refusal.code == Code::EndorsementUnavailable { PASSING } else { LASTING }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(n: u8) -> Question {
        Question::Vcek { chip: [n; 64], tcb: [0; 8] }
    }

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn admit(admission: &Arc<Admission>, question: Question, peer: Option<IpAddr>, now: UnixTime) -> Result<Admitted> {
        admission.admit(question, 1, peer, now)
    }

    #[test]
    fn peer_that_invents_chips_is_busy_after_eight_and_another_peer_is_not() {
        let admission = Arc::new(Admission::default());
        for n in 0..8 {
            admit(&admission, chip(n), ONE, 100).unwrap();
        }
        assert_eq!(admit(&admission, chip(8), ONE, 100).unwrap_err().code, Code::Busy);
        assert!(admit(&admission, chip(8), Some(IpAddr::from([192, 0, 2, 2])), 100).is_ok());
        assert!(admit(&admission, chip(9), ONE, 160).is_ok());
        assert_eq!(admit(&admission, chip(10), ONE, 160).unwrap_err().code, Code::Busy);
    }

    #[test]
    fn many_peers_that_invent_chips_are_busy_together_after_thirty_two() {
        let admission = Arc::new(Admission::default());
        let peer = |n| Some(IpAddr::from([10, 0, 0, n]));
        let admitted = (0..100).filter(|n| admit(&admission, chip(*n), peer(*n), 100).is_ok()).count();
        assert_eq!(admitted, 32);
        assert!(admit(&admission, chip(200), peer(200), 110).is_ok());
        assert_eq!(admit(&admission, chip(201), peer(201), 110).unwrap_err().code, Code::Busy);
        // Chains and lists are few, and nobody invents one.
        assert!(admit(&admission, Question::List(Kind::Vcek, Product::Milan), peer(201), 110).is_ok());
    }

    #[test]
    fn who_waits_for_what_is_under_way_spends_nothing() {
        let admission = Arc::new(Admission::default());
        let first = admit(&admission, chip(0), ONE, 100).unwrap();
        let waiting: Vec<_> = (0..50).map(|_| admit(&admission, chip(0), ONE, 100).unwrap()).collect();
        drop(first);
        drop(waiting);
        assert!(admission.lock().under_way.is_empty());
        for n in 1..8 {
            admit(&admission, chip(n), ONE, 100).unwrap();
        }
        assert_eq!(admit(&admission, chip(0), ONE, 100).unwrap_err().code, Code::Busy);
    }

    #[test]
    fn failure_is_remembered_as_long_as_it_is_likely_to_last() {
        for (of_vendor, code, memory) in [
            (Code::EndorsementUnknown, Code::EndorsementUnknown, LASTING),
            (Code::EndorsementMismatch, Code::EndorsementMismatch, LASTING),
            (Code::EndorsementUnavailable, Code::EndorsementUnavailable, PASSING),
            (Code::Network, Code::EndorsementUnavailable, PASSING),
        ] {
            let admission = Arc::new(Admission::default());
            let admitted = admit(&admission, chip(0), ONE, 100).unwrap();
            let outcome = admitted.end::<()>(Err(Refusal::new(of_vendor, "test")), 100);
            assert_eq!(outcome.unwrap_err().code, code);
            let code_at = |now| admit(&admission, chip(0), ONE, now).map(drop).map_err(|refusal| refusal.code);
            assert_eq!((code_at(100 + memory - 1), code_at(100 + memory)), (Err(code), Ok(())));
        }
    }
}
