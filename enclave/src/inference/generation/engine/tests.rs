//! The engine, turned by hand over a model of the alphabet. It is long because requests come, go, fail and wait in many orders.

#![allow(clippy::as_conversions)]

mod fair;

use super::*;
use crate::inference::generation::sampling::Sampling;
use crate::inference::generation::vocabulary::tests::bytes;
use crate::inference::shares::Shares;
use crate::prompt::Prompt;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

const OF_TOKEN: usize = 10;
const FOREVER: Sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: None };

/// A graph that goes on with the next byte, ends after `z`, fails at `!`, and panics at `?`.
#[derive(Default)]
pub(in crate::inference::generation) struct Alphabet {
    /// Bytes of all caches, now and at the most.
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Rows and tokens of each run.
    runs: Vec<(usize, usize)>,
}

pub(in crate::inference::generation) struct Letters {
    rows: Vec<Option<Vec<u32>>>,
    logits: Vec<Vec<f32>>,
    capacity: usize,
    now: Arc<AtomicUsize>,
}

impl Drop for Letters {
    fn drop(&mut self) {
        self.now.fetch_sub(self.rows.len() * self.capacity * OF_TOKEN, Ordering::Relaxed);
    }
}

impl Alphabet {
    fn count(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
    }
}

impl Forward for Alphabet {
    type Cache = Letters;

    fn cache(&mut self, capacity: usize) -> Result<Letters> {
        self.count(capacity * OF_TOKEN);
        Ok(Letters { rows: vec![Some(Vec::new())], logits: vec![Vec::new()], capacity, now: Arc::clone(&self.now) })
    }

    fn run(&mut self, cache: &mut Letters, tokens: &[u32]) -> Result<()> {
        let each = tokens.len() / cache.rows.len();
        assert!(each == 1 || cache.rows.len() == 1, "parts of prompts run alone");
        self.runs.push((cache.rows.len(), each));
        assert!(!tokens.contains(&u32::from(b'?')), "in a graph");
        if tokens.contains(&u32::from(b'!')) {
            return Err(Refusal::new(Code::RuntimeFailed, "running model.onnx"));
        }
        for ((row, logits), tokens) in cache.rows.iter_mut().zip(&mut cache.logits).zip(tokens.chunks(each)) {
            let last = tokens[each - 1];
            let next = if last == u32::from(b'z') { 256 } else { last + 1 };
            *logits = (0..258).map(|token| if token == next { 1000.0 } else { 0.0 }).collect();
            if let Some(row) = row {
                row.extend(tokens);
                assert!(row.len() <= cache.capacity);
                let follows = row.iter().rev().nth(1).is_none_or(|before| before + 1 == last);
                assert!(each > 1 || follows, "a row of its own: {row:?}");
            }
        }
        Ok(())
    }

    fn arrange(&mut self, cache: &mut Letters, rows: &[Option<usize>], capacity: usize) -> Result<()> {
        // One of many parts at a time is there twice.
        cache.now.fetch_sub(cache.rows.len() * cache.capacity * OF_TOKEN, Ordering::Relaxed);
        self.count(rows.len() * capacity * OF_TOKEN);
        let laid_out = rows.iter().map(|from| from.and_then(|from| cache.rows[from].clone())).collect();
        (cache.rows, cache.capacity) = (laid_out, capacity);
        cache.logits = vec![Vec::new(); rows.len()];
        Ok(())
    }

    fn copy(&mut self, from: &Letters, to: &mut Letters, row: usize) -> Result<()> {
        assert!(to.rows[row].is_none() && from.rows[0].as_ref().unwrap().len() <= to.capacity);
        to.rows[row].clone_from(&from.rows[0]);
        Ok(())
    }

    fn release(&mut self, cache: &mut Letters, row: usize) {
        assert!(cache.rows[row].take().is_some());
    }

    fn logits<'a>(&self, cache: &'a Letters, row: usize) -> &'a [f32] {
        &cache.logits[row]
    }

    fn of_token(&self) -> usize {
        OF_TOKEN
    }
}

/// An engine that is turned by hand, and places for requests.
struct Bench {
    engine: Engine<Alphabet>,
    places: Arc<Semaphore>,
    started: Instant,
}

/// Who waits for a request.
struct Caller(mpsc::UnboundedReceiver<Result<Event>>);

/// What came of a request so far, of each choice.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    texts: Vec<String>,
    ends: Vec<Option<(Finish, usize)>>,
    failed: Option<Code>,
}

