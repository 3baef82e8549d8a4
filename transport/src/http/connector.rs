//! TCP connections, straight or through a proxy: what TLS and HTTP are then spoken over.

use super::CONNECT_TIMEOUT;
use crate::BoxError;
use crate::patience::is_passing_status;
use crate::proxy::{Proxies, Proxy};
use core::pin::Pin;
use core::task::{Context, Poll};
use http::uri::{Scheme, Uri};
use http::{HeaderValue, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

/// The head of a proxy's answer to `CONNECT`; what is longer is no such answer.
const ANSWER: usize = 16 * 1024;

/// Makes connections to servers, through the proxy that each is reached by.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Proxies>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connecting {
    stream: TokioIo<TcpStream>,
    /// Whether a proxy reads the requests: they are then in absolute form (RFC 9112 §3.2.2).
    through_proxy: bool,
}

impl Connector {
    pub(super) const fn new(tcp: HttpConnector, proxies: Arc<Proxies>) -> Self {
        Self { tcp, proxies }
    }

    /// What a proxy that reads the requests for `uri` is told of who we are.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<&HeaderValue> {
        self.proxies.proxy_for(uri).filter(|_| uri.scheme() == Some(&Scheme::HTTP)).and_then(Proxy::authorization)
    }
}

impl Service<Uri> for Connector {
    type Response = Connecting;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = core::result::Result<Connecting, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<core::result::Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let proxy = self.proxies.proxy_for(&uri).cloned();
        let connecting = self.tcp.call(proxy.as_ref().map_or(&uri, Proxy::uri).clone());
        Box::pin(async move {
            let stream = connecting.await?;
            let Some(proxy) = proxy else { return Ok(Connecting { stream, through_proxy: false }) };
            if uri.scheme() != Some(&Scheme::HTTPS) {
                return Ok(Connecting { stream, through_proxy: true });
            }
            let opened = timeout(CONNECT_TIMEOUT, open_tunnel(stream.into_inner(), &proxy, &uri)).await;
            let late = |_| Refusal::new(Code::Timeout, "proxy").want(format!("an answer within {CONNECT_TIMEOUT:?}"));
            let stream = TokioIo::new(opened.map_err(late)??);
            Ok(Connecting { stream, through_proxy: false })
        })
    }
}

/// `CONNECT` (RFC 9110 §9.3.6): afterwards the proxy passes bytes on as they come.
async fn open_tunnel(mut stream: TcpStream, proxy: &Proxy, uri: &Uri) -> Result<TcpStream> {
    let broken = |e: io::Error| Refusal::new(Code::Network, "proxy").because(e);
    let server = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
    let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;

    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let room = ANSWER.saturating_sub(answer.len());
        // One byte at a time, as it costs one answer of some hundred bytes: what follows is the server's.
        let byte = stream.read_u8().await.map_err(broken)?;
        if room == 0 {
            return Err(Refusal::too_large("answer of the proxy", "more", ANSWER));
        }
        answer.push(byte);
    }
    match status_of(&answer) {
        Some(status) if status.is_success() => Ok(stream),
        Some(status) if is_passing_status(status) => {
            Err(Refusal::new(Code::Network, format!("proxy for `{server}`")).got(status).want("200"))
        }
        other => {
            let got = other.map_or_else(|| "no http".to_owned(), |status| status.to_string());
            Err(Refusal::new(Code::ProxyRefused, format!("proxy for `{server}`")).got(got).want("200"))
        }
    }
}

/// The status of an HTTP/1 answer (RFC 9112 §4).
fn status_of(answer: &[u8]) -> Option<StatusCode> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let status = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    StatusCode::from_bytes(status.get(..3)?).ok()
}

impl Connection for Connecting {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.through_proxy)
    }
}

impl Read for Connecting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Connecting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_an_answer_read_and_of_other_protocols_not() {
        assert_eq!(status_of(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(StatusCode::OK));
        assert_eq!(status_of(b"HTTP/1.0 407\r\n\r\n"), Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED));
        for other in ["SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "\r\n\r\n"] {
            assert_eq!(status_of(other.as_bytes()), None, "{other:?}");
        }
    }
}
