//! Who joins next, of those who wait: fair to identities, whatever each of them asks for.

use std::collections::VecDeque;
use std::sync::Arc;

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

    pub(super) fn len(&self) -> usize {
        self.identities.iter().map(|(_, requests)| requests.len()).sum()
    }

    /// Adds a request, after the others of its identity.
    pub(super) fn push(&mut self, identity: &Arc<str>, request: T) {
        match self.identities.iter_mut().find(|(name, _)| name == identity) {
            Some((_, requests)) => requests.push_back(request),
            None => self.identities.push_back((Arc::clone(identity), VecDeque::from([request]))),
        }
    }

    /// The first request of the identity that has the least `under_way`, of several of the one that was served longest ago; `None`
    /// where it does not fit yet: no other goes before it, so that it comes to its turn.
    pub(super) fn next(&mut self, under_way: impl Fn(&str) -> usize, fits: impl Fn(&T) -> bool) -> Option<T> {
        let least =
            (0..self.identities.len()).min_by_key(|at| self.identities.get(*at).map(|(name, _)| under_way(name)))?;
        if !self.identities.get(least)?.1.front().is_some_and(fits) {
            return None;
        }
        let (name, mut requests) = self.identities.remove(least)?;
        let next = requests.pop_front();
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

    fn order(mut waiting: Waiting<u32>, under_way: impl Fn(&str) -> usize) -> Vec<u32> {
        core::iter::from_fn(|| waiting.next(&under_way, |_| true)).collect()
    }

    #[test]
    fn identities_take_turns_however_many_requests_one_has() {
        let many = [("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)];
        assert_eq!(order(waiting(&many), |_| 0), [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn identity_with_less_under_way_goes_first() {
        let both = [("a", 1), ("a", 2), ("b", 10), ("b", 11)];
        assert_eq!(order(waiting(&both), |name| usize::from(name == "a")), [10, 11, 1, 2]);
    }

    #[test]
    fn request_that_does_not_fit_yet_keeps_its_turn() {
        let mut waiting = waiting(&[("a", 100), ("b", 1)]);
        assert_eq!(waiting.next(|_| 0, |request| *request < 50), None);
        assert_eq!(waiting.next(|_| 0, |_| true), Some(100));
        assert_eq!((waiting.len(), waiting.next(|_| 0, |_| true)), (1, Some(1)));
        assert!(waiting.is_empty() && waiting.next(|_| 0, |_| true).is_none());
    }

    #[test]
    fn forgotten_requests_are_gone_and_identities_without_one_too() {
        let mut waiting = waiting(&[("a", 1), ("b", 2), ("a", 3)]);
        waiting.forget(|request| *request == 3);
        assert_eq!((waiting.len(), waiting.identities.len()), (1, 1));
        assert_eq!(order(waiting, |_| 0), [3]);
    }
}
