//! The host's clock: the guest has no other.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as the host says. A clock before that is 0, at which nothing is valid yet.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
