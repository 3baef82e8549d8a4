//! Models that other tools packed, or encrypted, become plain directories: from there they are signed and sealed like any other.
//!
//! Nothing that comes this way is signed by anybody. Names and sizes in it are held to what a model may have, and nothing is
//! under its name before all of it is there.

mod archive;
mod foreign;

use crate::directory::ModelFile;
use crate::local::Staging;
use crate::path::{STATEMENT, parse_path};
pub use foreign::{ForeignLayer, LayerContent, parse_foreign};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};

/// A directory that is filled with the files of a model; removed when dropped before [`Self::finish`].
#[derive(Debug)]
pub struct Import {
    staging: Staging,
    files: Vec<ModelFile>,
    bytes: u64,
}

impl Import {
    /// Prepares for `target`, which must not exist or be an empty directory. Its parent must exist.
    ///
    /// # Errors
    /// As [`Staging::create`].
    pub fn into(target: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::create(target)?, files: Vec::new(), bytes: 0 })
    }

    /// The folder that is filled, for what is needed on the way; it must be gone before the end.
    pub fn folder(&self) -> &Path {
        self.staging.path()
    }

    /// A new file of the model, of `size` bytes, to be written.
    ///
    /// # Errors
    /// `path-unsafe`: the path leaves, is not portable, comes twice or is a directory's too, or is one that no signature over a
    /// model covers (`.git…` and `model.sig` at the top, in whatever case); `too-large`: more files than
    /// [`limits::LAYERS`] or more bytes than [`limits::MODEL`]; `io`.
    pub fn create(&mut self, path: &str, size: u64) -> Result<File> {
        let full = self.staging.path().join(parse_path(path)?);
        if is_left_out(path) {
            let unsigned = Refusal::new(Code::PathUnsafe, "path that no signature over a model covers");
            return Err(unsigned.got(path));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.files.len() >= limits::LAYERS {
            return Err(Refusal::too_large("files of a model", "more", limits::LAYERS));
        }
        if self.bytes > limits::MODEL {
            return Err(Refusal::too_large("model", format!("{} bytes", self.bytes), limits::MODEL));
        }
        let folder = full.parent().map_or(Ok(()), fs::create_dir_all);
        let file = folder.and_then(|()| File::options().write(true).create_new(true).open(&full));
        let file = file.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                Refusal::new(Code::PathUnsafe, "path given twice, or of a directory too").got(path)
            }
            _ => Refusal::io(full.display(), &e),
        })?;
        self.files.push(ModelFile { path: path.to_owned(), size });
        Ok(file)
    }

    /// Unpacks a tar archive (POSIX.1-2017 "pax", with GNU's long names) of plain files and directories.
    ///
    /// # Errors
    /// `malformed`; `model-unsupported`: it has links, devices or sparse files; those of [`Self::create`].
    pub fn unpack(&mut self, archive: impl Read) -> Result<()> {
        archive::unpack(archive, self)
    }

    /// Gives the directory its name; and the files that are in it, in the order of their paths.
    ///
    /// # Errors
    /// `model-empty`: none; `io`.
    pub fn finish(mut self) -> Result<Vec<ModelFile>> {
        if self.files.is_empty() {
            return Err(Refusal::new(Code::ModelEmpty, "import"));
        }
        self.staging.commit()?;
        self.files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Ok(self.files)
    }
}

/// Whether a statement over a model leaves it out ([`crate::oms::GIT_PATHS`], and the statement itself), or would on a disk that
/// does not tell `.GIT` from `.git`. Who works in the directory would run what stands in it, vouched for by nobody.
fn is_left_out(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or(path).to_ascii_lowercase();
    top.starts_with(".git") || top == STATEMENT
}

#[cfg(test)]
mod tests;
