//! The guest's side of the KBS attestation protocol 0.4.0 over HTTP: a session from `/auth` and `/attest`, then keys. It speaks to a
//! verifier of ours, or to Confidential Containers' KBS, whose token says nothing that a guest could hold against itself.

mod lease;
mod logged;
mod messages;

use crate::attester::{Attester, OwnEvidence};
use crate::clock::Clock;
use core::time::Duration;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use logged::Release;
use messages::{attestation, cookie, refusal_of, request, verify_hash};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use strongroom_artifact::DataKey;
use strongroom_jose::{TeeKey, TokenVerifier, thumbprint};
use strongroom_tlog::NoteVerifier;
use strongroom_transport::http::{Body, empty, full};
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::binding::kbs_report_data;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::ear::{AUDIENCE, EarClaims};
use strongroom_wire::endorsements::{self, EndorsementSet};
use strongroom_wire::kbs::{AttestResponse, Challenge, Jwe, ResourcePath, Tee};
use strongroom_wire::{Code, Refusal, Result, bytes, document, limits};

/// How long the verifier may think: it fetches manifests and signatures before it decides.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often what may be asked twice is asked, and the wait before the second time; each further one is twice as long. A
/// guest may be up before the network or the verifier is, and many guests may boot at once.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The one verifier of a deployment, not yet attested to.
#[derive(Debug)]
pub struct Verifier<'a> {
    http: HttpClient,
    deployment: &'a Deployment,
    /// `None`: its tokens are not looked at.
    tokens: Option<TokenVerifier>,
    log: Option<NoteVerifier>,
    clock: Clock,
}

/// A session in which the verifier has accepted this guest. It holds the key that resources are wrapped to.
#[derive(Debug)]
pub struct Session {
    http: HttpClient,
    url: String,
    cookie: HeaderValue,
    key: TeeKey,
    /// The digest of the deployment document.
    deployment: String,
    /// The log that releases must be proved to be in.
    log: Option<NoteVerifier>,
}

impl<'a> Verifier<'a> {
    /// The verifier that `deployment` names, recognised by its TLS key and, where one is named, its token key. Its word raises the floor
    /// of `clock`.
    ///
    /// # Errors
    /// `malformed` or `key-invalid` the token key or the log's key is none.
    pub fn of_deployment(deployment: &'a Deployment, clock: Clock) -> Result<Self> {
        let stated = &deployment.settings().verifier;
        let tokens = match stated.token_key.as_str() {
            "" => None,
            key => Some(TokenVerifier::new(&bytes::from_base64(key, "verifier's token key")?)?),
        };
        let http = HttpClient::new(&ServerTrust::Pin(stated.pin.0), false)?;
        let log = stated.log_key.as_deref().map(NoteVerifier::parse).transpose()?;
        Ok(Self { http, deployment, tokens, log, clock })
    }

    /// Has a fresh key attested, and verifies that the result is about this document and that key.
    ///
    /// # Errors
    /// `pin-mismatch`, `network` or `timeout` the verifier is another or not there; the code it refuses with, or
    /// `verifier-refused`; `token-invalid` its result is not about this guest; `clock-behind`; as [`OwnEvidence::fetch`].
    pub async fn attest(&self, attester: Arc<dyn Attester>) -> Result<Session> {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            let (challenge, cookie) = self.open(attester.tee()).await?;
            match self.attest_for(&challenge, cookie, Arc::clone(&attester)).await {
                // Its vendor is out of order, or others boot as well; the nonce is used up, so all of it is done again.
                Err(refusal) if matches!(refusal.code, Code::EndorsementUnavailable | Code::Busy) => {
                    wait = wait.saturating_mul(4);
                    tracing::warn!(%refusal, ?wait, "attesting again");
                    tokio::time::sleep(wait).await;
                }
                outcome => return outcome,
            }
        }
        let (challenge, cookie) = self.open(attester.tee()).await?;
        self.attest_for(&challenge, cookie, attester).await
    }

    /// A session's challenge and cookie.
    async fn open(&self, tee: Tee) -> Result<(Challenge, HeaderValue)> {
        let auth = || post(&format!("{}/kbs/v0/auth", self.url()), None, &request(tee));
        let (challenged, challenge) = repeat(&self.http, auth).await?;
        Ok((challenge, cookie(challenged.get_all(SET_COOKIE))?))
    }

    async fn attest_for(
        &self,
        challenge: &Challenge,
        cookie: HeaderValue,
        attester: Arc<dyn Attester>,
    ) -> Result<Session> {
        let url = self.url();
        verify_hash(&challenge.extra_params)?;
        let key = TeeKey::generate_p256()?;
        let bound = kbs_report_data(&challenge.nonce, key.public())?;
        let own = OwnEvidence::fetch(attester, bound).await?;
        let attestation = attestation(self.deployment, &challenge.nonce, key.public(), &own)?;
        let attest = post(&format!("{url}/kbs/v0/attest"), Some(&cookie), &attestation)?;
        let (_, AttestResponse { token }) = exchange(&self.http, attest).await?;

        self.verify_result(&token, &thumbprint(key.public())?)?;
        let (deployment, log) = (self.deployment.digest().oci(), self.log.clone());
        Ok(Session { http: self.http.clone(), url, cookie, key, deployment, log })
    }

    /// What `report`, a raw report of this guest, is verified with, as far as the verifier has it.
    ///
    /// # Errors
    /// `pin-mismatch`, `network` or `timeout`; the code that the verifier refuses with, or `verifier-refused`; as
    /// [`EndorsementSet::parse`].
    pub async fn endorsements(&self, report: &[u8]) -> Result<EndorsementSet> {
        let request = Request::post(format!("{}{}", self.url(), endorsements::PATH));
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(full(report.to_vec()));
        let request = request.map_err(|e| unsendable(&e))?;
        let (head, body) = answer(&self.http, request, limits::ENDORSEMENT_SET).await?;
        if head.status != StatusCode::OK {
            return Err(refusal_of(head.status, &body));
        }
        EndorsementSet::parse(&body)
    }

    fn url(&self) -> String {
        self.deployment.settings().verifier.url.trim_end_matches('/').to_owned()
    }

    /// The keys that follow are opened by nobody else whatever the result says; a verifier that mistakes this guest for
    /// another is worth stopping at all the same.
    fn verify_result(&self, token: &str, thumbprint: &str) -> Result<()> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let claims: EarClaims = tokens.verify(token, self.clock.now()?, AUDIENCE)?;
        let root = self.deployment.settings().root.to_string();
        let subject = self.deployment.digest().oci();
        for (claim, got, want) in [
            ("root", claims.root.to_string().as_str(), root.as_str()),
            ("sub", claims.sub.as_str(), subject.as_str()),
            ("cnf.jkt", claims.cnf.jkt.as_str(), thumbprint),
        ] {
            if got != want {
                return Err(Refusal::new(Code::TokenInvalid, claim).within("attestation result").got(got).want(want));
            }
        }
        // It is about a key that was made for this question.
        self.clock.raise(claims.iat);
        // Not `jti`: it names the session, as the cookie does.
        tracing::info!(issuer = claims.iss, expires = claims.exp, "attested");
        Ok(())
    }
}

