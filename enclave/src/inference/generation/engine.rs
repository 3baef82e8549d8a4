//! The thread that generates: continuous batching.
//!
//! Each turn it lets go who hung up or waited too long, takes on one more request if there is room for it, runs a part of that
//! one's prompt, and the next token of all answers under way. So who is answered is not held up by a long prompt for longer than
//! a part of it takes, and who comes joins between two tokens.

mod answer;

pub(super) use answer::{Call, Of};
pub use answer::{Chosen, Event, Finish};

use super::batch::{Batch, Forward, Row as _, room};
use super::sampling::Scratch;
use super::schedule::Waiting;
use super::vocabulary::Vocabulary;
use answer::Answer;
use core::time::Duration;
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::mpsc;

/// Bytes of the thread's stack: what goes through grammars of callers has plenty.
const STACK: usize = 16 * 1024 * 1024;
/// Tokens of a prompt that run at a time where others are answered meanwhile, and where nobody is.
const PART_BESIDE: usize = 64;
const PART_ALONE: usize = 512;

/// A request whose prompt is under way.
struct Prompting<C> {
    call: Call,
    cache: C,
    capacity: usize,
    done: usize,
}

struct Engine<F: Forward> {
    forward: F,
    vocabulary: Arc<Vocabulary>,
    waiting: Waiting<Call>,
    prompting: Option<Prompting<F::Cache>>,
    batch: Batch<F::Cache, Answer>,
    scratch: Scratch,
    /// Bytes that all caches together may take.
    memory: usize,
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
    let work = move || {
        let (waiting, batch, scratch) = (Waiting::new(), Batch::new(), Scratch::default());
        let mut engine = Engine { forward, vocabulary, waiting, prompting: None, batch, scratch, memory };
        engine.work(&mut called);
    };
    let thread = thread::Builder::new().name("generation".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(|e| Refusal::new(Code::Io, "generation thread").because(e))?;
    Ok(calls)
}

/// Bytes that a request may take: its rows, and the one that its prompt runs in.
pub(super) fn of_request(of_token: usize, tokens: usize, choices: usize) -> usize {
    choices.saturating_add(1).saturating_mul(tokens).saturating_mul(of_token)
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
        self.waiting.is_empty() && self.prompting.is_none() && self.batch.is_empty()
    }

    fn push(&mut self, call: Call) {
        self.waiting.push(&call.identity(), call);
    }

    fn turn(&mut self, now: Instant) {
        self.forget(now);
        if self.prompting.is_none() {
            self.take_on();
        }
        self.prompt();
        self.step();
    }

    /// Lets go who hung up, who waited too long, and whose answer takes too long.
    fn forget(&mut self, now: Instant) {
        self.waiting.forget(|call| call.is_wanted(now, Duration::from_secs(limits::GENERATION_WAIT), Code::Busy));
        let longest = Duration::from_secs(limits::GENERATION_TIME);
        self.prompting = self.prompting.take().filter(|p| p.call.is_wanted(now, longest, Code::Timeout));
        self.batch.forget(&mut self.forward, |answer| answer.call().is_wanted(now, longest, Code::Timeout));
    }

    /// Takes on one of those who wait, if there is room for all that it may come to.
    fn take_on(&mut self) {
        let Self { batch, waiting, forward, memory, .. } = self;
        let under_way = |identity: &str| batch.rows().filter(|answer| &*answer.call().identity() == identity).count();
        let (laid_out, capacity) = batch.laid_out();
        let longest = batch.rows().map(|answer| answer.most()).max().unwrap_or(0).max(capacity);
        let busy = batch.rows().count();
        let fits = |call: &Call| {
            let rows = busy.saturating_add(call.choices());
            let tokens = call.tokens().max(longest);
            // Nobody has more than half of the rows, so that another's answer can begin at any time.
            let own = under_way(&call.identity()).saturating_add(call.choices());
            own <= limits::GENERATIONS / 2
                && rows <= limits::GENERATIONS
                && of_request(forward.of_token(), tokens, rows.max(laid_out)) <= *memory
        };
        let Some(call) = waiting.next(under_way, fits) else { return };
        let capacity = room(call.prompt().len().saturating_add(1), call.tokens());
        match forward.cache(capacity) {
            Ok(cache) => self.prompting = Some(Prompting { call, cache, capacity, done: 0 }),
            Err(refusal) => call.fail(&refusal),
        }
    }

    /// Runs a part of the prompt that is under way, and after the last one lets its answers join the others.
    fn prompt(&mut self) {
        let Some(mut prompting) = self.prompting.take() else { return };
        let most = if self.batch.is_empty() { PART_ALONE } else { PART_BESIDE };
        let end =
            prompting.done.saturating_add(part(prompting.call.prompt().len().saturating_sub(prompting.done), most));
        let part = prompting.call.prompt().get(prompting.done..end).unwrap_or_default();
        if let Err(refusal) = self.forward.run(&mut prompting.cache, part) {
            return prompting.call.fail(&refusal);
        }
        prompting.done = end;
        if end < prompting.call.prompt().len() {
            self.prompting = Some(prompting);
            return;
        }
        let Prompting { call, cache, capacity, .. } = prompting;
        let mut answers = Answer::all(call, &self.vocabulary);
        let logits = self.forward.logits(&cache, 0);
        answers.retain_mut(|answer| answer.take(logits, &self.vocabulary, &mut self.scratch));
        if answers.is_empty() {
            return;
        }
        let more = self.expected(&answers);
        if let Err(refusal) = self.batch.join(&mut self.forward, (cache, capacity), answers, more) {
            self.give_up(&refusal);
        }
    }

    /// How many rows those who wait are likely to take soon, as far as there is room.
    fn expected(&self, joining: &[Answer]) -> usize {
        let rows = self.batch.rows().count().saturating_add(joining.len());
        let longest = self.batch.rows().chain(joining).map(|answer| answer.most()).max().unwrap_or(1);
        // All rows are laid out as the longest is, or once was.
        let longest = longest.max(self.batch.laid_out().1);
        let room = self.memory / self.forward.of_token().saturating_mul(longest).max(1);
        self.waiting.len().min(room.min(limits::GENERATIONS).saturating_sub(rows.saturating_add(1)))
    }

    /// Runs the next token of all answers under way.
    fn step(&mut self) {
        let Self { forward, vocabulary, batch, scratch, .. } = self;
        let stepped = batch.step(forward, |answer, logits| answer.take(logits, vocabulary, scratch));
        if let Err(refusal) = stepped {
            self.give_up(&refusal);
        }
    }

    /// Fails all answers under way: what their rows hold is not known any more.
    fn give_up(&mut self, refusal: &Refusal) {
        for answer in self.batch.give_up() {
            answer.call().fail(refusal);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
