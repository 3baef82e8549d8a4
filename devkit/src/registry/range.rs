//! The two range notations of the protocol: `Range: bytes=…` of downloads (RFC 9110 §14), and `Content-Range: <first>-<last>`
//! of upload chunks, which has no unit and no total (distribution specification 1.1, "Pushing a blob in chunks").

/// What a `Range` header asks of content of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range, one that is not understood, or several (RFC 9110 §14.2 lets a server ignore these).
    All,
    /// `length` bytes from `start`, at least one.
    Part {
        /// The offset of the first byte.
        start: u64,
        /// How many bytes.
        length: u64,
    },
    /// Nothing of it lies in the range.
    Unsatisfiable,
}

impl Wanted {
    /// Reads the header's `value` for content of `size` bytes.
    pub(super) fn parse(value: Option<&str>, size: u64) -> Self {
        let Some((first, last)) = value.and_then(|v| v.strip_prefix("bytes=")).and_then(|v| v.split_once('-')) else {
            return Self::All;
        };
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first > last => Self::All,
            (Ok(first), last) if last.is_ok() || value.is_some_and(|v| v.ends_with('-')) => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                Self::part(first, end.saturating_sub(first))
            }
            (Err(_), Ok(count)) if first.is_empty() => Self::part(size.saturating_sub(count), count.min(size)),
            _ => Self::All,
        }
    }

    const fn part(start: u64, length: u64) -> Self {
        if length == 0 { Self::Unsatisfiable } else { Self::Part { start, length } }
    }
}

/// The first offset and the number of bytes of an upload chunk.
pub(super) fn parse_chunk(value: &str) -> Option<(u64, u64)> {
    let (first, last) = value.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_cut_to_the_content() {
        for (value, wanted) in [
            (None, Wanted::All),
            (Some("bytes=0-0"), Wanted::Part { start: 0, length: 1 }),
            (Some("bytes=3-5"), Wanted::Part { start: 3, length: 3 }),
            (Some("bytes=3-"), Wanted::Part { start: 3, length: 7 }),
            (Some("bytes=9-99"), Wanted::Part { start: 9, length: 1 }),
            (Some("bytes=-4"), Wanted::Part { start: 6, length: 4 }),
            (Some("bytes=-99"), Wanted::Part { start: 0, length: 10 }),
            (Some("bytes=10-"), Wanted::Unsatisfiable),
            (Some("bytes=10-12"), Wanted::Unsatisfiable),
            (Some("bytes=-0"), Wanted::Unsatisfiable),
            (Some("bytes=5-3"), Wanted::All),
            (Some("bytes=0-1,3-4"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
            (Some("bytes=a-"), Wanted::All),
            (Some("lines=0-1"), Wanted::All),
            (Some("bytes=0-18446744073709551615"), Wanted::Part { start: 0, length: 10 }),
        ] {
            assert_eq!(Wanted::parse(value, 10), wanted, "{value:?}");
        }
    }

    #[test]
    fn chunk_of_one_byte_accepted_and_of_none_refused() {
        assert_eq!(parse_chunk("5-5"), Some((5, 1)));
        for value in ["", "5", "5-4", "bytes 0-1/2", "0-18446744073709551615"] {
            assert_eq!(parse_chunk(value), None, "{value}");
        }
    }
}
