//! The newest checkpoint that was seen, in a file, as it was signed.

use crate::{files, state};
use std::fs::File;
use std::path::{Path, PathBuf};
use strongroom_tlog::{SignedNote, Trust, VerifiedCheckpoint};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The memory in a file, which no other run of ours reads or writes until this value is gone.
pub(super) struct Memory {
    path: PathBuf,
    _lock: File,
}

impl Memory {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), _lock: state::lock(path)? })
    }

    /// What was seen last; nothing where there is no file yet.
    ///
    /// # Errors
    /// `state-invalid`: the file is no checkpoint of this log, and is never taken for none.
    pub(super) fn seen(&self, trust: &Trust) -> Result<Option<VerifiedCheckpoint>> {
        if !self.path.try_exists().map_err(|e| Refusal::io(self.path.display(), &e))? {
            return Ok(None);
        }
        let note = files::read(&self.path, limits::NOTE)?;
        let invalid = |e| Refusal::new(Code::StateInvalid, format!("`{}`", self.path.display())).because(e);
        SignedNote::parse(&note).and_then(|note| trust.verify(&note)).map(Some).map_err(invalid)
    }

    /// Remembers it, durably, so that no power cut takes it back.
    pub(super) fn remember(&self, note: &SignedNote) -> Result<()> {
        files::write_durably(&self.path, note.to_string().as_bytes())
    }
}
