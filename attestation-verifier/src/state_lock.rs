//! Who may write in the state folder: one that makes the identity at a time, and one service as long as it runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use strongroom_wire::{Code, Refusal, Result};

/// A lock that is held until it is dropped. The kernel releases it when its process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// The lock of who makes the identity in `folder`; waits for it. A running service does not hold this one.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn creating(folder: &Path) -> Result<Self> {
        let file = File::open(folder).map_err(|e| Refusal::io(folder.display(), &e))?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|e| Refusal::io(folder.display(), &e.into()))?;
        Ok(Self { _file: file })
    }

    /// The lock of the service that runs on `folder`.
    ///
    /// # Errors
    /// `configuration-invalid`: another service runs on it; `io`.
    pub(crate) fn serving(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|e| Refusal::io(path.display(), &e))?;
        match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(Refusal::new(Code::ConfigurationInvalid, "`state`")
                .got(format!("{}, on which another verifier runs", folder.display()))
                .want("a folder of its own for each verifier")),
            Err(error) => Err(Refusal::io(path.display(), &error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_service_on_one_state_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::serving(folder.path()).unwrap();
        assert_eq!(StateLock::serving(folder.path()).unwrap_err().code, Code::ConfigurationInvalid);
        assert!(StateLock::creating(folder.path()).is_ok());
        drop(first);
        assert!(StateLock::serving(folder.path()).is_ok());
    }
}
