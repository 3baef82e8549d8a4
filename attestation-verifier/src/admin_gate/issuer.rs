//! People by tokens of an issuer (RFC 7519, OpenID Connect Core §2), signed by a key of its JWK set.

use core::time::Duration;
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::{PoisonError, RwLock};
use strongroom_appraisal::UnixTime;
use strongroom_jose::{Algorithm, TokenVerifier};
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::bytes::from_base64url;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{Mutex, MutexGuard};

use super::Login;
use crate::clock::is_within;
use crate::config::{AdminIssuer, load};

/// By what issuers may sign.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa];
/// Characters of a subject. OpenID Connect Core §2 has at most 255.
const SUBJECT: usize = 255;
/// For the answer with the keys.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds after which keys are fetched again.
const FRESH: u64 = 15 * 60;
/// Seconds for which keys are believed that cannot be fetched again: a working day without the issuer, and no longer with a key that
/// it may have withdrawn.
const LONGEST: u64 = 8 * 60 * 60;
/// Seconds for which a token may be good: a working day and some. Nobody can take one back.
const LIFETIME: u64 = 12 * 60 * 60;
/// Seconds between two attempts to fetch: tokens that name keys which nobody has are anybody's to send.
const PAUSE: u64 = 60;

/// One issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    configured: AdminIssuer,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    /// Of a file, read at the start.
    Fixed(TokenVerifier),
    Fetched(Box<Remote>),
}

#[derive(Debug)]
struct Remote {
    http: HttpClient,
    uri: Uri,
    known: RwLock<Option<Known>>,
    /// When keys were last asked for; held while they are.
    attempted: Mutex<Option<UnixTime>>,
}

/// What was fetched last, and when.
#[derive(Debug, Clone)]
struct Known {
    verifier: TokenVerifier,
    fetched: UnixTime,
}

impl Known {
    fn has_key_of(&self, token: &str, within: u64, now: UnixTime) -> bool {
        is_within(within, self.fetched, now) && self.verifier.knows_key_of(token)
    }
}

impl Issuer {
    /// # Errors
    /// `io`, `too-large`, `malformed`, `key-invalid`: of the file; `configuration-invalid`: no address, or no certificate.
    pub(super) fn new(configured: &AdminIssuer) -> Result<Self> {
        let within = |refusal: Refusal| refusal.within(format!("[[admin-issuer]] `{}`", configured.issuer));
        let keys = match (&configured.jwks_file, &configured.jwks_url) {
            (Some(path), _) => load(path, limits::JWKS)
                .and_then(|json| TokenVerifier::of_issuer(&json, &ALGORITHMS))
                .map(Keys::Fixed)
                .map_err(within)?,
            (None, url) => {
                let url = url.as_deref().unwrap_or_default();
                let uri = url
                    .parse()
                    .map_err(|e| within(Refusal::new(Code::ConfigurationInvalid, "`jwks-url`").because(e).got(url)))?;
                let trust = configured.ca.clone();
                let trust = trust.map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.into_bytes()));
                let http = HttpClient::new(&trust, false).map_err(within)?;
                Keys::Fetched(Box::new(Remote { http, uri, known: RwLock::default(), attempted: Mutex::default() }))
            }
        };
        Ok(Self { configured: configured.clone(), keys })
    }

    /// Whether `token` says that it is of this issuer, which nobody has verified.
    pub(super) fn is_named_in(&self, token: &str) -> bool {
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        let payload = token.split('.').nth(1).and_then(|payload| from_base64url(payload, "payload").ok());
        let named = payload.and_then(|payload| serde_json::from_slice::<Named>(&payload).ok());
        named.is_some_and(|named| named.iss == self.configured.issuer)
    }

    /// The person that `token` is about.
    ///
    /// # Errors
    /// `token-invalid`: as [`TokenVerifier::verify`], of another issuer, or about nobody; why there are no keys.
    pub(super) async fn login(&self, token: &str, now: UnixTime) -> Result<Login> {
        let invalid = |claim: &str| Refusal::new(Code::TokenInvalid, claim).within("token");
        let keys = self.keys.for_token(token, now).await?;
        let claims: Map<String, Value> = keys.verify(token, now, &self.configured.audience)?;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        if text("iss") != Some(&self.configured.issuer) {
            return Err(invalid("iss").got(text("iss").unwrap_or("none")).want(&self.configured.issuer));
        }
        let subject = text("sub")
            .filter(|sub| is_subject(sub))
            .ok_or_else(|| invalid("sub").want("one of 1 to 255 characters"))?;
        let time = |claim: &str| claims.get(claim).and_then(Value::as_u64).unwrap_or_default();
        if time("exp").saturating_sub(time("iat")) > LIFETIME {
            return Err(invalid("exp").got(time("exp")).want(format!("at most {LIFETIME} seconds after iat")));
        }
        // RFC 8417: that something happened to somebody is no word of theirs (OpenID Connect Back-Channel Logout §2.4).
        if claims.contains_key("events") {
            return Err(invalid("events").want("none"));
        }
        let groups = match claims.get(&self.configured.groups_claim) {
            None => Vec::new(),
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(_) => return Err(invalid(&self.configured.groups_claim).want("a text, or a list of texts")),
        };
        Ok(Login::Token { issuer: self.configured.issuer.clone(), subject: subject.to_owned(), groups })
    }
}

fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= SUBJECT && !text.contains(char::is_control)
}

impl Keys {
    /// The keys, fetched where they are too old or do not have the one that `token` names.
    async fn for_token(&self, token: &str, now: UnixTime) -> Result<TokenVerifier> {
        let remote = match self {
            Self::Fixed(verifier) => return Ok(verifier.clone()),
            Self::Fetched(remote) => remote,
        };
        let known = remote.known();
        if let Some(known) = known.as_ref().filter(|known| known.has_key_of(token, FRESH, now)) {
            return Ok(known.verifier.clone());
        }
        let usable = known.filter(|known| known.has_key_of(token, LONGEST, now));
        match (remote.attempted.try_lock(), usable) {
            (Ok(attempted), _) => remote.renew(attempted, now).await,
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
    async fn renew(&self, mut attempted: MutexGuard<'_, Option<UnixTime>>, now: UnixTime) {
        if attempted.is_some_and(|attempted| is_within(PAUSE, attempted, now)) {
            return;
        }
        *attempted = Some(now);
        match fetch(&self.http, &self.uri).await {
            Ok(verifier) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { verifier, fetched: now });
            }
            Err(refusal) => tracing::warn!(%refusal, "keys of an issuer of admin tokens cannot be had"),
        }
    }
}

async fn fetch(http: &HttpClient, uri: &Uri) -> Result<TokenVerifier> {
    let request = Request::get(uri.clone()).header(ACCEPT, "application/json").body(body::empty());
    let request = request.map_err(|e| Refusal::new(Code::Internal, "request for keys").because(e))?;
    let response = http.send(request, PATIENCE).await?;
    if response.status() != StatusCode::OK {
        return Err(Refusal::new(Code::Network, format!("`{uri}`")).got(response.status()).want("200"));
    }
    let set = read_body(response.into_body(), limits::JWKS, "JWK set");
    let set = tokio::time::timeout(PATIENCE, set).await;
    let set = set.map_err(|_| Refusal::new(Code::Timeout, format!("`{uri}`")).want(format!("{PATIENCE:?}")))??;
    TokenVerifier::of_issuer(&set, &ALGORITHMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_short_and_can_be_read() {
        assert!(is_subject("248289761001") && is_subject(&"ä".repeat(255)));
        assert!(!is_subject("") && !is_subject(&"a".repeat(256)) && !is_subject("a\nb"));
    }
}
