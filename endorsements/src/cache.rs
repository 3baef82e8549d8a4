//! Endorsements on disk. A file is there whole or not at all; what is not there yet is fetched under its lock, by one
//! process at a time.

use crate::UnixTime;
use core::time::Duration;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use strongroom_wire::{Code, Refusal, Result, limits};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

/// How long another process may take for what we want too: longer than a fetch lasts that waits and repeats.
const LOCK_PATIENCE: Duration = Duration::from_mins(5);
/// TCBs that a chip is kept for. One that runs has one, and another after an update.
const TCBS: usize = 8;
/// Between two looks at a lock.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A folder of endorsements. Several processes may share it. Its content is trusted no more than the network.
///
/// Beneath it: `amd/<product>/<chip id>-<TCB>.der`, `amd/<product>/<vcek|vlek>-{chain.pem,crl.der}`,
/// `intel/<FMSPC>-<authority>.json`, each beside its lock while it is fetched. Removing a file makes it be fetched again.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// The right to fetch one endorsement; ends when dropped, and leaves no file behind: whoever invents chips would fill the
/// disk with theirs.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// The lock lasts as long as it is open.
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still held: who waits for this very file sees that it is not the path's any more. One that
        // stays does no harm.
        drop(fs::remove_file(&self.path));
    }
}

impl Cache {
    /// The cache in `folder`, which is made when first something is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// What is kept under `name`.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn load(&self, name: &Path) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io)?,
        };
        let most = u64::try_from(limits::ENDORSEMENT).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        // One that is longer than what was ever written is cut here, and then does not parse.
        file.take(most).read_to_end(&mut bytes).map_err(io)?;
        Ok(Some(bytes))
    }

    /// Since when it is kept: what its file's time of change says, as trusted as the rest. `None`: it is not, or nothing says so.
    pub(crate) fn since(&self, name: &Path) -> Option<UnixTime> {
        let modified = fs::metadata(self.folder.join(name)).and_then(|metadata| metadata.modified()).ok()?;
        modified.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    /// Keeps `bytes` under `name` since `now`, in place of what was there.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn store(&self, name: &Path, bytes: &[u8], now: UnixTime) -> Result<()> {
        let (path, folder) = self.place(name)?;
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let mut file = NamedTempFile::new_in(folder).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        // Of whoever's clock says what time it is, which need not be the file system's. A time that it has no room for is none.
        if let Some(now) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(now)) {
            file.as_file().set_modified(now).map_err(io)?;
        }
        file.as_file().sync_all().map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Waits until nobody else, in this process or another, fetches what is kept under `name`.
    ///
    /// # Errors
    /// `io`; `timeout`: somebody took longer than five minutes.
    pub(crate) async fn lock(&self, name: &Path) -> Result<Lock> {
        let (mut path, _) = self.place(name)?;
        path.as_mut_os_string().push(".lock");
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(io)? => return Ok(Lock { path, _file: file }),
                // Its holder removed it after we had opened it.
                Ok(()) => {}
                Err(TryLockError::Error(e)) => return Err(io(e)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_POLL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Refusal::new(Code::Timeout, format!("`{}`", path.display()))
                        .got("held by another process")
                        .want(format!("released within {LOCK_PATIENCE:?}")));
                }
            }
        }
    }

    /// Of `<chip>-<TCB>.der` keeps those of this chip that were fetched last, at most eight.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn thin(&self, name: &Path) -> Result<()> {
        let (path, folder) = self.place(name)?;
        let io = |e: std::io::Error| Refusal::io(folder.display(), &e);
        let chip = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(".der")?.rsplit_once('-')?.0.to_owned());
        let mut kept = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            if chip(&entry.path()) == chip(&path) && entry.path() != path {
                kept.push((entry.metadata().and_then(|metadata| metadata.modified()).map_err(io)?, entry.path()));
            }
        }
        kept.sort();
        let most = TCBS.saturating_sub(1);
        let over = kept.len().saturating_sub(most);
        kept.iter().take(over).try_for_each(|(_, old)| fs::remove_file(old).map_err(io))
    }

    /// Keeps nothing under `name` any more.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn remove(&self, name: &Path) -> Result<()> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Refusal::io(path.display(), &e)),
            _ => Ok(()),
        }
    }

    /// Where `name` is kept, and the folder of it, which is there afterwards.
    fn place(&self, name: &Path) -> Result<(PathBuf, PathBuf)> {
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder).to_owned();
        fs::create_dir_all(&folder).map_err(|e| Refusal::io(folder.display(), &e))?;
        Ok((path, folder))
    }
}

/// Whether `path` leads to this very file.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        named => named.map(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lock_is_held_by_one_at_a_time_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Cache::new(folder.path()), Cache::new(folder.path()));
        let name = Path::new("amd/Milan/x.der");
        let held = one.lock(name).await.unwrap();
        let soon = Duration::from_millis(150);
        assert!(tokio::time::timeout(soon, two.lock(name)).await.is_err());
        assert!(tokio::time::timeout(soon, two.lock(Path::new("amd/Milan/y.der"))).await.is_ok());
        drop(held);
        assert!(tokio::time::timeout(soon, two.lock(name)).await.is_ok());
        assert_eq!(fs::read_dir(folder.path().join("amd/Milan")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn those_who_wait_for_a_lock_that_its_holder_removed_hold_the_next_one_by_turns() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, name, holders) = (Cache::new(folder.path()), Path::new("a"), std::sync::atomic::AtomicU32::new(0));
        let hold = async || {
            for _ in 0..5 {
                let lock = cache.lock(name).await.unwrap();
                assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                sleep(Duration::from_millis(2)).await;
                holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                drop(lock);
            }
        };
        tokio::join!(hold(), hold(), hold(), hold());
    }

    #[test]
    fn chip_is_kept_for_its_eight_last_tcbs_and_others_and_lists_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let others = ["amd/Milan/bb-00.der", "amd/Milan/vcek-crl.der", "amd/Milan/vcek-chain.pem"];
        others.iter().for_each(|name| cache.store(Path::new(name), b"x", 5).unwrap());
        let name = |tcb: u8| PathBuf::from(format!("amd/Milan/aa-{tcb:02}.der"));
        for tcb in 0..10 {
            cache.store(&name(tcb), b"x", 5 + u64::from(tcb)).unwrap();
            cache.thin(&name(tcb)).unwrap();
        }
        let kept = |name: &Path| cache.load(name).unwrap().is_some();
        assert!(others.iter().all(|name| kept(Path::new(name))));
        assert_eq!((0..10).map(|tcb| kept(&name(tcb))).collect::<Vec<_>>(), [vec![false; 2], vec![true; 8]].concat());
    }

    #[test]
    fn what_is_stored_replaces_what_was_there_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, name) = (Cache::new(folder.path().join("not/yet")), Path::new("intel/a.json"));
        assert_eq!(cache.load(name).unwrap(), None);
        assert_eq!(cache.since(name), None);
        for (bytes, now) in [(&b"a longer one"[..], 1_800_000_000), (b"b", 7)] {
            cache.store(name, bytes, now).unwrap();
            assert_eq!((cache.load(name).unwrap().as_deref(), cache.since(name)), (Some(bytes), Some(now)));
        }
        assert_eq!(fs::read_dir(folder.path().join("not/yet/intel")).unwrap().count(), 1);
    }
}