impl Bench {
    fn new(memory: usize) -> Self {
        let engine = Engine::new(Alphabet::default(), Arc::new(bytes()), memory);
        Self { engine, places: Arc::new(Semaphore::new(1000)), started: Instant::now() }
    }

    fn ask(&mut self, identity: &str, prompt: &str, most: usize) -> Caller {
        self.ask_for(identity, prompt, most, 1, &[])
    }

    fn ask_for(&mut self, identity: &str, prompt: &str, most: usize, choices: usize, stops: &[&str]) -> Caller {
        let (call, caller) = call(&self.places, self.started, identity, prompt, most, choices, stops);
        self.engine.push(call);
        caller
    }

    fn turn(&mut self) {
        self.engine.turn(self.started);
    }

    fn turn_until_idle(&mut self) {
        while !self.engine.is_idle() {
            self.turn();
        }
        assert_eq!(self.engine.forward.now.load(Ordering::Relaxed), 0, "nothing is kept");
        assert_eq!(self.places.available_permits(), 1000);
    }

    fn rows(&self) -> usize {
        self.engine.under_way.lanes.rows().count()
    }

    /// Bytes of all caches at the most.
    fn most(&self) -> usize {
        self.engine.forward.most.load(Ordering::Relaxed)
    }
}

fn call(
    places: &Arc<Semaphore>,
    since: Instant,
    identity: &str,
    prompt: &str,
    most: usize,
    choices: usize,
    stops: &[&str],
) -> (Call, Caller) {
    let (reply, events) = mpsc::unbounded_channel();
    let permit = Arc::clone(places).try_acquire_owned().unwrap();
    let (tokens, identity) = (prompt.len() + most, Arc::from(identity));
    let (likeliest, of_form, sampling) = (None, None, FOREVER);
    let share = Shares::new(1).take(&identity).unwrap();
    let of = Of { identity, choices, tokens, sampling, seed: 0, likeliest, since, reply, share, permit, of_form };
    let prompt = Prompt::new(prompt.bytes().map(u32::from).collect());
    let stops = stops.iter().map(|stop| Prompt::new((*stop).to_owned())).collect();
    (Call { prompt, stops, guide: None, out_since: None, of: Arc::new(of) }, Caller(events))
}

impl Caller {
    fn got(&mut self) -> Got {
        let mut got = Got::default();
        while let Ok(event) = self.0.try_recv() {
            got.add(event);
        }
        got
    }
}

impl Got {
    fn add(&mut self, event: Result<Event>) {
        let place = match &event {
            Ok(Event::Text { choice, .. } | Event::End { choice, .. }) => *choice + 1,
            Err(_) => 0,
        };
        self.texts.resize(self.texts.len().max(place), String::new());
        self.ends.resize(self.texts.len(), None);
        match event {
            Ok(Event::Text { choice, text, .. }) => self.texts[choice].push_str(text.expose()),
            Ok(Event::End { choice, finish, tokens }) => self.ends[choice] = Some((finish, tokens)),
            Err(refusal) => self.failed = Some(refusal.code),
        }
    }
}

fn done(text: &str, finish: Finish, tokens: usize) -> Got {
    Got { texts: vec![text.to_owned()], ends: vec![Some((finish, tokens))], failed: None }
}

const PLENTY: usize = 1 << 20;

/// Memory for so many answers of up to 512 tokens, and for the prompt of one such.
fn short(rows: usize) -> usize {
    OF_TOKEN * (512 * rows + 512)
}

#[test]
fn answer_ends_where_the_model_ends_it_where_it_is_long_enough_or_at_a_stop() {
    let mut bench = Bench::new(PLENTY);
    let mut model = bench.ask("a", "w", 60);
    let mut length = bench.ask("a", "a", 3);
    let mut one = bench.ask("a", "a", 1);
    let mut stop = bench.ask_for("a", "a", 60, 1, &["efg"]);
    bench.turn_until_idle();
    assert_eq!(model.got(), done("xyz", Finish::Stop, 4));
    assert_eq!(length.got(), done("bcd", Finish::Length, 3));
    assert_eq!(one.got(), done("b", Finish::Length, 1));
    assert_eq!(stop.got(), done("bcd", Finish::Stop, 6));
}

