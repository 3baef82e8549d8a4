//! A range that is fetched before it is asked for, by a task of its own.

use super::range::Range;
use bytes::{Bytes, BytesMut};
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

/// Chunks are handed over in pieces of at least this length, but for the last: each costs some bytes more than its own.
const PIECE: usize = 64 * 1024;

/// A range on its way. Dropped, it is given up.
pub(super) struct Ahead {
    chunks: mpsc::UnboundedReceiver<Result<Bytes>>,
    task: JoinHandle<()>,
    left: u64,
    /// The memory of what has come and was not asked for yet.
    _room: OwnedSemaphorePermit,
}

impl Ahead {
    /// Fetches `range`, within `room`.
    pub(super) fn start(mut range: Range, left: u64, room: OwnedSemaphorePermit) -> Self {
        // Bounded by the range, which refuses what is beyond its end.
        let (sender, chunks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut piece = BytesMut::new();
            loop {
                let chunk = range.next().await;
                let ended = !matches!(chunk, Ok(Some(_)));
                match chunk {
                    Ok(Some(chunk)) if piece.is_empty() && chunk.len() >= PIECE => {
                        if sender.send(Ok(chunk)).is_err() {
                            return;
                        }
                    }
                    Ok(Some(chunk)) => piece.extend_from_slice(&chunk),
                    Ok(None) => {}
                    Err(refusal) => return drop(sender.send(Err(refusal))),
                }
                if (ended || piece.len() >= PIECE) && !piece.is_empty() {
                    drop(sender.send(Ok(piece.split().freeze())));
                }
                if ended {
                    return;
                }
            }
        });
        Self { chunks, task, left, _room: room }
    }

    /// The next chunk; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(chunk) = self.chunks.recv().await.transpose()? else {
            let ended = Refusal::new(Code::Internal, "range fetched ahead").got(format!("{} bytes less", self.left));
            return if self.left == 0 { Ok(None) } else { Err(ended) };
        };
        self.left = self.left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        Ok(Some(chunk))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}
