//! How often, and after what waits, a service is asked again that failed for the moment.

use crate::failure;
use aws_lc_rs::rand;
use core::time::Duration;
use der::DateTime;
use http::{HeaderMap, HeaderName, StatusCode, header};
use strongroom_wire::{Code, Refusal};
use tokio::time::sleep;

/// A `Retry-After` that asks for more is not believed to mean it.
const LONGEST: Duration = Duration::from_hours(24);
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long and how often a service is asked before we give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often the same thing is attempted before its failure is reported. Zero counts as one.
    pub attempts: u32,
    /// The wait before the second attempt; each further one is twice as long. Half of every wait is drawn by lot, so that
    /// clients that failed together do not come back together.
    pub first_wait: Duration,
    /// The longest wait, also where `Retry-After` (RFC 9110 §10.2.3) asks for more.
    pub longest_wait: Duration,
    /// How long the service may think, or take nothing of what it is sent.
    pub answer: Duration,
}

impl Default for Patience {
    /// 5 attempts, waiting up to 250 ms, 500 ms, 1 s, 2 s, and up to 30 s where the service asks for it; a minute for an answer.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            answer: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// How long to wait before attempt number `attempt + 1`: at least as long as the service `asked` for. `lot` chooses within
    /// the half that is left to chance.
    pub fn pause(&self, attempt: u32, asked: Option<Duration>, lot: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest_wait) / 2;
        let drawn = half.as_nanos().saturating_mul(u128::from(lot)) / u128::from(u32::MAX);
        let drawn = Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX));
        half.max(asked.unwrap_or_default()).saturating_add(drawn).min(self.longest_wait)
    }

    /// Waits before attempt number `attempt + 1`, as [`Self::pause`] says.
    pub async fn wait(&self, attempt: u32, asked: Option<Duration>) {
        let mut lot = [0; 4];
        // Without randomness the wait is the longest one: later is no harm.
        let lot = rand::fill(&mut lot).map_or(u32::MAX, |()| u32::from_le_bytes(lot));
        let wait = self.pause(attempt, asked, lot);
        tracing::debug!(attempt, ?wait, "will be attempted again");
        sleep(wait).await;
    }
}

/// Whether the same request may be answered better a little later: request timeout, too many requests, and what a server
/// says of its own trouble.
pub fn is_passing_status(status: StatusCode) -> bool {
    let lasting = matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    let asks = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    asks || (status.is_server_error() && !lasting)
}

/// Whether the same attempt may succeed a little later: the connection broke, or nothing came.
pub fn is_passing(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::Network | Code::Timeout)
}

/// What a body ended in, as a [`Refusal`] that [`is_passing`] can judge.
pub fn refusal_of_body(error: crate::BoxError) -> Refusal {
    match error.downcast::<Refusal>() {
        Ok(refusal) => *refusal,
        Err(error) => failure::refusal("connection", &*error),
    }
}

/// How long the service asks to be left alone (RFC 9110 §10.2.3). A date is read by the service's own clock, as `Date` tells it,
/// so that ours need not agree.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    let wait = match asked.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(asked)?.saturating_sub(http_date(text(header::DATE)?)?),
    };
    Some(wait.min(LONGEST))
}

/// An IMF-fixdate (RFC 9110 §5.6.7), since 1970: the one form that may be sent.
fn http_date(text: &str) -> Option<Duration> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?);
    let month = MONTHS.iter().zip(1..).find_map(|(name, number)| (*name == month).then_some(number))?;
    let mut time = words.next()?.split(':').map(|part| part.parse().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let date = DateTime::new(year, month, day, hours, minutes, seconds).ok()?;
    (words.next() == Some("GMT")).then(|| date.unix_duration())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(pairs: &[(HeaderName, &'static str)]) -> Option<Duration> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        retry_after(&headers.collect())
    }

    #[test]
    fn seconds_are_read_and_cut() {
        assert_eq!(read(&[(header::RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        assert_eq!(read(&[(header::RETRY_AFTER, "18446744073709551615")]), Some(LONGEST));
        assert_eq!(read(&[(header::RETRY_AFTER, "soon")]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn date_is_read_against_the_date_of_the_service() {
        let date = (header::DATE, "Wed, 21 Oct 2026 07:28:00 GMT");
        let after = |text| read(&[date.clone(), (header::RETRY_AFTER, text)]);
        assert_eq!(after("Wed, 21 Oct 2026 07:28:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(after("Wed, 21 Oct 2026 07:27:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("Wed, 21 Foo 2026 07:28:09 GMT"), None);
        assert_eq!(after("Wed, 21 Oct 2026 07:28:09 CET"), None);
        assert_eq!(read(&[(header::RETRY_AFTER, date.1)]), None);
    }

    const PATIENCE: Patience = Patience {
        attempts: 5,
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_secs(1),
        answer: Duration::from_secs(1),
    };

    #[test]
    fn waits_double_between_half_and_all_of_them_up_to_the_longest() {
        for (attempt, least, most) in [(1, 50, 100), (2, 100, 200), (3, 200, 400), (5, 500, 1000), (99, 500, 1000)] {
            assert_eq!(PATIENCE.pause(attempt, None, 0), Duration::from_millis(least), "{attempt}");
            assert_eq!(PATIENCE.pause(attempt, None, u32::MAX), Duration::from_millis(most), "{attempt}");
        }
    }

    #[test]
    fn wait_is_as_long_as_asked_for_and_never_over_the_longest() {
        let asked = |millis| PATIENCE.pause(1, Some(Duration::from_millis(millis)), 0);
        assert_eq!(asked(10), Duration::from_millis(50));
        assert_eq!(asked(700), Duration::from_millis(700));
        assert_eq!(asked(7000), Duration::from_secs(1));
    }

    #[test]
    fn only_what_may_pass_is_passing() {
        for passing in [408, 429, 500, 502, 503, 504] {
            assert!(is_passing_status(StatusCode::from_u16(passing).unwrap()), "{passing}");
        }
        for lasting in [200, 301, 400, 401, 403, 404, 416, 501, 505] {
            assert!(!is_passing_status(StatusCode::from_u16(lasting).unwrap()), "{lasting}");
        }
    }
}
