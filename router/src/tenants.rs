//! What tenants may use: connections at one time, and new ones a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use strongroom_wire::feed::Share;
use strongroom_wire::{Code, Refusal, Result};

/// All tenants that have connections, or had some not long ago.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    used: Mutex<HashMap<String, Used>>,
}

#[derive(Debug)]
struct Used {
    open: u32,
    /// New connections that it may make at once: it fills with time.
    tokens: f64,
    filled: Instant,
}

/// One connection of a tenant, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    tenants: Arc<Tenants>,
    tenant: String,
}

impl Tenants {
    /// A connection for `tenant`, within its share.
    ///
    /// # Errors
    /// `busy`.
    pub(crate) fn enter(self: &Arc<Self>, tenant: &str, share: Share, now: Instant) -> Result<Slot> {
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = f64::from(share.per_second);
        // Who has none open and a second's worth to spend is as good as new.
        all.retain(|_, used| used.open > 0 || now.saturating_duration_since(used.filled).as_secs() < 1);
        let used = all.entry(tenant.to_owned()).or_insert_with(|| Used { open: 0, tokens: rate, filled: now });
        let earned = now.saturating_duration_since(used.filled).as_secs_f64() * rate;
        (used.tokens, used.filled) = ((used.tokens + earned).min(rate), now);
        let busy =
            |what: &str, limit: u32| Refusal::new(Code::Busy, format!("{what} of tenant `{tenant}`")).want(limit);
        if used.open >= share.connections {
            return Err(busy("connections", share.connections).got(used.open));
        }
        if used.tokens < 1.0 {
            return Err(busy("new connections a second", share.per_second));
        }
        used.tokens -= 1.0;
        used.open = used.open.saturating_add(1);
        Ok(Slot { tenants: Arc::clone(self), tenant: tenant.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut all = self.tenants.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = all.get_mut(&self.tenant) {
            used.open = used.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn code<T>(result: Result<T>) -> Option<Code> {
        result.err().map(|refusal| refusal.code)
    }

    #[test]
    fn as_many_connections_as_the_share_says_accepted_and_one_more_refused_until_one_ends() {
        let (tenants, now) = (Arc::new(Tenants::default()), Instant::now());
        let share = Share { connections: 2, per_second: 100 };
        let first = tenants.enter("a", share, now).unwrap();
        let _second = tenants.enter("a", share, now).unwrap();
        assert_eq!(code(tenants.enter("a", share, now)), Some(Code::Busy));
        assert_eq!(code(tenants.enter("b", share, now)), None, "another's share");
        drop(first);
        assert_eq!(code(tenants.enter("a", share, now)), None);
    }

    #[test]
    fn as_many_new_connections_as_a_second_brings_accepted_and_one_more_refused() {
        let (tenants, now) = (Arc::new(Tenants::default()), Instant::now());
        let share = Share { connections: 100, per_second: 2 };
        let enter = |after| code(tenants.enter("a", share, now + Duration::from_millis(after)));
        assert_eq!([enter(0), enter(0), enter(0)], [None, None, Some(Code::Busy)]);
        assert_eq!([enter(499), enter(501), enter(502)], [Some(Code::Busy), None, Some(Code::Busy)]);
        assert_eq!(
            [enter(9_000), enter(9_000), enter(9_000)],
            [None, None, Some(Code::Busy)],
            "no more than a second's"
        );
    }

    #[test]
    fn share_of_none_lets_nobody_in() {
        let tenants = Arc::new(Tenants::default());
        for share in [Share { connections: 0, per_second: 1 }, Share { connections: 1, per_second: 0 }] {
            assert_eq!(code(tenants.enter("a", share, Instant::now())), Some(Code::Busy));
        }
    }

    #[test]
    fn tenants_that_are_gone_take_no_memory() {
        let (tenants, now) = (Arc::new(Tenants::default()), Instant::now());
        let share = Share { connections: 1, per_second: 1 };
        for n in 0..100 {
            drop(tenants.enter(&n.to_string(), share, now));
        }
        drop(tenants.enter("late", share, now + Duration::from_secs(2)));
        assert_eq!(tenants.used.lock().unwrap().len(), 1);
    }
}
