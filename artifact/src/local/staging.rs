//! A directory that gets its name when it is complete.

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result};

/// A directory `.<name>.strongroom-partial` beside the final one, readable by its owner alone and locked (`flock`) for as
/// long as this lives; removed unless it is committed. What a killed run left there is removed by the next run.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    partial: PathBuf,
    lock: File,
}

impl Staging {
    /// Prepares for `target`, which must not exist or be an empty directory. Its parent must exist.
    ///
    /// # Errors
    /// `usage`: `target` holds something, or another process is filling it. `file-mode-unsafe`: the directory to write into
    /// is there and is somebody else's. `io`.
    pub fn create(target: &Path) -> Result<Self> {
        let unusable = |why: &str| Refusal::new(Code::Usage, format!("`{}`", target.display())).because(why);
        let name = target.file_name().ok_or_else(|| unusable("has no name of its own"))?;
        if !is_free(target)? {
            return Err(unusable("exists and is not an empty directory"));
        }
        let partial = target.with_file_name(format!(".{}.strongroom-partial", name.to_string_lossy()));
        let lock = lock(&partial)?.ok_or_else(|| unusable("another process is filling it"))?;
        let staging = Self { target: target.to_owned(), partial, lock };
        for leftover in entries(&staging.partial)? {
            let directory = leftover.is_dir() && !leftover.is_symlink();
            let removed = if directory { fs::remove_dir_all(&leftover) } else { fs::remove_file(&leftover) };
            removed.map_err(|e| Refusal::io(leftover.display(), &e))?;
        }
        Ok(staging)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the directory its name. All of it is on the disk before, so that no crash leaves a half-written directory
    /// under that name.
    ///
    /// # Errors
    /// `io`: the directory was filled meanwhile, or the disk failed.
    pub fn commit(self) -> Result<()> {
        sync(&self.partial)?;
        fs::rename(&self.partial, &self.target).map_err(|e| Refusal::io(self.target.display(), &e))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a rename there is nothing of that name, or it is another process's.
        if is_at(&self.lock, &self.partial) {
            // What cannot be removed now is removed by the next run.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e: std::io::Error| Refusal::io(folder.display(), &e);
    fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|entry| entry.path()).map_err(io)).collect()
}

/// Flushes every file and directory below `path`, and itself.
fn sync(path: &Path) -> Result<()> {
    if path.is_dir() {
        entries(path)?.iter().try_for_each(|entry| sync(entry))?;
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Refusal::io(path.display(), &e))
}

fn is_free(target: &Path) -> Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(!target.is_symlink()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(Refusal::io(target.display(), &error)),
    }
}

/// Makes and locks the folder; `None` if another process has it. One that is there is adopted only if it is ours, and is
/// then readable by us alone, whoever could read or write it before.
fn lock(folder: &Path) -> Result<Option<File>> {
    let failed = |e: &std::io::Error| Refusal::io(folder.display(), e);
    // Readable by its owner alone: what was sealed is so for a reason.
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&error)),
        _ => {}
    }
    // Somebody else's link must not lead to another folder of ours.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| failed(&e.into()))?);
    let (owner, us) = (file.metadata().map_err(|e| failed(&e))?.uid(), geteuid().as_raw());
    if owner != us {
        return Err(Refusal::new(Code::FileModeUnsafe, format!("owner of `{}`", folder.display())).got(owner).want(us));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(failed(&error)),
    }
    // The one who had it may have renamed it between our opening and our locking.
    if !is_at(&file, folder) {
        return Ok(None);
    }
    file.set_permissions(Permissions::from_mode(0o700)).map_err(|e| failed(&e))?;
    Ok(Some(file))
}

/// Whether `path` is the very folder that `file` holds open.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => there.is_dir() && (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stderr)]

    use super::*;
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn committed_directory_has_its_name_and_dropped_one_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let staging = Staging::create(&target).unwrap();
        fs::write(staging.path().join("f"), "x").unwrap();
        assert!(!target.exists());
        drop(staging);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let staging = Staging::create(&target).unwrap();
        fs::write(staging.path().join("f"), "x").unwrap();
        staging.commit().unwrap();
        assert_eq!(fs::read(target.join("f")).unwrap(), b"x");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn empty_target_and_leftovers_accepted_and_full_target_refused() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        fs::create_dir(&target).unwrap();
        fs::create_dir(root.path().join(".out.strongroom-partial")).unwrap();
        fs::write(root.path().join(".out.strongroom-partial/old"), "x").unwrap();
        let staging = Staging::create(&target).unwrap();
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0);
        staging.commit().unwrap();
        fs::write(target.join("mine"), "x").unwrap();
        assert_eq!(Staging::create(&target).unwrap_err().code, Code::Usage);
        assert_eq!(Staging::create(&target.join("mine")).unwrap_err().code, Code::Usage);
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn leftover_of_ours_becomes_private_and_of_somebody_else_refused() {
        let root = tempfile::tempdir().unwrap();
        let (target, partial) = (root.path().join("out"), root.path().join(".out.strongroom-partial"));
        let leave = || {
            fs::create_dir(&partial).unwrap();
            fs::set_permissions(&partial, Permissions::from_mode(0o755)).unwrap();
        };
        leave();
        let staging = Staging::create(&target).unwrap();
        assert_eq!(mode(staging.path()), 0o700);
        drop(staging);
        if !geteuid().is_root() {
            eprintln!("skipped: only root can make somebody else's directory");
            return;
        }
        leave();
        chown(&partial, Some(65_534), None).unwrap();
        assert_eq!(Staging::create(&target).unwrap_err().code, Code::FileModeUnsafe);
        assert_eq!(mode(&partial), 0o755, "left as it was");
        assert!(!target.exists());
    }

    #[test]
    fn link_in_place_of_the_leftover_refused_and_where_it_leads_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).unwrap();
        fs::write(elsewhere.join("mine"), "x").unwrap();
        symlink(&elsewhere, root.path().join(".out.strongroom-partial")).unwrap();
        assert_eq!(Staging::create(&root.path().join("out")).unwrap_err().code, Code::Io);
        assert_eq!(mode(&elsewhere), 0o755);
        assert!(elsewhere.join("mine").exists());
    }

    #[test]
    fn second_run_for_the_same_directory_refused_while_the_first_lasts() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let first = Staging::create(&target).unwrap();
        fs::write(first.path().join("f"), "x").unwrap();
        assert_eq!(Staging::create(&target).unwrap_err().code, Code::Usage);
        assert!(Staging::create(&root.path().join("other")).is_ok());
        assert_eq!(fs::read(first.path().join("f")).unwrap(), b"x");
        drop(first);
        assert!(Staging::create(&target).is_ok());
    }
}
