//! The thread that generates: continuous batching.
//!
//! Each turn it lets go who hung up or waited too long, runs a part of one prompt, of a request that waits if there is room for it or of one that
//! began, and the next token of the answers under way. So who is answered is not held up by a long prompt for longer than
//! a part of it takes, and who comes joins between two tokens. Whose turn it is, and who may have how much: [`super::schedule`], [`super::held`].

mod answer;
mod under_way;

pub(super) use answer::{Call, Of};
pub use answer::{Chosen, Event, Finish};

use super::batch::{Batch, Forward, room};
use super::sampling::Scratch;
use super::schedule::{Clocks, Waiting};
use super::vocabulary::Vocabulary;
use answer::Answer;
use core::time::Duration;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::mpsc;
use under_way::{Prompting, UnderWay};

/// Bytes of the thread's stack: what goes through grammars of callers has plenty.
const STACK: usize = 16 * 1024 * 1024;
/// Tokens of a prompt that run at a time where others are answered meanwhile, and where nobody is.
const PART_BESIDE: usize = 64;
const PART_ALONE: usize = 512;

struct Engine<F: Forward> {
    forward: F,
    vocabulary: Arc<Vocabulary>,
    clocks: Clocks,
    waiting: Waiting<Call>,
    under_way: UnderWay<F::Cache>,
    /// The request whose part ran last, where some of its prompt is left: gone once that is.
    between: Weak<Of>,
    scratch: Scratch,
}

