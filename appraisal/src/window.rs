//! The time in which everything that a verdict rests on is valid.

use crate::UnixTime;
use core::ops::RangeInclusive;
use strongroom_wire::{Code, Refusal, Result};

/// First and last second, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    begins: UnixTime,
    ends: UnixTime,
}

impl Window {
    pub(crate) const ALWAYS: Self = Self { begins: 0, ends: UnixTime::MAX };

    /// What is left of both.
    #[must_use]
    pub(crate) fn and(self, (begins, ends): (UnixTime, UnixTime)) -> Self {
        Self { begins: self.begins.max(begins), ends: self.ends.min(ends) }
    }

    /// Refuses a moment outside with `early` or `late`.
    pub(crate) fn verify(self, what: &str, now: UnixTime, early: Code, late: Code) -> Result<()> {
        let refused = |code, want| Err(Refusal::new(code, what).got(now).want(want));
        match (now < self.begins, now > self.ends) {
            (true, _) => refused(early, self.begins),
            (_, true) => refused(late, self.ends),
            (false, false) => Ok(()),
        }
    }

    pub(crate) fn range(self) -> RangeInclusive<UnixTime> {
        self.begins..=self.ends
    }

    pub(crate) const fn bounds(self) -> (UnixTime, UnixTime) {
        (self.begins, self.ends)
    }
}
