//! How often the key of a release policy may be released. Whoever releases it counts.

use core::fmt;
use strongroom_wire::{Code, Refusal, Result};

/// What a release policy allows; what it does not say is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Within a time.
    pub rate: Option<Rate>,
    /// Ever.
    pub most: Option<u64>,
}

/// So many releases within a period, written `10/minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub most: u64,
    /// How long the period is.
    pub seconds: u64,
}

/// The periods that there are, in seconds.
const PERIODS: [(&str, u64); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];

impl Rate {
    /// Parses `N/second`, `N/minute`, `N/hour` or `N/day`.
    ///
    /// # Errors
    /// `policy-invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            let refusal = Refusal::new(Code::PolicyInvalid, "`rate` of a release policy").got(text);
            refusal.want("N/second, N/minute, N/hour or N/day, where N is at least 1")
        };
        let (most, period) = text.split_once('/').ok_or_else(invalid)?;
        let most = most.parse().ok().filter(|most| *most > 0).ok_or_else(invalid)?;
        let (_, seconds) = PERIODS.into_iter().find(|(name, _)| *name == period).ok_or_else(invalid)?;
        Ok(Self { most, seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PERIODS.into_iter().find(|(_, seconds)| *seconds == self.seconds) {
            Some((name, _)) => write!(f, "{}/{name}", self.most),
            None => write!(f, "{} in {} s", self.most, self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_read_and_shown_as_it_was_written() {
        for (text, most, seconds) in
            [("1/second", 1, 1), ("10/minute", 10, 60), ("7/hour", 7, 3600), ("2/day", 2, 86_400)]
        {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate, rate.to_string().as_str()), (Rate { most, seconds }, text));
        }
    }

    #[test]
    fn rate_of_none_or_of_no_known_period_refused() {
        for bad in ["", "10", "0/minute", "-1/minute", "10/week", "10/", "/minute", "10 / minute", "10/minute/hour"] {
            assert_eq!(Rate::parse(bad).unwrap_err().code, Code::PolicyInvalid, "{bad}");
        }
    }
}
