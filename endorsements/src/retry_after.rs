//! `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.

use core::time::Duration;
use der::DateTime;
use http::{HeaderMap, HeaderName, header};

/// What asks for more is not believed to mean it.
const LONGEST: Duration = Duration::from_hours(24);

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long the service asks to be left alone. A date is read by the service's own clock, as `Date` tells it, so that ours
/// need not agree.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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
}
