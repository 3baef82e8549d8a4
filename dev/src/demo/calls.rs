//! What an application does: verify, and call through the proxy.

use crate::process::Process;
use crate::world::{API_KEY, World, program, text};
use http::{Request, header};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::runtime::Runtime;

/// Two of one meaning and one of another.
pub(crate) const SENTENCES: [&str; 3] = [
    "The nurse keeps the patient's file locked away.",
    "Medical records are stored securely by the hospital staff.",
    "The striker scored twice in the second half.",
];

/// `strongroom verify`: how many checks held.
pub(crate) fn verify(world: &World, url: &str, policy: &Path) -> Result<usize> {
    let root = world.path().join("ark.pem");
    let answer = world.strongroom(&["verify", url, "--policy", text(policy)?, "--root", text(&root)?, "--json"])?;
    let verdict = answer.get("verdict").and_then(Value::as_str).unwrap_or_default();
    let checks = answer.get("checks").and_then(Value::as_array).map_or(0, Vec::len);
    if verdict == "accepted" && checks > 0 {
        return Ok(checks);
    }
    Err(Refusal::new(Code::Internal, "strongroom verify").got(answer).want("accepted"))
}

/// `strongroom verify` of a peer that must not be accepted: the refusal.
pub(crate) fn verify_refused(world: &World, url: &str, policy: &Path) -> Result<Refusal> {
    let root = world.path().join("ark.pem");
    let arguments = ["verify", url, "--policy", text(policy)?, "--root", text(&root)?, "--json"];
    let finished = world.strongroom_ends(&arguments)?;
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
    let code = [answer.get("code"), answer.pointer("/refused/code")].into_iter().flatten().find_map(Value::as_str);
    match (finished.code, code.and_then(Code::parse)) {
        (exit, Some(code)) if exit == i32::from(code.fault().exit_code()) => {
            Ok(Refusal::new(code, "strongroom verify"))
        }
        (exit, _) => Err(Refusal::new(Code::Internal, "strongroom verify")
            .got(format!("exit {exit}: {}{}", finished.stdout, finished.stderr))
            .want("a refusal")),
    }
}

/// `strongroom proxy` in front of an enclave.
pub(crate) struct Proxy {
    process: Process,
    address: String,
    client: HttpClient,
    runtime: Runtime,
}

impl Proxy {
    /// Starts it, with `listen` or any free port.
    pub(crate) fn start(world: &World, url: &str, policy: &Path, listen: Option<&str>) -> Result<Self> {
        let root = world.path().join("ark.pem");
        let listen = listen.unwrap_or("127.0.0.1:0");
        let arguments = ["proxy", "--to", url, "--listen", listen, "--policy", text(policy)?, "--root", text(&root)?];
        let mut process = Process::start("proxy", &program("strongroom")?, &arguments)?;
        let address = process.address("")?;
        let client = HttpClient::new(&ServerTrust::WebPki, true)?;
        let runtime = Runtime::new().map_err(|e| Refusal::io("runtime", &e))?;
        Ok(Self { process, address, client, runtime })
    }

    /// `http://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// `POST /v1/embeddings`: status and answer.
    pub(crate) fn embed(&self, model: &str, input: &[&str]) -> Result<(u16, Value)> {
        let internal = |e: &dyn core::fmt::Display| Refusal::new(Code::Internal, "embeddings").because(e);
        let request = Request::post(format!("{}/v1/embeddings", self.url()))
            .header(header::AUTHORIZATION, format!("Bearer {API_KEY}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body::full(json!({ "model": model, "input": input }).to_string()))
            .map_err(|e| internal(&e))?;
        self.runtime.block_on(async {
            let response = self.client.send(request, Duration::from_secs(60)).await?;
            let status = response.status().as_u16();
            let answer = read_body(response.into_body(), limits::API_BODY, "embeddings").await?;
            Ok((status, serde_json::from_slice(&answer).map_err(|e| internal(&e))?))
        })
    }

    /// Embeds the three sentences; those of one meaning must be closer than those of two.
    pub(crate) fn similarities(&self, model: &str) -> Result<String> {
        let (status, answer) = self.embed(model, &SENTENCES)?;
        let vectors: Vec<Vec<f64>> = answer
            .get("data")
            .and_then(Value::as_array)
            .map(|data| data.iter().map(|item| floats(item.get("embedding"))).collect())
            .unwrap_or_default();
        let [nurse, hospital, striker] = vectors.as_slice() else {
            return Err(Refusal::new(Code::Internal, "embeddings")
                .got(format!("{status} {answer}"))
                .want("three vectors"));
        };
        let (same, other) = (cosine(nurse, hospital), cosine(nurse, striker));
        if same > other + 0.1 {
            return Ok(format!("two sentences of one meaning {same:.3}, of two meanings {other:.3}"));
        }
        Err(Refusal::new(Code::Internal, "similarities").got(format!("{same} and {other}")).want("the first far above"))
    }
}

fn floats(array: Option<&Value>) -> Vec<f64> {
    array.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
