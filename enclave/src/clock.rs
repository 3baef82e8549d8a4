//! What time it is, as far as a guest can know. Its host says so; the verifier says now and then what it is at the least.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_jose::SKEW;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::Instant;

/// Seconds since 1970, as the host says. A clock before that is 0, at which nothing is valid yet.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host's clock above a floor: the latest time that the verifier signed in answer to a fresh nonce or key, and what has passed
/// since by the guest's monotonic clock. Clones share the floor.
#[derive(Clone)]
pub struct Clock {
    host: Arc<dyn Fn() -> u64 + Send + Sync>,
    floor: Arc<Mutex<Option<Floor>>>,
}

#[derive(Debug, Clone, Copy)]
struct Floor {
    signed: u64,
    at: Instant,
}

impl Floor {
    fn at(self, now: Instant) -> u64 {
        let since: Duration = now.saturating_duration_since(self.at);
        self.signed.saturating_add(since.as_secs())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::of(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl Clock {
    /// One whose host says this.
    pub fn of(host: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { host: Arc::new(host), floor: Arc::default() }
    }

    /// Seconds since 1970, never less than the floor.
    ///
    /// # Errors
    /// `clock-behind`: the host says that it is earlier than the floor, by more than clocks may differ.
    pub fn now(&self) -> Result<u64> {
        let (host, floor) = self.read();
        if host.saturating_add(SKEW) < floor {
            return Err(Refusal::new(Code::ClockBehind, "host's clock").got(host).want(format!("at least {floor}")));
        }
        Ok(host.max(floor))
    }

    /// Seconds since 1970, as late as the host says, or the floor where that is later: for what is better judged by a time that is
    /// early than not at all.
    pub fn at_least(&self) -> u64 {
        let (host, floor) = self.read();
        host.max(floor)
    }

    fn read(&self) -> (u64, u64) {
        let floor = *self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        ((self.host)(), floor.map_or(0, |floor| floor.at(Instant::now())))
    }

    /// Raises the floor to a time that the verifier signed just now.
    pub(crate) fn raise(&self, signed: u64) {
        let (new, now) = (Floor { signed, at: Instant::now() }, Instant::now());
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        if floor.is_none_or(|floor| floor.at(now) < signed) {
            *floor = Some(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn host_that_is_not_far_behind_what_the_verifier_signed_believed_and_one_that_is_refused() {
        let host = Arc::new(AtomicU64::new(1000));
        let read = Arc::clone(&host);
        let clock = Clock::of(move || read.load(Ordering::SeqCst));
        let at = |seconds: u64| {
            host.store(seconds, Ordering::SeqCst);
            clock.now().map_err(|refusal| refusal.code)
        };
        assert_eq!(at(5), Ok(5), "nobody said otherwise yet");
        clock.raise(1000);
        assert_eq!([at(1001), at(1000), at(940)], [Ok(1001), Ok(1000), Ok(1000)]);
        assert_eq!(at(939), Err(Code::ClockBehind));
        assert_eq!(clock.at_least(), 1000);
        // It goes on by the guest's own clock, and an older word takes nothing back.
        advance(Duration::from_secs(100)).await;
        clock.raise(1099);
        assert_eq!([at(1100), at(1040), at(1039)], [Ok(1100), Ok(1100), Err(Code::ClockBehind)]);
        clock.raise(2000);
        assert_eq!(at(1100), Err(Code::ClockBehind));
    }
}
