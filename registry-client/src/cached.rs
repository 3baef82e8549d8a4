//! Layers by way of the cache: what it has is read, what it lacks is downloaded into it.

use crate::blobs::BlobStream;
use crate::cache::{Cache, CachedBlob, Found, Partial};
use crate::client::RegistryClient;
use bytes::Bytes;
use core::time::Duration;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Chunks between the connection and the thread that writes them.
const CHUNKS: usize = 8;
/// How often it is looked whether another process has a blob by now.
const LOOK: Duration = Duration::from_millis(100);

impl RegistryClient {
    /// The blob `digest` of `size` bytes as a file of `cache`. One process downloads it, others wait for that.
    ///
    /// # Errors
    /// As [`BlobStream::next`]; `io`: the cache cannot be read or written, as where its disk is full.
    pub(crate) async fn cached_blob(
        &self,
        cache: &Cache,
        repository: &str,
        digest: Sha256,
        size: u64,
    ) -> Result<CachedBlob> {
        let mut again = false;
        loop {
            let looking = cache.clone();
            let partial = match blocking(move || looking.look(digest, size)).await? {
                Found::Blob(blob) => {
                    self.report(digest, size);
                    return Ok(blob);
                }
                Found::Busy => {
                    sleep(LOOK).await;
                    continue;
                }
                Found::Room(partial) => partial,
            };
            let start = partial.length();
            self.report(digest, start);
            let client = if again { self.without_mirrors() } else { self.clone() };
            let stream = client.unhashed_blob_stream(repository, digest, size, start)?;
            match download(stream, partial).await {
                // What was on the disk, or what a mirror gave, was not of the blob, and is gone.
                Err(refusal) if is_of_another_blob(&refusal) && !again && (start > 0 || !self.mirrors().is_empty()) => {
                    tracing::warn!(%refusal, "download begins anew");
                    again = true;
                }
                outcome => return outcome,
            }
        }
    }
}

/// Completes `partial`. What came until a failure stays, unless the failure says that it is not of the blob.
async fn download(mut stream: BlobStream, partial: Box<Partial>) -> Result<CachedBlob> {
    let (chunks, received) = mpsc::channel(CHUNKS);
    let writing = tokio::spawn(blocking(move || write_chunks(*partial, received)));
    while let Some(chunk) = stream.next().await.transpose() {
        let ended = chunk.is_err();
        // Who writes may end before its time, and then says why.
        if chunks.send(chunk).await.is_err() || ended {
            break;
        }
    }
    drop(chunks);
    writing.await.map_err(|e| Refusal::new(Code::Internal, "writing of a blob").because(e)).flatten()
}

/// Writes what comes until no more does, or a refusal: whole, it is kept, else left for another time.
fn write_chunks(mut partial: Partial, mut chunks: mpsc::Receiver<Result<Bytes>>) -> Result<CachedBlob> {
    while let Some(chunk) = chunks.blocking_recv() {
        let refusal = match chunk {
            Ok(chunk) => match partial.append(&chunk) {
                Ok(()) => continue,
                Err(refusal) => refusal,
            },
            Err(refusal) if is_of_another_blob(&refusal) => refusal,
            Err(refusal) => {
                partial.leave().unwrap_or_else(|error| tracing::warn!(refusal = %error, "beginning of a blob is lost"));
                return Err(refusal);
            }
        };
        // A full disk needs the room, and nobody can go on from what is not of the blob.
        partial.discard()?;
        return Err(refusal);
    }
    if partial.is_whole() {
        return partial.keep();
    }
    partial.leave()?;
    Err(Refusal::new(Code::Internal, "blob that did not come whole"))
}

/// Whether whoever gave bytes had another blob: it may differ from its first byte on.
const fn is_of_another_blob(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::LayerDigestMismatch | Code::LayerSizeMismatch)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|e| Refusal::new(Code::Internal, "cache").because(e)).flatten()
}
