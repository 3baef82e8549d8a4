//! Locks between processes (flock(2)): the kernel releases those of one that was killed.

use super::open_own;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::{Refusal, Result};

/// A locked file. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Locks `path` for this holder alone; `None` where anybody has it, this process too.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        Self::acquire(path, File::try_lock)
    }

    /// Locks `path` beside others who do; `None` where somebody has it alone.
    pub(super) fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::acquire(path, File::try_lock_shared)
    }

    fn acquire(path: &Path, lock: impl Fn(&File) -> core::result::Result<(), TryLockError>) -> Result<Option<Self>> {
        loop {
            let file = open_own(path)?;
            match lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(Refusal::io(path.display(), &error)),
            }
            // Whoever had it exclusively may have removed it: what has no name any more keeps nobody out.
            let ours = file.metadata().map_err(|e| Refusal::io(path.display(), &e))?;
            match fs::metadata(path) {
                Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Self { file, path: path.to_owned() }));
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Refusal::io(path.display(), &error)),
                _ => {}
            }
        }
    }

    /// From exclusive to shared; `None` where somebody else was faster. That does no harm to who has the file open.
    pub(super) fn share(self) -> Option<Self> {
        self.file.try_lock_shared().is_ok().then_some(self)
    }

    /// Frees an exclusive lock, and removes its file.
    pub(super) fn remove(self) -> Result<()> {
        super::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_beside_shared_and_nothing_beside_exclusive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let first = Lock::try_shared(&path).unwrap().unwrap();
        let second = Lock::try_shared(&path).unwrap().unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((first, second));
        let alone = Lock::try_exclusive(&path).unwrap().unwrap();
        assert!(Lock::try_shared(&path).unwrap().is_none());
        let shared = alone.share().unwrap();
        assert!(Lock::try_shared(&path).unwrap().is_some());
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(shared);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn lock_whose_file_was_removed_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        Lock::try_exclusive(&path).unwrap().unwrap().remove().unwrap();
        assert!(!path.exists());
        let next = Lock::try_exclusive(&path).unwrap().unwrap();
        assert!(path.exists());
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(next);
    }
}
