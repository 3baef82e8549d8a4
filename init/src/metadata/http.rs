//! As much of HTTP/1.1 (RFC 9112) as metadata services speak: one request over each connection, as some end it then, and an answer of a stated length.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};

const WHAT: &str = "metadata service";
/// The longest head of an answer.
const HEAD: usize = 8 * 1024;

/// A connection that ends at a time, whatever the other side does.
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
    /// What came and was not yet taken.
    come: Vec<u8>,
}

impl Connection {
    /// To `address`, until `patience` is over, the time to connect included.
    ///
    /// # Errors
    /// `network`.
    pub(super) fn open(address: SocketAddr, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = TcpStream::connect_timeout(&address, patience).map_err(|e| broken(&e))?;
        Ok(Self { stream, deadline, come: Vec::new() })
    }

    /// Asks (`GET /path`) with one header, and takes the body of an answer with status 200, of at most `longest` bytes.
    ///
    /// # Errors
    /// `deployment-missing` status 404; `network` another status, or the connection broke; `timeout`; `too-large`; `malformed`. A
    /// redirection is another status: nothing is followed.
    pub(super) fn exchange(mut self, request: &str, header: &str, longest: usize) -> Result<Vec<u8>> {
        let more = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        let request = format!("{request} HTTP/1.1\r\nHost: 169.254.169.254\r\n{header}\r\n{more}");
        self.stream.write_all(request.as_bytes()).map_err(|e| broken(&e))?;
        let head = loop {
            let end = self.come.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end.filter(|end| *end <= HEAD) {
                let rest = self.come.split_off(end.saturating_add(4));
                break core::mem::replace(&mut self.come, rest);
            }
            if self.come.len() > HEAD {
                return Err(Refusal::too_large("head of the metadata service's answer", self.come.len(), HEAD));
            }
            self.read()?;
        };
        let length = length(&head)?;
        if length > longest {
            return Err(Refusal::too_large("answer of the metadata service", length, longest));
        }
        while self.come.len() < length {
            self.read()?;
        }
        self.come.truncate(length);
        Ok(self.come)
    }

    fn read(&mut self) -> Result<()> {
        let late = || Refusal::new(Code::Timeout, WHAT);
        let left = self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        self.stream.set_read_timeout(Some(left.ok_or_else(late)?)).map_err(|e| broken(&e))?;
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Refusal::new(Code::Network, WHAT).got("an answer that is cut off")),
            Ok(count) => {
                self.come.extend_from_slice(chunk.get(..count).unwrap_or(&chunk));
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(late()),
            Err(error) => Err(broken(&error)),
        }
    }
}

/// The length of the body that follows a head.
fn length(head: &[u8]) -> Result<usize> {
    let malformed = |cause: &str| Refusal::malformed(WHAT, cause);
    let head = core::str::from_utf8(head).map_err(|_| malformed("a head that is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
    match status.and_then(|status| status.split(' ').next()).filter(|status| status.len() == 3) {
        Some("200") => {}
        Some("404") => return Err(Refusal::new(Code::DeploymentMissing, WHAT).got("status 404")),
        Some(other) if other.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(Refusal::new(Code::Network, WHAT).got(format!("status {other}")).want("200"));
        }
        _ => return Err(malformed("no status of HTTP/1")),
    }
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(malformed("a body without a length"));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim();
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let value =
                digits.then(|| value.parse().ok()).flatten().ok_or_else(|| malformed("a length that is none"))?;
            if length.replace(value).is_some() {
                return Err(malformed("two lengths"));
            }
        }
    }
    length.ok_or_else(|| malformed("a body without a length"))
}

fn broken(error: &std::io::Error) -> Refusal {
    Refusal::new(Code::Network, WHAT).because(error)
}
