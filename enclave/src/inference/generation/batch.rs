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

    /// How many rows there is room for, nobody's included.
    pub(super) const fn laid_out(&self) -> usize {
        self.rows.len()
    }

    /// Adds `rows`, which are all what the one row of `cache`, with room for `capacity`, is. Where rows are laid out anew for them, it is
    /// with room for `more`, and for as many tokens as they have by then.
    ///
    /// # Errors
    /// `runtime-failed` there is no memory; the batch is to be given up then, and `rows` with it.
    pub(super) fn join<F: Forward<Cache = C>>(
        &mut self,
        forward: &mut F,
        (cache, capacity): (C, usize),
        rows: Vec<R>,
        more: usize,
    ) -> Result<()> {
        let Some(own) = &mut self.cache else {
            // The first rows of a batch are laid out by what it begins with.
            let count = rows.len();
            self.rows = rows.into_iter().map(Some).collect();
            self.capacity = capacity;
            let own = self.cache.insert(cache);
            return if count > 1 { forward.arrange(own, &vec![Some(0); count], capacity) } else { Ok(()) };
        };
        let mut layout: Vec<Option<usize>> =
            self.rows.iter().enumerate().map(|(at, row)| row.as_ref().map(|_| at)).collect();
        let mut places: Vec<usize> = (0..).zip(&layout).filter(|(_, row)| row.is_none()).map(|(at, _)| at).collect();
        let added = rows.len().saturating_sub(places.len());
        places.extend((self.rows.len()..).take(added));
        places.truncate(rows.len());
        if added > 0 {
            layout.resize(self.rows.len().saturating_add(added).saturating_add(more), None);
            self.rows.resize_with(layout.len(), || None);
        }
        // They are in their places before anything can fail, so that who gives the batch up has them.
        for ((_, place), row) in self.rows.iter_mut().enumerate().filter(|(at, _)| places.contains(at)).zip(rows) {
            *place = Some(row);
        }
        let (needed, most) = longest(&self.rows);
        if added > 0 || needed > self.capacity {
            (self.capacity, self.idle) = (room(needed, most), 0);
            forward.arrange(own, &layout, self.capacity)?;
        }
        places.into_iter().try_for_each(|at| forward.copy(&cache, own, at))
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

    fn make_room<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        if longest(&self.rows).0 <= self.capacity {
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
        if self.idle <= busy.saturating_mul(IDLE) {
            return Ok(());
        }
        self.compact(forward)
    }

    /// Leaves out the rows that are nobody's.
    ///
    /// # Errors
    /// `runtime-failed` there is no memory; the batch is to be given up then.
    pub(super) fn compact<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        if self.rows.iter().all(Option::is_some) {
            return Ok(());
        }
        self.lay_out(forward)
    }

    /// Lays out the rows that are somebody's, and no others, with room for what they need.
    fn lay_out<F: Forward<Cache = C>>(&mut self, forward: &mut F) -> Result<()> {
        let (needed, most) = longest(&self.rows);
        let capacity = room(needed, most);
        let Some(cache) = &mut self.cache else { return Err(Refusal::new(Code::Internal, "batch without a cache")) };
        let layout: Vec<Option<usize>> =
            self.rows.iter().enumerate().filter(|(_, row)| row.is_some()).map(|(at, _)| Some(at)).collect();
        forward.arrange(cache, &layout, capacity)?;
        self.rows.retain(Option::is_some);
        (self.capacity, self.idle) = (capacity, 0);
        Ok(())
    }
}

/// Tokens that the longest row has with its next, and the most that one will have.
fn longest<R: Row>(rows: &[Option<R>]) -> (usize, usize) {
    let rows = || rows.iter().flatten();
    let needed = rows().map(|row| row.length().saturating_add(1)).max().unwrap_or(0);
    (needed, rows().map(Row::most).max().unwrap_or(0))
}
