//! A directory as the place of a model's files: under its name only once all of it is verified.

use crate::sink::{Filled, ModelSink};
use std::fs::{self, File};
use std::path::Path;
use strongroom_artifact::local::Staging;
use strongroom_artifact::path::parse_path;
use strongroom_wire::{Refusal, Result};

/// Writes a model into a [`Staging`] directory, which gets its name when it is kept and is removed when dropped
/// before.
#[derive(Debug)]
pub struct DirectorySink {
    staging: Staging,
}

impl DirectorySink {
    /// Prepares for `target`, which must not exist or be an empty directory. Its parent must exist.
    ///
    /// # Errors
    /// As [`Staging::create`].
    pub fn new(target: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::create(target)? })
    }
}

impl ModelSink for DirectorySink {
    type File = File;
    type Kept = ();

    fn create(&mut self, path: &str, size: u64) -> Result<File> {
        let path = self.staging.path().join(parse_path(path)?);
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

    fn keep(self, filled: Filled<'_>) -> Result<()> {
        tracing::debug!(manifest = %filled.model().manifest_digest(), "model kept");
        self.staging.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::FileSink as _;
    use strongroom_wire::Code;

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
        for path in ["../a", "/a", "a/../../b", "a//b", "a/./b", "a:b"] {
            assert_eq!(sink.create(path, 0).unwrap_err().code, Code::PathUnsafe, "{path}");
        }
    }
}
