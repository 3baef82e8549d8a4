//! A blob on its way to the threads that open it: in pieces, of which few wait, so that a slow sink holds the connection back.

use super::panicked;
use crate::blobs::BlobStream;
use crate::cache::CachedBlob;
use crate::sink::FileSink;
use bytes::Bytes;
use core::num::NonZero;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_artifact::ladder::{LayerOpener, PIECE};
use strongroom_artifact::manifest::Layer;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Pieces between the connection and the threads that open them: enough that neither waits for the other's hiccups.
const WAITING: usize = 2;

/// The pieces of a blob that is being received.
///
/// Each is one run of bytes, in a buffer that is used again once its piece was opened. What the connection was read into is free
/// again at once, so that all of a blob is received into the same few pages, which stay in a processor's cache.
pub(super) struct Pieces {
    blob: BlobStream,
    /// What came of the next piece.
    rest: Bytes,
    used: Used,
}

/// Buffers of pieces that were opened.
type Used = Arc<Mutex<Vec<Vec<u8>>>>;

impl Pieces {
    pub(super) fn of(blob: BlobStream) -> Self {
        Self { blob, rest: Bytes::new(), used: Used::default() }
    }

    /// Sends all of them. Who no longer takes any ended before its time, and says why.
    async fn feed(mut self, sender: mpsc::Sender<Piece>) -> Result<()> {
        while let Some(piece) = self.next().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Piece>> {
        let mut piece = Piece::empty(&self.used);
        while piece.bytes.len() < PIECE {
            if self.rest.is_empty() {
                match self.blob.next().await? {
                    Some(chunk) => self.rest = chunk,
                    None => break,
                }
            }
            let room = PIECE.saturating_sub(piece.bytes.len());
            piece.bytes.extend_from_slice(&self.rest.split_to(self.rest.len().min(room)));
        }
        Ok((!piece.bytes.is_empty()).then_some(piece))
    }
}

/// A piece, whose buffer goes back when it is dropped.
struct Piece {
    bytes: Vec<u8>,
    used: Used,
}

impl Piece {
    fn empty(used: &Used) -> Self {
        let bytes = lock(used).pop().unwrap_or_else(|| Vec::with_capacity(PIECE));
        Self { bytes, used: Arc::clone(used) }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.bytes.clear();
        lock(&self.used).push(core::mem::take(&mut self.bytes));
    }
}

fn lock(used: &Used) -> MutexGuard<'_, Vec<Vec<u8>>> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a layer while it is received.
pub(super) async fn open_streamed<F: FileSink + Send + Sync + 'static>(
    pieces: Pieces,
    opener: LayerOpener,
    files: Arc<BTreeMap<String, F>>,
    threads: NonZero<usize>,
) -> Result<()> {
    let (sender, mut received) = mpsc::channel(WAITING);
    let opening = spawn_blocking(move || open(opener, &files, threads, || Ok(received.blocking_recv())));
    pieces.feed(sender).await?;
    opening.await.map_err(|e| panicked(&e))?
}

/// Opens two layers on one thread while they are received.
pub(super) async fn open_two_streamed<F: FileSink + Send + Sync + 'static>(
    [pieces_a, pieces_b]: [Pieces; 2],
    openers: [LayerOpener; 2],
    files: Arc<BTreeMap<String, F>>,
) -> Result<()> {
    let [(to_a, from_a), (to_b, from_b)] = [mpsc::channel(WAITING), mpsc::channel(WAITING)];
    let opening = spawn_blocking(move || {
        let nexts = [from_a, from_b].map(|mut received| move || Ok(received.blocking_recv()));
        let [a, b] = openers.each_ref().map(|opener| file_of(opener, &files));
        let sinks = [a?, b?];
        LayerOpener::open_two(openers, nexts, sinks)
    });
    // Where one fails, the other is no longer fed, and the opening ends.
    tokio::try_join!(pieces_a.feed(to_a), pieces_b.feed(to_b))?;
    opening.await.map_err(|e| panicked(&e))?
}

/// Opens a layer from the cache.
pub(super) async fn open_cached<F: FileSink + Send + Sync + 'static>(
    mut blob: CachedBlob,
    opener: LayerOpener,
    files: Arc<BTreeMap<String, F>>,
    threads: NonZero<usize>,
) -> Result<()> {
    let opening = spawn_blocking(move || {
        open(opener, &files, threads, || read_piece(&mut blob))?;
        blob.release();
        Ok(())
    });
    opening.await.map_err(|e| panicked(&e))?
}

/// All of a layer's blob, out of the cache. Who collects waits for the layers that are opened after it: they may be what there
/// would be no more room for.
pub(super) async fn read_cached(mut blob: CachedBlob, layer: &Layer) -> Result<Bytes> {
    let room = layer.size.saturating_add(1);
    let reading = spawn_blocking(move || {
        let mut bytes = Vec::new();
        blob.file().take(room).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        Ok(bytes.into())
    });
    reading.await.map_err(|e| panicked(&e))?
}

fn read_piece(blob: &mut CachedBlob) -> Result<Option<Vec<u8>>> {
    let mut piece = Vec::with_capacity(PIECE);
    let room = u64::try_from(PIECE).unwrap_or(u64::MAX);
    blob.file().take(room).read_to_end(&mut piece).map_err(|e| failed(&e))?;
    Ok((!piece.is_empty()).then_some(piece))
}

fn failed(error: &std::io::Error) -> Refusal {
    Refusal::io("cached blob", error)
}

fn open<C: AsRef<[u8]>, F: FileSink + Sync>(
    opener: LayerOpener,
    files: &BTreeMap<String, F>,
    threads: NonZero<usize>,
    next: impl FnMut() -> Result<Option<C>> + Send,
) -> Result<()> {
    let file = file_of(&opener, files)?;
    opener.open(threads, next, file)
}

fn file_of<'f, F>(opener: &LayerOpener, files: &'f BTreeMap<String, F>) -> Result<&'f F> {
    let path = &opener.layer().path;
    files.get(path).ok_or_else(|| Refusal::new(Code::Internal, "layer of no file").got(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_of_a_piece_that_was_opened_is_that_of_the_next_and_empty() {
        let used = Used::default();
        let (mut first, second) = (Piece::empty(&used), Piece::empty(&used));
        first.bytes.resize(PIECE, 7);
        let place = first.bytes.as_ptr();
        assert_ne!(second.bytes.as_ptr(), place, "two that are held are two");
        drop(first);
        let third = Piece::empty(&used);
        assert_eq!((third.bytes.as_ptr(), third.bytes.len()), (place, 0));
        assert_eq!(third.bytes.capacity(), PIECE, "and as long");
    }
}
