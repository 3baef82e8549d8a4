//! A directory that gets its name when it is complete.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result};

/// A directory beside the final one, readable by its owner alone, removed unless it is committed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Staging {
    /// Makes `.<name>.partial` beside `target`, and removes the one that a killed run may have left there.
    ///
    /// Refuses a `target` that exists and is not an empty directory with `usage`.
    pub fn create(target: &Path) -> Result<Self> {
        match fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(false) | Err(_) => {
                let shown = format!("`{}`", target.display());
                return Err(Refusal::new(Code::Usage, shown).got("it exists").want("a new or empty directory"));
            }
        }
        let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Refusal::new(Code::Usage, format!("`{}`", target.display())).want("the name of a directory")
        })?;
        let path = target.with_file_name(format!(".{name}.partial"));
        let io = |error: std::io::Error| Refusal::io(path.display(), &error);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(io)?;
        Ok(Self { path, target: target.to_owned(), committed: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name.
    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target).map_err(|e| Refusal::io(self.target.display(), &e))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is removed by the next run.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

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
        fs::create_dir(root.path().join(".out.partial")).unwrap();
        fs::write(root.path().join(".out.partial/old"), "x").unwrap();
        let staging = Staging::create(&target).unwrap();
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0);
        staging.commit().unwrap();
        fs::write(target.join("mine"), "x").unwrap();
        assert_eq!(Staging::create(&target).unwrap_err().code, Code::Usage);
        assert_eq!(Staging::create(&target.join("mine")).unwrap_err().code, Code::Usage);
    }
}
