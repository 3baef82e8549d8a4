//! The folder of a built image: `vmlinuz`, `initramfs.cpio`, `command-line`, a firmware for each platform, the lists of what is in
//! it, and `strongroom-bridge`, which is in none of these.

use crate::tool;
use std::path::{Path, PathBuf};
use strongroom_wire::{Refusal, Result};

/// An image's folder.
pub(crate) struct Image(PathBuf);

impl Image {
    /// That folder, made where it is not.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Refusal::io(folder.display(), &e))?;
        Ok(Self(folder.to_owned()))
    }

    /// That folder, in which an image was built.
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file of it.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        tool::write(&self.path(name), bytes)
    }

    /// The command line that the kernel is given.
    ///
    /// # Errors
    /// `io`; `malformed` it is no text.
    pub(crate) fn command_line(&self) -> Result<String> {
        let text = String::from_utf8(tool::read(&self.path("command-line"))?);
        let text = text.map_err(|e| Refusal::malformed("command-line", e))?;
        Ok(text.trim_end().to_owned())
    }
}
