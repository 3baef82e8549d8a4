//! The KBS protocol 0.4.0 over HTTP (its notes, §1, 2, 11), and our own API beside it: what is read from a request and what a peer
//! is told.
//!
//! A peer is told a refusal's code and nothing else; got and want are the operator's. On the paths below `/v1` it is told in our own
//! form (`problem.rs`).

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request as HttpRequest, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use strongroom_transport::{PeerAddr, read_body, trace};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::ear::EarClaims;
use strongroom_wire::endorsements;
use strongroom_wire::kbs::{self, AttestResponse, Challenge, ErrorInformation, LOG_PROOF, Tee};
use strongroom_wire::{Code, Fault, Refusal, Result, feed, identity, lease, limits, passport};

use crate::Verifier;
use crate::metrics::counted;
use crate::problem::{Refused, own_form};
use crate::release::Released;
use crate::sessions::{Challenged, LIFETIME, Purpose};
use crate::trail::line;
use crate::vendors::PASSING;
use strongroom_wire::ear::AUDIENCE;

/// Below it, resources are named.
const RESOURCE: &str = "/resource/";

/// Seconds after which a peer that met `busy` may try again.
const RETRY: u64 = 5;

/// The routes of the KBS protocol, and health.
pub(crate) fn kbs(verifier: Arc<Verifier>) -> Router {
    let routes = Router::new()
        .route("/kbs/v0/auth", post(auth))
        .route("/kbs/v0/attest", post(attest))
        .route("/kbs/v0/resource/{*path}", get(resource))
        // The same steps, with status codes for who can take them.
        .route("/v1/kbs/auth", post(auth))
        .route("/v1/kbs/attest", post(attest))
        .route("/v1/kbs/resource/{*path}", get(resource))
        .route(passport::CHALLENGE, post(challenge))
        .route(passport::ATTEST, post(passport_of))
        .route(passport::JWKS, get(jwks))
        .route(lease::PATH, post(lease_of))
        .route(feed::PATH, get(feed_of_leases))
        .route(identity::ISSUE, post(identity_of))
        .route(identity::BUNDLE, get(bundle))
        .route(endorsements::PATH, post(endorsement_set))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz));
    trace::routed(routes)
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(from_fn_with_state(Arc::clone(&verifier), counted))
        .layer(from_fn(own_form))
        .with_state(verifier)
}

/// Runs to its end even where the peer goes away: what was decided is recorded.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match trace::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Refusal::new(Code::Internal, "request").because(error)),
    }
}

