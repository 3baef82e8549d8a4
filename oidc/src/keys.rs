//! The keys of an issuer: at hand, or fetched and kept for a while.

use core::time::Duration;
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};
use std::sync::{Arc, PoisonError, RwLock};
use strongroom_jose::{Algorithm, TokenVerifier};
use strongroom_transport::trace::spawn;
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::time::is_within;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// For the answer with the keys.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds after which keys are fetched again.
const FRESH: u64 = 15 * 60;
/// Seconds for which keys are believed that cannot be fetched again: a working day without the issuer, and no longer with a key that
/// it may have withdrawn.
const LONGEST: u64 = 8 * 60 * 60;
/// Seconds between two attempts to fetch: tokens that name keys which nobody has are anybody's to send.
const PAUSE: u64 = 60;

/// Where the keys of an issuer come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// This JWK set (RFC 7517 §5), in JSON.
    Set(Vec<u8>),
    /// The set at this address, of a server that is believed by that.
    At {
        /// `https://…`.
        url: String,
        /// What makes the server the right one.
        trust: ServerTrust,
    },
}

#[derive(Debug)]
pub(crate) enum Keys {
    Fixed(TokenVerifier),
    Fetched(Arc<Remote>),
}

#[derive(Debug)]
pub(crate) struct Remote {
    http: HttpClient,
    uri: Uri,
    algorithms: Vec<Algorithm>,
    known: RwLock<Option<Known>>,
    /// When keys were last asked for; held while they are.
    attempted: Arc<Mutex<Option<u64>>>,
}

/// What was fetched last, and when.
#[derive(Debug, Clone)]
struct Known {
    verifier: TokenVerifier,
    fetched: u64,
}

impl Known {
    fn has_key_of(&self, token: &str, within: u64, now: u64) -> bool {
        is_within(within, self.fetched, now) && self.verifier.knows_key_of(token)
    }
}

impl Keys {
    /// Those of `source` that are for one of `algorithms`.
    ///
    /// # Errors
    /// `too-large`, `malformed`, `key-invalid`: of the set; `configuration-invalid`: no address, or no certificate.
    pub(crate) fn new(source: Source, algorithms: &[Algorithm]) -> Result<Self> {
        let (url, trust) = match source {
            Source::Set(json) => return TokenVerifier::of_issuer(&json, algorithms).map(Self::Fixed),
            Source::At { url, trust } => (url, trust),
        };
        let wrong = || Refusal::new(Code::ConfigurationInvalid, "address of keys").got(&url);
        let uri: Uri = url.parse().map_err(|e| wrong().because(e))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong().want("https://…"));
        }
        let http = HttpClient::new(&trust, false)?;
        let algorithms = algorithms.to_vec();
        let (known, attempted) = (RwLock::default(), Arc::default());
        Ok(Self::Fetched(Arc::new(Remote { http, uri, algorithms, known, attempted })))
    }

    /// The keys, fetched where they are too old or do not have the one that `token` names.
    ///
    /// # Errors
    /// `token-invalid`: there are none.
    pub(crate) async fn for_token(&self, token: &str, now: u64) -> Result<TokenVerifier> {
        let remote = match self {
            Self::Fixed(verifier) => return Ok(verifier.clone()),
            Self::Fetched(remote) => remote,
        };
        let known = remote.known();
        if let Some(known) = known.as_ref().filter(|known| known.has_key_of(token, FRESH, now)) {
            return Ok(known.verifier.clone());
        }
        let usable = known.filter(|known| known.has_key_of(token, LONGEST, now));
        match (Arc::clone(&remote.attempted).try_lock_owned(), usable) {
            // In a task of its own, which whoever asked first cannot end by going away.
            (Ok(attempted), _) => drop(spawn(Arc::clone(remote).renew(attempted, now)).await),
            // Somebody is at it: who has a key that will do does not wait for that.
            (Err(_), Some(known)) => return Ok(known.verifier),
            (Err(_), None) => drop(remote.attempted.lock().await),
        }
        match remote.known() {
            Some(known) if is_within(LONGEST, known.fetched, now) => Ok(known.verifier),
            _ => Err(Refusal::new(Code::TokenInvalid, "keys of the issuer").got("none that could be fetched")),
        }
    }
}

impl Remote {
    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the keys, for no longer than the patience, where nobody did within the last minute.
    async fn renew(self: Arc<Self>, mut attempted: OwnedMutexGuard<Option<u64>>, now: u64) {
        if attempted.is_some_and(|attempted| is_within(PAUSE, attempted, now)) {
            return;
        }
        *attempted = Some(now);
        match self.fetch().await {
            Ok(verifier) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { verifier, fetched: now });
            }
            Err(refusal) => tracing::warn!(%refusal, "keys of an issuer of tokens cannot be had"),
        }
    }

    async fn fetch(&self) -> Result<TokenVerifier> {
        let uri = &self.uri;
        let request = Request::get(uri.clone()).header(ACCEPT, "application/json").body(body::empty());
        let request = request.map_err(|e| Refusal::new(Code::Internal, "request for keys").because(e))?;
        let response = self.http.send(request, PATIENCE).await?;
        if response.status() != StatusCode::OK {
            return Err(Refusal::new(Code::Network, format!("`{uri}`")).got(response.status()).want("200"));
        }
        let set = read_body(response.into_body(), limits::JWKS, "JWK set");
        let set = tokio::time::timeout(PATIENCE, set).await;
        let set = set.map_err(|_| Refusal::new(Code::Timeout, format!("`{uri}`")).want(format!("{PATIENCE:?}")))??;
        TokenVerifier::of_issuer(&set, &self.algorithms)
    }
}
