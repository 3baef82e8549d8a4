//! The batches: answers of about one length share one, since all rows of a batch have the room of its longest. So who asks for a long
//! answer takes none of the room that others' short ones have.

use super::batch::{Batch, Forward, Row};
use std::collections::BTreeSet;
use strongroom_wire::{Refusal, Result};

/// Tokens up to which answers run together: each batch is a run of its own, and short rows cost little room.
const SHORT: usize = 512;

/// The most tokens that rows have, of those which share a batch with one that will have `most`. It is what such a row is counted as,
/// whatever else is in its batch.
pub(super) fn lane(most: usize) -> usize {
    most.next_power_of_two().max(SHORT)
}

/// Batches with rows, each with its lane. The one that ran longest ago is first.
#[derive(Debug)]
pub(super) struct Lanes<C, R> {
    batches: Vec<(usize, Batch<C, R>)>,
}

impl<C, R: Row> Lanes<C, R> {
    pub(super) const fn new() -> Self {
        Self { batches: Vec::new() }
    }

    /// The rows that are somebody's.
    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.batches.iter().flat_map(|(_, batch)| batch.rows())
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
        let lane = lane(most);
        if let Some((_, batch)) = self.batches.iter_mut().find(|(of, _)| *of == lane) {
            return given_up(batch.join(forward, cache, rows, more), batch);
        }
        let mut batch = Batch::new();
        let failed = given_up(batch.join(forward, cache, rows, more), &mut batch);
        self.batches.push((lane, batch));
        failed
    }

    /// Lets the rows go that are not to be kept.
    pub(super) fn forget<F: Forward<Cache = C>>(&mut self, forward: &mut F, is_kept: impl Fn(&R) -> bool) {
        self.batches.iter_mut().for_each(|(_, batch)| batch.forget(forward, &is_kept));
        self.batches.retain(|(_, batch)| !batch.is_empty());
    }

    /// Does something to those batches whose turn it is: of each identity that of its batches which ran longest ago. So nobody has others wait for more than
    /// one run a turn, and no batch waits for more turns than there are batches. Those of a batch that fails come back with why.
    pub(super) fn turn(
        &mut self,
        identity: impl Fn(&R) -> &str,
        mut act: impl FnMut(&mut Batch<C, R>) -> Result<()>,
    ) -> Vec<(R, Refusal)> {
        let mut before = BTreeSet::new();
        let is_turn = self.batches.iter().map(|(_, batch)| {
            let known = before.len();
            before.extend(batch.rows().map(&identity));
            before.len() > known
        });
        let is_turn: Vec<bool> = is_turn.collect();
        let all = core::mem::take(&mut self.batches).into_iter().zip(is_turn);
        let (mut run, rest): (Vec<_>, Vec<_>) = all.partition(|(_, is_turn)| *is_turn);
        let failed = run.iter_mut().flat_map(|((_, batch), _)| given_up(act(batch), batch)).collect();
        self.batches = rest.into_iter().chain(run).map(|(batch, _)| batch).collect();
        self.batches.retain(|(_, batch)| !batch.is_empty());
        failed
    }

    /// Does something to each batch, and leaves out those without a row then. Those of a batch that fails come back with why.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Batch<C, R>) -> Result<()>) -> Vec<(R, Refusal)> {
        let failed = self.batches.iter_mut().flat_map(|(_, batch)| given_up(act(batch), batch)).collect();
        self.batches.retain(|(_, batch)| !batch.is_empty());
        failed
    }
}

fn given_up<C, R: Row>(done: Result<()>, batch: &mut Batch<C, R>) -> Vec<(R, Refusal)> {
    let Err(refusal) = done else { return Vec::new() };
    batch.give_up().into_iter().map(|row| (row, refusal.clone())).collect()
}
