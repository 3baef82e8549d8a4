//! Nobody's requests keep another's out, whatever they ask for.

use super::*;

/// Whether an answer ended since this was last asked.
fn has_ended(caller: &mut Caller) -> bool {
    caller.got().ends.iter().any(Option::is_some)
}

/// In which order these end, by their place; of several that end in one turn in that of their places.
fn order(bench: &mut Bench, callers: &mut [&mut Caller]) -> Vec<usize> {
    let mut order = Vec::new();
    while order.len() < callers.len() {
        bench.turn();
        order.extend(callers.iter_mut().enumerate().filter_map(|(at, caller)| has_ended(caller).then_some(at)));
    }
    order
}

fn turns(bench: &mut Bench, many: usize) {
    (0..many).for_each(|_| bench.turn());
}

#[test]
fn identity_with_one_request_does_not_wait_for_any_of_another_s() {
    let mut bench = Bench::new(short(3));
    let mut many: Vec<Caller> = (0..6).map(|_| bench.ask("many", "a", 20)).collect();
    turns(&mut bench, 5);
    let mut one = bench.ask("one", "k", 3);
    turns(&mut bench, 3);
    assert!(has_ended(&mut one) && !many.iter_mut().any(has_ended));
    bench.turn_until_idle();
    assert!(many.iter_mut().all(has_ended));
}

#[test]
fn no_identity_has_more_than_half_of_the_rows_also_where_nobody_else_asks_yet() {
    let mut bench = Bench::new(PLENTY);
    let mut many: Vec<Caller> = (0..limits::GENERATIONS).map(|_| bench.ask("many", "A", 58)).collect();
    turns(&mut bench, limits::GENERATIONS);
    assert_eq!(bench.rows(), limits::GENERATIONS / 2);
    let mut one = bench.ask("one", "k", 3);
    turns(&mut bench, 3);
    assert!(has_ended(&mut one) && !many.iter_mut().any(has_ended));
    bench.turn_until_idle();
}

#[test]
fn no_identity_has_more_than_half_of_the_memory_also_where_nobody_else_asks_yet() {
    // Of seven short rows, and of the prompt of an eighth.
    let mut bench = Bench::new(short(7));
    let mut many: Vec<Caller> = (0..7).map(|_| bench.ask("many", &"A".repeat(450), 50)).collect();
    turns(&mut bench, 20);
    assert_eq!((bench.rows(), many.iter_mut().any(has_ended)), (3, false));
    // As much as that has, at once.
    let mut other = bench.ask_for("other", &"A".repeat(450), 50, 3, &[]);
    turns(&mut bench, 8);
    assert_eq!(bench.rows(), 6);
    assert!(!other.got().texts.is_empty());
    // And there is room for who comes next.
    let mut third = bench.ask("third", "k", 3);
    turns(&mut bench, 3);
    assert!(has_ended(&mut third) && !many.iter_mut().any(has_ended));
    bench.turn_until_idle();
}

#[test]
fn long_answer_takes_none_of_the_room_of_short_ones_under_way_or_over() {
    let memory = OF_TOKEN * (2048 + 8 * 512 + 64);
    let mut bench = Bench::new(memory);
    let mut long = bench.ask("long", &"A".repeat(1500), 20);
    turns(&mut bench, 3);
    let mut short: Vec<Caller> = (0..8).map(|n| bench.ask(&format!("{n}"), "A", 58)).collect();
    turns(&mut bench, 8);
    assert_eq!((bench.rows(), has_ended(&mut long)), (9, false));
    while !has_ended(&mut long) {
        bench.turn();
    }
    let mut after: Vec<Caller> = (8..12).map(|n| bench.ask(&format!("{n}"), "A", 58)).collect();
    turns(&mut bench, 4);
    assert_eq!((bench.rows(), short.iter_mut().any(has_ended)), (12, false));
    bench.turn_until_idle();
    assert!(bench.most() <= memory, "{} of {memory}", bench.most());
    assert!(short.iter_mut().chain(&mut after).all(has_ended));
}

/// Memory of one answer of 2048 tokens, of its prompt, and of one short answer less than would fit beside.
const FOR_ONE: usize = OF_TOKEN * (2048 + 512);

fn half_a_minute(bench: &Bench, seconds: u64) -> Instant {
    bench.started + Duration::from_secs(limits::GENERATION_WAIT / 2) + Duration::from_secs(seconds)
}

#[test]
fn request_of_more_than_half_of_the_memory_ends_once_another_identity_has_waited_for_half_a_minute_and_not_before() {
    for (identity, want) in [("other", Some(Code::Busy)), ("large", None)] {
        let mut bench = Bench::new(FOR_ONE);
        let mut large = bench.ask("large", "A", 1500);
        turns(&mut bench, 2);
        let mut waits = bench.ask(identity, "k", 3);
        bench.turn();
        bench.engine.turn(half_a_minute(&bench, 0) - Duration::from_secs(1));
        assert_eq!((large.got().failed, has_ended(&mut waits)), (None, false));
        bench.engine.turn(half_a_minute(&bench, 0));
        assert_eq!(large.got().failed, want);
        bench.engine.turn(half_a_minute(&bench, 0));
        bench.engine.turn(half_a_minute(&bench, 0));
        assert_eq!(has_ended(&mut waits), want.is_some());
        bench.turn_until_idle();
    }
}

