//! A blob on its way to the threads that open it: in pieces, of which few wait, so that a slow sink holds the connection back.

use super::panicked;
use crate::blobs::BlobStream;
use crate::cache::CachedBlob;
use crate::sink::FileSink;
use bytes::Bytes;
use core::num::NonZero;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use strongroom_artifact::ladder::{LayerOpener, PIECE};
use strongroom_artifact::manifest::Layer;
use strongroom_wire::{Refusal, Result};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Pieces between the connection and the threads that open them: enough that neither waits for the other's hiccups.
const WAITING: usize = 2;

/// The pieces of a blob that is being received. Nothing is copied: a piece is the chunks that it came in.
pub(super) struct Pieces {
    blob: BlobStream,
    /// What came of the next piece.
    rest: Bytes,
}

impl Pieces {
    pub(super) const fn of(blob: BlobStream) -> Self {
        Self { blob, rest: Bytes::new() }
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let (mut piece, mut room) = (Vec::new(), PIECE);
        while room > 0 {
            if self.rest.is_empty() {
                match self.blob.next().await? {
                    Some(chunk) => self.rest = chunk,
                    None => break,
                }
            }
            let fragment = self.rest.split_to(self.rest.len().min(room));
            room = room.saturating_sub(fragment.len());
            piece.push(fragment);
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Opens a layer while it is received.
pub(super) async fn open_streamed<F: FileSink>(
    mut pieces: Pieces,
    opener: LayerOpener,
    files: Arc<BTreeMap<String, F>>,
    threads: NonZero<usize>,
) -> Result<()> {
    let (sender, mut received) = mpsc::channel(WAITING);
    let opening = spawn_blocking(move || open(opener, &files, threads, || Ok(received.blocking_recv())));
    while let Some(piece) = pieces.next().await? {
        if sender.send(piece).await.is_err() {
            // It ended before its time, and says why.
            break;
        }
    }
    drop(sender);
    opening.await.map_err(|e| panicked(&e))?
}

/// Opens a layer from the cache.
pub(super) async fn open_cached<F: FileSink>(
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

/// All of a layer's blob, out of the cache.
pub(super) async fn read_cached(mut blob: CachedBlob, layer: &Layer) -> Result<Bytes> {
    let room = layer.size.saturating_add(1);
    let reading = spawn_blocking(move || {
        let mut bytes = Vec::new();
        blob.file().take(room).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        blob.release();
        Ok(bytes.into())
    });
    reading.await.map_err(|e| panicked(&e))?
}

fn read_piece(blob: &mut CachedBlob) -> Result<Option<Vec<Vec<u8>>>> {
    let mut piece = Vec::with_capacity(PIECE);
    let room = u64::try_from(PIECE).unwrap_or(u64::MAX);
    blob.file().take(room).read_to_end(&mut piece).map_err(|e| failed(&e))?;
    Ok((!piece.is_empty()).then(|| vec![piece]))
}

fn failed(error: &std::io::Error) -> Refusal {
    Refusal::io("cached blob", error)
}

fn open<C: AsRef<[u8]>, F: FileSink>(
    opener: LayerOpener,
    files: &BTreeMap<String, F>,
    threads: NonZero<usize>,
    next: impl FnMut() -> Result<Option<Vec<C>>> + Send,
) -> Result<()> {
    let file = files.get(&opener.layer().path);
    opener.open(threads, next, |offset, plain| file.map_or(Ok(()), |file| file.write_at(offset, plain)))
}
