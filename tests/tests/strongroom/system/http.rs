//! HTTP as anybody may speak it: whole requests, and ones that break off.

use http::{HeaderMap, Method, Request};
use serde_json::Value;
use std::time::Duration;
use strongroom_transport::http::full;
use strongroom_transport::{HttpClient, ServerTrust, connect_provisional, read_body};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client with a runtime of its own.
pub(crate) struct Http {
    runtime: Runtime,
    client: HttpClient,
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and refusal code, where one is told: as the verifier tells it, or in OpenAI's error document.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, Code) {
        let document = self.json();
        let code = [&document["code"], &document["error"]["code"]].into_iter().find_map(Value::as_str);
        let code = code.and_then(Code::parse).unwrap_or_else(|| panic!("no code: {} {document}", self.status));
        (self.status, code)
    }
}

impl Http {
    /// Plain HTTP.
    pub(crate) fn plain() -> Self {
        Self::new(&ServerTrust::WebPki, true)
    }

    /// TLS to a server with that very key.
    pub(crate) fn pinned(pin: Sha256) -> Self {
        Self::new(&ServerTrust::Pin(pin.0), false)
    }

    /// TLS to whoever is at `authority` now: its key is looked up first and pinned.
    pub(crate) fn of_first_use(authority: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let stream = runtime.block_on(connect_provisional(authority, PATIENCE)).unwrap();
        Self::pinned(Sha256::of(&stream.spki))
    }

    fn new(trust: &ServerTrust, plain: bool) -> Self {
        Self { runtime: Runtime::new().unwrap(), client: HttpClient::new(trust, plain).unwrap() }
    }

    /// Sends a request and reads all of the answer.
    #[track_caller]
    pub(crate) fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        self.try_send(method, url, headers, body).unwrap()
    }

    /// The same, where the other may break off: whoever refuses a body need not read it to its end.
    pub(crate) fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(full(body.into())).unwrap();
        self.runtime.block_on(async {
            let (head, body) = self.client.send(request, PATIENCE).await?.into_parts();
            let body = read_body(body, 1 << 26, "answer").await?.to_vec();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        })
    }

    /// Sends `head`, of which the body is missing, closes its side, and gives what comes back until the other closes too.
    pub(crate) fn break_off(&self, authority: &str, head: &str) -> String {
        self.raw(authority, head, true)
    }

    /// Announces a body of `length` bytes, sends none of it, and gives the answer.
    pub(crate) fn announce(&self, authority: &str, path: &str, headers: &[(&str, &str)], length: usize) -> Answer {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let connection = "Connection: close\r\nHost: x";
        let head = format!("POST {path} HTTP/1.1\r\n{connection}\r\n{fields}Content-Length: {length}\r\n\r\n");
        let answer = self.raw(authority, &head, false);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    fn raw(&self, authority: &str, head: &str, close: bool) -> String {
        self.runtime.block_on(async {
            let mut stream = connect_provisional(authority, PATIENCE).await.unwrap().stream;
            stream.write_all(head.as_bytes()).await.unwrap();
            if close {
                stream.shutdown().await.unwrap();
            }
            let mut answer = Vec::new();
            // A peer may answer, or break off as we did.
            drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap());
            String::from_utf8_lossy(&answer).into_owned()
        })
    }
}