async fn auth(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let opened = async {
        let body = read_body(request.into_body(), limits::KBS_BODY, "auth request").await?;
        let request = kbs::Request::parse(&body)?;
        Challenged::open(&verifier.store, Purpose::Keys(Tee::parse(&request.tee)?), verifier.clock.now())
    };
    match opened.await {
        Ok(opened) => {
            let challenge = Challenge { nonce: opened.text(), extra_params: "".into() };
            ([(SET_COOKIE, set_cookie(&opened.id()))], json(StatusCode::OK, &challenge)).into_response()
        }
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn attest(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let session = cookie(request.headers());
    let peer = peer(&request);
    let attested = async {
        // First the body: an answer to a peer that is still sending is lost with the connection.
        let body = read_body(request.into_body(), limits::KBS_BODY, "attestation").await?;
        let session = session.clone().ok_or_else(|| Refusal::new(Code::SessionUnknown, "cookie").got("none"))?;
        to_the_end(async move { verifier.attest(&session, body, peer).await }).await
    };
    match attested.await {
        Ok(token) => {
            let cookie = set_cookie(&session.unwrap_or_default());
            ([(SET_COOKIE, cookie)], json(StatusCode::OK, &AttestResponse { token })).into_response()
        }
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn resource(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    // axum hands HEAD to GET's handler; a release that nobody receives would stand in the log.
    if request.method() != Method::GET {
        return unknown(request).await;
    }
    // The path as sent: a name holds nothing that would have to be percent-encoded.
    let path = request.uri().path().split_once(RESOURCE).map_or("", |(_, path)| path).to_owned();
    let Some(session) = session(&verifier, request.headers()).await else {
        // As that protocol's clients begin: nobody claims anything, and nothing is decided.
        return refused("TokenNotFound", &Refusal::new(Code::SessionUnknown, "cookie or token").got("none"));
    };
    match to_the_end(async move { verifier.release(session, &path).await }).await {
        Ok(Released { jwe, proof }) => {
            let proof = [(LOG_PROOF, to_base64(proof.to_string().as_bytes()))];
            (proof, json(StatusCode::OK, &jwe)).into_response()
        }
        Err(refusal) => refused(resource_kind(refusal.code), &refusal),
    }
}

/// The session that a request speaks for: that of its token, else that of its cookie. Neither proves more than to know of
/// an accepted session, and what it gives can be opened with the attested key only.
async fn session(verifier: &Verifier, headers: &HeaderMap) -> Option<Result<String>> {
    let of_token = async |header: &HeaderValue| {
        let token = header.to_str().ok().and_then(|header| header.strip_prefix("Bearer ")).ok_or_else(|| {
            Refusal::new(Code::TokenInvalid, "authorization").want("Bearer and a token of this verifier")
        })?;
        let claims: EarClaims = verifier.verify_token(token, verifier.clock.now(), AUDIENCE).await?;
        Ok(claims.jti)
    };
    if let Some(header) = headers.get(AUTHORIZATION) {
        return Some(of_token(header).await);
    }
    cookie(headers).map(Ok)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == kbs::COOKIE).map(|(_, value)| value.to_owned())
}

fn set_cookie(id: &str) -> String {
    format!("{}={id}; Max-Age={LIFETIME}; Secure; HttpOnly", kbs::COOKIE)
}

async fn challenge(State(verifier): State<Arc<Verifier>>) -> Response {
    match verifier.challenge() {
        Ok(challenge) => json(StatusCode::OK, &challenge),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn passport_of(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let peer = peer(&request);
    let issued = async {
        let body = read_body(request.into_body(), limits::EVIDENCE_ANSWER, "passport request").await?;
        to_the_end(async move { verifier.passport(body, peer).await }).await
    };
    match issued.await {
        Ok(passport) => json(StatusCode::OK, &passport),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn lease_of(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let peer = peer(&request);
    let given = async {
        let body = read_body(request.into_body(), limits::EVIDENCE_ANSWER, "lease request").await?;
        to_the_end(async move { verifier.lease(body, peer).await }).await
    };
    match given.await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn identity_of(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let peer = peer(&request);
    let issued = async {
        let body = read_body(request.into_body(), limits::EVIDENCE_ANSWER, "identity request").await?;
        to_the_end(async move { verifier.issue(body, peer).await }).await
    };
    match issued.await {
        Ok(identity) => json(StatusCode::OK, &identity),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

async fn bundle(State(verifier): State<Arc<Verifier>>) -> Response {
    match verifier.bundle().await {
        Ok(bundle) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], bundle).into_response(),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

/// What a router asks of its feed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u8,
    /// The `kid` of the key that the router knows.
    #[serde(default)]
    key: String,
}

async fn feed_of_leases(
    State(verifier): State<Arc<Verifier>>,
    query: core::result::Result<Query<FeedQuery>, QueryRejection>,
) -> Response {
    let wrong = |_| Refusal::new(Code::RequestInvalid, "query").want("after=N&wait=1&key=KID");
    let made = async {
        let Query(FeedQuery { after, wait, key }) = query.map_err(wrong)?;
        verifier.feed(after, wait != 0, &key).await
    };
    match made.await {
        Ok(token) => ([(CONTENT_TYPE, "application/jwt"), (CACHE_CONTROL, "no-store")], token).into_response(),
        Err(refusal) => refused("AttestationError", &refusal),
    }
}

/// Whoever keeps it comes back for a key that it does not know, and is not told of one that is gone for as long as it keeps it.
async fn jwks(State(verifier): State<Arc<Verifier>>) -> Response {
    let age = format!("public, max-age={LIFETIME}");
    ([(CACHE_CONTROL, age)], json(StatusCode::OK, &verifier.tokens.jwks(verifier.clock.now()))).into_response()
}

/// The set is the caller's own, and is asked for again long before it ends.
async fn endorsement_set(State(verifier): State<Arc<Verifier>>, request: HttpRequest) -> Response {
    let peer = peer(&request);
    let answered = async {
        let evidence = read_body(request.into_body(), limits::EVIDENCE, "evidence").await?;
        verifier.endorsements(&evidence, peer).await
    };
    match answered.await {
        Ok(set) => {
            let age = endorsements::renew_after(set.expires, verifier.clock.now());
            ([(CACHE_CONTROL, format!("private, max-age={age}"))], json(StatusCode::OK, &set)).into_response()
        }
        Err(refusal) => refused("EndorsementError", &refusal),
    }
}

fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip())
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(verifier): State<Arc<Verifier>>) -> Response {
    let ready = match verifier.store.ping().await {
        Ok(()) => verifier.custodies.ready(),
        Err(refusal) => Err(refusal),
    };
    match ready {
        Ok(()) => "ready\n".into_response(),
        Err(refusal) => {
            tracing::error!(%refusal, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
        }
    }
}

async fn unknown(request: HttpRequest) -> Response {
    let refusal = Refusal::new(Code::RouteUnknown, "route").got(request.uri().path());
    let plugin = request.uri().path().starts_with("/kbs/v0/");
    refused(if plugin { "PluginNotFound" } else { "InvalidRequestPath" }, &refusal)
}

/// The kinds of that protocol's own server (its notes, §11), which its clients print.
const fn resource_kind(code: Code) -> &'static str {
    match code {
        Code::SessionUnknown | Code::SessionExpired => "TokenNotFound",
        Code::TokenInvalid => "TokenVerifierError",
        Code::KeyUnknown | Code::Malformed => "PluginInternalError",
        _ if matches!(code.fault(), Fault::Environment | Fault::Bug) => "PluginInternalError",
        _ => "PolicyDeny",
    }
}

/// That protocol answers 401 to everything but unknown routes, and its clients start a new handshake on it. What no new
/// handshake mends has its own status.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::RouteUnknown => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Busy => StatusCode::TOO_MANY_REQUESTS,
        Code::EndorsementUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    }
}

fn refused(kind: &str, refusal: &Refusal) -> Response {
    tracing::info!(refusal = line(refusal), kind, "refused");
    let body = ErrorInformation {
        kind: format!("https://github.com/confidential-containers/kbs/errors/{kind}"),
        detail: format!("refused: {}", refusal.code),
        code: Some(refusal.code),
    };
    let mut response = json(status(refusal.code), &body);
    let wait = match refusal.code {
        Code::Busy => Some(RETRY),
        Code::EndorsementUnavailable => Some(PASSING),
        _ => None,
    };
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, wait.into());
    }
    response.extensions_mut().insert(Refused(refusal.clone()));
    response
}

pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer that is not JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
