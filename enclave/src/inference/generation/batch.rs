//! The answers that are under way, each a row of one batch, which grows, shrinks and makes room as they come and go.

use strongroom_wire::{Code, Refusal, Result};

/// What is asked of a model's graph.
pub(super) trait Forward {
    /// What it keeps of the tokens of some rows.
    type Cache;

    /// One row without a token, and room for `capacity`.
    fn cache(&mut self, capacity: usize) -> Result<Self::Cache>;

    /// Runs as many of `tokens` for each row, one row's after the other's; one of whatever number for a row that is nobody's.
    /// Several tokens only where there is one row.
    fn run(&mut self, cache: &mut Self::Cache, tokens: &[u32]) -> Result<()>;

    /// Lays rows out anew, with room for `capacity` tokens each: row `i` is what row `rows[i]` was, or nobody's.
    fn arrange(&mut self, cache: &mut Self::Cache, rows: &[Option<usize>], capacity: usize) -> Result<()>;

    /// Copies the one row of `from` into `row`, which is nobody's.
    fn copy(&mut self, from: &Self::Cache, to: &mut Self::Cache, row: usize) -> Result<()>;

    /// Zeroises a row, which is nobody's from here on.
    fn release(&mut self, cache: &mut Self::Cache, row: usize);

    /// The logits of what is next in `row`.
    fn logits<'a>(&self, cache: &'a Self::Cache, row: usize) -> &'a [f32];

    /// Bytes kept of one token.
    fn of_token(&self) -> usize;
}

/// The least room that a row is given, in tokens.
const LEAST_ROOM: usize = 64;
/// Rows that ran for nobody, for each that ran for somebody, until it is cheaper to lay the batch out without them.
const IDLE: usize = 4;

/// Room for `needed` tokens, so much that it is not made again at each step, and no more than will be needed.
pub(super) fn room(needed: usize, most: usize) -> usize {
    needed.next_power_of_two().max(LEAST_ROOM).min(most).max(needed)
}

/// What is in a row.
pub(super) trait Row {
    /// The token that runs next.
    fn token(&self) -> u32;
    /// How many tokens it has, without that one.
    fn length(&self) -> usize;
    /// How many it will have at the most.
    fn most(&self) -> usize;
}

/// The rows.
#[derive(Debug)]
pub(super) struct Batch<C, R> {
    cache: Option<C>,
    rows: Vec<Option<R>>,
    capacity: usize,
    idle: usize,
}

impl<C, R: Row> Batch<C, R> {
    pub(super) const fn new() -> Self {
        Self { cache: None, rows: Vec::new(), capacity: 0, idle: 0 }
    }

    /// The rows that are somebody's.
    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// How many rows there is room for, and for how many tokens each.
    pub(super) const fn laid_out(&self) -> (usize, usize) {
        (self.rows.len(), self.capacity)
    }

    /// Adds `rows`, which are all what the one row of `cache`, with room for `capacity`, is. Room for `more` is made along with them.
    ///
    /// # Errors
    /// `runtime-failed` there is no memory; the batch is to be given up then.
    pub(super) fn join<F: Forward<Cache = C>>(
        &mut self,
        forward: &mut F,
        (cache, capacity): (C, usize),
        rows: Vec<R>,
        more: usize,
    ) -> Result<()> {
        let Some(own) = &mut self.cache else {
            // The first rows of a batch are laid out by what it begins with.
            let mut cache = cache;
            if rows.len() > 1 {
                forward.arrange(&mut cache, &vec![Some(0); rows.len()], capacity)?;
            }
            *self = Self { cache: Some(cache), rows: rows.into_iter().map(Some).collect(), capacity, idle: 0 };
            return Ok(());
        };
        let free = self.rows.iter().filter(|row| row.is_none()).count();
        let needed = rows.iter().map(Row::length).max().unwrap_or(0);
        if free < rows.len() || needed > self.capacity {
            let added = rows.len().saturating_sub(free);
            let added = if added > 0 { added.saturating_add(more) } else { 0 };
            let kept = (0..self.rows.len()).map(|at| self.rows.get(at).and_then(Option::as_ref).map(|_| at));
            let layout: Vec<Option<usize>> = kept.chain(core::iter::repeat_n(None, added)).collect();
            let capacity = self.capacity.max(needed).max(capacity);
            forward.arrange(own, &layout, capacity)?;
            self.rows.resize_with(layout.len(), || None);
            (self.capacity, self.idle) = (capacity, 0);
        }
        let places = self.rows.iter_mut().enumerate().filter(|(_, place)| place.is_none());
        for ((at, place), row) in places.zip(rows) {
            forward.copy(&cache, own, at)?;
            *place = Some(row);
        }
        Ok(())
    }

