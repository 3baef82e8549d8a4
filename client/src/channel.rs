//! HTTP/1.1 (RFC 9112) over one TLS connection whose peer has proven possession of a key. Of whom that key is this module
//! knows nothing; only [`crate::Provisional`] and [`crate::Attested`] hold a channel, and they differ in what they let out.

use core::time::Duration;
use http::header::HOST;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use strongroom_transport::failure;
use strongroom_transport::{Body, ProvisionalStream, connect_provisional};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time;

/// Longest response head that is buffered, and the read buffer of a response: hyper's own default, named.
const RESPONSE_BUFFER: usize = 400 * 1024;
/// Header fields of a response; the enclave sends fewer than ten.
const RESPONSE_HEADERS: usize = 100;

pub(crate) struct Channel {
    authority: String,
    spki: Vec<u8>,
    sender: http1::SendRequest<Body>,
}

/// A request that was not answered.
pub(crate) struct Unanswered {
    pub(crate) refusal: Refusal,
    /// The request itself where not one byte of it was written.
    pub(crate) unsent: Option<Request<Body>>,
}

impl Channel {
    /// Connects to `authority` within `timeout`; errors are those of [`connect_provisional`].
    pub(crate) async fn open(authority: &str, timeout: Duration) -> Result<Self> {
        let ProvisionalStream { stream, spki } = connect_provisional(authority, timeout).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_BUFFER)
            .max_headers(RESPONSE_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure::refusal(format!("http with `{authority}`"), &error))?;
        // The connection ends with its sender and the last body read from it; what it failed of, they are told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { authority: authority.to_owned(), spki, sender })
    }

    /// DER SubjectPublicKeyInfo of the key whose possession the peer has proven.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki`].
    pub(crate) fn key(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Waits until another request can be sent; false where none ever can.
    pub(crate) async fn ready(&mut self, patience: Duration) -> bool {
        matches!(time::timeout(patience, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Sends `request` and waits at most `timeout` for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
        timeout: Duration,
    ) -> core::result::Result<Response<Incoming>, Unanswered> {
        let what = format!("{} `{}{}`", request.method(), self.authority, request.uri().path());
        let request = match self.address(request) {
            Ok(request) => request,
            Err(refusal) => return Err(Unanswered { refusal: refusal.within(what), unsent: None }),
        };
        match time::timeout(timeout, self.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(mut error)) => {
                let unsent = error.take_message();
                Err(Unanswered { refusal: failure::refusal(&what, error.error()), unsent })
            }
            Err(_) => {
                let refusal =
                    Refusal::new(Code::Timeout, what).got("no answer").want(format!("one within {timeout:?}"));
                Err(Unanswered { refusal, unsent: None })
            }
        }
    }

    /// Makes `request` one to this peer: origin form (RFC 9112 §3.2.1) and its own `Host`.
    fn address(&self, mut request: Request<Body>) -> Result<Request<Body>> {
        if let Some(other) = request.uri().authority().filter(|other| other.as_str() != self.authority) {
            return Err(Refusal::new(Code::Usage, "request for another server").got(other).want(&self.authority));
        }
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        let host = HeaderValue::from_str(&self.authority).map_err(|e| Refusal::new(Code::Usage, "host").because(e))?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }
}
