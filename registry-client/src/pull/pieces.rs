//! A blob on its way to the threads that open it: in pieces, of which few wait, so that a slow sink holds the connection back.

use super::panicked;
use crate::blobs::BlobStream;
use crate::cache::CachedBlob;
use crate::sink::FileSink;
use bytes::{Bytes, BytesMut};
use core::num::NonZero;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use strongroom_artifact::ladder::{LayerOpener, PIECE};
use strongroom_artifact::manifest::Layer;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Pieces between the connection and the threads that open them: enough that neither waits for the other's hiccups.
const WAITING: usize = 2;

/// A fragment that is shorter shares a buffer with its neighbours: each holds the whole buffer that it was received in, however
/// little of it is its own.
const FRAGMENT: usize = 64 * 1024;

/// The pieces of a blob that is being received: the chunks that they came in, where those are no crumbs.
pub(super) struct Pieces {
    blob: BlobStream,
    /// What came of the next piece.
    rest: Bytes,
}

impl Pieces {
    pub(super) const fn of(blob: BlobStream) -> Self {
        Self { blob, rest: Bytes::new() }
    }

    /// Sends all of them. Who no longer takes any ended before its time, and says why.
    async fn feed(mut self, sender: mpsc::Sender<Vec<Bytes>>) -> Result<()> {
        while let Some(piece) = self.next().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let (mut piece, mut crumbs, mut room) = (Vec::new(), BytesMut::new(), PIECE);
        while room > 0 {
            if self.rest.is_empty() {
                match self.blob.next().await? {
                    Some(chunk) => self.rest = chunk,
                    None => break,
                }
            }
            let fragment = self.rest.split_to(self.rest.len().min(room));
            room = room.saturating_sub(fragment.len());
            gather(fragment, &mut crumbs, &mut piece);
        }
        if !crumbs.is_empty() {
            piece.push(crumbs.freeze());
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Adds a fragment to a piece, by way of `crumbs` where it is short.
fn gather(fragment: Bytes, crumbs: &mut BytesMut, piece: &mut Vec<Bytes>) {
    if fragment.len() < FRAGMENT {
        crumbs.extend_from_slice(&fragment);
        if crumbs.len() < FRAGMENT {
            return;
        }
        piece.push(crumbs.split().freeze());
    } else {
        if !crumbs.is_empty() {
            piece.push(crumbs.split().freeze());
        }
        piece.push(fragment);
    }
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

fn read_piece(blob: &mut CachedBlob) -> Result<Option<Vec<Vec<u8>>>> {
    let mut piece = Vec::with_capacity(PIECE);
    let room = u64::try_from(PIECE).unwrap_or(u64::MAX);
    blob.file().take(room).read_to_end(&mut piece).map_err(|e| failed(&e))?;
    Ok((!piece.is_empty()).then(|| vec![piece]))
}

fn failed(error: &std::io::Error) -> Refusal {
    Refusal::io("cached blob", error)
}

fn open<C: AsRef<[u8]>, F: FileSink + Sync>(
    opener: LayerOpener,
    files: &BTreeMap<String, F>,
    threads: NonZero<usize>,
    next: impl FnMut() -> Result<Option<Vec<C>>> + Send,
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

    /// A piece of `length` bytes that came in chunks of `chunk`.
    fn gathered(length: usize, chunk: usize) -> Vec<Bytes> {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let (mut piece, mut crumbs) = (Vec::new(), BytesMut::new());
        bytes.chunks(chunk).for_each(|chunk| gather(Bytes::copy_from_slice(chunk), &mut crumbs, &mut piece));
        piece.extend((!crumbs.is_empty()).then(|| crumbs.freeze()));
        assert!(piece.concat() == bytes, "{chunk}");
        piece
    }

    #[test]
    fn piece_in_crumbs_is_a_few_fragments_and_in_long_chunks_is_those() {
        for chunk in [1, 7, 1000, FRAGMENT - 1] {
            assert!(gathered(PIECE, chunk).len() <= PIECE / FRAGMENT, "{chunk}");
        }
        for chunk in [FRAGMENT, 400 * 1024, PIECE] {
            assert_eq!(gathered(PIECE, chunk).len(), PIECE.div_ceil(chunk));
        }
    }
}
