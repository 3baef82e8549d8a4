//! What may be asked of a vendor, on whose behalf.
//!
//! A report that comes without its VCEK cannot be authenticated before the VCEK is there, so whoever may attest may invent
//! chips, and each would be a question to AMD, who shuts out who asks too much. Nobody can be stopped from inventing; what
//! it costs is bounded:
//!
//! 0. Whether it is worth asking is looked at 60 times at once for one peer and once a second (`vendors.rs`).
//! 1. A chip is asked for only where its report was made for the session that it came in, names the document that came with
//!    it, and some release policy approves measurement, document, chip and TCBs (`vendors.rs`); and only by the one name that
//!    its key has. A policy that names its chips leaves their TCBs to invent, of which eight are kept a chip.
//! 2. What is kept is not asked for, and what is being asked for is not asked for twice.
//! 3. A chip that AMD does not know, or that was answered with a lie, is not asked for again for ten minutes; where AMD is
//!    out of order, not for half a minute.
//! 4. A peer asks for eight new chips at once and one a minute, all peers together for 32 and one in ten seconds: a rack that
//!    boots is served, and AMD sees less of a liar than of an operator who restarts a fleet without a cache.
//!
//! What a liar gains is that new chips of others, from the same network or beyond the common budget, are `busy` for a while.
//! Chips that were seen before are never held up. Chains and lists are twelve in all and have a small budget of their own, and
//! Intel's collateral one like it: only a quote of a genuine machine that was made for the session makes anybody ask for that; one that cannot be had is asked
//! for more and more seldom.

use super::unavailable;
use crate::budget::{Budget, PeerBudgets, Rate};
use crate::clock::Clock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_endorsements::{Kind, Platform, Product};
use strongroom_wire::snp::Report;
use strongroom_wire::time::is_within;
use strongroom_wire::{Code, Refusal, Result};

/// Questions of all peers.
const ALL: Rate = Rate { burst: 32, interval: 10 };
/// The most of them at once.
pub(crate) const QUESTIONS: u32 = ALL.burst;
/// Questions of one peer at once, unless the operator says otherwise; and one more each so many seconds.
pub(crate) const PEER_QUESTIONS: u32 = 8;
const PEER_INTERVAL: u64 = 60;
/// Questions for chains and lists of AMD's, of all peers: twelve there are, each good for days. As many for sets of collateral of
/// Intel's, of which there is one for each kind of platform.
const PUBLISHED: Rate = Rate { burst: 12, interval: 60 };
/// How long an answer that will stay is remembered, in seconds.
const LASTING: u64 = 600;
/// How long a failure that may pass is, in seconds. Peers are told to come back after it. Of chains and lists, which every
/// attestation may ask for, twice as long each time, up to [`LASTING`].
pub(crate) const PASSING: u64 = 30;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Vcek { chip: [u8; 64], tcb: [u8; 8] },
    Authorities(Kind, Product),
    List(Kind, Product),
    Collateral(Platform),
}

/// Decides who may ask.
#[derive(Debug)]
pub(super) struct Admission {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: Budget,
    published: Budget,
    collateral: Budget,
    peers: PeerBudgets,
    /// How many wait for each question that is under way.
    under_way: HashMap<Question, usize>,
    failed: HashMap<Question, Failure>,
    /// How long the next failure of a chain or list is remembered.
    waits: HashMap<Question, u64>,
}

#[derive(Debug)]
struct Failure {
    refusal: Refusal,
    since: UnixTime,
    memory: u64,
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

    const fn is_of_a_chip(&self) -> bool {
        matches!(self, Self::Vcek { .. })
    }
}

