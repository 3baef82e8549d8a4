//! Those who ask: well, badly, slowly, and not to the end.

use crate::replacement::stage::Caller;
use crate::system::guest::Guest;
use crate::system::world::API_KEY;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use strongroom_transport::connect_provisional;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

/// How often each was answered as it was to be, and what else came.
type Counts = (usize, Vec<String>);

/// All of them, each in a thread.
pub(super) struct Crowd {
    over: Arc<AtomicBool>,
    asking: Vec<(&'static str, JoinHandle<Counts>)>,
}

/// One thing that is asked again and again: its `nth` time, and why it did not go as it should.
type Ask = Box<dyn FnMut(usize) -> Result<(), String> + Send>;

impl Crowd {
    pub(super) fn of(guest: &Guest) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let asks: [(&'static str, Ask); 7] = [
            ("embeddings", embeddings(guest)),
            ("more embeddings", embeddings(guest)),
            ("tensors", tensors(guest)),
            ("chat", chat(guest)),
            ("nonsense", nonsense(guest)),
            ("hanging up", hanging_up(guest)),
            ("slow reading", slow_reading(guest)),
        ];
        let asking = asks.into_iter().map(|(kind, mut ask)| {
            let over = Arc::clone(&over);
            let ask = move || {
                let (mut right, mut wrong) = (0, Vec::new());
                for nth in 0.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    match ask(nth) {
                        Ok(()) => right += 1,
                        Err(what) => wrong.push(what),
                    }
                }
                (right, wrong)
            };
            (kind, std::thread::spawn(ask))
        });
        let asking = asking.collect();
        Self { over, asking }
    }

    /// Ends them all.
    pub(super) fn end(self) -> BTreeMap<&'static str, Counts> {
        self.over.store(true, Ordering::SeqCst);
        self.asking.into_iter().map(|(kind, asking)| (kind, asking.join().unwrap())).collect()
    }
}

/// That an answer has this status.
fn is(caller: &Caller, path: &str, body: &Value, status: u16) -> Result<(), String> {
    let answer = caller.post(path, body);
    if answer.status == status { Ok(()) } else { Err(format!("{path}: {} {}", answer.status, answer.text())) }
}

fn embeddings(guest: &Guest) -> Ask {
    let caller = Caller::of(guest);
    Box::new(move |nth| {
        let inputs: Vec<String> = (0..=nth % 8).map(|at| "a cat and a dog ".repeat(1 + at * nth % 13)).collect();
        is(&caller, "/v1/embeddings", &json!({"model": "model", "input": inputs}), 200)
    })
}

fn tensors(guest: &Guest) -> Ask {
    let caller = Caller::of(guest);
    Box::new(move |nth| {
        let rows = 1 + nth % 4;
        let tensor =
            json!({"name": "bytes", "datatype": "INT32", "shape": [rows, 2048], "data": vec![nth % 256; rows * 2048]});
        is(&caller, "/v2/models/tensors/infer", &json!({"inputs": [tensor]}), 200)
    })
}

fn question(nth: usize) -> Value {
    let content = "tell me ".repeat(1 + nth % 5);
    json!({"model": "chat", "messages": [{"role": "user", "content": content}], "max_tokens": 8 + nth % 24, "stream": nth.is_multiple_of(2)})
}

fn chat(guest: &Guest) -> Ask {
    let caller = Caller::of(guest);
    Box::new(move |nth| is(&caller, "/v1/chat/completions", &question(nth), 200))
}

fn nonsense(guest: &Guest) -> Ask {
    let caller = Caller::of(guest);
    let requests = [
        ("/v1/embeddings", "{", 400),
        ("/v1/embeddings", r#"{"model":"model","input":[]}"#, 400),
        ("/v1/embeddings", r#"{"model":"none","input":"a"}"#, 404),
        ("/v1/chat/completions", r#"{"model":"chat","messages":"none"}"#, 400),
        ("/v1/chat/completions", r#"{"model":"model","messages":[{"role":"user","content":"a"}]}"#, 400),
        ("/v2/models/tensors/infer", r#"{"inputs":[{"name":"bytes","datatype":"FP32","shape":[1],"data":[1]}]}"#, 400),
        ("/v2/repository/models/model/load", r#"{"parameters":{"config":1}}"#, 400),
        ("/v1/none", "", 404),
    ];
    Box::new(move |nth| {
        let (path, body, status) = requests[nth % requests.len()];
        let answer = caller.send(Method::POST, path, body.to_owned());
        if answer.status == status { Ok(()) } else { Err(format!("{path} {body}: {}", answer.status)) }
    })
}

/// Sends a request over a connection of its own, and takes so many bytes of the answer, with a wait before each but the first.
fn take(runtime: &Runtime, address: &str, body: &Value, bytes: usize, wait: Duration) -> Result<(), String> {
    runtime.block_on(async {
        let mut stream = connect_provisional(address, PATIENCE).await.map_err(|refusal| refusal.to_string())?.stream;
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let asked = async {
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            stream.flush().await?;
            let mut begun = [0; 12];
            stream.read_exact(&mut begun).await?;
            for _ in 0..bytes {
                tokio::time::sleep(wait).await;
                stream.read_u8().await?;
            }
            Ok::<_, std::io::Error>(begun)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(begun)) if begun == *b"HTTP/1.1 200" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// Takes the beginning of an answer, or nothing, and is gone.
fn hanging_up(guest: &Guest) -> Ask {
    let (runtime, address) = (Runtime::new().unwrap(), guest.address.clone());
    let long =
        json!({"model": "chat", "messages": [{"role": "user", "content": "go on"}], "max_tokens": 200, "stream": true});
    Box::new(move |nth| take(&runtime, &address, &long, nth % 64, Duration::ZERO))
}

/// Takes an answer byte by byte.
fn slow_reading(guest: &Guest) -> Ask {
    let (runtime, address) = (Runtime::new().unwrap(), guest.address.clone());
    Box::new(move |nth| {
        let mut question = question(nth);
        question["stream"] = json!(true);
        take(&runtime, &address, &question, 100, Duration::from_millis(20))
    })
}
