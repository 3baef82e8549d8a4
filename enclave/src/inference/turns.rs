//! Who may tokenise: as many requests at a time as there are cores.
//!
//! Tokenising takes a core and many times the text's memory. More at a time would not be faster, and what threads work on
//! while nobody waits for it any more is bounded by their number.

use std::sync::Arc;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of a process; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))))
    }
}

impl Turns {
    /// A turn, which lasts until it is dropped. First come, first served; whoever stops waiting loses the place.
    ///
    /// # Errors
    /// `internal`, which does not happen: turns are never closed.
    pub(super) async fn next(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.0)
            .acquire_owned()
            .await
            .map_err(|e| Refusal::new(Code::Internal, "tokenizer turns").because(e))
    }

    /// Turns that nobody has.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.available_permits()
    }
}
