//! How often something may be done: so many times at once, and once more after each interval.

use core::hash::Hash;
use std::collections::HashMap;
use std::net::IpAddr;
use strongroom_appraisal::UnixTime;
use strongroom_transport::serve::network;

/// Peers, or people, that are told apart at one time. Those beyond share one budget.
const PEERS: usize = 1024;

/// `burst` times, and one more every `interval` seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) interval: u64,
}

/// What was spent of a [`Rate`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    spent: u32,
    /// Up to when intervals have been given back.
    since: UnixTime,
}

/// A [`Budget`] for each of those that are told apart.
#[derive(Debug)]
pub(crate) struct Budgets<K> {
    rate: Rate,
    budgets: HashMap<K, Budget>,
    others: Budget,
}

/// A [`Budget`] for each peer.
#[derive(Debug)]
pub(crate) struct PeerBudgets(Budgets<IpAddr>);

impl Budget {
    /// Whether `count` more may be spent at `now`.
    pub(crate) fn has(&mut self, count: u32, rate: Rate, now: UnixTime) -> bool {
        // A clock that was set back gives nothing back before it comes here again, but does not wait until it was.
        self.since = self.since.min(now);
        let intervals = now.saturating_sub(self.since) / rate.interval.max(1);
        self.spent = self.spent.saturating_sub(u32::try_from(intervals).unwrap_or(u32::MAX));
        self.since = self.since.saturating_add(intervals.saturating_mul(rate.interval));
        if self.spent == 0 {
            self.since = now;
        }
        self.spent.saturating_add(count) <= rate.burst
    }

    /// Spends `count`.
    pub(crate) const fn spend(&mut self, count: u32) {
        self.spent = self.spent.saturating_add(count);
    }
}

impl<K: Eq + Hash> Budgets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, budgets: HashMap::new(), others: Budget::default() }
    }

    /// The budget of `key`; without one, that of all others.
    fn of(&mut self, key: Option<K>, now: UnixTime) -> &mut Budget {
        let Some(key) = key else { return &mut self.others };
        if self.budgets.len() >= PEERS && !self.budgets.contains_key(&key) {
            let rate = self.rate;
            // A whole budget is as good as none on record.
            self.budgets.retain(|_, budget| !budget.has(rate.burst, rate, now));
        }
        if self.budgets.len() >= PEERS && !self.budgets.contains_key(&key) {
            return &mut self.others;
        }
        self.budgets.entry(key).or_default()
    }

    /// Spends one of the budget of `key`, where it has that.
    pub(crate) fn take(&mut self, key: K, now: UnixTime) -> bool {
        let rate = self.rate;
        let budget = self.of(Some(key), now);
        let has = budget.has(1, rate, now);
        if has {
            budget.spend(1);
        }
        has
    }
}

impl PeerBudgets {
    pub(crate) fn new(rate: Rate) -> Self {
        Self(Budgets::new(rate))
    }

    /// Whether `peer` may spend `count` more at `now`.
    pub(crate) fn has(&mut self, peer: Option<IpAddr>, count: u32, now: UnixTime) -> bool {
        let rate = self.0.rate;
        self.0.of(peer.map(network), now).has(count, rate, now)
    }

    /// Spends `count` of the budget of `peer`.
    pub(crate) fn spend(&mut self, peer: Option<IpAddr>, count: u32, now: UnixTime) {
        self.0.of(peer.map(network), now).spend(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, interval: 10 };

    fn take(budget: &mut Budget, now: UnixTime) -> bool {
        let has = budget.has(1, RATE, now);
        if has {
            budget.spend(1);
        }
        has
    }

    #[test]
    fn burst_is_spent_and_comes_back_one_an_interval() {
        let mut budget = Budget::default();
        assert_eq!([100; 4].map(|now| take(&mut budget, now)), [true, true, true, false]);
        assert_eq!([109, 110, 111, 119, 120].map(|now| take(&mut budget, now)), [false, true, false, false, true]);
        assert!(budget.has(3, RATE, 200) && !budget.has(4, RATE, 200));
    }

    #[test]
    fn clock_that_steps_back_neither_gives_nor_blocks() {
        let mut budget = Budget::default();
        assert_eq!([1000; 3].map(|now| take(&mut budget, now)), [true; 3]);
        assert!(!take(&mut budget, 10));
        assert!(take(&mut budget, 20));
    }

    #[test]
    fn one_is_taken_where_there_is_one() {
        let mut people = Budgets::new(RATE);
        assert_eq!([0; 4].map(|now| people.take("alice", now)), [true, true, true, false]);
        assert!(people.take("bob", 0) && people.take("alice", 10));
    }

    #[test]
    fn peers_have_budgets_of_their_own_and_a_network_of_ipv6_has_one() {
        let mut peers = PeerBudgets::new(RATE);
        let [one, two]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let other = "2001:db8:0:1::1".parse().unwrap();
        peers.spend(Some(one), 3, 0);
        assert_eq!([one, two, other].map(|peer| peers.has(Some(peer), 1, 0)), [false, false, true]);
        let [four, mapped] = ["192.0.2.1", "::ffff:192.0.2.1"].map(|text| Some(text.parse().unwrap()));
        peers.spend(four, 3, 0);
        assert!(!peers.has(mapped, 1, 0) && peers.has(Some("192.0.2.2".parse().unwrap()), 1, 0));
    }

    #[test]
    fn peers_beyond_the_room_share_one_budget_until_others_are_whole_again() {
        let mut peers = PeerBudgets::new(RATE);
        let peer = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        let room = u32::try_from(PEERS).unwrap();
        (0..room).for_each(|n| peers.spend(peer(n), 1, 0));
        peers.spend(peer(room), 3, 0);
        assert!(!peers.has(peer(room + 1), 1, 0) && peers.has(peer(0), 1, 0));
        assert!(peers.has(peer(room + 1), 1, 10) && peers.0.budgets.len() < PEERS);
    }
}