#[test]
fn request_joins_between_two_tokens_of_others_and_each_has_its_own_text() {
    let mut bench = Bench::new(PLENTY);
    let mut first = bench.ask("a", "a", 20);
    bench.turn();
    bench.turn();
    let mut second = bench.ask("b", "k", 20);
    bench.turn();
    assert_eq!(bench.rows(), 2);
    bench.turn_until_idle();
    assert_eq!(first.got(), done("bcdefghijklmnopqrstu", Finish::Length, 20));
    assert_eq!(second.got(), done("lmnopqrstuvwxyz", Finish::Stop, 16));
}

#[test]
fn long_prompt_runs_in_parts_and_others_get_a_token_after_each() {
    let mut bench = Bench::new(PLENTY);
    let long = "A".repeat(600);
    let mut alone = bench.ask("a", &long, 1);
    bench.turn_until_idle();
    assert_eq!(
        (alone.got().texts, core::mem::take(&mut bench.engine.forward.runs)),
        (vec!["B".to_owned()], vec![(1, 512), (1, 88)])
    );
    let mut short = bench.ask("b", "a", 25);
    bench.turn();
    let before = short.got().texts.concat().len();
    let mut beside = bench.ask("a", &long, 1);
    for part in 0..10 {
        assert_eq!(short.got().texts.concat().len(), if part == 0 { 0 } else { 1 }, "after {part} parts of {before}");
        bench.turn();
    }
    assert_eq!(beside.got().texts, ["B"]);
    bench.turn_until_idle();
    let parts: Vec<usize> =
        bench.engine.forward.runs.iter().map(|(_, tokens)| *tokens).filter(|tokens| *tokens > 1).collect();
    assert_eq!(parts, [64, 64, 64, 64, 64, 64, 64, 64, 64, 24]);
}

#[test]
fn part_of_one_token_is_never_left_over() {
    for (prompt, want) in [(511, vec![511]), (512, vec![512]), (513, vec![511, 2]), (514, vec![512, 2]), (1, vec![1])] {
        let mut bench = Bench::new(PLENTY);
        let _caller = bench.ask("a", &"A".repeat(prompt), 1);
        bench.turn_until_idle();
        let parts: Vec<usize> = bench.engine.forward.runs.iter().map(|(_, tokens)| *tokens).collect();
        assert_eq!(parts, want);
    }
}

#[test]
fn caller_who_hangs_up_leaves_between_two_tokens_and_others_go_on() {
    let mut bench = Bench::new(PLENTY);
    let mut stays = bench.ask("a", "a", 20);
    let leaves = bench.ask("b", "b", 20);
    let prompting = bench.ask("c", &"A".repeat(600), 20);
    let waits = bench.ask("d", "d", 20);
    bench.turn();
    bench.turn();
    bench.turn();
    assert_eq!((bench.rows(), bench.places.available_permits()), (2, 996));
    drop((leaves, prompting, waits));
    bench.turn();
    assert_eq!((bench.rows(), bench.places.available_permits()), (1, 999));
    assert!(bench.engine.under_way.prompting.is_empty() && bench.engine.waiting.is_empty());
    bench.turn_until_idle();
    assert_eq!(stays.got(), done("bcdefghijklmnopqrstu", Finish::Length, 20));
}

#[test]
fn caches_never_take_more_than_their_memory_and_who_does_not_fit_waits() {
    let mut bench = Bench::new(short(2));
    let prompt = "A".repeat(450);
    let mut callers: Vec<Caller> = (0..5).map(|n| bench.ask(&format!("{n}"), &prompt, 58)).collect();
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!((bench.rows(), bench.engine.waiting.requests().count()), (2, 3));
    bench.turn_until_idle();
    // Two rows, and the prompt of the second.
    let most = 3 * 508 * OF_TOKEN;
    assert_eq!((bench.most(), most <= short(2)), (most, true));
    for caller in &mut callers {
        assert_eq!(caller.got().ends, [Some((Finish::Stop, 58))]);
    }
}

#[test]
fn who_waits_for_longer_than_the_limit_is_told_to_come_back_and_not_before() {
    let mut bench = Bench::new(short(1));
    let mut under_way = bench.ask("a", "a", 20);
    let mut waits = bench.ask("a", "a", 20);
    bench.turn();
    bench.engine.turn(bench.started + Duration::from_secs(limits::GENERATION_WAIT));
    assert_eq!(waits.got().failed, None);
    bench.engine.turn(bench.started + Duration::from_secs(limits::GENERATION_WAIT + 1));
    assert_eq!(waits.got().failed, Some(Code::Busy));
    assert_eq!(under_way.got().failed, None);
    bench.engine.turn(bench.started + Duration::from_secs(limits::GENERATION_TIME));
    assert_eq!(under_way.got().failed, None);
    bench.engine.turn(bench.started + Duration::from_secs(limits::GENERATION_TIME + 1));
    assert_eq!(under_way.got().failed, Some(Code::Timeout));
    assert!(bench.engine.is_idle());
}

