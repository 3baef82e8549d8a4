//! A directory as the place of a model's files: under its name only once all of it is verified.

use crate::sink::ModelSink;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use strongroom_artifact::ladder::VerifiedModel;
use strongroom_wire::{Code, Refusal, Result};

/// Writes a model below `.<name>.strongroom-partial` beside its directory, which is renamed by [`Self::keep`] and removed
/// when dropped before. What a killed run left there is removed by the next one for the same directory.
#[derive(Debug)]
pub struct DirectorySink {
    target: PathBuf,
    partial: PathBuf,
    /// Held for as long as `partial` is ours (`flock`).
    lock: File,
    files: Vec<PathBuf>,
}

impl DirectorySink {
    /// Prepares for `target`, which must not exist or be an empty directory. Its parent must exist.
    ///
    /// # Errors
    /// `usage`: `target` holds something, or another process is filling it. `io`.
    pub fn new(target: &Path) -> Result<Self> {
        let unusable = |why: &str| Refusal::new(Code::Usage, format!("`{}`", target.display())).because(why);
        let name = target.file_name().ok_or_else(|| unusable("has no name of its own"))?;
        if !is_free(target)? {
            return Err(unusable("exists and is not an empty directory"));
        }
        let partial = target.with_file_name(format!(".{}.strongroom-partial", name.to_string_lossy()));
        let lock = lock(&partial)?.ok_or_else(|| unusable("another process is filling it"))?;
        let sink = Self { target: target.to_owned(), partial, lock, files: Vec::new() };
        for leftover in fs::read_dir(&sink.partial).map_err(|e| Refusal::io(sink.partial.display(), &e))? {
            let path = leftover.map_err(|e| Refusal::io(sink.partial.display(), &e))?.path();
            let removed =
                if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|e| Refusal::io(path.display(), &e))?;
        }
        Ok(sink)
    }

    /// Gives the directory its name. The proof says that what was written is the model; it is on the disk before it has
    /// its name, so that no crash leaves a half-written model under it.
    ///
    /// # Errors
    /// `io`: the directory was filled meanwhile, or the disk failed.
    pub fn keep(self, verified: &VerifiedModel) -> Result<()> {
        tracing::debug!(manifest = %verified.manifest_digest(), target = %self.target.display(), "model kept");
        for path in &self.files {
            let synced = File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|e| Refusal::io(path.display(), &e))?;
        }
        fs::rename(&self.partial, &self.target).map_err(|e| Refusal::io(self.target.display(), &e))
    }
}

impl ModelSink for DirectorySink {
    type File = File;

    fn create(&mut self, path: &str, size: u64) -> Result<File> {
        if !Path::new(path).components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(Refusal::new(Code::PathUnsafe, "file of a model").got(path));
        }
        let path = self.partial.join(path);
        let failed = |e: &std::io::Error| Refusal::io(path.display(), e);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| failed(&e))?;
        }
        let file = File::options().write(true).create_new(true).open(&path).map_err(|e| failed(&e))?;
        file.set_len(size).map_err(|e| failed(&e))?;
        self.files.push(path);
        Ok(file)
    }

    /// With it, the directory can be verified again by any tool that reads OMS.
    fn takes_statement(&self) -> bool {
        true
    }
}

impl Drop for DirectorySink {
    fn drop(&mut self) {
        // After a rename there is nothing of that name, or it is another process's.
        if is_at(&self.lock, &self.partial)
            && let Err(error) = fs::remove_dir_all(&self.partial)
        {
            tracing::warn!(path = %self.partial.display(), %error, "partial model not removed");
        }
    }
}

fn is_free(target: &Path) -> Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(!target.is_symlink()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(Refusal::io(target.display(), &error)),
    }
}

/// Makes and locks the folder; `None` if another process has it.
fn lock(folder: &Path) -> Result<Option<File>> {
    let failed = |e: &std::io::Error| Refusal::io(folder.display(), e);
    // Readable by its owner alone: a model that was sealed is so for a reason.
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&error)),
        _ => {}
    }
    let file = File::open(folder).map_err(|e| failed(&e))?;
    match file.try_lock() {
        // The one who had it may have renamed it between our opening and our locking.
        Ok(()) => Ok(is_at(&file, folder).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
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
    use super::*;
    use crate::sink::FileSink as _;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_left_when_dropped_before_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(&folder.path().join("model")).unwrap();
        sink.create("sub/file", 3).unwrap().write_at(0, b"abc").unwrap();
        assert_eq!(names(folder.path()), [".model.strongroom-partial"]);
        drop(sink);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn leftovers_of_a_killed_run_removed() {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join(".model.strongroom-partial");
        fs::create_dir_all(partial.join("sub")).unwrap();
        fs::write(partial.join("sub/file"), b"old").unwrap();
        fs::write(partial.join("other"), b"old").unwrap();
        let sink = DirectorySink::new(&folder.path().join("model")).unwrap();
        assert!(names(&partial).is_empty());
        drop(sink);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn second_run_for_the_same_directory_refused_while_the_first_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        let mut first = DirectorySink::new(&target).unwrap();
        first.create("file", 0).unwrap();
        assert_eq!(DirectorySink::new(&target).unwrap_err().code, Code::Usage);
        assert!(DirectorySink::new(&folder.path().join("model2")).is_ok());
        assert_eq!(names(&folder.path().join(".model.strongroom-partial")), ["file"]);
        drop(first);
        assert!(DirectorySink::new(&target).is_ok());
    }

    #[test]
    fn directory_with_content_refused_and_empty_one_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        fs::create_dir(&target).unwrap();
        assert!(DirectorySink::new(&target).is_ok());
        fs::write(target.join("file"), b"").unwrap();
        assert_eq!(DirectorySink::new(&target).unwrap_err().code, Code::Usage);
        assert_eq!(DirectorySink::new(&target.join("file")).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn path_that_leaves_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(&folder.path().join("model")).unwrap();
        for path in ["../a", "/a", "a/../../b"] {
            assert_eq!(sink.create(path, 0).unwrap_err().code, Code::PathUnsafe, "{path}");
        }
    }
}
