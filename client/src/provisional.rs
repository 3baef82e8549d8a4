//! A connection to somebody who holds a key, and of whom nothing else is known yet.

use crate::channel::Channel;
use crate::{Attested, Terms, verify};
use core::fmt;
use core::time::Duration;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_transport::http::empty;
use strongroom_transport::read_body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code, Refusal, Result, evidence, limits};
use tokio::time;

/// A TLS 1.3 connection whose peer has proven possession of the key it showed: any key. All that can be sent over it is one
/// request for evidence, which tells the peer nothing but a random number.
///
/// There is no way to send anything else:
///
/// ```compile_fail,E0599
/// # use strongroom_client::Provisional;
/// # use strongroom_transport::Body;
/// async fn leak(mut connection: Provisional, prompt: http::Request<Body>) {
///     let _ = connection.send(prompt).await;
/// }
/// ```
///
/// while [`Attested`] can:
///
/// ```
/// # use strongroom_client::Attested;
/// # use strongroom_transport::Body;
/// async fn ask(mut connection: Attested, prompt: http::Request<Body>) {
///     let _ = connection.send(prompt, core::time::Duration::from_secs(60)).await;
/// }
/// ```
pub struct Provisional {
    channel: Channel,
    terms: Terms,
    timeout: Duration,
}

impl fmt::Debug for Provisional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisional").field("key", &self.channel.key()).finish_non_exhaustive()
    }
}

impl Provisional {
    /// Connects to `authority` (`host:port`; port 443 where it names none). `timeout` bounds the connection with both
    /// handshakes, and once more the evidence.
    ///
    /// # Errors
    /// `handshake-signature-invalid` the peer has not the key of the certificate it shows; `tls-failed` no TLS 1.3;
    /// `network`; `timeout`; `usage` no such authority can be.
    pub async fn connect(terms: &Terms, authority: &str, timeout: Duration) -> Result<Self> {
        let channel = Channel::open(authority, timeout).await?;
        Ok(Self { channel, terms: terms.clone(), timeout })
    }

    /// SHA-256 of the SubjectPublicKeyInfo of the peer's key, of which it is not known yet whose it is.
    pub fn key(&self) -> Sha256 {
        self.channel.key()
    }

    /// Draws a nonce, asks for evidence over this very connection, and verifies it as of `now`.
    ///
    /// # Errors
    /// The first check that did not hold; `malformed`, `unknown-field`, `too-large` the answer is none; `busy`, `not-ready`
    /// the peer gave none; `network`, `timeout`. The connection is closed.
    pub async fn attest(self, now: UnixTime) -> Result<Attested> {
        self.attest_traced(now, &mut Vec::new()).await
    }

    /// [`Self::attest`], with every check that was made appended to `trace`, the failed ones included.
    ///
    /// # Errors
    /// As [`Self::attest`].
    pub async fn attest_traced(mut self, now: UnixTime, trace: &mut Vec<Check>) -> Result<Attested> {
        let nonce = draw_nonce()?;
        let what = format!("evidence of `{}`", self.channel.authority());
        let fetched = time::timeout(self.timeout, self.fetch_evidence(&nonce)).await;
        let answer = fetched
            .unwrap_or_else(|_| Err(Refusal::new(Code::Timeout, "no answer").want(format!("{:?}", self.timeout))))
            .map_err(|refusal| refusal.within(&what))?;
        let verified = verify::verify(&answer, &nonce, self.channel.spki(), &self.terms, now, trace)
            .map_err(|refusal| refusal.within(&what))?;
        Attested::new(self.channel, Arc::new(verified))
    }

    /// The connection itself, for one whose key is already known: [`Attested::new`] compares the key.
    pub(crate) fn into_channel(self) -> Channel {
        self.channel
    }

    async fn fetch_evidence(&mut self, nonce: &[u8; 32]) -> Result<bytes::Bytes> {
        let request = Request::get(format!("{}?nonce={}", evidence::PATH, hex::encode(nonce)))
            .header(ACCEPT, "application/json")
            .body(empty())
            .map_err(|e| Refusal::new(Code::Internal, "evidence request").because(e))?;
        let answer = self.channel.send(request, self.timeout).await.map_err(|unanswered| unanswered.refusal)?;
        let code = match answer.status() {
            StatusCode::OK => return read_body(answer.into_body(), limits::EVIDENCE_ANSWER, "evidence answer").await,
            StatusCode::TOO_MANY_REQUESTS => Code::Busy,
            StatusCode::SERVICE_UNAVAILABLE => Code::NotReady,
            _ => Code::Malformed,
        };
        Err(Refusal::new(code, "status").got(answer.status().as_u16()).want(200))
    }
}

fn draw_nonce() -> Result<[u8; 32]> {
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|e| Refusal::new(Code::Internal, "drawing a nonce").because(e))?;
    Ok(nonce)
}
