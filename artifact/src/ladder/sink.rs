//! Where plaintext goes.

use strongroom_wire::{Refusal, Result};

/// A file of a model that is being opened. Several threads write to it at once, each to its own range: ranges come in no
/// particular order, each byte once, and all of them lie below the file's size. Until the model is verified, what it holds is to
/// be shown to nobody.
///
/// A closure is one, and gets each range as [`Self::write_at`] does.
pub trait FileSink {
    /// Takes `bytes` at `offset` from the file's start.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// The place of `length` bytes at `offset`, to be filled instead of [`Self::write_at`]; `None`: it has no places, and takes bytes.
    ///
    /// What was sealed is opened there, so that for as long as that takes ciphertext is in it, or plaintext whose tag was not
    /// compared yet. Where it does not authenticate, the place is zeroised.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn place_at(&self, offset: u64, length: usize) -> Result<Option<&mut [u8]>> {
        let (_, _) = (offset, length);
        Ok(None)
    }
}

impl<F: Fn(u64, &[u8]) -> Result<()>> FileSink for F {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self(offset, bytes)
    }
}

impl FileSink for std::fs::File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset).map_err(|e| Refusal::io("file of a model", &e))
    }
}
