//! Where the files of an opened model go.

use strongroom_wire::Result;

/// A place that takes a model's files. Until [`crate::open_model`] returns, what it holds is not verified.
pub trait ModelSink {
    /// One file of it.
    type File: FileSink;

    /// Makes room for the file `path` of exactly `size` bytes. `path` is relative, portable, without `..`, and comes once.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn create(&mut self, path: &str, size: u64) -> Result<Self::File>;

    /// Whether the bundle with the model's signed statement, `model.sig`, is wanted like a file.
    fn takes_statement(&self) -> bool {
        false
    }
}

/// A file of a [`ModelSink`]. Several threads write to it at once, each to its own range.
pub trait FileSink: Send + Sync + 'static {
    /// Takes `bytes` at `offset` from the file's start. Ranges come in no particular order, each byte once; all of them lie
    /// below the file's size.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
}

impl FileSink for std::fs::File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
            .map_err(|e| strongroom_wire::Refusal::io("file of a model", &e))
    }
}