#[test]
fn prompt_that_fails_fails_its_request_and_no_other() {
    let mut bench = Bench::new(PLENTY);
    let mut goes_on = bench.ask("a", "a", 20);
    bench.turn();
    let mut fails = bench.ask("b", "!", 20);
    bench.turn_until_idle();
    assert_eq!(fails.got().failed, Some(Code::RuntimeFailed));
    assert_eq!(goes_on.got().ends, [Some((Finish::Length, 20))]);
}

#[test]
fn step_that_fails_fails_the_answers_under_way_and_those_after_it_are_whole() {
    let mut bench = Bench::new(PLENTY);
    // `!` follows the space.
    let mut callers = [bench.ask("a", "a", 20), bench.ask("b", "\u{1f}", 20)];
    bench.turn_until_idle();
    assert!(callers.iter_mut().all(|caller| caller.got().failed == Some(Code::RuntimeFailed)));
    let mut after = bench.ask("c", "w", 20);
    bench.turn_until_idle();
    assert_eq!(after.got(), done("xyz", Finish::Stop, 4));
}

#[test]
fn step_that_fails_leaves_answers_of_another_length_whole() {
    let mut bench = Bench::new(PLENTY);
    let mut fails = bench.ask("a", "\u{1f}", 20);
    let mut whole = bench.ask("b", &("A".repeat(600) + "k"), 20);
    bench.turn_until_idle();
    assert_eq!(fails.got().failed, Some(Code::RuntimeFailed));
    assert_eq!(whole.got(), done("lmnopqrstuvwxyz", Finish::Stop, 16));
}

#[test]
fn several_answers_to_one_request_share_its_prompt() {
    let mut bench = Bench::new(PLENTY);
    let mut beside = bench.ask("b", "a", 20);
    bench.turn();
    let mut three = bench.ask_for("a", "uvw", 20, 3, &[]);
    bench.turn_until_idle();
    let got = three.got();
    assert_eq!((got.texts, got.ends), (vec!["xyz".to_owned(); 3], vec![Some((Finish::Stop, 4)); 3]));
    assert_eq!(bench.engine.forward.runs.iter().filter(|run| **run == (1, 3)).count(), 1);
    assert_eq!(beside.got().ends, [Some((Finish::Length, 20))]);
}

#[test]
fn requests_that_come_and_go_at_any_time_get_what_they_would_alone_within_their_memory() {
    let memory = OF_TOKEN * (4 * 2048 + 2048);
    let mut bench = Bench::new(memory);
    let (mut callers, mut state) = (Vec::new(), 1u64);
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..1000 {
        if random(3) == 0 {
            let first = u8::try_from(97 + random(26)).unwrap();
            let longest = [60, 60, 60, 600, 1900][random(5) as usize];
            let (repeat, most) = (1 + random(longest) as usize, 1 + random(29) as usize);
            let prompt = "A".repeat(repeat - 1) + &char::from(first).to_string();
            let identity = ["a", "b", "c", "d"][random(4) as usize];
            let caller = bench.ask(identity, &prompt, most);
            if random(5) > 0 {
                callers.push((caller, first, most));
            }
        }
        bench.turn();
    }
    bench.turn_until_idle();
    assert!(bench.most() <= memory, "{} of {memory}", bench.most());
    assert!(callers.len() > 150);
    for (mut caller, first, most) in callers {
        let all: String = (first + 1..=b'z').map(char::from).collect();
        let want =
            all.get(..most).map_or(done(&all, Finish::Stop, all.len() + 1), |text| done(text, Finish::Length, most));
        assert_eq!(caller.got(), want);
    }
}

#[tokio::test]
async fn thread_that_panics_closes_its_channel_and_keeps_nothing_of_its_requests() {
    let calls = start(Alphabet::default(), Arc::new(bytes()), PLENTY).unwrap();
    let places = Arc::new(Semaphore::new(2));
    let (call, mut caller) = call(&places, Instant::now(), "a", "?", 5, 1, &[]);
    calls.send(call).unwrap();
    assert!(caller.0.recv().await.is_none());
    calls.closed().await;
    assert_eq!(places.available_permits(), 2);
}
