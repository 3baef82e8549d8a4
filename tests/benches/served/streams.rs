//! Text as it is streamed to those who ask for it, in a process of its own.

use crate::role::{Player, Role};
use futures_util::future::join_all;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::{Duration, Instant};
use strongroom_transport::http::full;
use strongroom_transport::{HttpClient, ServerTrust, connect_provisional};
use strongroom_wire::digest::Sha256;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for, all at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Streams {
    pub(crate) address: String,
    pub(crate) key: String,
    pub(crate) streams: usize,
    /// Tokens of each prompt, and of each answer.
    pub(crate) prompt: usize,
    pub(crate) most: usize,
    /// The tokens of one prompt more, of which one token is asked for once all others have their first; `None`: none.
    pub(crate) late: Option<usize>,
}

/// When a stream came, in milliseconds from the first question of all.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) asked: f64,
    /// The first piece with text, and the last.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// Such pieces. Some are of several tokens, of which none was a whole character.
    pub(crate) pieces: usize,
    pub(crate) tokens: usize,
}

impl Streams {
    /// All streams, the late one last.
    pub(crate) fn run(&self) -> Vec<Stream> {
        let mut player = Player::start(Role::Streams, &[&serde_json::to_string(self).unwrap()]);
        serde_json::from_str(&player.hear()).unwrap()
    }
}

/// A prompt of so many tokens, another for each `number`.
pub(crate) fn prompt(tokens: usize, number: usize) -> Vec<usize> {
    (0..tokens).map(|at| 300 + (at * 37 + number * 101) % 9000).collect()
}

pub(crate) fn play(given: &[&str]) {
    let asked: Streams = serde_json::from_str(given[0]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let streams = runtime.block_on(all(&asked));
    println!("{}", serde_json::to_string(&streams).unwrap());
    // Whoever started it says when it ends.
    drop(std::io::stdin().read(&mut [0]));
}

async fn all(asked: &Streams) -> Vec<Stream> {
    let stream = connect_provisional(&asked.address, PATIENCE).await.unwrap();
    let client = HttpClient::new(&ServerTrust::Pin(Sha256::of(&stream.spki).0), false).unwrap();
    // A connection each, made before anything is measured.
    join_all((0..=asked.streams).map(|_| one(&client, asked, 2, 99, 1, Instant::now(), || ()))).await;
    let (began, (begun, mut first)) = (Instant::now(), mpsc::unbounded_channel());
    let of = |number: usize| {
        let (client, asked, begun) = (client.clone(), asked.clone(), begun.clone());
        tokio::task::spawn(async move {
            one(&client, &asked, asked.prompt, number, asked.most, began, || begun.send(()).unwrap()).await
        })
    };
    let streams: Vec<_> = (0..asked.streams).map(of).collect();
    let late = match asked.late {
        None => None,
        Some(tokens) => {
            for _ in 0..asked.streams {
                first.recv().await.unwrap();
            }
            Some(one(&client, asked, tokens, asked.streams, 1, began, || ()).await)
        }
    };
    let mut all = Vec::new();
    for stream in streams {
        all.push(stream.await.unwrap());
    }
    all.extend(late);
    all
}

async fn one(
    client: &HttpClient,
    asked: &Streams,
    tokens: usize,
    number: usize,
    most: usize,
    origin: Instant,
    begun: impl Fn(),
) -> Stream {
    let body = json!({
        "model": "model", "prompt": prompt(tokens, number), "max_tokens": most, "temperature": 0,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{}/v1/completions", asked.address))
        .header(header::AUTHORIZATION, format!("Bearer {}", asked.key))
        .header(header::CONTENT_TYPE, "application/json")
        .body(full(body.to_string().into_bytes()))
        .unwrap();
    let now = || origin.elapsed().as_secs_f64() * 1000.0;
    let mut stream = Stream { asked: now(), first: 0.0, last: 0.0, pieces: 0, tokens: 0 };
    let answer = client.send(request, PATIENCE).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut text) = (answer.into_body(), String::new());
    let mut used = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { continue };
        let at = now();
        text.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let document: Option<Value> = serde_json::from_str(event.strip_prefix("data: ").unwrap()).ok();
            text = rest.to_owned();
            let Some(document) = document else { continue };
            used = document["usage"]["completion_tokens"].as_u64().or(used);
            if document["choices"][0]["text"].as_str().is_none_or(str::is_empty) {
                continue;
            }
            if stream.pieces == 0 {
                stream.first = at;
                begun();
            }
            (stream.last, stream.pieces) = (at, stream.pieces + 1);
        }
    }
    stream.tokens = usize::try_from(used.unwrap()).unwrap();
    assert_eq!(stream.tokens, most, "an answer ended by itself");
    stream
}