    /// Runs the next token of each row, and has `judge` see each row with its logits: it says whether the row stays.
    ///
    /// # Errors
    /// `runtime-failed`; the batch is to be given up then.
    pub(super) fn step<F: Forward<Cache = C>>(
        &mut self,
        forward: &mut F,
        mut judge: impl FnMut(&mut R, &[f32]) -> bool,
    ) -> Result<()> {
        self.make_room(forward)?;
        let Some(cache) = &mut self.cache else { return Ok(()) };
        let tokens: Vec<u32> = self.rows.iter().map(|row| row.as_ref().map_or(0, Row::token)).collect();
        let tokens = zeroize::Zeroizing::new(tokens);
        forward.run(cache, &tokens)?;
        for (at, place) in self.rows.iter_mut().enumerate() {
            if place.as_mut().is_some_and(|row| !judge(row, forward.logits(cache, at))) {
                *place = None;
                forward.release(cache, at);
            }
        }
        self.shrink(forward)
    }

    /// Lets the rows go that are not to be kept.
    pub(super) fn forget<F: Forward<Cache = C>>(&mut self, forward: &mut F, is_kept: impl Fn(&R) -> bool) {
        let Some(cache) = &mut self.cache else { return };
        for (at, place) in self.rows.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|row| !is_kept(row)) {
                *place = None;
                forward.release(cache, at);
            }
        }
        if self.is_empty() {
            *self = Self::new();
        }
    }

    /// Gives up all of it, and gives back who was in it.
    pub(super) fn give_up(&mut self) -> Vec<R> {
        core::mem::replace(self, Self::new()).rows.into_iter().flatten().collect()
    }

    /// Tokens that the longest row has with its next.
    fn needed(&self) -> usize {
        self.rows().map(|row| row.length().saturating_add(1)).max().unwrap_or(0)
    }

    fn make_room<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        if self.needed() <= self.capacity {
            return Ok(());
        }
        self.lay_out(forward)
    }

    /// Counts what ran for nobody, and leaves it out once that is worth the while.
    fn shrink<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        if self.is_empty() {
            *self = Self::new();
            return Ok(());
        }
        let busy = self.rows().count();
        self.idle = self.idle.saturating_add(self.rows.len().saturating_sub(busy));
        if self.idle <= busy.saturating_mul(IDLE) || self.rows.len() == busy {
            return Ok(());
        }
        self.lay_out(forward)
    }

    /// Lays out the rows that are somebody's, and no others, with room for what they need.
    fn lay_out<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        let capacity = room(self.needed(), self.rows().map(Row::most).max().unwrap_or(0));
        let Some(cache) = &mut self.cache else { return Err(Refusal::new(Code::Internal, "batch without a cache")) };
        let layout: Vec<Option<usize>> =
            self.rows.iter().enumerate().filter(|(_, row)| row.is_some()).map(|(at, _)| Some(at)).collect();
        forward.arrange(cache, &layout, capacity)?;
        self.rows.retain(Option::is_some);
        (self.capacity, self.idle) = (capacity, 0);
        Ok(())
    }
}
