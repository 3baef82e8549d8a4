//! One kept connection to a server whose answers have a length: of HTTP/1.1 what a load generator needs, and no more, so that it takes
//! little of the machine.

use std::time::Duration;
use strongroom_transport::{ProvisionalStream, connect_provisional};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Connection {
    stream: ProvisionalStream,
    answer: Vec<u8>,
}

/// A request as it goes over the connection.
pub(crate) fn request(path: &str, key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n");
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

impl Connection {
    /// A connection to `address`, whoever that is.
    pub(crate) async fn open(address: &str) -> Self {
        Self { stream: connect_provisional(address, PATIENCE).await.unwrap(), answer: Vec::new() }
    }

    /// The body of the answer to `request`, which is taken on.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> &[u8] {
        let stream = &mut self.stream.stream;
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        self.answer.clear();
        let mut searched = 0;
        let begin = loop {
            assert!(stream.read_buf(&mut self.answer).await.unwrap() > 0, "the server hung up");
            match self.answer[searched..].windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break searched + at + 4,
                None => searched = self.answer.len().saturating_sub(3),
            }
        };
        let head = std::str::from_utf8(&self.answer[..begin]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.answer));
        let length = head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let end = begin + length.unwrap();
        while self.answer.len() < end {
            assert!(stream.read_buf(&mut self.answer).await.unwrap() > 0, "the server hung up");
        }
        &self.answer[begin..end]
    }
}
