//! A directory as the place of a model's files: under its name only once all of it is verified.

use crate::sink::ModelSink;
use std::fs::{self, File};
use std::path::{Component, Path};
use strongroom_artifact::ladder::VerifiedModel;
use strongroom_artifact::local::Staging;
use strongroom_wire::{Code, Refusal, Result};

/// Writes a model into a [`Staging`] directory, which gets its name by [`Self::keep`] and is removed when dropped before.
#[derive(Debug)]
pub struct DirectorySink {
    staging: Staging,
}

impl DirectorySink {
    /// Prepares for `target`, which must not exist or be an empty directory. Its parent must exist.
    ///
    /// # Errors
    /// `usage`: `target` holds something, or another process is filling it. `io`.
    pub fn new(target: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::create(target)? })
    }

    /// Gives the directory its name. The proof says that what was written is the model.
    ///
    /// # Errors
    /// `io`: the directory was filled meanwhile, or the disk failed.
    pub fn keep(self, verified: &VerifiedModel) -> Result<()> {
        tracing::debug!(manifest = %verified.manifest_digest(), "model kept");
        self.staging.commit()
    }
}

impl ModelSink for DirectorySink {
    type File = File;

    fn create(&mut self, path: &str, size: u64) -> Result<File> {
        if !Path::new(path).components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(Refusal::new(Code::PathUnsafe, "file of a model").got(path));
        }
        let path = self.staging.path().join(path);
        let failed = |e: &std::io::Error| Refusal::io(path.display(), e);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| failed(&e))?;
        }
        let file = File::options().write(true).create_new(true).open(&path).map_err(|e| failed(&e))?;
        file.set_len(size).map_err(|e| failed(&e))?;
        Ok(file)
    }

    /// With it, the directory can be verified again by any tool that reads OMS.
    fn takes_statement(&self) -> bool {
        true
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
    fn path_that_leaves_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::new(&folder.path().join("model")).unwrap();
        for path in ["../a", "/a", "a/../../b"] {
            assert_eq!(sink.create(path, 0).unwrap_err().code, Code::PathUnsafe, "{path}");
        }
    }
}
