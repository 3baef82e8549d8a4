//! Evidence captured on real machines, where it stands beside the workspace in `../shared/vectors`. It is never part of the
//! project; a test that finds none says that it skipped.

use serde_json::Value;
use std::path::{Path, PathBuf};
use strongroom_wire::{Refusal, Result};

/// The folder of vectors, or `None`, said on standard error, where there is none.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: `../shared/vectors` is absent");
    None
}

/// The entries of its index of one kind: `snp-report` or `tdx-quote`.
pub fn entries(folder: &Path, kind: &str) -> Result<Vec<Value>> {
    let path = folder.join("index.json");
    let index = std::fs::read(&path).map_err(|e| Refusal::io(path.display(), &e))?;
    let mut entries: Vec<Value> =
        serde_json::from_slice(&index).map_err(|e| Refusal::malformed("index of vectors", e))?;
    entries.retain(|entry| entry.get("kind").and_then(Value::as_str) == Some(kind));
    Ok(entries)
}

/// Midnight (UTC) of an ISO date `YYYY-MM-DD…`, in seconds since 1970, or 0 for anything else.
pub fn midnight(date: &str) -> u64 {
    let day = date.get(..10).unwrap_or_default();
    let parts: Vec<u16> = day.split('-').filter_map(|part| part.parse().ok()).collect();
    let [year, month, day] = parts.as_slice() else { return 0 };
    let (Ok(month), Ok(day)) = (u8::try_from(*month), u8::try_from(*day)) else { return 0 };
    der::DateTime::new(*year, month, day, 0, 0, 0).map_or(0, |date| date.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::midnight;

    #[test]
    fn midnights_are_those_of_the_calendar() {
        assert_eq!(midnight("1970-01-02"), 86_400);
        assert_eq!(midnight("2024-02-29T12:00:00Z"), 1_709_164_800);
        assert_eq!(midnight("2023-02-29"), 0);
        assert_eq!(midnight("soon"), 0);
    }
}
