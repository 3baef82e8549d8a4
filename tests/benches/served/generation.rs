//! Generated text as it is served, beside Python's ONNX Runtime.

use crate::figure::Figure;
use crate::streams::{Stream, Streams, prompt};
use crate::system::guest::Deployed;
use crate::system::process::run;
use crate::system::world::API_KEY;
use crate::{cores, median, peers};
use std::path::Path;

/// Turns that each figure is the median of.
const ROUNDS: usize = 3;
const STREAMS: usize = 8;
const PROMPT: usize = 32;
const TOKENS: usize = 64;
/// What a long prompt has.
const LONG: usize = 1024;
/// Of Python's, and of one stream's.
const ONE: f64 = 0.95;
const EIGHT: f64 = 2.5;

pub(crate) fn figures() -> Vec<Figure> {
    let (Some(folder), Some(deployed)) = (peers::find("MODEL_SMOLLM2"), Deployed::start("MODEL_SMOLLM2")) else {
        println!("generation skipped: no chat model; `make setup peers` brings it");
        return Vec::new();
    };
    let asked = |streams: usize, prompt: usize, most: usize, late: Option<usize>| {
        let (address, key) = (deployed.guest.address.clone(), API_KEY.to_owned());
        Streams { address, key, streams, prompt, most, late }.run()
    };
    let mut pythons = Vec::new();
    let mut rounds: [Vec<f64>; 7] = Default::default();
    for _ in 0..ROUNDS {
        let python = python(&folder);
        let one = asked(1, PROMPT, TOKENS, None);
        let eight = asked(STREAMS, PROMPT, TOKENS, None);
        let long = asked(1, LONG, 1, None);
        let [late, late_long] = [PROMPT, LONG].map(|tokens| {
            let mut all = asked(STREAMS, PROMPT, 4 * TOKENS, Some(tokens));
            let late = all.pop().unwrap();
            assert!(all.iter().all(|stream| late.first < stream.last), "nothing ran beside it any more");
            first(&late)
        });
        pythons.extend(python);
        let of = [rate(&one[0]), total(&one), total(&eight), first(&one[0]), first(&long[0]), late, late_long];
        rounds.iter_mut().zip(of).for_each(|(values, value)| values.push(value));
    }
    let python = (!pythons.is_empty()).then(|| median(pythons));
    let [one, whole, eight, first, long, late, late_long] = rounds.map(median);
    vec![
        Figure::new("generate-one-stream", one, "tokens/s", python.map(|python| ONE * python)),
        Figure::new("generate-one-stream-with-its-prompt", whole, "tokens/s", None),
        Figure::new("generate-eight-streams-with-their-prompts", eight, "tokens/s", EIGHT * whole),
        Figure::new("generate-first-token-of-32", first, "ms", None),
        Figure::new("generate-first-token-of-1024", long, "ms", None),
        Figure::new("generate-first-token-of-32-beside-eight", late, "ms", None),
        Figure::new("generate-first-token-of-1024-beside-eight", late_long, "ms", None),
    ]
}

/// Pieces a second after the first: tokens, as Python's are counted, or fewer.
fn rate(stream: &Stream) -> f64 {
    (stream.pieces - 1) as f64 / (stream.last - stream.first) * 1000.0
}

/// Tokens a second of all, from the first question to the last token.
fn total(streams: &[Stream]) -> f64 {
    let asked = streams.iter().map(|stream| stream.asked).fold(f64::INFINITY, f64::min);
    let last = streams.iter().map(|stream| stream.last).fold(0.0, f64::max);
    streams.iter().map(|stream| stream.tokens).sum::<usize>() as f64 / (last - asked) * 1000.0
}

fn first(stream: &Stream) -> f64 {
    assert!(stream.pieces > 0, "an answer without text");
    stream.first - stream.asked
}

/// Tokens a second of Python's ONNX Runtime with as many threads as there are cores.
fn python(model: &Path) -> Option<f64> {
    let prompt = prompt(PROMPT, 0).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut command = peers::script("generate_speed.py")?;
    command.arg(model).arg(prompt).args([TOKENS.to_string(), cores().to_string()]);
    Some(run(&mut command).ok().stdout.trim().parse().unwrap())
}
