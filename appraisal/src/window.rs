//! The time in which everything that a verdict rests on is valid.

use crate::UnixTime;
use core::ops::RangeInclusive;
use strongroom_wire::{Check, Code, Refusal, Result};

/// First and last second, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// When a signed document is valid that a policy took something from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Which document it is, in words.
    pub(crate) of: String,
    pub(crate) window: Window,
    /// What a moment before it is refused with.
    pub(crate) early: Code,
    /// What a moment after it is refused with.
    pub(crate) late: Code,
}

impl Validity {
    pub(crate) fn verify(&self, now: UnixTime) -> Result<()> {
        self.window.verify(&self.of, now, self.early, self.late)
    }

    /// The check that it is valid at `now`.
    pub(crate) fn check(&self, now: UnixTime) -> Check {
        let (begins, ends) = self.window.bounds();
        let code = if now < begins { self.early } else { self.late };
        Check::new(
            &format!("validity of {}", self.of),
            (begins..=ends).contains(&now),
            code,
            now,
            format!("{begins} to {ends}"),
        )
    }
}
