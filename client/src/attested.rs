//! A connection to an enclave that was verified.

use crate::Verified;
use crate::channel::{Channel, Unanswered};
use core::fmt;
use core::time::Duration;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;
use strongroom_transport::Body;
use strongroom_wire::evidence::WORKLOAD_HEADER;
use strongroom_wire::{Code, Refusal, Result};

/// A connection that ends in an enclave which was verified: it is the one type of this crate that can send.
///
/// What is sent over it only the holder of the attested key can read, and that key was born in the enclave's memory.
pub struct Attested {
    channel: Channel,
    verified: Arc<Verified>,
}

impl fmt::Debug for Attested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attested").field("key", &self.verified.channel_key()).finish_non_exhaustive()
    }
}

impl Attested {
    /// Joins a channel with what was verified of its key. A [`Verified`] can only come out of the recipe in `verify.rs`.
    pub(crate) fn new(channel: Channel, verified: Arc<Verified>) -> Result<Self> {
        if channel.key() != verified.channel_key() {
            return Err(Refusal::new(Code::ChannelKeyMismatch, "key of the TLS peer")
                .got(channel.key())
                .want(verified.channel_key()));
        }
        Ok(Self { channel, verified })
    }

    /// What was verified.
    pub fn verified(&self) -> &Arc<Verified> {
        &self.verified
    }

    /// Sends `request` (its URI a path and query, or one of this very server) and returns the answer once its head is
    /// there, at most `timeout` later. The body must be read to its end before the next request can be sent.
    ///
    /// # Errors
    /// `network` the connection broke or still has an unread answer; `timeout`; `usage` the URI names another server; or
    /// the refusal that the request's body ended in. Nothing is ever sent again.
    pub async fn send(&mut self, request: Request<Body>, timeout: Duration) -> Result<Response<Incoming>> {
        self.try_send(request, timeout).await.map_err(|unanswered| unanswered.refusal)
    }

    /// [`Self::send`], giving an unsent request back.
    pub(crate) async fn try_send(
        &mut self,
        mut request: Request<Body>,
        timeout: Duration,
    ) -> core::result::Result<Response<Incoming>, Unanswered> {
        if let Some(workload) = self.verified.pinned() {
            let pinned = HeaderValue::from_str(&workload.to_string()).map_err(|e| {
                let refusal = Refusal::new(Code::Internal, WORKLOAD_HEADER).because(e);
                Unanswered { refusal, unsent: None }
            })?;
            request.headers_mut().insert(WORKLOAD_HEADER, pinned);
        }
        self.channel.send(request, timeout).await
    }

    /// Whether another request can be sent, after at most `patience`.
    pub(crate) async fn ready(&mut self, patience: Duration) -> bool {
        self.channel.ready(patience).await
    }
}
