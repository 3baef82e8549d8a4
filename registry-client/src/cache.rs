//! Blobs on disk, by their digests, for any number of processes at a time:
//!
//! ```text
//! blobs/<hex>              whole, and hashed again before each use; its modification time is that of the last use
//! partial/<hex>            what came of one so far
//! partial/<hex>.journal    up to where of it what digest was computed, a line each
//! locks/<hex>              locked: exclusively by who downloads, shared by who reads (flock(2))
//! ```
//!
//! A blob gets its name by a rename after its digest was compared and its bytes were synced, so a name never stands for
//! something else, whenever the process is killed. All that is here can be removed at any time.

mod collect;
mod journal;
mod lock;
mod partial;

pub use collect::Collected;
pub(crate) use partial::Partial;

use aws_lc_rs::digest;
use core::sync::atomic::{AtomicU64, Ordering};
use lock::Lock;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How much is read from the disk at once.
pub(crate) const READ: usize = 256 * 1024;
/// Blobs are collected whenever this part of the limit was added.
const COLLECTED_EVERY: u64 = 8;

/// A folder of blobs. Clones are the same cache.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    partial: PathBuf,
    locks: PathBuf,
    limits: CacheLimits,
    /// Bytes that were added since blobs were collected.
    added: AtomicU64,
}

/// How much a cache keeps, in bytes. What was not used for longest goes first; what a process is using stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Of whole blobs. Zero: none is kept once it was opened, and the cache is there for interrupted downloads alone. During
    /// a pull, an eighth more.
    pub blobs: u64,
    /// Of what came of blobs whose download was interrupted.
    pub partial: u64,
}

/// What a cache has of a blob.
pub(crate) enum Found {
    /// All of it.
    Blob(CachedBlob),
    /// A part of it, or nothing; ours to complete.
    Room(Box<Partial>),
    /// Somebody is downloading it.
    Busy,
}

/// A whole blob, whose bytes were those of its digest a moment ago. While it is held, it is not collected.
#[derive(Debug)]
pub(crate) struct CachedBlob {
    cache: Cache,
    file: File,
    lock: Option<Lock>,
    /// How much of it is new.
    added: u64,
}

impl Cache {
    /// The cache in `root`, which is made, for its owner alone, when absent. Its parent must exist, or be made likewise.
    ///
    /// # Errors
    /// `io`: it cannot be made. `file-mode-unsafe`: it is another user's, or others than its owner may look into it.
    pub fn open(root: &Path, limits: CacheLimits) -> Result<Self> {
        let folder = |path: PathBuf| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|e| Refusal::io(path.display(), &e)).map(|()| path)
        };
        let root = folder(root.to_owned())?;
        let metadata = fs::metadata(&root).map_err(|e| Refusal::io(root.display(), &e))?;
        belongs_to(rustix::process::geteuid().as_raw(), &root, &metadata)?;
        let [blobs, partial, locks] = ["blobs", "partial", "locks"].map(|name| folder(root.join(name)));
        let added = AtomicU64::new(0);
        Ok(Self { inner: Arc::new(Inner { blobs: blobs?, partial: partial?, locks: locks?, limits, added }) })
    }

    /// What there is of the blob `digest` of `size` bytes. Blocks while what is there is hashed, and not for others.
    pub(crate) fn look(&self, digest: Sha256, size: u64) -> Result<Found> {
        let path = self.inner.locks.join(digest.to_string());
        if let Some(lock) = Lock::try_shared(&path)?
            && let Some(file) = self.verified(digest, size)?
        {
            return Ok(Found::Blob(CachedBlob { cache: self.clone(), file, lock: Some(lock), added: 0 }));
        }
        let Some(lock) = Lock::try_exclusive(&path)? else { return Ok(Found::Busy) };
        // It may have been completed in between.
        if let Some(file) = self.verified(digest, size)? {
            return Ok(Found::Blob(CachedBlob { cache: self.clone(), file, lock: lock.share(), added: 0 }));
        }
        Ok(Found::Room(Box::new(Partial::resume(self, lock, digest, size)?)))
    }

    /// The blob's file, hashed, at its start; one that is something else is removed.
    fn verified(&self, digest: Sha256, size: u64) -> Result<Option<File>> {
        let path = self.inner.blobs.join(digest.to_string());
        let failed = |e: io::Error| Refusal::io(path.display(), &e);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        let length = hash_up_to(&mut file, u64::MAX, &mut hash).map_err(failed)?;
        if length != size || Sha256::from_finished(&hash.finish()) != digest {
            tracing::warn!(path = %path.display(), "cached blob has changed and is removed");
            remove(&path)?;
            return Ok(None);
        }
        // The use counts even where it cannot be noted, as on a disk that is read only.
        let _noted = file.set_modified(SystemTime::now());
        file.rewind().map_err(failed)?;
        Ok(Some(file))
    }
}

impl CachedBlob {
    /// Its bytes, from their start.
    pub(crate) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it up to whoever collects, which is this process where it added enough.
    pub(crate) fn release(mut self) {
        drop(self.lock.take());
        let Inner { added, limits, .. } = &*self.cache.inner;
        let added = added.fetch_add(self.added, Ordering::Relaxed).saturating_add(self.added);
        if limits.blobs == 0 || added > limits.blobs / COLLECTED_EVERY {
            self.cache.collect_or_warn();
        }
    }
}

/// Refuses a folder that is not of the user `uid` alone. Another owner could give it back to the others at any time.
fn belongs_to(uid: u32, root: &Path, metadata: &Metadata) -> Result<()> {
    let refused = || Refusal::new(Code::FileModeUnsafe, format!("`{}`", root.display()));
    if metadata.uid() != uid {
        return Err(refused().got(format!("user {}", metadata.uid())).want(format!("user {uid}")));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(refused().got(format!("{:o}", mode & 0o777)).want("700"));
    }
    Ok(())
}

/// Hashes what `file` has from where it stands, up to `length` bytes, and says how many those were.
fn hash_up_to(file: &mut File, length: u64, hash: &mut digest::Context) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let mut done = 0_u64;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(READ).min(READ);
        match file.read(buffer.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(buffer.get(..read).unwrap_or_default());
                done = done.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A file of ours, for reading and writing, made when absent, whatever it holds.
fn open_own(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|e| Refusal::io(path.display(), &e))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Refusal::io(path.display(), &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_another_user_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        Cache::open(&root, CacheLimits { blobs: 0, partial: 0 }).unwrap();
        let metadata = fs::metadata(&root).unwrap();
        assert!(belongs_to(metadata.uid(), &root, &metadata).is_ok());
        let refusal = belongs_to(metadata.uid() + 1, &root, &metadata).unwrap_err();
        assert_eq!(refusal.code, Code::FileModeUnsafe);
        assert_eq!(refusal.got, Some(format!("user {}", metadata.uid())));
    }
}
