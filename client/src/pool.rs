//! Connections to one enclave address, each let in by the same gate: its key was attested on it, or is known to be.

use crate::known_keys::{FRESH_FOR, KeyUnderPolicy, KnownKeys};
use crate::{Attested, Provisional, ResponseBody, Terms, Verified, system_time};
use core::fmt;
use core::time::Duration;
use http::uri::{Scheme, Uri};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_transport::Body;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{self, Instant};

/// Idle connections are used no longer than this: half of what [`strongroom_transport::ServeLimits`] allows by default, so
/// that a request seldom meets a connection that its server is just closing.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// How long a returned connection may take until it accepts another request, before it is given up. It is ready at once
/// unless its server answered without reading the whole request.
const READY_PATIENCE: Duration = Duration::from_millis(100);

/// What an [`AttestedClient`] may use.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Connections at one time, idle ones included; at least one. Further requests wait.
    pub connections: usize,
    /// How long a request waits for its turn before it is refused as `busy`.
    pub queue_timeout: Duration,
    /// For the connection with both handshakes, and once more for the evidence.
    pub connect_timeout: Duration,
    /// From the request to the head of its answer. Inference that does not stream takes its time before that.
    pub answer_timeout: Duration,
    /// The clock that certificates are judged by.
    pub clock: fn() -> UnixTime,
}

impl Default for PoolOptions {
    /// 16 connections, 30 s in the queue, 10 s to connect, 10 minutes to the answer (OpenAI's own clients wait as long), the
    /// machine's clock.
    fn default() -> Self {
        Self {
            connections: 16,
            queue_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(600),
            clock: system_time,
        }
    }
}

/// A client of the enclaves behind one address. No request leaves before the key at the other end of its connection was
/// attested, on that connection or no more than ten minutes ago under the same policy. Clones share connections.
#[derive(Clone)]
pub struct AttestedClient {
    pool: Arc<Pool>,
}

struct Pool {
    authority: String,
    terms: Terms,
    options: PoolOptions,
    slots: Arc<Semaphore>,
    /// The last one returned is the first one used, so that others may grow old.
    idle: Mutex<Vec<Idle>>,
    known: Mutex<KnownKeys<Arc<Verified>>>,
}

struct Idle {
    connection: Attested,
    proven: Instant,
    since: Instant,
}

/// An attested connection for one request.
pub struct Lease {
    connection: Attested,
    /// When what lets the connection in was proven. A proof ages while its connection is busy, too.
    proven: Instant,
    pool: Arc<Pool>,
    /// Whether it carried a request before, and so may have been closed by its server meanwhile.
    used: bool,
    /// Whether what was proven of its key holds no more.
    is_over: bool,
    slot: OwnedSemaphorePermit,
}

impl fmt::Debug for AttestedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestedClient").field("authority", &self.pool.authority).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl AttestedClient {
    /// A client of `url` (`https://host[:port]`) under `terms`. Nothing is connected to yet.
    ///
    /// # Errors
    /// `plaintext-refused` the URL is not `https`; `usage` it is none or has a path; `configuration-invalid` no connection is
    /// allowed.
    pub fn new(url: &str, terms: Terms, options: PoolOptions) -> Result<Self> {
        let authority = authority_of(url)?;
        if options.connections == 0 || options.connections > Semaphore::MAX_PERMITS {
            return Err(Refusal::new(Code::ConfigurationInvalid, "connections of a client").got(options.connections));
        }
        let slots = Arc::new(Semaphore::new(options.connections));
        let (idle, known) = (Mutex::default(), Mutex::new(KnownKeys::new()));
        Ok(Self { pool: Arc::new(Pool { authority, terms, options, slots, idle, known }) })
    }

    /// What is verified of the enclave that the next request would reach. Connects and attests where needed.
    ///
    /// # Errors
    /// As [`Self::lease`].
    pub async fn verify(&self) -> Result<Arc<Verified>> {
        let lease = self.lease().await?;
        let verified = Arc::clone(lease.verified());
        lease.give_back();
        Ok(verified)
    }

    /// Sends `request` over an attested connection and returns the answer once its head is there. The connection is free
    /// for others when the answer's body was read to its end.
    ///
    /// # Errors
    /// As [`Self::lease`] and [`Lease::send`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<ResponseBody>> {
        self.lease().await?.send(request).await
    }

    /// Waits for an attested connection. Nothing of a request is sent by this.
    ///
    /// # Errors
    /// As [`Provisional::connect`] and [`Provisional::attest`]; `busy` none became free in time.
    pub async fn lease(&self) -> Result<Lease> {
        let pool = Arc::clone(&self.pool);
        let turn = time::timeout(pool.options.queue_timeout, Arc::clone(&pool.slots).acquire_owned()).await;
        let slot = turn.ok().and_then(core::result::Result::ok).ok_or_else(|| {
            Refusal::new(Code::Busy, format!("connections to `{}`", pool.authority)).got(pool.options.connections)
        })?;
        while let Some(mut idle) = pool.pop_idle() {
            let young = idle.since.elapsed() <= IDLE_FOR && idle.proven.elapsed() <= FRESH_FOR;
            if young && idle.connection.ready(READY_PATIENCE).await {
                let Idle { connection, proven, .. } = idle;
                return Ok(Lease { connection, proven, pool, used: true, is_over: false, slot });
            }
        }
        let (connection, proven) = pool.open().await?;
        Ok(Lease { connection, proven, pool, used: false, is_over: false, slot })
    }
}

