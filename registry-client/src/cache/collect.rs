//! What is used least gives room: by the time of its last use, until the limits hold.

use super::lock::Lock;
use super::{Cache, remove};
use core::sync::atomic::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use strongroom_wire::{Refusal, Result};

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs and beginnings of blobs.
    pub files: usize,
    /// Their length in bytes.
    pub bytes: u64,
}

/// A file that may be collected.
struct Entry {
    used: SystemTime,
    length: u64,
    name: String,
}

impl Cache {
    /// Removes blobs, and beginnings of blobs, until both are within their limits, and what a killed process left that is of
    /// no use: files without a byte, and journals of nothing. What any process is using stays, and counts.
    ///
    /// # Errors
    /// `io`.
    pub fn collect(&self) -> Result<Collected> {
        let inner = &*self.inner;
        inner.added.store(0, Ordering::Relaxed);
        let mut collected = Collected::default();
        for (folder, limit) in [(&inner.blobs, inner.limits.blobs), (&inner.partial, inner.limits.partial)] {
            let mut entries = entries(folder)?;
            let mut left = entries.iter().map(|entry| entry.length).fold(0, u64::saturating_add);
            entries.sort_by_key(|entry| entry.used);
            for entry in entries {
                if left <= limit && entry.length > 0 {
                    continue;
                }
                if self.remove_unused(folder, &entry.name)? {
                    left = left.saturating_sub(entry.length);
                    collected.files = collected.files.saturating_add(1);
                    collected.bytes = collected.bytes.saturating_add(entry.length);
                }
            }
        }
        self.remove_orphans()?;
        self.remove_locks()?;
        Ok(collected)
    }

    /// [`Self::collect`], where nobody waits for its outcome.
    pub(crate) fn collect_or_warn(&self) {
        match self.collect() {
            Ok(Collected { files, bytes }) if files > 0 => tracing::debug!(files, bytes, "collected"),
            Ok(_) => {}
            Err(refusal) => tracing::warn!(%refusal, "cache cannot be collected"),
        }
    }

    fn remove_unused(&self, folder: &Path, name: &str) -> Result<bool> {
        let Some(_lock) = Lock::try_exclusive(&self.inner.locks.join(name))? else { return Ok(false) };
        let path = folder.join(name);
        remove(&path)?;
        remove(&path.with_extension("journal"))?;
        Ok(true)
    }

    /// Removes the journals beside which nothing is.
    fn remove_orphans(&self) -> Result<()> {
        let folder = &self.inner.partial;
        for Entry { name, .. } in files(folder, is_journal)? {
            let path = folder.join(&name);
            let beginning = path.with_extension("");
            let Some(stem) = beginning.file_name().filter(|_| !beginning.exists()) else { continue };
            if let Some(_lock) = Lock::try_exclusive(&self.inner.locks.join(stem))?
                // Before it was ours, somebody may have begun.
                && !beginning.exists()
            {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the locks of what is not here any more.
    fn remove_locks(&self) -> Result<()> {
        let here = |folder: &PathBuf, name: &str| folder.join(name).exists();
        for Entry { name, .. } in entries(&self.inner.locks)? {
            if here(&self.inner.blobs, &name) || here(&self.inner.partial, &name) {
                continue;
            }
            if let Some(lock) = Lock::try_exclusive(&self.inner.locks.join(&name))?
                // Before it was ours, somebody may have begun.
                && !here(&self.inner.partial, &name)
            {
                lock.remove()?;
            }
        }
        Ok(())
    }
}

/// The files of a folder, without journals.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    files(folder, |name| !is_journal(name))
}

fn is_journal(name: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new("journal"))
}

/// The files of a folder whose names are `wanted`. What is no file is not ours.
fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Entry>> {
    let failed = |e: &std::io::Error| Refusal::io(folder.display(), e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let Some(name) = entry.file_name().into_string().ok().filter(|name| wanted(name)) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => {
                let used = metadata.modified().map_err(|e| failed(&e))?;
                found.push(Entry { used, length: metadata.len(), name });
            }
            Ok(_) => {}
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{CacheLimits, CachedBlob, Found};
    use super::*;
    use core::time::Duration;
    use strongroom_wire::digest::Sha256;

    fn look(cache: &Cache, bytes: &[u8]) -> Found {
        cache.look(Sha256::of(bytes), u64::try_from(bytes.len()).unwrap()).unwrap()
    }

    fn put(cache: &Cache, bytes: &[u8]) -> CachedBlob {
        let Found::Room(mut partial) = look(cache, bytes) else { panic!("there already") };
        partial.append(bytes).unwrap();
        partial.keep().unwrap()
    }

    fn has(cache: &Cache, bytes: &[u8]) -> bool {
        cache.inner.blobs.join(Sha256::of(bytes).to_string()).exists()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), CacheLimits { blobs: 8, partial: 0 }).unwrap();
        let contents: [&[u8]; 4] = [b"aaaa", b"bbbb", b"cccc", b"dddd"];
        let held: Vec<_> = contents.iter().map(|bytes| put(&cache, bytes)).collect();
        assert_eq!(cache.collect().unwrap(), Collected::default(), "all are in use");
        for (age, bytes) in contents.iter().enumerate() {
            let used = SystemTime::now() - Duration::from_secs(100 - u64::try_from(age).unwrap());
            let file = fs::File::open(cache.inner.blobs.join(Sha256::of(bytes).to_string())).unwrap();
            file.set_modified(used).unwrap();
        }
        drop(held);
        // The oldest is used once more, and the second is in use: what is left to go is of the third and fourth.
        assert!(matches!(look(&cache, b"aaaa"), Found::Blob(_)));
        let Found::Blob(second) = look(&cache, b"bbbb") else { panic!("not there") };
        assert_eq!(cache.collect().unwrap(), Collected { files: 2, bytes: 8 });
        let left = contents.map(|bytes| has(&cache, bytes));
        assert_eq!(left, [true, true, false, false]);
        drop(second);
        assert_eq!(fs::read_dir(&cache.inner.locks).unwrap().count(), 2, "no lock of what is gone");
    }

