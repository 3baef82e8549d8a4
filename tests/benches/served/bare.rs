//! ONNX Runtime in a loop: the model that is served, as many threads, and nothing around it.

use crate::at;
use crate::role::{Player, Role};
use ort::session::Session;
use ort::value::Tensor;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Instant;

/// A loop, in a process of its own.
pub(crate) struct Bare(Player);

/// What came of so many seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// Rows a second.
    pub(crate) rate: f64,
    /// Milliseconds a run took.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Bare {
    pub(crate) fn start(library: &Path, model: &Path) -> Self {
        Self(Player::start(Role::Bare, &[library, model].map(crate::system::text)))
    }

    /// Runs batches of `rows` of `tokens` each for so many seconds.
    pub(crate) fn run(&mut self, rows: usize, tokens: usize, seconds: f64) -> Ran {
        self.0.tell(&format!("{rows} {tokens} {seconds}"));
        serde_json::from_str(&self.0.hear()).unwrap()
    }
}

pub(crate) fn play(given: &[&str]) {
    let environment = ort::init_from(given[0]).unwrap().with_telemetry(false).build().unwrap();
    let mut session = Session::builder(&environment)
        .unwrap()
        .with_intra_threads(crate::cores())
        .unwrap()
        .commit_from_file(Path::new(given[1]).join("model.onnx"))
        .unwrap();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let asked: Vec<f64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let (rows, tokens) = (asked[0] as usize, asked[1] as usize);
        once(&mut session, rows, tokens);
        let (began, mut times) = (Instant::now(), Vec::new());
        while began.elapsed().as_secs_f64() < asked[2] {
            let turn = Instant::now();
            once(&mut session, rows, tokens);
            times.push(turn.elapsed().as_secs_f64() * 1000.0);
        }
        let rate = (times.len() * rows) as f64 / began.elapsed().as_secs_f64();
        let ran = Ran { rate, p50: at(&mut times, 0.5), p99: at(&mut times, 0.99) };
        println!("{}", serde_json::to_string(&ran).unwrap());
    }
}

fn once(session: &mut Session, rows: usize, tokens: usize) {
    let of = |number: &dyn Fn(usize) -> i64| {
        Tensor::from_array(([rows, tokens], (0..rows * tokens).map(number).collect::<Vec<_>>())).unwrap()
    };
    let ids = of(&|at| 1000 + i64::try_from(at * 37 % 20_000).unwrap());
    let inputs = ort::inputs! {
        "input_ids" => ids,
        "attention_mask" => of(&|_| 1),
        "token_type_ids" => of(&|_| 0),
    };
    let outputs = session.run(inputs).unwrap();
    black_box(outputs["sentence_embedding"].try_extract_tensor::<f32>().unwrap().1.to_vec());
}