impl Lease {
    /// What was verified of the enclave at the other end.
    pub fn verified(&self) -> &Arc<Verified> {
        self.connection.verified()
    }

    /// Sends `request`, as [`Attested::send`] does. Where the connection was closed before one byte was written, the request
    /// goes to a fresh connection, attested like any other, if that ends at the same key.
    ///
    /// # Errors
    /// As [`Attested::send`] and, for a fresh connection, [`AttestedClient::lease`].
    pub async fn send(mut self, request: Request<Body>) -> Result<Response<ResponseBody>> {
        let timeout = self.pool.options.answer_timeout;
        let unanswered = match self.connection.try_send(request, timeout).await {
            Ok(answer) => return Ok(self.answered(answer)),
            Err(unanswered) => unanswered,
        };
        let Some(request) = unanswered.unsent.filter(|_| self.used) else { return Err(unanswered.refusal) };
        let (fresh, proven) = self.pool.open().await?;
        if fresh.verified().channel_key() != self.verified().channel_key() {
            // The caller chose to talk to the enclave of the lease; that this one is as good is theirs to say.
            return Err(unanswered.refusal.within("not repeated towards another key"));
        }
        (self.connection, self.proven) = (fresh, proven);
        let answer = self.connection.send(request, timeout).await?;
        Ok(self.answered(answer))
    }

    /// The answer with its body. One that says `workload-changed` ends what was proven of the key: whoever asks next attests anew.
    fn answered(mut self, answer: Response<Incoming>) -> Response<ResponseBody> {
        let pinned = self.verified().pinned().is_some();
        if pinned && answer.status() == StatusCode::PRECONDITION_FAILED {
            let (key, workload) = (self.verified().channel_key(), self.verified().workload());
            let is_of_it = |verified: &Verified| (verified.channel_key(), verified.workload()) == (key, workload);
            let known = KeyUnderPolicy { key, policy: self.pool.terms.policy_digest() };
            // What somebody else was proven since stays.
            lock(&self.pool.known).forget(known, |verified| is_of_it(verified));
            lock(&self.pool.idle).retain(|idle| !is_of_it(idle.connection.verified()));
            self.is_over = true;
        }
        answer.map(|body| ResponseBody::new(body, self))
    }

    /// Makes the connection available to the next request.
    pub(crate) fn give_back(self) {
        let Self { connection, proven, pool, slot, is_over, .. } = self;
        if is_over {
            return;
        }
        lock(&pool.idle).push(Idle { connection, proven, since: Instant::now() });
        // After the push, so that connections in use and idle ones together never exceed the slots.
        drop(slot);
    }
}

impl Pool {
    fn pop_idle(&self) -> Option<Idle> {
        lock(&self.idle).pop()
    }

    /// The gate of every new connection, and when what let it in was proven.
    async fn open(&self) -> Result<(Attested, Instant)> {
        let since = Instant::now();
        let provisional = Provisional::connect(&self.terms, &self.authority, self.options.connect_timeout).await?;
        let key = KeyUnderPolicy { key: provisional.key(), policy: self.terms.policy_digest() };
        // A statement of its own, so that the lock is not held while the gate is passed.
        let known = lock(&self.known).fresh(key, since);
        if let Some((verified, proven)) = known {
            return Ok((Attested::new(provisional.into_channel(), verified)?, proven));
        }
        let attested = provisional.attest((self.options.clock)()).await.inspect_err(|refusal| {
            tracing::warn!(authority = %self.authority, key = %key.key, %refusal, "not attested");
        })?;
        tracing::info!(authority = %self.authority, key = %key.key, root = %attested.verified().root(), "attested");
        lock(&self.known).remember(key, Arc::clone(attested.verified()), since);
        Ok((attested, since))
    }
}

/// Both mutexes guard plain collections that no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn authority_of(url: &str) -> Result<String> {
    let unusable =
        |why: &str| Refusal::new(Code::Usage, format!("url `{url}`")).because(why).want("https://host[:port]");
    let uri: Uri = url.parse().map_err(|_| unusable("none can be read"))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {}
        Some(scheme) => return Err(Refusal::new(Code::PlaintextRefused, "url scheme").got(scheme).want("https")),
        None => return Err(unusable("no scheme")),
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(unusable("a path"));
    }
    uri.authority().map(ToString::to_string).ok_or_else(|| unusable("no host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_give_their_authority_or_are_refused() {
        let authority = |url: &str| authority_of(url).map_err(|refusal| refusal.code);
        assert_eq!(authority("https://enclave.example:8443"), Ok("enclave.example:8443".to_owned()));
        assert_eq!(authority("https://enclave.example/"), Ok("enclave.example".to_owned()));
        assert_eq!(authority("http://enclave.example"), Err(Code::PlaintextRefused));
        for url in ["https://enclave.example/v1", "https://enclave.example?x=1", "enclave.example:8443", "", "/v1"] {
            assert_eq!(authority(url), Err(Code::Usage), "{url}");
        }
    }
}
