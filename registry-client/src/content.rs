//! What a request sends: something that can be sent again, since a request may have to be repeated.

use bytes::{Bytes, BytesMut};
use core::sync::atomic::{AtomicU64, Ordering};
use futures_util::stream;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_transport::{Body, http as bodies};
use strongroom_wire::{Code, Refusal, Result};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// How much of a file is read at once: enough that the disk is not asked often, little enough to hold for each upload.
const CHUNK: u64 = 256 * 1024;

/// Bytes to send.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// None.
    Empty,
    /// These.
    Bytes(Bytes),
    /// `length` bytes of a file from `offset`; never whole in memory.
    File {
        /// The file.
        path: PathBuf,
        /// Where to begin.
        offset: u64,
        /// How many; a file that ends before is `io`.
        length: u64,
    },
}

impl Content {
    /// How many bytes it has.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File { length, .. } => *length,
        }
    }

    /// At most `length` bytes of it from `offset`.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Self {
        let length = length.min(self.length().saturating_sub(offset));
        match self {
            Self::Empty => Self::Empty,
            Self::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Bytes(bytes.slice(index(offset)..index(offset.saturating_add(length))))
            }
            Self::File { path, offset: start, .. } => {
                Self::File { path: path.clone(), offset: start.saturating_add(offset), length }
            }
        }
    }

    /// A body of it. `sent` counts the bytes that were taken from it.
    pub(crate) async fn body(&self, sent: &Arc<AtomicU64>) -> Result<Body> {
        let (path, offset, length) = match self {
            Self::Empty => return Ok(bodies::empty()),
            Self::Bytes(bytes) => return Ok(bodies::full(bytes.clone())),
            Self::File { path, offset, length } => (path, *offset, *length),
        };
        let failed = |e: &std::io::Error| Refusal::io(path.display(), e);
        let mut file = File::open(path).await.map_err(|e| failed(&e))?;
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(|e| failed(&e))?;
        let source = Source { file, path: path.clone(), left: length, sent: Arc::clone(sent) };
        Ok(bodies::stream(stream::try_unfold(source, Source::next)))
    }
}

struct Source {
    file: File,
    path: PathBuf,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Source {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = self.left.min(CHUNK);
        let mut chunk = BytesMut::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let read = (&mut self.file).take(wanted).read_buf(&mut chunk).await;
        let read = read.map_err(|e| Refusal::io(self.path.display(), &e))?;
        if read == 0 {
            let what = format!("`{}`: shorter than it was", self.path.display());
            return Err(Refusal::new(Code::Io, what).got(format!("{} bytes less", self.left)));
        }
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(read);
        self.sent.fetch_add(read, Ordering::Relaxed);
        Ok(Some((chunk.freeze(), self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_transport::read_body;

    async fn read(content: &Content) -> Result<Bytes> {
        read_body(content.body(&Arc::default()).await?, 1 << 20, "content").await
    }

    #[tokio::test]
    async fn part_of_file_and_of_bytes_are_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..600_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let path = folder.path().join("f");
        std::fs::write(&path, &bytes).unwrap();
        let file = Content::File { path, offset: 0, length: 600_000 };
        let memory = Content::Bytes(bytes.clone().into());
        for (offset, length) in [(0, 600_000), (1, 300_000), (599_999, 5), (600_000, 1), (700_000, 1)] {
            let (file, memory) = (file.part(offset, length), memory.part(offset, length));
            assert_eq!(file.length(), memory.length());
            assert_eq!(read(&file).await.unwrap(), read(&memory).await.unwrap());
        }
        let nested = file.part(100, 1000).part(50, 10);
        assert_eq!(read(&nested).await.unwrap(), bytes[150..160]);
    }

    #[tokio::test]
    async fn file_that_became_shorter_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let content = Content::File { path, offset: 0, length: 4 };
        assert_eq!(read(&content).await.unwrap_err().code, Code::Io);
    }
}
