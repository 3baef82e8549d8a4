//! The first bytes of a connection: the name that a client asks for (RFC 6066 §3), in its ClientHello.

use core::time::Duration;
use rustls::server::Acceptor;
use std::io::Cursor;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client said first.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The name in lower case.
    pub(crate) name: String,
    /// All that was read, for the guest to read again.
    pub(crate) bytes: Vec<u8>,
}

/// Reads until the ClientHello has come.
///
/// # Errors
/// `timeout`; `too-large`; `network`; `request-invalid`: another protocol, or no name.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello> {
    let read = timeout(PATIENCE, read_all(stream)).await;
    read.unwrap_or_else(|_| Err(Refusal::new(Code::Timeout, "ClientHello").want(format!("one within {PATIENCE:?}"))))
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello> {
    let invalid = || Refusal::new(Code::RequestInvalid, "ClientHello");
    let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::new());
    loop {
        let room = limits::CLIENT_HELLO.saturating_sub(bytes.len());
        if room == 0 {
            return Err(Refusal::too_large("ClientHello", "more bytes", limits::CLIENT_HELLO));
        }
        let known = bytes.len();
        let most = u64::try_from(room).unwrap_or(u64::MAX);
        let read = (&mut *stream).take(most).read_buf(&mut bytes).await;
        if read.map_err(|e| Refusal::new(Code::Network, "ClientHello").because(e))? == 0 {
            return Err(invalid().got("the end of the connection").want("a ClientHello with a server name"));
        }
        let new = bytes.get(known..).unwrap_or_default();
        let mut left = Cursor::new(new);
        // It takes a part of it at a time.
        while left.position() < u64::try_from(new.len()).unwrap_or(u64::MAX) {
            acceptor.read_tls(&mut left).map_err(|e| invalid().because(e))?;
            // The alert that goes with it is of rustls' own making, and we answer with ours.
            if let Some(accepted) = acceptor.accept().map_err(|(error, _)| invalid().because(error))? {
                let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                let name = name.ok_or_else(|| invalid().got("no server name").want("the name of a route"))?;
                return Ok(Hello { name, bytes });
            }
        }
    }
}