#[test]
fn request_of_half_of_the_memory_is_not_ended_for_another() {
    let mut bench = Bench::new(2 * OF_TOKEN * 2048);
    let mut half = bench.ask("half", "A", 1500);
    bench.turn();
    let mut third = bench.ask_for("third", "A", 58, 3, &[]);
    bench.turn();
    let mut other = bench.ask("other", "k", 3);
    for now in [bench.started, half_a_minute(&bench, 1)] {
        bench.engine.turn(now);
        assert!(bench.engine.waiting.requests().all(|call| bench.engine.under_way.keeps_out(call)));
    }
    assert_eq!((half.got().failed, third.got().failed, has_ended(&mut other)), (None, None, false));
    bench.turn_until_idle();
}

#[test]
fn request_of_more_than_half_of_the_memory_ends_only_where_that_makes_room() {
    // Of 32 rows 30 are others', so two have room once it ends and three have not.
    for (choices, want) in [(2, Some(Code::Busy)), (3, None)] {
        let mut bench = Bench::new(OF_TOKEN * 32_000);
        let mut large = bench.ask("large", "A", 9999);
        let others = [("p", 8), ("q", 8), ("r", 8), ("s", 6)];
        let _others = others.map(|(identity, rows)| bench.ask_for(identity, "A", 58, rows, &[]));
        turns(&mut bench, 5);
        assert_eq!(bench.rows(), 31);
        let _waits = bench.ask_for("waits", "k", 3, choices, &[]);
        bench.turn();
        assert!(bench.engine.waiting.requests().all(|call| bench.engine.under_way.keeps_out(call)));
        bench.engine.turn(half_a_minute(&bench, 0));
        assert_eq!(large.got().failed, want, "{choices}");
        bench.turn_until_idle();
    }
}

#[test]
fn half_a_minute_begins_once_who_waits_has_nothing_under_way() {
    let mut bench = Bench::new(OF_TOKEN * 4000);
    let mut first = bench.ask("other", "A", 5);
    let mut large = bench.ask("large", "A", 1500);
    let _second = bench.ask("other", &"A".repeat(900), 58);
    bench.turn();
    while !has_ended(&mut first) {
        bench.engine.turn(half_a_minute(&bench, 0));
    }
    let until = half_a_minute(&bench, limits::GENERATION_WAIT / 2);
    for (now, want) in
        [(half_a_minute(&bench, 0), None), (until - Duration::from_secs(1), None), (until, Some(Code::Busy))]
    {
        bench.engine.turn(now);
        assert_eq!(large.got().failed, want);
    }
    bench.turn_until_idle();
}

#[test]
fn two_requests_of_more_than_half_of_the_memory_do_not_end_one_another() {
    let mut bench = Bench::new(FOR_ONE);
    let [mut first, mut second] = ["first", "second"].map(|identity| bench.ask(identity, "A", 1500));
    bench.turn();
    bench.engine.turn(half_a_minute(&bench, 1));
    assert_eq!((bench.rows(), first.got().failed), (1, None));
    bench.turn_until_idle();
    assert!(has_ended(&mut first) && has_ended(&mut second));
}

#[test]
fn nobody_waits_for_a_request_of_more_than_half_of_the_memory_to_have_room() {
    let mut bench = Bench::new(FOR_ONE);
    let mut first = bench.ask("first", "a", 20);
    bench.turn();
    let mut large = bench.ask("large", "A", 1500);
    let mut short = bench.ask("short", "k", 3);
    assert_eq!(order(&mut bench, &mut [&mut large, &mut short, &mut first]), [1, 2, 0]);
}

#[test]
fn room_that_an_identity_with_nothing_under_way_waits_for_goes_only_to_others_with_nothing_under_way() {
    for is_awaited in [false, true] {
        let mut bench = Bench::new(OF_TOKEN * (12 * 512 + 64));
        let under_way = [("p", 3), ("q", 3), ("r", 1), ("s", 1)];
        let _under_way = under_way.map(|(identity, rows)| bench.ask_for(identity, "A", 58, rows, &[]));
        turns(&mut bench, 4);
        assert_eq!(bench.rows(), 8);
        let mut waits = is_awaited.then(|| bench.ask_for("waits", "t", 3, 5, &[]));
        let mut second = bench.ask("r", "k", 3);
        let mut new = bench.ask("new", "k", 3);
        turns(&mut bench, 6);
        assert_eq!((has_ended(&mut second), has_ended(&mut new)), (!is_awaited, true));
        bench.turn_until_idle();
        assert!(waits.iter_mut().all(has_ended));
    }
}

