//! What time it is, as an argument: tests move it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_appraisal::UnixTime;

/// Where the service reads the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl core::fmt::Debug for Clock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    /// The system's. A clock before 1970 reads as 0, at which no certificate and no session is valid.
    pub fn system() -> Self {
        Self::of(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// Another one.
    pub fn of(now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn now(&self) -> UnixTime {
        (self.0)()
    }
}

/// Whether `now` is among the `window` seconds from `since` on. Where the clock was set back behind `since` it is not:
/// what lasts a minute must not last until the clock is there again.
pub(crate) fn is_within(window: u64, since: UnixTime, now: UnixTime) -> bool {
    now.checked_sub(since).is_some_and(|age| age < window)
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn window_ends_after_its_seconds_and_where_the_clock_steps_back() {
        assert!(is_within(60, 100, 100) && is_within(60, 100, 159));
        assert!(!is_within(60, 100, 160) && !is_within(60, 100, 99) && !is_within(60, u64::MAX, 0));
    }
}