    #[test]
    fn download_under_way_stays_and_one_that_was_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), CacheLimits { blobs: 0, partial: 3 }).unwrap();
        let Found::Room(mut partial) = look(&cache, b"content") else { panic!("there already") };
        partial.append(b"cont").unwrap();
        assert_eq!(cache.collect().unwrap(), Collected::default());
        partial.leave().unwrap();
        assert_eq!(cache.collect().unwrap(), Collected { files: 1, bytes: 4 });
        assert_eq!(fs::read_dir(&cache.inner.partial).unwrap().count(), 0, "its journal too");
    }

    #[test]
    fn what_is_of_no_use_goes_and_what_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), CacheLimits { blobs: 8, partial: 8 }).unwrap();
        let partial = |name: &str| cache.inner.partial.join(name);
        for stray in [cache.inner.blobs.join("d"), partial("d"), partial("d.journal"), cache.inner.locks.join("d")] {
            fs::create_dir(stray).unwrap();
        }
        // A process that is killed leaves no word.
        drop(look(&cache, b"killed"));
        fs::write(partial("orphan.journal"), b"4 ").unwrap();
        let Found::Room(mut left) = look(&cache, b"left") else { panic!("there already") };
        left.append(b"le").unwrap();
        left.leave().unwrap();
        let under_way = look(&cache, b"under way");
        assert_eq!(fs::read_dir(&cache.inner.partial).unwrap().count(), 9);
        assert_eq!(cache.collect().unwrap(), Collected { files: 1, bytes: 0 });
        let names = [&b"left"[..], b"under way"].map(|bytes| Sha256::of(bytes).to_string());
        let mut want: Vec<_> = names.iter().flat_map(|name| [name.clone(), format!("{name}.journal")]).collect();
        want.extend(["d".to_owned(), "d.journal".to_owned()]);
        want.sort();
        let found = fs::read_dir(&cache.inner.partial).unwrap();
        let mut found: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, want);
        drop(under_way);
        assert_eq!(cache.collect().unwrap(), Collected { files: 1, bytes: 0 });
    }

    #[test]
    fn download_left_before_its_first_byte_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), CacheLimits { blobs: 8, partial: 8 }).unwrap();
        for (bytes, files) in [(&b""[..], 0), (b"c", 2)] {
            let Found::Room(mut partial) = look(&cache, b"content") else { panic!("there already") };
            partial.append(bytes).unwrap();
            partial.leave().unwrap();
            assert_eq!(fs::read_dir(&cache.inner.partial).unwrap().count(), files);
        }
    }
}
