//! `--state FILE`: the highest numbers seen, kept between runs.

use crate::files;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_appraisal::Seen;
use strongroom_client::Memory;
use strongroom_wire::{Refusal, Result, limits};

/// The memory in a file, which no other run of ours reads or writes until this value is gone.
pub(crate) struct State {
    path: PathBuf,
    read: Seen,
    /// What it was before, raised.
    pub(crate) seen: Seen,
    _lock: File,
}

impl State {
    /// Reads the memory at `path`, empty where there is no file yet, and keeps other runs away from it, waiting for one that
    /// is at work.
    ///
    /// # Errors
    /// `state-invalid`: the file is no such memory, and is never taken for an empty one; `io`, `too-large`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let there = path.try_exists().map_err(|e| Refusal::io(path.display(), &e))?;
        let seen = match there {
            true => Seen::parse(&files::read(path, limits::SEEN)?)
                .map_err(|refusal| refusal.within(format!("`{}`", path.display())))?,
            false => Seen::default(),
        };
        Ok(Self { path: path.to_owned(), read: seen.clone(), seen, _lock: lock })
    }

    /// Writes what was raised up to now, whole or not at all, and durably, so that no power cut takes it back.
    pub(crate) fn keep(&mut self) -> Result<()> {
        if self.seen == self.read {
            return Ok(());
        }
        files::write_durably(&self.path, &self.seen.to_json()?)?;
        self.read = self.seen.clone();
        Ok(())
    }

    /// [`Self::keep`], and lets others in.
    pub(crate) fn save(mut self) -> Result<()> {
        self.keep()
    }
}

/// The memory in a file for whoever attests again and again: it is open only while something is compared with it, so that
/// other runs get at it in between.
pub(crate) struct StateFile(pub(crate) PathBuf);

impl Memory for StateFile {
    fn compare(&self, compare: &mut dyn FnMut(&mut Seen) -> Result<()>) -> Result<()> {
        let mut state = State::open(&self.0)?;
        let outcome = compare(&mut state.seen);
        // What was raised is kept whatever else did not hold.
        state.save()?;
        outcome
    }
}

/// A file of its own beside the memory: the memory itself is replaced by another file whenever it is written.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = Path::new(&name);
    let locked = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let locked = locked.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|e| Refusal::io(path.display(), &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_appraisal::SeenKind;
    use strongroom_wire::Code;

    #[test]
    fn memory_is_empty_at_first_and_kept_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let mut state = State::open(&path).unwrap();
        assert_eq!(state.seen, Seen::default());
        state.seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", 7).unwrap();
        state.save().unwrap();
        let again = State::open(&path).unwrap();
        assert_eq!(again.seen.highest(SeenKind::CrlNumber, "amd/Milan"), Some(7));
    }

    #[test]
    fn what_was_raised_is_kept_though_the_comparison_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile(folder.path().join("seen.json"));
        let see = |number| {
            file.compare(&mut |seen| {
                seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", number)?;
                Err(Refusal::new(Code::CertificateRevoked, "certificate"))
            })
        };
        assert_eq!(see(9).unwrap_err().code, Code::CertificateRevoked);
        assert_eq!(see(8).unwrap_err().code, Code::CollateralRolledBack);
    }

    #[test]
    fn what_was_kept_is_there_before_the_run_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let mut state = State::open(&path).unwrap();
        for number in [7, 8] {
            state.seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", number).unwrap();
            state.keep().unwrap();
            let written = Seen::parse(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(written.highest(SeenKind::CrlNumber, "amd/Milan"), Some(number));
        }
    }

    #[test]
    fn damaged_memory_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        for damaged in [&b""[..], b"{\"version\":1"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(State::open(&path).err().map(|refusal| refusal.code), Some(Code::StateInvalid));
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn runs_at_once_lose_nothing_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        std::thread::scope(|scope| {
            for run in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let mut state = State::open(path).unwrap();
                    state.seen.check_and_raise(SeenKind::CrlNumber, &format!("subject {run}"), 1).unwrap();
                    state.save().unwrap();
                });
            }
        });
        assert_eq!(State::open(&path).unwrap().seen.iter().count(), 8);
    }
}
