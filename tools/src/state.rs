//! `--state FILE`: the highest numbers seen, kept between runs.

use crate::files;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_appraisal::Seen;
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

    /// Writes what was raised, whole or not at all, and lets others in.
    pub(crate) fn save(self) -> Result<()> {
        if self.seen == self.read {
            return Ok(());
        }
        files::write(&self.path, &self.seen.to_json()?)
    }
}

/// A file of its own beside the memory: the memory itself is replaced by another file whenever it is written.
fn lock(path: &Path) -> Result<File> {
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
