//! The batches: answers of about one length share one, since all rows of a batch have the room of its longest. So who asks for a long
//! answer takes none of the room that others' short ones have.

use super::batch::{Batch, Forward, Row};
use std::collections::BTreeMap;
use strongroom_wire::{Refusal, Result};

/// Tokens up to which answers run together: each batch is a run of its own, and short rows cost little room.
const SHORT: usize = 512;

/// The most tokens that rows have, of those which share a batch with one that will have `most`. It is what such a row is counted as,
/// whatever else is in its batch.
pub(super) fn lane(most: usize) -> usize {
    most.next_power_of_two().max(SHORT)
}

/// Batches with rows, by their lane.
#[derive(Debug)]
pub(super) struct Lanes<C, R> {
    batches: BTreeMap<usize, Batch<C, R>>,
}

impl<C, R: Row> Lanes<C, R> {
    pub(super) const fn new() -> Self {
        Self { batches: BTreeMap::new() }
    }

    /// The rows that are somebody's.
    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.batches.values().flat_map(Batch::rows)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Tokens that all rows may come to, nobody's included.
    pub(super) fn laid_out(&self) -> usize {
        self.batches.iter().map(|(lane, batch)| lane.saturating_mul(batch.laid_out())).sum()
    }

    /// Has `rows`, of requests of `most` tokens, join the batch of their lane as [`Batch::join`] does. Those of a batch that fails come back with why.
    pub(super) fn join<F: Forward<Cache = C>>(
        &mut self,
        forward: &mut F,
        most: usize,
        cache: (C, usize),
        rows: Vec<R>,
        more: usize,
    ) -> Vec<(R, Refusal)> {
        let batch = self.batches.entry(lane(most)).or_insert_with(Batch::new);
        given_up(batch.join(forward, cache, rows, more), batch)
    }

    /// Lets the rows go that are not to be kept.
    pub(super) fn forget<F: Forward<Cache = C>>(&mut self, forward: &mut F, is_kept: impl Fn(&R) -> bool) {
        self.batches.values_mut().for_each(|batch| batch.forget(forward, &is_kept));
        self.batches.retain(|_, batch| !batch.is_empty());
    }

    /// Does something to each batch, and leaves out those without a row then. Those of a batch that fails come back with why.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Batch<C, R>) -> Result<()>) -> Vec<(R, Refusal)> {
        let failed = self.batches.values_mut().flat_map(|batch| given_up(act(batch), batch)).collect();
        self.batches.retain(|_, batch| !batch.is_empty());
        failed
    }
}

fn given_up<C, R: Row>(done: Result<()>, batch: &mut Batch<C, R>) -> Vec<(R, Refusal)> {
    let Err(refusal) = done else { return Vec::new() };
    batch.give_up().into_iter().map(|row| (row, refusal.clone())).collect()
}
