//! Who is next: start-time fair queueing of tokens (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996), prompts and answers alike, as
//! Sheng and others count them (Fairness in Serving Large Language Models, 2024).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many tokens ran for each identity while somebody waited.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// The furthest at which somebody was served. Nobody is behind that: who did not ask saves nothing up.
    now: usize,
    ahead: HashMap<Arc<str>, usize>,
}

impl Clocks {
    /// What `identity` is at.
    pub(super) fn of(&self, identity: &str) -> usize {
        self.ahead.get(identity).copied().unwrap_or(0).max(self.now)
    }

    /// Counts tokens that ran for `identity`.
    pub(super) fn run(&mut self, identity: &Arc<str>, tokens: usize) {
        let after = self.of(identity).saturating_add(tokens);
        self.ahead.insert(Arc::clone(identity), after);
    }

    /// Notes that somebody was served who is at `clock`.
    pub(super) fn pass(&mut self, clock: usize) {
        let now = self.now.max(clock);
        self.now = now;
        self.ahead.retain(|_, clock| *clock > now);
    }
}

/// Requests that wait, by the identity that asks. `T` is a request.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// Who was served longest ago first. None without a request.
    identities: VecDeque<(Arc<str>, VecDeque<T>)>,
}

impl<T> Waiting<T> {
    pub(super) const fn new() -> Self {
        Self { identities: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Those who wait.
    pub(super) fn requests(&self) -> impl Iterator<Item = &T> {
        self.identities.iter().flat_map(|(_, requests)| requests)
    }

    pub(super) fn requests_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.identities.iter_mut().flat_map(|(_, requests)| requests)
    }

    /// Adds a request, after the others of its identity.
    pub(super) fn push(&mut self, identity: &Arc<str>, request: T) {
        match self.identities.iter_mut().find(|(name, _)| name == identity) {
            Some((_, requests)) => requests.push_back(request),
            None => self.identities.push_back((Arc::clone(identity), VecDeque::from([request]))),
        }
    }

    /// Takes out the first request that `may` begin. Asked is for one of each identity, the first that `is_meant`, in the order of `clocks`, of several that
    /// are at the same in that of who was served longest ago.
    pub(super) fn next(
        &mut self,
        clocks: &Clocks,
        is_meant: impl Fn(&T) -> bool,
        mut may: impl FnMut(&T) -> bool,
    ) -> Option<T> {
        let mut order: Vec<(usize, usize)> =
            self.identities.iter().enumerate().map(|(at, (name, _))| (clocks.of(name), at)).collect();
        order.sort_unstable();
        let (at, found) = order.into_iter().find_map(|(_, at)| {
            let (_, requests) = self.identities.get(at)?;
            let found = requests.iter().position(&is_meant)?;
            requests.get(found).is_some_and(&mut may).then_some((at, found))
        })?;
        let (name, mut requests) = self.identities.remove(at)?;
        let next = requests.remove(found);
        if !requests.is_empty() {
            self.identities.push_back((name, requests));
        }
        next
    }

    /// Takes out the requests that are not to be kept.
    pub(super) fn forget(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.identities.iter_mut().for_each(|(_, requests)| requests.retain(&mut is_kept));
        self.identities.retain(|(_, requests)| !requests.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(requests: &[(&str, u32)]) -> Waiting<u32> {
        let mut waiting = Waiting::new();
        requests.iter().for_each(|(name, request)| waiting.push(&Arc::from(*name), *request));
        waiting
    }

    fn clocks(at: &[(&str, usize)]) -> Clocks {
        let mut clocks = Clocks::default();
        at.iter().for_each(|(name, tokens)| clocks.run(&Arc::from(*name), *tokens));
        clocks
    }

    fn order(mut waiting: Waiting<u32>, clocks: &Clocks) -> Vec<u32> {
        core::iter::from_fn(|| waiting.next(clocks, |_| true, |_| true)).collect()
    }

    #[test]
    fn identities_take_turns_however_many_requests_one_has() {
        let many = [("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)];
        assert_eq!(order(waiting(&many), &Clocks::default()), [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn identity_for_which_fewer_tokens_ran_goes_first() {
        let both = [("a", 1), ("a", 2), ("b", 10), ("b", 11)];
        assert_eq!(order(waiting(&both), &clocks(&[("a", 2), ("b", 1)])), [10, 11, 1, 2]);
        assert_eq!(order(waiting(&both), &clocks(&[("a", 1), ("b", 2)])), [1, 2, 10, 11]);
    }

    #[test]
    fn who_comes_is_at_what_the_last_one_served_was_at_and_who_was_ahead_stays_so() {
        let mut clocks = clocks(&[("a", 100), ("b", 70)]);
        clocks.pass(70);
        clocks.run(&Arc::from("b"), 10);
        assert_eq!((clocks.of("a"), clocks.of("b"), clocks.of("new")), (100, 80, 70));
        clocks.pass(90);
        assert_eq!((clocks.of("a"), clocks.of("b"), clocks.of("new")), (100, 90, 90));
        assert_eq!(clocks.ahead.len(), 1, "who is not ahead is not kept");
    }

    #[test]
    fn request_that_may_not_begin_keeps_its_turn() {
        let mut waiting = waiting(&[("a", 100), ("b", 60), ("a", 1), ("c", 2)]);
        let clocks = Clocks::default();
        assert_eq!(waiting.next(&clocks, |_| true, |request| *request < 50), Some(2));
        assert_eq!(waiting.next(&clocks, |_| true, |request| *request < 50), None, "not the second of one");
        assert_eq!(waiting.next(&clocks, |request| *request < 50, |_| true), Some(1), "but where no other is meant");
        assert_eq!(order(waiting, &clocks), [60, 100]);
    }

    #[test]
    fn forgotten_requests_are_gone_and_identities_without_one_too() {
        let mut waiting = waiting(&[("a", 1), ("b", 2), ("a", 3)]);
        waiting.forget(|request| *request == 3);
        assert_eq!((waiting.requests().count(), waiting.identities.len()), (1, 1));
        assert_eq!(order(waiting, &Clocks::default()), [3]);
    }
}