#[test]
fn tokens_of_prompts_count_also_where_no_answer_follows() {
    let mut bench = Bench::new(PLENTY);
    let _stream = bench.ask("streams", "A", 58);
    bench.turn();
    let mut prompts: Vec<Caller> = (0..3).map(|_| bench.ask("prompts", &"A".repeat(50), 1)).collect();
    let mut second = bench.ask("streams", "A", 1);
    let [one, two, three] = &mut prompts[..] else { panic!() };
    assert_eq!(order(&mut bench, &mut [one, two, three, &mut second]), [0, 3, 1, 2]);
    bench.turn_until_idle();
}

#[test]
fn tokens_of_answers_count() {
    let mut bench = Bench::new(PLENTY);
    // Somebody waits all the time, so that what runs is counted.
    let _long = bench.ask("long", &"A".repeat(2000), 1);
    let _answers = [bench.ask_for("a", "A", 58, 3, &[]), bench.ask("b", "A", 58)];
    turns(&mut bench, 20);
    assert_eq!(bench.rows(), 4);
    let mut a = bench.ask("a", "A", 1);
    let mut b = bench.ask("b", "A", 1);
    assert_eq!(order(&mut bench, &mut [&mut a, &mut b]), [1, 0]);
    bench.turn_until_idle();
}

/// The parts of prompts that ran, `L` those of 64 tokens.
fn parts(bench: &Bench) -> String {
    let parts = bench.engine.forward.runs.iter().filter(|run| run.1 > 1);
    parts.map(|(_, tokens)| if *tokens == 64 { 'L' } else { 's' }).collect()
}

#[test]
fn prompt_of_at_most_a_part_goes_between_two_parts_of_a_long_one_and_the_long_one_goes_on() {
    for (identity, length, want) in [("a", 63, "LsLsLsLLLLLLL"), ("b", 63, "LssLsLLLLLLLL"), ("a", 65, "LLLLLLLLLLsss")]
    {
        let mut bench = Bench::new(PLENTY);
        let _stream = bench.ask("c", "A", 58);
        bench.turn();
        let _long = bench.ask("a", &"A".repeat(640), 1);
        bench.turn();
        // Those of another identity go first for as long as fewer of its tokens ran. A prompt of 65 runs as 63 and 2.
        let _others: Vec<Caller> = (0..3).map(|_| bench.ask(identity, &"A".repeat(length), 1)).collect();
        bench.turn_until_idle();
        let parts = parts(&bench).replace("ss", if length > 64 { "s" } else { "ss" });
        assert_eq!(parts, want, "{identity} {length}");
    }
}

#[test]
fn long_prompt_that_hangs_up_or_fails_lets_no_short_one_pass_who_is_behind() {
    for fails in [false, true] {
        let mut bench = Bench::new(PLENTY);
        let _stream = bench.ask("stream", "A", 58);
        bench.turn();
        let last = if fails { "!" } else { "A" };
        let long = bench.ask("a", &("A".repeat(64) + &last.repeat(576)), 1);
        bench.turn();
        let _behind = bench.ask("b", &"A".repeat(640), 1);
        turns(&mut bench, 2);
        let (_long, _short) = (fails.then_some(long), bench.ask("a", &"A".repeat(63), 1));
        bench.turn_until_idle();
        assert_eq!(parts(&bench), "LLLLsLLLLLLLL", "{fails}");
    }
}

#[test]
fn answers_of_many_lengths_have_others_wait_for_one_run_more_and_each_gets_its_turn() {
    let mut bench = Bench::new(PLENTY);
    let mut many = [500, 600, 1100, 2100, 4200].map(|most| bench.ask("many", "A", most));
    turns(&mut bench, 5);
    let runs = |bench: &mut Bench| {
        bench.engine.forward.runs.clear();
        bench.turn();
        bench.engine.forward.runs.len()
    };
    assert_eq!(runs(&mut bench), 5, "nobody else waits for them");
    let mut one = bench.ask("one", "A", 58);
    bench.turn();
    let tokens = |caller: &mut Caller| caller.got().texts.concat().len();
    many.iter_mut().chain([&mut one]).for_each(|caller| drop(caller.got()));
    for _ in 0..10 {
        assert!(runs(&mut bench) <= 2);
        assert_eq!(tokens(&mut one), 1);
    }
    assert!(many.iter_mut().all(|caller| tokens(caller) >= 2));
    bench.turn_until_idle();
    assert!(many.iter_mut().chain([&mut one]).all(has_ended));
}

#[test]
fn long_prompts_of_two_identities_run_by_turns_and_those_of_one_after_the_other() {
    let ended = |identities: [&str; 2]| {
        let mut bench = Bench::new(PLENTY);
        let _stream = bench.ask("stream", "A", 58);
        bench.turn();
        let mut first = bench.ask(identities[0], &"A".repeat(640), 1);
        bench.turn();
        let mut second = bench.ask(identities[1], &"A".repeat(200), 1);
        order(&mut bench, &mut [&mut first, &mut second])
    };
    assert_eq!(ended(["a", "b"]), [1, 0]);
    assert_eq!(ended(["a", "a"]), [0, 1]);
}