impl Admission {
    /// A peer may ask for `peer_questions` chips at once.
    pub(super) fn new(clock: Clock, peer_questions: u32) -> Self {
        let state = State {
            all: Budget::default(),
            published: Budget::default(),
            collateral: Budget::default(),
            peers: PeerBudgets::new(Rate { burst: peer_questions, interval: PEER_INTERVAL }),
            under_way: HashMap::new(),
            failed: HashMap::new(),
            waits: HashMap::new(),
        };
        Self { clock, state: Mutex::new(state) }
    }

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
        state.failed.retain(|_, failure| is_within(failure.memory, failure.since, now));
        if let Some(failure) = state.failed.get(&question) {
            return Err(failure.refusal.clone());
        }
        let new = !state.under_way.contains_key(&question);
        if new && !question.is_of_a_chip() {
            let of_intel = matches!(question, Question::Collateral(_));
            let budget = if of_intel { &mut state.collateral } else { &mut state.published };
            if !budget.has(requests, PUBLISHED, now) {
                return Err(Refusal::new(Code::Busy, "questions for chains, lists and collateral"));
            }
            budget.spend(requests);
        } else if new {
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
    pub(super) fn failed(&self, question: Question, refusal: Refusal) {
        let since = self.clock.now();
        let mut state = self.lock();
        let memory = match refusal.code {
            Code::EndorsementUnavailable if question.is_of_a_chip() => PASSING,
            Code::EndorsementUnavailable => {
                let next = state.waits.entry(question.clone()).or_insert(PASSING);
                let wait = *next;
                *next = wait.saturating_mul(2).min(LASTING);
                wait
            }
            _ => LASTING,
        };
        state.failed.insert(question, Failure { refusal, since, memory });
    }

    /// No entry is ever half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// `outcome`, with its refusal remembered from now on.
    pub(super) fn end<T>(self, outcome: Result<T>) -> Result<T> {
        let outcome = outcome.map_err(unavailable);
        match &outcome {
            Err(refusal) => self.admission.failed(self.question.clone(), refusal.clone()),
            Ok(_) => drop(self.admission.lock().waits.remove(&self.question)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(n: u8) -> Question {
        Question::Vcek { chip: [n; 64], tcb: [0; 8] }
    }

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn admission() -> Arc<Admission> {
        Arc::new(Admission::new(Clock::of(|| 100), PEER_QUESTIONS))
    }

    fn admit(admission: &Arc<Admission>, question: Question, peer: Option<IpAddr>, now: UnixTime) -> Result<Admitted> {
        admission.admit(question, 1, peer, now)
    }

    #[test]
    fn peer_that_invents_chips_is_busy_after_eight_and_another_peer_is_not() {
        let admission = admission();
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
        let admission = admission();
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
        let admission = admission();
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
            (Code::Io, Code::EndorsementUnavailable, PASSING),
        ] {
            let admission = admission();
            let admitted = admit(&admission, chip(0), ONE, 100).unwrap();
            let outcome = admitted.end::<()>(Err(Refusal::new(of_vendor, "test")));
            assert_eq!(outcome.unwrap_err().code, code);
            let code_at = |now| admit(&admission, chip(0), ONE, now).map(drop).map_err(|refusal| refusal.code);
            assert_eq!((code_at(100 + memory - 1), code_at(100 + memory)), (Err(code), Ok(())));
        }
    }

    #[test]
    fn failure_is_remembered_from_the_end_of_the_question() {
        let ended = Arc::new(std::sync::atomic::AtomicU64::new(100));
        let reads = Arc::clone(&ended);
        let clock = Clock::of(move || reads.load(std::sync::atomic::Ordering::Relaxed));
        let admission = Arc::new(Admission::new(clock, PEER_QUESTIONS));
        let admitted = admit(&admission, chip(0), ONE, 100).unwrap();
        ended.store(118, std::sync::atomic::Ordering::Relaxed);
        drop(admitted.end::<()>(Err(Refusal::new(Code::Network, "test"))));
        let at = |now| admit(&admission, chip(0), ONE, now).is_ok();
        assert_eq!((at(118 + PASSING - 1), at(118 + PASSING)), (false, true));
    }

    #[test]
    fn chain_or_list_that_cannot_be_had_is_asked_for_more_and_more_seldom_until_it_is_there() {
        let list = Question::List(Kind::Vcek, Product::Milan);
        let time = Arc::new(std::sync::atomic::AtomicU64::new(1000));
        let now = || time.load(std::sync::atomic::Ordering::Relaxed);
        let reads = Arc::clone(&time);
        let clock = Clock::of(move || reads.load(std::sync::atomic::Ordering::Relaxed));
        let admission = Arc::new(Admission::new(clock, PEER_QUESTIONS));
        let fail = |admitted: Admitted| drop(admitted.end::<()>(Err(Refusal::new(Code::Timeout, "test"))));
        for wait in [30, 60, 120, 240, 480, 600, 600] {
            fail(admit(&admission, list.clone(), ONE, now()).unwrap());
            let early = admit(&admission, list.clone(), ONE, now() + wait - 1);
            assert_eq!(early.unwrap_err().code, Code::EndorsementUnavailable);
            time.fetch_add(wait, std::sync::atomic::Ordering::Relaxed);
        }
        admit(&admission, list.clone(), ONE, now()).unwrap().end(Ok(())).unwrap();
        fail(admit(&admission, list.clone(), ONE, now()).unwrap());
        assert!(admit(&admission, list, ONE, now() + 30).is_ok());
    }

    #[test]
    fn questions_for_chains_and_lists_are_bounded_whoever_asks() {
        let (admission, list) = (admission(), Question::List(Kind::Vlek, Product::Genoa));
        let code = |now| admit(&admission, list.clone(), ONE, now).err().map(|refusal| refusal.code);
        for _ in 0..12 {
            assert_eq!(code(100), None);
        }
        assert_eq!((code(100), code(159), code(160)), (Some(Code::Busy), Some(Code::Busy), None));
    }
}
