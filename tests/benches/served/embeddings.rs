//! Embeddings as they are served, beside the loop that does nothing else.

use crate::bare::{Bare, Ran};
use crate::connection::{Connection, request};
use crate::echo;
use crate::figure::Figure;
use crate::load::{Answered, Load};
use crate::system::guest::Deployed;
use crate::system::world::API_KEY;
use crate::{median, peers};
use serde_json::{Value, json};

const CLIENTS: [usize; 3] = [1, 8, 32];
/// Turns that each figure is the median of: many short ones, for a machine that is slower for some seconds is so for all who take them.
const ROUNDS: usize = 7;
const SECONDS: f64 = 1.5;
/// Of one client, whose answers are few.
const LONGER: f64 = 3.0;
const PATH: &str = "/v1/embeddings";
/// Added to a request, in milliseconds: half of them, and 99 of 100.
const ADDED: [f64; 2] = [1.0, 3.0];
/// Of the loop beside the echo server.
const PART: f64 = 0.95;

/// A length of texts, and what was measured elsewhere with 1, 8 and 32 clients: requests a second of text-embeddings-inference 1.9.3, and
/// texts a second of the loop with batches of as many, on two cores of an EPYC of the fifth generation.
struct Length {
    tokens: usize,
    other: [f64; 3],
    loop_there: [f64; 3],
}

const LENGTHS: [Length; 2] = [
    Length { tokens: 16, other: [434.0, 710.0, 913.0], loop_there: [534.0, 1044.0, 1184.0] },
    Length { tokens: 128, other: [113.0, 127.0, 132.0], loop_there: [126.0, 143.0, 118.0] },
];

/// What one turn found.
struct Round {
    served: [Answered; 3],
    bare: [Ran; 3],
    beside: Ran,
    echo: f64,
    base64: f64,
}

pub(crate) fn figures() -> Vec<Figure> {
    let found = (peers::find("ORT_LIB"), peers::find("MODEL_MINILM"));
    let ((Some(library), Some(folder)), Some(deployed)) = (found, Deployed::start("MODEL_MINILM")) else {
        println!("embeddings skipped: no runtime or no model; `make setup` brings them");
        return Vec::new();
    };
    let mut bare = Bare::start(&library, &folder);
    LENGTHS.iter().flat_map(|length| of_length(length, &deployed.guest.address, &mut bare)).collect()
}

fn seconds(clients: usize) -> f64 {
    if clients == 1 { LONGER } else { SECONDS }
}

fn of_length(length: &Length, address: &str, bare: &mut Bare) -> Vec<Figure> {
    let tokens = length.tokens;
    let load = |clients: usize, format: &str| Load {
        address: address.to_owned(),
        path: PATH.to_owned(),
        key: API_KEY.to_owned(),
        bodies: texts(tokens).iter().map(|text| body(text, format)).collect(),
        clients,
        seconds: seconds(clients),
        rate: None,
    };
    let (_echo, echo) = echo::start(API_KEY, answer_length(address, tokens));
    let rounds: Vec<Round> = (0..ROUNDS)
        .map(|_| {
            let cells = CLIENTS.map(|many| (load(many, "float").run(), bare.run(many, tokens, seconds(many))));
            let (served, alone) = (cells.map(|(served, _)| served), cells.map(|(_, alone)| alone));
            // The echo server is driven for longer than the loop runs.
            let (rate, seconds) = (Some(served[2].rate), SECONDS + 1.0);
            let driven = Load { address: echo.clone(), rate, seconds, ..load(32, "float") }.start();
            let beside = bare.run(32, tokens, SECONDS);
            let echo = driven.end().rate;
            Round { served, bare: alone, beside, echo, base64: load(32, "base64").run().rate }
        })
        .collect();
    let of = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let name = |what: &str| format!("served-{tokens}-tokens-{what}");
    let mut figures = Vec::new();
    for (at, clients) in CLIENTS.into_iter().enumerate() {
        let (served, bare) = (of(&|round| round.served[at].rate), of(&|round| round.bare[at].rate));
        let other = length.other[at] * bare / length.loop_there[at];
        figures.extend([
            Figure::new(name(&format!("{clients}-clients")), served, "requests/s", None),
            Figure::new(name(&format!("{clients}-clients-beside-another-server-scaled")), served, "requests/s", other),
            Figure::new(name(&format!("{clients}-clients-p50")), of(&|round| round.served[at].p50), "ms", None),
            Figure::new(name(&format!("{clients}-clients-p99")), of(&|round| round.served[at].p99), "ms", None),
            Figure::new(format!("bare-loop-{clients}x{tokens}"), bare, "texts/s", None),
        ]);
    }
    let served = of(&|round| round.served[2].rate);
    figures.extend([
        Figure::new(name("added-p50"), of(&|round| round.served[0].p50 - round.bare[0].p50), "ms", ADDED[0]),
        Figure::new(name("added-p99"), of(&|round| round.served[0].p99 - round.bare[0].p99), "ms", ADDED[1]),
        Figure::new(name("32-clients-beside-the-loop"), served, "texts/s", of(&|round| round.bare[2].rate)),
        Figure::new(
            name("32-clients-beside-the-loop-with-echo"),
            served,
            "texts/s",
            PART * of(&|round| round.beside.rate),
        ),
        Figure::new(name("echo-32-clients"), of(&|round| round.echo), "requests/s", served),
        Figure::new(name("32-clients-base64"), of(&|round| round.base64), "requests/s", None),
    ]);
    figures
}

/// Eight texts of so many tokens, the two around each included.
fn texts(tokens: usize) -> Vec<String> {
    let words =
        ["the", "house", "of", "water", "and", "light", "in", "summer", "with", "green", "trees", "by", "river"];
    let text = |number: usize| {
        let words: Vec<_> = (0..tokens - 2).map(|at| words[(at * (number + 1) + number) % words.len()]).collect();
        words.join(" ")
    };
    (0..8).map(text).collect()
}

fn body(text: &str, format: &str) -> String {
    json!({"model": "model", "input": text, "encoding_format": format}).to_string()
}

/// How long an answer is to a text of so many tokens, of which it is made sure that they are so many.
fn answer_length(address: &str, tokens: usize) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (mut connection, mut longest) = (Connection::open(address).await, 0);
        for text in texts(tokens) {
            let answer = connection.ask(&request(PATH, API_KEY, &body(&text, "float"))).await;
            let document: Value = serde_json::from_slice(answer).unwrap();
            assert_eq!(document["usage"]["prompt_tokens"], tokens, "{text}");
            longest = longest.max(answer.len());
        }
        longest
    })
}
