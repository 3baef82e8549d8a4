//! How far a download was, and what digest it had there: `<length> <SHA-256 of the bytes up to there, hex>`, a line each.
//!
//! SHA-256 of a beginning costs one block more than going on, since the state of the hash can be copied. With it a beginning that
//! is no longer what came is found wherever it was changed, and what is before stays of use.

use super::open_own;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Refusal, Result};

/// The longest journal that is read, in bytes: 200 GiB of a blob. What is beyond comes again.
const LONGEST: u64 = 4 << 20;

/// A journal, written at its end.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// A line of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Length of the beginning, in bytes.
    pub(super) length: u64,
    /// Its digest.
    pub(super) digest: Sha256,
    /// Where the line ends in the journal.
    end: u64,
}

impl Journal {
    /// Opens the journal at `path`, and reads it up to what is no line of it: the last one may have been cut.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Vec<Checkpoint>)> {
        let mut file = open_own(&path)?;
        let mut bytes = Vec::new();
        let read = (&mut file).take(LONGEST).read_to_end(&mut bytes);
        read.map_err(|e| Refusal::io(path.display(), &e))?;
        Ok((Self { file, path }, parse(&bytes)))
    }

    /// Forgets what is behind `last`; all of it, if that is none.
    pub(super) fn rewind(&mut self, last: Option<&Checkpoint>) -> Result<()> {
        let end = last.map_or(0, |last| last.end);
        let cut = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
        cut.map(drop).map_err(|e| Refusal::io(self.path.display(), &e))
    }

    /// Adds a line.
    pub(super) fn add(&mut self, length: u64, digest: Sha256) -> Result<()> {
        // In one piece, so that a killed process leaves it whole or not at all.
        let line = format!("{length} {digest}\n");
        self.file.write_all(line.as_bytes()).map_err(|e| Refusal::io(self.path.display(), &e))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn parse(bytes: &[u8]) -> Vec<Checkpoint> {
    let mut end = 0_u64;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map_while(|line| {
        end = end.saturating_add(u64::try_from(line.len()).ok()?);
        let text = core::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let (length, digest) = text.split_once(' ')?;
        let digest = Sha256::from_oci(&format!("sha256:{digest}")).ok()?;
        Some(Checkpoint { length: length.parse().ok()?, digest, end })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_up_to_the_one_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let (mut journal, none) = Journal::open(path.clone()).unwrap();
        assert!(none.is_empty());
        for length in [4_u64, 8] {
            journal.add(length, Sha256::of(&length.to_le_bytes())).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, whole.get(..30).unwrap()].concat()).unwrap();
        let (mut journal, lines) = Journal::open(path.clone()).unwrap();
        assert_eq!(lines.iter().map(|line| line.length).collect::<Vec<_>>(), [4, 8]);
        assert_eq!(lines[1].digest, Sha256::of(&8_u64.to_le_bytes()));
        journal.rewind(Some(&lines[0])).unwrap();
        journal.add(9, Sha256::of(b"9")).unwrap();
        let (_, lines) = Journal::open(path).unwrap();
        assert_eq!(lines.iter().map(|line| line.length).collect::<Vec<_>>(), [4, 9]);
    }

    #[test]
    fn what_is_no_journal_has_no_lines() {
        for text in ["", "\n", "4 \n", "4 zz\n", "-1 00\n", "\u{0}\u{0}\u{0}\u{0}"] {
            assert_eq!(parse(text.as_bytes()), [], "{text:?}");
        }
    }
}
