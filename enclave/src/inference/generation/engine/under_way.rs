//! The requests under way: whose prompt runs, and whose answers do.

use super::answer::{Answer, Call, Of};
use crate::inference::generation::batch::{Forward, Row as _};
use crate::inference::generation::held::Held;
use crate::inference::generation::lanes::{self, Lanes};
use std::sync::Arc;
use strongroom_wire::limits;

/// A request whose prompt is under way.
pub(super) struct Prompting<C> {
    pub(super) call: Call,
    pub(super) cache: C,
    pub(super) capacity: usize,
    pub(super) done: usize,
}

pub(super) struct UnderWay<C> {
    /// Whose part ran longest ago first.
    pub(super) prompting: Vec<Prompting<C>>,
    pub(super) lanes: Lanes<C, Answer>,
    /// What all may have together.
    limit: Held,
}

impl<C> UnderWay<C> {
    /// None, which may have `tokens` in memory.
    pub(super) const fn new(tokens: usize) -> Self {
        let limit = Held { rows: limits::GENERATIONS, tokens };
        Self { prompting: Vec::new(), lanes: Lanes::new(), limit }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prompting.is_empty() && self.lanes.is_empty()
    }

    /// Lets go the requests that are not to be kept.
    pub(super) fn keep<F: Forward<Cache = C>>(&mut self, forward: &mut F, is_kept: impl Fn(&Of) -> bool) {
        self.prompting.retain(|prompting| is_kept(&prompting.call));
        self.lanes.forget(forward, |answer| is_kept(answer.call()));
    }

    /// Which of those who wait may begin, asked of one after the other in the order in which it is their turn.
    pub(super) fn admission(&self) -> impl FnMut(&Call) -> bool {
        let all = self.held(|_| true);
        let mut is_awaited = false;
        move |call| {
            let (own, more) = (self.held_by(call), call.held());
            let is_new = own == Held::default();
            if own.may_have(more, all, self.limit) {
                // Room that somebody with nothing under way waits for is not taken by whom something is.
                return is_new || !is_awaited;
            }
            // Nobody waits for one that is to have more than half.
            is_awaited |= is_new && !self.is_most(more);
            false
        }
    }

    /// Whether `call` is of somebody with nothing under way, is to have no more than half of the memory, and there is no room for it.
    pub(super) fn keeps_out(&self, call: &Call) -> bool {
        let (own, more) = (self.held_by(call), call.held());
        own == Held::default() && !self.is_most(more) && !own.may_have(more, self.held(|_| true), self.limit)
    }

    /// Whether there would be room for `call` without what `other`'s identity has.
    pub(super) fn has_room_without(&self, other: &Of, call: &Call) -> bool {
        let all = self.held(|of| of.identity != other.identity);
        self.held_by(call).may_have(call.held(), all, self.limit)
    }

    /// Whether nobody but one identity has anything under way.
    pub(super) fn is_of_one(&self) -> bool {
        let prompting = self.prompting.iter().map(|prompting| &*prompting.call.of);
        let mut all = prompting.chain(self.lanes.rows().map(|answer| &**answer.call())).map(|of| &of.identity);
        all.next().is_none_or(|first| all.all(|identity| identity == first))
    }

    /// The request that has more than half of the memory: it is all that whoever asked for it has, since another one is only taken on where
    /// both come to no more than half.
    pub(super) fn of_most(&self) -> Option<Arc<Of>> {
        let prompting = self.prompting.iter().map(|prompting| &prompting.call.of);
        let mut all = prompting.chain(self.lanes.rows().map(Answer::call));
        all.find(|of| self.is_most(self.held_by(of))).map(Arc::clone)
    }

    const fn is_most(&self, held: Held) -> bool {
        held.tokens > self.limit.tokens / 2
    }

    fn held_by(&self, asked: &Of) -> Held {
        self.held(|of| of.identity == asked.identity)
    }

    fn held(&self, is_meant: impl Fn(&Of) -> bool) -> Held {
        let prompting = self.prompting.iter().filter(|prompting| is_meant(&prompting.call));
        let answers = self.lanes.rows().filter(|answer| is_meant(answer.call()));
        let prompting: Held = prompting.map(|prompting| prompting.call.held()).sum();
        prompting.and(answers.map(|answer| Held::by_answer(answer.most())).sum())
    }

    /// Tokens that there is memory for, beside rows that are nobody's.
    pub(super) fn free(&self) -> usize {
        let prompting: Held = self.prompting.iter().map(|prompting| prompting.call.held()).sum();
        self.limit.tokens.saturating_sub(self.lanes.laid_out()).saturating_sub(prompting.tokens)
    }

    /// How many rows of those who wait are likely to join the ones of `joining` soon, as far as there is memory beside what that itself holds.
    pub(super) fn expected<'a>(&self, joining: &Call, waiting: impl Iterator<Item = &'a Call>) -> usize {
        let lane = lanes::lane(joining.tokens());
        let rows: usize = waiting.filter(|call| lanes::lane(call.tokens()) == lane).map(Call::choices).sum();
        let free = self.free().saturating_sub(joining.held().tokens) / lane;
        let others = self.lanes.rows().count().saturating_add(joining.choices());
        rows.min(free).min(self.limit.rows.saturating_sub(others))
    }
}
