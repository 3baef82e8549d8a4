//! A download that can be interrupted at any instruction, and goes on from what is still right on the disk.

use super::journal::Journal;
use super::lock::Lock;
use super::{Cache, CachedBlob, hash_up_to, open_own, remove};
use aws_lc_rs::digest;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How much may come between two lines of the journal, and so come again after the process was killed.
const CHECKPOINT: u64 = 4 << 20;

/// The beginning of a blob, and the right to complete it.
pub(crate) struct Partial {
    cache: Cache,
    lock: Lock,
    digest: Sha256,
    size: u64,
    file: File,
    path: PathBuf,
    journal: Journal,
    /// Over what there is.
    hash: digest::Context,
    length: u64,
    /// Where the journal ends.
    noted: u64,
}

impl Partial {
    /// What is there of the blob. Each checkpoint is compared with the bytes before it; the first that does not hold, and what
    /// follows, is given up.
    pub(super) fn resume(cache: &Cache, lock: Lock, digest: Sha256, size: u64) -> Result<Self> {
        let path = cache.inner.partial.join(digest.to_string());
        let (mut journal, checkpoints) = Journal::open(path.with_extension("journal"))?;
        let mut file = open_own(&path)?;
        let failed = |e: io::Error| Refusal::io(path.display(), &e);
        let (mut hash, mut last) = (digest::Context::new(&digest::SHA256), None);
        let mut length = 0;
        let mut reached = hash.clone();
        for checkpoint in checkpoints.iter().take_while(|checkpoint| checkpoint.length <= size) {
            let more = checkpoint.length.saturating_sub(length);
            let read = hash_up_to(&mut file, more, &mut hash).map_err(failed)?;
            if read != more || Sha256::from_finished(&hash.clone().finish()) != checkpoint.digest {
                break;
            }
            (length, last, reached) = (checkpoint.length.max(length), Some(checkpoint), hash.clone());
        }
        journal.rewind(last)?;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length))).map_err(failed)?;
        if length > 0 {
            tracing::debug!(%digest, length, size, "download goes on from the disk");
        }
        Ok(Self { cache: cache.clone(), lock, digest, size, file, path, journal, hash: reached, length, noted: length })
    }

    /// How many bytes there are.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether all bytes have come, whatever they are.
    pub(crate) const fn is_whole(&self) -> bool {
        self.length == self.size
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// `io`: they cannot be written, as where the disk is full; `layer-size-mismatch`: there are more than the blob has.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if length > self.size {
            return Err(Refusal::new(Code::LayerSizeMismatch, self.what()).got(length).want(self.size));
        }
        self.file.write_all(bytes).map_err(|e| Refusal::io(self.path.display(), &e))?;
        self.hash.update(bytes);
        self.length = length;
        if self.length.saturating_sub(self.noted) >= CHECKPOINT { self.note() } else { Ok(()) }
    }

    /// Leaves what there is to whoever goes on; where there is nothing, no file stays.
    pub(crate) fn leave(mut self) -> Result<()> {
        if self.length == 0 {
            return self.discard();
        }
        if self.length > self.noted { self.note() } else { Ok(()) }
    }

    /// Removes what there is.
    pub(crate) fn discard(self) -> Result<()> {
        remove(&self.path)?;
        remove(self.journal.path())
    }

    /// Gives the blob its name, if its bytes are those of its digest; else they are removed.
    ///
    /// # Errors
    /// `layer-size-mismatch`, `layer-digest-mismatch`; `io`.
    pub(crate) fn keep(mut self) -> Result<CachedBlob> {
        if self.length != self.size {
            return Err(Refusal::new(Code::LayerSizeMismatch, self.what()).got(self.length).want(self.size));
        }
        let digest = Sha256::from_finished(&self.hash.clone().finish());
        if digest != self.digest {
            let refusal =
                Refusal::new(Code::LayerDigestMismatch, self.what()).got(digest.oci()).want(self.digest.oci());
            self.discard()?;
            return Err(refusal);
        }
        let name = self.cache.inner.blobs.join(digest.to_string());
        // Without the sync a machine that crashes could have the name and not the bytes.
        let kept = self.file.sync_data().and_then(|()| fs::rename(&self.path, &name)).and_then(|()| self.file.rewind());
        kept.map_err(|e| Refusal::io(name.display(), &e))?;
        remove(self.journal.path())?;
        Ok(CachedBlob { cache: self.cache, file: self.file, lock: self.lock.share(), added: self.size })
    }

    fn note(&mut self) -> Result<()> {
        self.noted = self.length;
        self.journal.add(self.length, Sha256::from_finished(&self.hash.clone().finish()))
    }

    fn what(&self) -> String {
        format!("blob `{}`", self.digest.oci())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CacheLimits, Found};
    use super::*;

    const LIMITS: CacheLimits = CacheLimits { blobs: 1 << 30, partial: 1 << 30 };

    fn begun(cache: &Cache, bytes: &[u8]) -> Partial {
        match cache.look(Sha256::of(bytes), u64::try_from(bytes.len()).unwrap()).unwrap() {
            Found::Room(partial) => *partial,
            _ => panic!("not there"),
        }
    }

    fn content() -> Vec<u8> {
        (0..10_u32 << 20).map(|i| (i / 251).to_le_bytes()[0]).collect()
    }

    /// Leaves `length` bytes as a process that is killed does: without a word.
    fn killed_after(cache: &Cache, bytes: &[u8], length: usize) -> PathBuf {
        let mut partial = begun(cache, bytes);
        bytes[..length].chunks(100_000).for_each(|chunk| partial.append(chunk).unwrap());
        partial.path.clone()
    }

    #[test]
    fn what_a_killed_process_left_is_of_use_up_to_its_last_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), LIMITS).unwrap();
        let bytes = content();
        killed_after(&cache, &bytes, 9 << 20);
        let mut partial = begun(&cache, &bytes);
        let length = usize::try_from(partial.length()).unwrap();
        assert!((8 << 20..9 << 20).contains(&length), "{length}");
        assert_eq!(fs::read(&partial.path).unwrap(), bytes[..length]);
        partial.append(&bytes[length..]).unwrap();
        drop(partial.keep().unwrap());
        assert!(matches!(cache.look(Sha256::of(&bytes), 10 << 20).unwrap(), Found::Blob(_)));
    }

    #[test]
    fn checkpoints_before_a_change_stay_of_use_and_those_behind_it_do_not() {
        let bytes = content();
        for (changed, least, most) in [(9 << 20, 8 << 20, 9 << 20), (6 << 20, 4 << 20, 5 << 20), (0, 0, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::open(&folder.path().join("cache"), LIMITS).unwrap();
            let path = killed_after(&cache, &bytes, 10 << 20);
            let mut left = fs::read(&path).unwrap();
            left[changed] ^= 1;
            fs::write(&path, left).unwrap();
            let partial = begun(&cache, &bytes);
            assert!((least..most).contains(&partial.length()), "{}", partial.length());
        }
    }

    #[test]
    fn whole_bytes_of_another_digest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), LIMITS).unwrap();
        let mut partial = begun(&cache, b"content");
        partial.append(b"CONTENT").unwrap();
        assert_eq!(partial.keep().unwrap_err().code, Code::LayerDigestMismatch);
        assert_eq!(begun(&cache, b"content").length(), 0);
        let mut partial = begun(&cache, b"content");
        assert_eq!(partial.append(b"content and more").unwrap_err().code, Code::LayerSizeMismatch);
        partial.append(b"cont").unwrap();
        assert_eq!(partial.keep().unwrap_err().code, Code::LayerSizeMismatch);
    }

    #[test]
    fn full_disk_has_its_code_and_makes_no_blob() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), LIMITS).unwrap();
        let mut partial = begun(&cache, b"content");
        partial.file = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let refusal = partial.append(b"content").unwrap_err();
        assert_eq!(refusal.code, Code::Io);
        assert!(refusal.to_string().contains("No space left"), "{refusal}");
        assert_eq!(partial.length(), 0);
        partial.discard().unwrap();
        assert_eq!(fs::read_dir(folder.path().join("cache/blobs")).unwrap().count(), 0);
        assert_eq!(begun(&cache, b"content").length(), 0);
    }
}
