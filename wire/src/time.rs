//! Unix time as RFC 3339 text, in UTC and whole seconds, and what lasts for some of it.

/// Whether `now` is among the `window` seconds from `since` on. Where the clock was set back behind `since` it is not:
/// what lasts a minute must not last until the clock is there again.
pub fn is_within(window: u64, since: u64, now: u64) -> bool {
    now.checked_sub(since).is_some_and(|age| age < window)
}

/// `YYYY-MM-DDThh:mm:ssZ` of `seconds` since 1970, by the proleptic Gregorian calendar.
pub fn rfc3339(seconds: u64) -> String {
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    // Four centuries are 146,097 days; inside of them, years and months are walked.
    let mut year = 1970 + 400 * (days / 146_097);
    days %= 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

/// The seconds of what [`rfc3339`] writes. `None` for all else: other zones, fractions, days that are none.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Years are counted from March on, so that a leap day comes last.
    let years = if month > 2 { year } else { year.checked_sub(1)? };
    let months = if month > 2 { month.checked_sub(3)? } else { month.checked_add(9)? };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day.checked_sub(1)?;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second;
    // What is out of its range, or in another form, is not what it would be written as.
    (rfc3339(seconds) == text).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), want);
            assert_eq!(parse_rfc3339(want), Some(seconds));
        }
    }

    #[test]
    fn times_in_another_form_and_days_that_are_none_refused() {
        for bad in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:00:00.0Z",
            "2026-01-01t00:00:00z",
            "2026-1-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "ä026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn window_ends_after_its_seconds_and_where_the_clock_steps_back() {
        assert!(is_within(60, 100, 100) && is_within(60, 100, 159));
        assert!(!is_within(60, 100, 160) && !is_within(60, 100, 99) && !is_within(60, u64::MAX, 0));
    }

    proptest::proptest! {
        #[test]
        fn written_time_reads_back(seconds in 0..253_402_300_800_u64) {
            proptest::prop_assert_eq!(parse_rfc3339(&rfc3339(seconds)), Some(seconds));
        }
    }
}
