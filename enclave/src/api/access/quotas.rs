//! Step 2: how much each identity uses of what it may.
//!
//! What may be used of a minute comes back bit by bit, so that an identity which was quiet for a minute has all of it. Such a one is like
//! one that was never seen, and is forgotten; so what is kept is bounded however many names an issuer gives.

use super::Identity;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_wire::deployment::{IdentityLimits, Limits};
use strongroom_wire::{Code, Refusal, limits};
use tokio::time::Instant;

/// Seconds of what is said of a minute.
const MINUTE: f64 = 60.0;
/// Identities up to which nobody is looked for who could be forgotten.
const FEW: usize = 1024;
/// The shortest time between two such looks, each of which takes time for every identity.
const PAUSE: Duration = Duration::from_secs(1);

/// What every identity may use, and does. Clones are of the same.
#[derive(Debug, Clone)]
pub(super) struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    common: Limits,
    own: HashMap<Identity, Limits>,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by: HashMap<Identity, Use>,
    /// With how many somebody is looked for next who could be forgotten.
    full: usize,
    looked: Option<Instant>,
}

/// What is left of a minute, as it was then, and what is under way.
#[derive(Debug)]
struct Use {
    at: Instant,
    requests: f64,
    /// Below zero where more was used than was left.
    tokens: f64,
    concurrent: u32,
}

/// A request's place among those of its identity. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Place(Option<(Quotas, Identity)>);

/// That an identity uses as much as it may.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) refusal: Refusal,
    /// Seconds after which it may use more.
    pub(super) wait: u64,
}

impl Quotas {
    pub(super) fn new(common: Limits, own: &[IdentityLimits]) -> Self {
        let own = own.iter().map(|one| (Identity::new(one.kind, one.name.as_str()), one.limits));
        Self(Arc::new(Inner { common, own: own.collect(), used: Mutex::default() }))
    }

    /// Takes a request's place at `now`. Nothing is counted of an identity without limits.
    pub(super) fn take(&self, identity: &Identity, now: Instant) -> Result<Place, Over> {
        let limits = self.limits_of(identity);
        if limits.are_none() {
            return Ok(Place(None));
        }
        let mut used = self.used();
        if !used.by.contains_key(identity) {
            used.make_room(self, now)?;
        }
        let whole = || Use {
            at: now,
            requests: most(limits.requests_per_minute),
            tokens: most(limits.tokens_per_minute),
            concurrent: 0,
        };
        used.by.entry(identity.clone()).or_insert_with(whole).take(limits, now)?;
        Ok(Place(Some((self.clone(), identity.clone()))))
    }

    /// Identities whose use is counted.
    pub(super) fn counted(&self) -> usize {
        self.used().by.len()
    }

    fn limits_of(&self, identity: &Identity) -> Limits {
        self.0.own.get(identity).copied().unwrap_or(self.0.common)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn make_room(&mut self, quotas: &Quotas, now: Instant) -> Result<(), Over> {
        let rested = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= PAUSE);
        if self.by.len() >= self.full.max(FEW) && rested {
            self.by.retain(|identity, one| !one.is_like_new(quotas.limits_of(identity), now));
            self.full = self.by.len().saturating_mul(2).min(limits::IDENTITIES);
            self.looked = Some(now);
        }
        if self.by.len() >= limits::IDENTITIES {
            let refusal = Refusal::new(Code::Busy, "identities whose use is counted").got(self.by.len());
            return Err(Over { refusal, wait: 1 });
        }
        Ok(())
    }
}

impl Use {
    fn take(&mut self, limits: Limits, now: Instant) -> Result<(), Over> {
        self.refill(limits, now);
        let over = |what: &str, limit: Option<u32>, wait| {
            let refusal =
                Refusal::new(Code::LimitExceeded, what).want(format!("at most {}", limit.unwrap_or_default()));
            Err(Over { refusal, wait })
        };
        if limits.concurrent.is_some_and(|most| self.concurrent >= most) {
            return over("requests at one time", limits.concurrent, 1);
        }
        if limits.tokens_per_minute.is_some() && self.tokens <= 0.0 {
            return over(
                "tokens of a minute",
                limits.tokens_per_minute,
                wait(1.0 - self.tokens, limits.tokens_per_minute),
            );
        }
        if limits.requests_per_minute.is_some() && self.requests < 1.0 {
            let missing = wait(1.0 - self.requests, limits.requests_per_minute);
            return over("requests of a minute", limits.requests_per_minute, missing);
        }
        if limits.requests_per_minute.is_some() {
            self.requests -= 1.0;
        }
        self.concurrent = self.concurrent.saturating_add(1);
        Ok(())
    }

    fn refill(&mut self, limits: Limits, now: Instant) {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE;
        let (requests, tokens) = (most(limits.requests_per_minute), most(limits.tokens_per_minute));
        self.requests = (self.requests + minutes * requests).min(requests);
        self.tokens = (self.tokens + minutes * tokens).min(tokens);
        self.at = self.at.max(now);
    }

    /// Whether it is as it would be of an identity that was never seen.
    fn is_like_new(&mut self, limits: Limits, now: Instant) -> bool {
        self.refill(limits, now);
        let whole = self.requests >= most(limits.requests_per_minute) && self.tokens >= most(limits.tokens_per_minute);
        self.concurrent == 0 && whole
    }
}

impl Place {
    /// Counts tokens at `now`.
    pub(super) fn spend(&self, tokens: u64, now: Instant) {
        let Some((quotas, identity)) = &self.0 else { return };
        let limits = quotas.limits_of(identity);
        if limits.tokens_per_minute.is_none() {
            return;
        }
        if let Some(one) = quotas.used().by.get_mut(identity) {
            one.refill(limits, now);
            one.tokens -= f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((quotas, identity)) = &self.0 else { return };
        if let Some(one) = quotas.used().by.get_mut(identity) {
            one.concurrent = one.concurrent.saturating_sub(1);
        }
    }
}

/// What is not limited is not looked at.
fn most(limit: Option<u32>) -> f64 {
    f64::from(limit.unwrap_or_default())
}

/// Seconds until so much more of what comes back in a minute is there.
fn wait(missing: f64, limit: Option<u32>) -> u64 {
    let seconds = Duration::try_from_secs_f64(missing * MINUTE / most(limit).max(1.0));
    seconds.map_or(u64::MAX, |seconds| seconds.as_secs().saturating_add(1))
}

#[cfg(test)]
mod tests;