impl Session {
    /// The data key at `path`, whose release is in the log that the deployment document names, where it names one.
    ///
    /// # Errors
    /// The code that the verifier refuses with, or `verifier-refused`; `release-not-logged`, `log-untrusted`, `signature-invalid` or
    /// `log-proof-invalid` its release is not proved; `wrapped-key-invalid`; `key-invalid` it is no data key.
    pub async fn key(&self, path: &ResourcePath) -> Result<DataKey> {
        let request = || {
            let request = Request::get(format!("{}/kbs/v0/resource/{path}", self.url));
            request.header(COOKIE, self.cookie.clone()).body(empty()).map_err(|e| unsendable(&e))
        };
        let (headers, wrapped): (_, Jwe) =
            repeat(&self.http, request).await.map_err(|r| r.within(format!("key `{path}`")))?;
        if let Some(log) = &self.log {
            let thumbprint = thumbprint(self.key.public())?;
            let release = Release { path, thumbprint: &thumbprint, deployment: &self.deployment };
            release.verify_logged(&headers, log).map_err(|r| r.within(format!("key `{path}`")))?;
        }
        DataKey::from_file_bytes(&self.key.decrypt(&wrapped)?)
    }
}

fn post<T: Serialize>(url: &str, cookie: Option<&HeaderValue>, message: &T) -> Result<Request<Body>> {
    let json = serde_json::to_vec(message).map_err(|e| Refusal::new(Code::Internal, "message").because(e))?;
    let mut request = Request::post(url).header(CONTENT_TYPE, "application/json");
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie.clone());
    }
    request.body(full(json)).map_err(|e| unsendable(&e))
}

fn unsendable(error: &http::Error) -> Refusal {
    Refusal::malformed("verifier url", error)
}

/// [`exchange`], again where the verifier was not there or had no time.
async fn repeat<T: DeserializeOwned>(
    http: &HttpClient,
    request: impl Fn() -> Result<Request<Body>>,
) -> Result<(HeaderMap, T)> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match exchange(http, request()?).await {
            Err(refusal) if matches!(refusal.code, Code::Network | Code::Timeout | Code::Busy) => {
                tracing::warn!(%refusal, ?wait, "asking the verifier again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2);
    }
    exchange(http, request()?).await
}

/// Sends `request`, and reads a message out of an answer of 200 and a refusal out of any other.
async fn exchange<T: DeserializeOwned>(http: &HttpClient, request: Request<Body>) -> Result<(HeaderMap, T)> {
    let (head, body) = answer(http, request, limits::KBS_ANSWER).await?;
    if head.status != StatusCode::OK {
        return Err(refusal_of(head.status, &body));
    }
    let message = document::parse_json(&body, "verifier's answer", limits::KBS_ANSWER, Code::Malformed)?;
    Ok((head.headers, message))
}

/// The head and the body, of at most `limit` bytes.
async fn answer(http: &HttpClient, request: Request<Body>, limit: usize) -> Result<(Parts, axum::body::Bytes)> {
    let answer = http.send(request, PATIENCE).await.map_err(|refusal| refusal.within("verifier"))?;
    let (head, body) = Response::into_parts(answer);
    Ok((head, read_body(body, limit, "verifier's answer").await?))
}

#[cfg(test)]
mod tests;
