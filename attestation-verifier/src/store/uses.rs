//! How often a key was released: counted in the transaction that releases it, so that of two that want the last release one has it,
//! and judged by what the key's release policy allows.

use serde::Serialize;
use strongroom_appraisal::{Allowance, UnixTime};
use strongroom_wire::{Code, Refusal, Result};

/// The releases of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Uses {
    /// All of them.
    pub releases: u64,
    /// When the last was, in seconds since 1970; 0 where none was.
    #[serde(skip_serializing_if = "is_never")]
    pub last_release: UnixTime,
    /// When the period began that the rate is judged in.
    #[serde(skip)]
    pub counted_from: UnixTime,
    /// The releases in that period.
    #[serde(skip)]
    pub counted: u64,
}

impl Uses {
    /// With one more release at `now`, where that is allowed. A period begins with a release, not with the clock; a clock that is
    /// turned back begins none, and is waited for no longer than a period.
    ///
    /// # Errors
    /// `releases-exhausted`; `rate-exceeded`.
    pub(crate) fn one_more(self, allowed: &Allowance, now: UnixTime) -> Result<Self> {
        if let Some(most) = allowed.most
            && self.releases >= most
        {
            let refusal = Refusal::new(Code::ReleasesExhausted, "releases of the key");
            return Err(refusal.got(self.releases).want(format!("fewer than {most}")));
        }
        let (counted_from, counted) = match allowed.rate {
            Some(rate) if now < self.counted_from.saturating_add(rate.seconds) => {
                if self.counted >= rate.most {
                    let refusal = Refusal::new(Code::RateExceeded, "releases of the key");
                    return Err(refusal.got(format!("{} since {}", self.counted, self.counted_from)).want(rate));
                }
                (self.counted_from.min(now), self.counted.saturating_add(1))
            }
            _ => (now, 1),
        };
        Ok(Self { releases: self.releases.saturating_add(1), last_release: now, counted_from, counted })
    }

    /// All of it, for what authenticates it.
    pub(super) const fn numbers(&self) -> [u64; 4] {
        [self.releases, self.last_release, self.counted_from, self.counted]
    }
}

const fn is_never(time: &UnixTime) -> bool {
    *time == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_appraisal::Rate;

    fn allowed(rate: Option<&str>, most: Option<u64>) -> Allowance {
        Allowance { rate: rate.map(|text| Rate::parse(text).unwrap()), most }
    }

    /// What becomes of releases at these times.
    fn releases(allowed: &Allowance, times: &[u64]) -> Vec<Option<Code>> {
        let mut uses = Uses::default();
        let release = |now: &u64| match uses.one_more(allowed, *now) {
            Ok(more) => {
                uses = more;
                None
            }
            Err(refusal) => Some(refusal.code),
        };
        times.iter().map(release).collect()
    }

    #[test]
    fn releases_up_to_the_rate_are_allowed_in_a_period_and_again_in_the_next() {
        let exceeded = Some(Code::RateExceeded);
        let allowed = allowed(Some("2/minute"), None);
        let times = [100, 159, 159, 160, 160, 219, 220];
        assert_eq!(releases(&allowed, &times), [None, None, exceeded, None, None, exceeded, None]);
    }

    #[test]
    fn clock_that_is_turned_back_gives_no_more_releases_and_holds_none_up_for_longer_than_a_period() {
        let exceeded = Some(Code::RateExceeded);
        let allowed = allowed(Some("2/minute"), None);
        let times = [5000, 100, 101, 159, 160];
        assert_eq!(releases(&allowed, &times), [None, None, exceeded, exceeded, None]);
    }

    #[test]
    fn last_of_all_releases_is_allowed_and_the_one_after_it_never() {
        let exhausted = Some(Code::ReleasesExhausted);
        let allowed = allowed(Some("9/second"), Some(3));
        assert_eq!(releases(&allowed, &[1, 1, 2, 3, 1_000_000]), [None, None, None, exhausted, exhausted]);
    }

    #[test]
    fn without_an_allowance_releases_are_counted_alone() {
        let mut uses = Uses::default();
        for now in [5, 6, 6] {
            uses = uses.one_more(&Allowance::default(), now).unwrap();
        }
        assert_eq!((uses.releases, uses.last_release), (3, 6));
    }
}
