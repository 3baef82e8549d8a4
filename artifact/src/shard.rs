//! Ranges of files ("shards" of OMS v1.0), named `<path>:<start>:<end>`.

use crate::hash::FileDigest;
use crate::path::parse_path;
use serde_json::Number;
use std::collections::BTreeSet;
use strongroom_wire::{Code, Refusal, Result};

/// The longest range: 2^53 bytes, beyond which the JSON numbers of the reference client are not exact.
const LONGEST: u64 = 1 << 53;

/// The name of a range.
pub(crate) fn name(path: &str, start: u64, end: u64) -> String {
    format!("{path}:{start}:{end}")
}

/// How many ranges a file of `size` bytes has.
pub(crate) const fn count(size: u64, shard_len: u64) -> u64 {
    size.div_ceil(if shard_len == 0 { 1 } else { shard_len })
}

/// The ranges of a file of `size` bytes, in order: start and end, each `shard_len` long but the last. An empty file has none.
pub(crate) fn ranges(size: u64, shard_len: u64) -> impl Iterator<Item = (u64, u64)> {
    let length = shard_len.max(1);
    (0..count(size, length))
        .map(move |at| (at.saturating_mul(length), at.saturating_add(1).saturating_mul(length).min(size)))
}

/// Path, start and end of a name. Refuses what is no such name with `malformed`, and with the codes of [`parse_path`].
pub(crate) fn parse_name(name: &str) -> Result<(&str, u64, u64)> {
    let malformed = || {
        Refusal::new(Code::Malformed, "range of a file")
            .got(name.chars().take(200).collect::<String>())
            .want("path:start:end")
    };
    let mut parts = name.rsplitn(3, ':');
    let (Some(end), Some(start), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    let (start, end) = number(start).zip(number(end)).filter(|(start, end)| start < end).ok_or_else(malformed)?;
    Ok((parse_path(path)?, start, end))
}

/// A length of ranges. The reference client writes it as a float.
pub(crate) fn parse_len(number: &Number) -> Result<u64> {
    let whole = || number.as_f64().map(|number| number.to_string()).and_then(|text| text.parse().ok());
    let length = number.as_u64().or_else(whole).filter(|length| (1..=LONGEST).contains(length));
    length.ok_or_else(|| Refusal::new(Code::Malformed, "shard size").got(number).want("a whole number of bytes"))
}

/// Refuses two ranges of one name.
pub(crate) fn verify_distinct(ranges: &[FileDigest]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match ranges.iter().find(|range| !seen.insert(range.path.as_str())) {
        Some(twice) => Err(Refusal::new(Code::PathUnsafe, "range given twice").got(&twice.path)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_those_of_the_specification() {
        let of = |size, length| ranges(size, length).collect::<Vec<_>>();
        assert_eq!(of(0, 10), []);
        assert_eq!(of(10, 10), [(0, 10)]);
        assert_eq!(of(21, 10), [(0, 10), (10, 20), (20, 21)]);
    }

    proptest! {
        #[test]
        fn ranges_cover_a_file_once_and_their_names_read_back(size in 0_u64..10_000, length in 1_u64..5_000) {
            let mut next = 0;
            for (start, end) in ranges(size, length) {
                prop_assert_eq!(start, next);
                let named = name("a/b", start, end);
                prop_assert_eq!(parse_name(&named).unwrap(), ("a/b", start, end));
                next = end;
            }
            prop_assert_eq!(next, size);
        }

        #[test]
        fn arbitrary_names_never_panic(text: String) {
            let _ = parse_name(&text);
        }
    }
}
