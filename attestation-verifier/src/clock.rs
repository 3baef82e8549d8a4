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