/// Starts a thread around `forward`, whose caches take at most `memory` bytes. It ends when the sender is dropped, or where it panics; the
/// sender sees either as a closed channel, and so does whoever waits for an answer.
///
/// # Errors
/// `io` no thread can be had.
pub(super) fn start<F: Forward + Send + 'static>(
    forward: F,
    vocabulary: Arc<Vocabulary>,
    memory: usize,
) -> Result<mpsc::UnboundedSender<Call>> {
    // As many as there are permits.
    let (calls, mut called) = mpsc::unbounded_channel();
    let work = move || Engine::new(forward, vocabulary, memory).work(&mut called);
    let thread = thread::Builder::new().name("generation".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(|e| Refusal::new(Code::Io, "generation thread").because(e))?;
    Ok(calls)
}

/// How many of the tokens that are left run next. One alone is never left over: attention computes it in another way than several,
/// and a prompt in parts is to come to what it comes to as a whole.
const fn part(left: usize, most: usize) -> usize {
    if left <= most {
        left
    } else if left == most.saturating_add(1) {
        most.saturating_sub(1)
    } else {
        most
    }
}

impl<F: Forward> Engine<F> {
    /// One whose caches take at most `memory` bytes.
    fn new(forward: F, vocabulary: Arc<Vocabulary>, memory: usize) -> Self {
        let under_way = UnderWay::new(memory / forward.of_token().max(1));
        let (clocks, waiting, scratch) = (Clocks::default(), Waiting::new(), Scratch::default());
        Self { forward, vocabulary, clocks, waiting, under_way, between: Weak::new(), scratch }
    }

    fn work(&mut self, called: &mut mpsc::UnboundedReceiver<Call>) {
        loop {
            if self.is_idle() {
                // Nothing is under way: sleep until something is, or nobody can ask any more.
                let Some(call) = called.blocking_recv() else { return };
                self.push(call);
            }
            while let Ok(call) = called.try_recv() {
                self.push(call);
            }
            self.turn(Instant::now());
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    fn push(&mut self, call: Call) {
        self.waiting.push(&call.identity(), call);
    }

    fn turn(&mut self, now: Instant) {
        self.forget(now);
        self.make_way(now);
        self.prompt();
        self.step();
        if self.waiting.is_empty() && self.under_way.prompting.is_empty() {
            // What ran kept nobody waiting.
            self.clocks = Clocks::default();
        }
    }

    /// Lets go who hung up, who waited too long, and whose answer takes too long.
    fn forget(&mut self, now: Instant) {
        self.waiting.forget(|call| call.is_wanted(now, Duration::from_secs(limits::GENERATION_WAIT), Code::Busy));
        let longest = Duration::from_secs(limits::GENERATION_TIME);
        self.under_way.keep(&mut self.forward, |of| of.is_wanted(now, longest, Code::Timeout));
    }

    /// Ends a request that has more than half of the memory where that makes room for somebody with nothing under way, for whom there has been
    /// none for half as long as they may wait.
    fn make_way(&mut self, now: Instant) {
        let Self { forward, waiting, under_way, .. } = self;
        for call in waiting.requests_mut() {
            call.out_since = under_way.keeps_out(call).then(|| call.out_since.unwrap_or(now));
        }
        let Some(most) = under_way.of_most() else { return };
        let is_long = |since| now.saturating_duration_since(since).as_secs() >= limits::GENERATION_WAIT / 2;
        let is_for = |call: &Call| call.out_since.is_some_and(is_long) && under_way.has_room_without(&most, call);
        if !waiting.requests().any(is_for) {
            return;
        }
        let refusal =
            Refusal::new(Code::Busy, "generation").got("more than half of the memory").want("room for others");
        most.fail(&refusal);
        under_way.keep(forward, |of| of.identity != most.identity);
    }

    /// Runs a part of a prompt, and after the last one lets its answers join the others.
    fn prompt(&mut self) {
        let next = self.next();
        self.between = Weak::new();
        let Some(mut prompting) = next else { return };
        let most = if self.under_way.lanes.is_empty() { PART_ALONE } else { PART_BESIDE };
        let left = prompting.call.prompt().len().saturating_sub(prompting.done);
        let end = prompting.done.saturating_add(part(left, most));
        let part = prompting.call.prompt().get(prompting.done..end).unwrap_or_default();
        self.clocks.run(&prompting.call.identity, part.len());
        if let Err(refusal) = self.forward.run(&mut prompting.cache, part) {
            return prompting.call.fail(&refusal);
        }
        prompting.done = end;
        if end < prompting.call.prompt().len() {
            self.between = Arc::downgrade(&prompting.call.of);
            self.under_way.prompting.push(prompting);
            return;
        }
        let Prompting { call, cache, capacity, .. } = prompting;
        let (tokens, more) = (call.tokens(), self.under_way.expected(&call, self.waiting.requests()));
        let mut answers = Answer::all(call, &self.vocabulary);
        let logits = self.forward.logits(&cache, 0);
        answers.retain_mut(|answer| answer.take(logits, &self.vocabulary, &mut self.scratch));
        if !answers.is_empty() {
            fail(self.under_way.lanes.join(&mut self.forward, tokens, (cache, capacity), answers, more));
        }
    }

    /// Whose prompt runs next: that of whoever is behind, of one identity the one that began, and between two parts of a long one a short one
    /// that waits.
    fn next(&mut self) -> Option<Prompting<F::Cache>> {
        let Self { clocks, waiting, under_way, between, .. } = self;
        let is_between = between.strong_count() > 0;
        let began = under_way.prompting.iter().map(|prompting| clocks.of(&prompting.call.identity)).enumerate();
        let began = began.min_by_key(|(_, clock)| *clock);
        let is_turn = |call: &Call| {
            let is_short = call.prompt().len() <= PART_BESIDE;
            began.is_none_or(|(_, least)| clocks.of(&call.identity) < least) || (is_between && is_short)
        };
        if let Some(call) = waiting.next(clocks, is_turn, under_way.admission()) {
            let clock = clocks.of(&call.identity);
            clocks.pass(began.map_or(clock, |(_, least)| least.min(clock)));
            return self.begin(call);
        }
        let (at, clock) = began?;
        clocks.pass(clock);
        Some(under_way.prompting.remove(at))
    }

    /// Makes room for a request that there is room for.
    fn begin(&mut self, call: Call) -> Option<Prompting<F::Cache>> {
        let Self { forward, under_way, .. } = self;
        if under_way.free() < call.held().tokens {
            // It is laid out for rows that are nobody's.
            fail(under_way.lanes.each(|batch| batch.compact(forward)));
        }
        let capacity = room(call.prompt().len().saturating_add(1), call.tokens());
        let cache = forward.cache(capacity).inspect_err(|refusal| call.fail(refusal)).ok()?;
        Some(Prompting { call, cache, capacity, done: 0 })
    }

    /// Runs the next token of the answers under way: of all where only one identity has anything under way, else of the lanes whose turn it is.
    fn step(&mut self) {
        let is_of_one = self.under_way.is_of_one();
        let Self { forward, vocabulary, under_way, scratch, clocks, .. } = self;
        let step = |batch: &mut Batch<F::Cache, Answer>| {
            batch.step(forward, |answer, logits| {
                clocks.run(&answer.call().identity, 1);
                answer.take(logits, vocabulary, scratch)
            })
        };
        let lanes = &mut under_way.lanes;
        fail(if is_of_one { lanes.each(step) } else { lanes.turn(|answer| &answer.call().identity, step) });
    }
}

/// Fails the answers of a batch that failed: what their rows hold is not known any more.
fn fail(answers: Vec<(Answer, Refusal)>) {
    for (answer, refusal) in answers {
        answer.call().fail(&refusal);
    }
}

#[cfg(test)]
pub(super) mod tests;
