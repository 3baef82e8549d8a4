//! Paths inside a model: relative, portable, and never leaving their directory.

use std::collections::{BTreeMap, BTreeSet};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The file that holds a model's signed statement (OMS v1.0 §"signature file", the reference client's default name).
pub const STATEMENT: &str = "model.sig";

/// Passes `path` on if it is one to name a file of a model: '/'-separated components, none empty, `.` or `..`, without
/// backslashes, colons or control characters, each of at most 255 bytes and all of at most [`limits::PATH`].
///
/// Colons are refused because OMS separates byte ranges by them and because they name drives and streams on Windows.
pub fn parse_path(path: &str) -> Result<&str> {
    let portable = |c: char| !c.is_control() && c != '\\' && c != ':';
    let component = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    if path.len() <= limits::PATH && path.chars().all(portable) && path.split('/').all(component) {
        return Ok(path);
    }
    let shown: String = path.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    Err(Refusal::new(Code::PathUnsafe, "path of a model").got(shown).want("a relative, portable path"))
}

/// Refuses a set of paths in which one is given twice, or is both a file and a directory.
pub fn verify_distinct<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut files = BTreeSet::new();
    let mut directories = BTreeMap::new();
    for path in paths {
        if !files.insert(path) {
            return Err(Refusal::new(Code::PathUnsafe, "path given twice").got(path));
        }
        for (at, _) in path.match_indices('/') {
            directories.insert(path.get(..at).unwrap_or_default(), path);
        }
    }
    match files.iter().find_map(|file| directories.get(file).map(|below| (file, below))) {
        Some((file, below)) => {
            Err(Refusal::new(Code::PathUnsafe, "path is both a file and a directory").got(file).because(below))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn portable_paths_accepted() {
        for good in ["a", "sub/tok.txt", "..a", "a..", ".git", "ä/ö", &"n".repeat(255)] {
            assert_eq!(parse_path(good).unwrap(), good);
        }
    }

    #[test]
    fn paths_that_leave_or_are_not_portable_refused() {
        let long = "n".repeat(256);
        let deep = "a/".repeat(512) + "a";
        for bad in
            ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a\\b", "c:a", "a\0", "a\nb", &long, &deep]
        {
            assert_eq!(parse_path(bad).unwrap_err().code, Code::PathUnsafe, "{bad:?}");
        }
    }

    #[test]
    fn distinct_files_accepted_and_doubles_and_files_that_are_directories_refused() {
        assert!(verify_distinct(["a/b", "a-b", "a/c", "b"]).is_ok());
        assert_eq!(verify_distinct(["a", "b", "a"]).unwrap_err().code, Code::PathUnsafe);
        assert_eq!(verify_distinct(["a", "a-b", "a/b"]).unwrap_err().code, Code::PathUnsafe);
        assert_eq!(verify_distinct(["a/b/c", "a/b"]).unwrap_err().code, Code::PathUnsafe);
    }

    proptest! {
        #[test]
        fn accepted_paths_stay_below_their_directory(path in "[a-c./\\\\:]{0,12}") {
            if parse_path(&path).is_ok() {
                let joined = std::path::Path::new("/root").join(&path);
                prop_assert!(joined.components().skip(2).all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert!(joined.starts_with("/root"));
            }
        }
    }
}
