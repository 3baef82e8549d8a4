//! The admin API: keys, release policies, Cedar policies, promotions and the audit log, for one administrator over TLS. There is no mode without its
//! token.
//!
//! Every call is one entry of the audit log with its outcome, which is durable together with its effect or not at all; but what
//! only reads that log (`admin_log.rs`). The administrator is an operator, so refusals are shown whole. A key's value goes in and never out.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_jose::TokenSigner;
use strongroom_tlog::NoteVerifier;
use strongroom_transport::{PeerAddr, read_body};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Fault, Refusal, Result, document, limits};
use zeroize::Zeroize as _;

use crate::Verifier;
use crate::admin_gate::Administrator;
use crate::admin_log::{self, LogRead};
use crate::audit::Kind;
use crate::promotions;
use crate::routes::{self, to_the_end};
use crate::store::{Put, Transaction};
use crate::tags::Tags;
use crate::trail::Trail;

/// The longest body of any call: a signed document is longer than a release policy, and that than a key.
const LONGEST: usize = limits::STORED_DOCUMENT;

/// The routes of the admin API, and health.
pub(crate) fn admin(verifier: Arc<Verifier>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).fallback(handle).with_state(verifier)
}

/// A call of the API.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    PutKey(ResourcePath, Tags),
    ListKeys,
    ShowKey(ResourcePath),
    DisableKey(ResourcePath),
    LabelKey(ResourcePath, Tags),
    PutAuthorization,
    ListAuthorization,
    ShowAuthorization(u64),
    PutPolicy(ResourcePath),
    ListPolicies,
    ShowPolicy(ResourcePath),
    PutDocument,
    ListDocuments,
    ChangeTokenKey,
    PutPromotion,
    ListPromotions { repository: String, environment: Option<Environment> },
    ReadLog(LogRead),
    PutCosignatures,
}

/// What a call comes to.
enum Answer {
    Json(StatusCode, Value),
    /// A policy as it was put, by its media type.
    Text(&'static str, Vec<u8>),
    Log(admin_log::Answer),
}

/// The body of [`Call::PutAuthorization`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutAuthorization {
    cedar: String,
    #[serde(default)]
    comment: String,
}

impl Call {
    fn parse(method: &Method, uri: &Uri) -> Result<Self> {
        let unknown = || Refusal::new(Code::RouteUnknown, "route").got(format!("{method} {}", uri.path()));
        let rest = uri.path().strip_prefix("/admin/v1/").ok_or_else(unknown)?;
        let (collection, id) = rest.split_once('/').unwrap_or((rest, ""));
        let query = uri.query().unwrap_or_default();
        match (method.as_str(), collection, id) {
            ("GET", "keys", "") => Ok(Self::ListKeys),
            ("GET", "keys", id) => ResourcePath::parse(id).map(Self::ShowKey),
            ("PUT", "keys", id) => Ok(Self::PutKey(ResourcePath::parse(id)?, Tags::parse(query)?)),
            ("POST", "keys", id) => match id.rsplit_once('/').ok_or_else(unknown)? {
                (id, "disable") => ResourcePath::parse(id).map(Self::DisableKey),
                (id, "label") => Ok(Self::LabelKey(ResourcePath::parse(id)?, Tags::parse(query)?)),
                _ => Err(unknown()),
            },
            ("PUT", "authorization", "") => Ok(Self::PutAuthorization),
            ("GET", "authorization", "") => Ok(Self::ListAuthorization),
            ("GET", "authorization", version) => version.parse().map(Self::ShowAuthorization).map_err(|_| unknown()),
            ("GET", "policies", "") => Ok(Self::ListPolicies),
            ("GET", "policies", id) => ResourcePath::parse(id).map(Self::ShowPolicy),
            ("PUT", "policies", id) => ResourcePath::parse(id).map(Self::PutPolicy),
            ("GET", "documents", "") => Ok(Self::ListDocuments),
            ("PUT", "documents", "") => Ok(Self::PutDocument),
            ("POST", "token-key", "") => Ok(Self::ChangeTokenKey),
            ("POST", "promotions", "") => Ok(Self::PutPromotion),
            ("GET", "promotions", "") => Self::parse_promotions(query),
            ("GET", "audit", "") => LogRead::parse_decisions(query).map(Self::ReadLog),
            ("POST", "log", "cosignatures") => Ok(Self::PutCosignatures),
            ("GET", "log", path) => LogRead::parse(path).map(Self::ReadLog),
            _ => Err(unknown()),
        }
    }

    /// Both names have no characters that would have to be percent-encoded.
    fn parse_promotions(query: &str) -> Result<Self> {
        let (mut repository, mut environment) = (None, None);
        let want = "repository=host[:port]/repo[&environment=NAME], not percent-encoded";
        for pair in query.split('&') {
            let invalid = || Refusal::new(Code::RequestInvalid, "query").got(pair).want(want);
            match pair.split_once('=').ok_or_else(invalid)? {
                ("repository", name) if repository.is_none() && !name.contains('%') => {
                    repository = Some(name.to_owned());
                }
                ("environment", name) if environment.is_none() => environment = Some(Environment::parse(name)?),
                _ => return Err(invalid()),
            }
        }
        let repository = repository.ok_or_else(|| Refusal::new(Code::RequestInvalid, "query").got(query).want(want))?;
        Ok(Self::ListPromotions { repository, environment })
    }

    /// The call, where `body` is no longer than it takes.
    fn fits(self, body: &[u8]) -> Result<Self> {
        let (limit, what) = match self {
            Self::PutKey(..) => (limits::RESOURCE, "key"),
            // In JSON, where a line feed or a quotation mark is two characters.
            Self::PutAuthorization => (limits::STORED_DOCUMENT, "policies"),
            Self::PutPolicy(_) => (limits::POLICY, "release policy"),
            Self::PutDocument => (limits::STORED_DOCUMENT, "signed document"),
            Self::PutPromotion => (limits::SIGNATURE, "promotion"),
            Self::PutCosignatures => (limits::NOTE, "cosigned checkpoint"),
            _ => (0, "body of a call that has none"),
        };
        if body.len() > limit { Err(Refusal::too_large(what, body.len(), limit)) } else { Ok(self) }
    }

    /// Whether its body says nothing that only some may know. A key's digest would let everybody who reads the log recognise the
    /// key.
    const fn is_public(&self) -> bool {
        matches!(
            self,
            Self::PutPolicy(_)
                | Self::PutDocument
                | Self::PutPromotion
                | Self::PutAuthorization
                | Self::PutCosignatures
        )
    }

    /// Under which name its row has what it came to.
    const fn noted(&self) -> Option<&'static str> {
        match self {
            Self::PutDocument => Some("documents"),
            Self::PutAuthorization => Some("authorization"),
            Self::PutKey(..) | Self::LabelKey(..) => Some("key"),
            _ => None,
        }
    }
}

async fn handle(State(verifier): State<Arc<Verifier>>, request: Request) -> Response {
    match to_the_end(answer(verifier, request)).await {
        Ok(Answer::Json(status, body)) => routes::json(status, &body),
        Ok(Answer::Text(kind, body)) => ([(CONTENT_TYPE, kind)], body).into_response(),
        Ok(Answer::Log(answer)) => answer.into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// A body that may be a key: erased when it was dealt with.
struct Body(BytesMut);

impl Body {
    fn of(bytes: Bytes) -> Self {
        // The bytes that were read, not a copy of them; they are shared with nobody.
        Self(bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref())))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.as_mut().zeroize();
    }
}

async fn answer(verifier: Arc<Verifier>, request: Request) -> Result<Answer> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
    // First the body: an answer to a peer that is still sending is lost with the connection. What nobody sent whole is no
    // call, and is not written down: who is not let in must not be able to fill the log.
    let body = Body::of(read_body(body, LONGEST, "body").await?);
    let mut trail = Trail::new(Kind::Admin, format!("{} {}", parts.method, parts.uri.path()));
    trail.note("peer", peer.map(|peer| peer.to_string()));

    let administrator = match verifier.gate.authorize(&parts.headers, peer, verifier.clock.now()) {
        Ok(administrator) => administrator,
        Err(refusal) => {
            verifier.refused_unproven(trail, &refusal).await?;
            return Err(refusal);
        }
    };
    let refusal = match Call::parse(&parts.method, &parts.uri).and_then(|call| call.fits(&body.0)) {
        Ok(Call::ReadLog(read)) => match verifier.read_log(administrator, read).await {
            Ok(answer) => return verifier.read_is_counted(trail).await.map(|()| Answer::Log(answer)),
            Err(refusal) => refusal,
        },
        Ok(Call::ChangeTokenKey) => match verifier.tokens.verify_may_change(verifier.clock.now()) {
            Ok(()) => return verifier.change_token_key(administrator, trail).await,
            Err(refusal) => refusal,
        },
        Ok(call) => {
            let digest = || json!({ "digest": Sha256::of(&body.0) });
            trail.note("call", if call.is_public() { digest() } else { json!({}) });
            let noted = call.noted();
            let mut store = verifier.store.begin().await?;
            let now = verifier.clock.now();
            match administer(administrator, &mut store, call, &body.0, &verifier.witnesses, now).await {
                Ok(answer) => {
                    if let (Some(name), Answer::Json(_, kept)) = (noted, &answer) {
                        trail.note(name, kept);
                    }
                    return store.commit(now, &trail.event(None)).await.map(|_| answer);
                }
                // Whatever it did before it was refused is undone.
                Err(refusal) => refusal,
            }
        }
        Err(refusal) => refusal,
    };
    verifier.store.record(&verifier.clock, &trail.event(Some(&refusal))).await?;
    Err(refusal)
}

impl Verifier {
    /// Signs tokens with a fresh key from now on. The row comes first: no token is signed by a key that is on no record.
    async fn change_token_key(&self, _: Administrator, mut trail: Trail) -> Result<Answer> {
        let signer = TokenSigner::generate()?;
        let (kid, token_key) = (signer.kid().to_owned(), to_base64(signer.spki_der()));
        trail.note("kid", &kid);
        self.store.record(&self.clock, &trail.event(None)).await?;
        self.tokens.change_to(signer, self.clock.now())?;
        Ok(Answer::Json(StatusCode::CREATED, json!({ "kid": kid, "token_key": token_key })))
    }
}

async fn administer(
    _: Administrator,
    store: &mut Transaction<'_>,
    call: Call,
    body: &[u8],
    witnesses: &[NoteVerifier],
    now: UnixTime,
) -> Result<Answer> {
    let json = |body: Value| Ok(Answer::Json(StatusCode::OK, body));
    match call {
        Call::PutKey(..) if body.is_empty() => {
            Err(Refusal::new(Code::KeyInvalid, "key").got("no bytes").want("at least one"))
        }
        Call::PutKey(id, tags) => match store.put_labelled_key(&id, body, tags, now).await? {
            Put::Created(metadata) => Ok(Answer::Json(StatusCode::CREATED, json!(metadata))),
            Put::Unchanged(metadata) => json(json!(metadata)),
        },
        Call::ListKeys => json(json!(store.keys().await?)),
        Call::ShowKey(id) => json(json!(store.key(&id).await?.metadata)),
        Call::DisableKey(id) => json(json!(store.disable_key(&id).await?)),
        Call::LabelKey(id, tags) => json(json!(store.label_key(&id, tags).await?)),
        Call::PutAuthorization => {
            let put: PutAuthorization = document::parse_json(body, "body", LONGEST, Code::RequestInvalid)?;
            json(json!(store.put_policy_set(put.cedar.as_bytes(), &put.comment, now).await?))
        }
        Call::ListAuthorization => json(json!(store.policy_sets().await?)),
        Call::ShowAuthorization(version) => {
            Ok(Answer::Text("text/plain; charset=utf-8", store.policy_set(version).await?))
        }
        Call::PutPolicy(id) => {
            let policy = store.put_policy(&id, body, now).await?;
            promotions::learn_under(store, &id, now).await?;
            json(json!(policy))
        }
        Call::ListPolicies => json(store.policies().await?.iter().map(|stored| json!(stored.metadata)).collect()),
        Call::ShowPolicy(id) => Ok(Answer::Text("application/toml", store.policy(&id).await?.toml)),
        Call::PutDocument => json(json!(store.put_document(body, now).await?)),
        Call::ListDocuments => json(json!(store.documents().await?)),
        Call::PutPromotion => {
            let (promotion, new) = promotions::put(store, body, now).await?;
            Ok(Answer::Json(if new { StatusCode::CREATED } else { StatusCode::OK }, promotion))
        }
        Call::ListPromotions { repository, environment } => {
            json(Value::Array(promotions::list(store, &repository, environment.as_ref()).await?))
        }
        Call::PutCosignatures => {
            let kept = store.put_cosignatures(body, witnesses).await?;
            Ok(Answer::Log(admin_log::Answer::Text(kept.to_string())))
        }
        // They are answered without a transaction.
        Call::ChangeTokenKey => Err(Refusal::new(Code::Internal, "a change of the token key")),
        Call::ReadLog(_) => Err(Refusal::new(Code::Internal, "a read of the log")),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = match (refusal.code, refusal.fault()) {
        (Code::AdminUnauthorized, _) => StatusCode::UNAUTHORIZED,
        (Code::RouteUnknown | Code::KeyUnknown | Code::NoPolicy | Code::LogProofInvalid | Code::WitnessMissing, _) => {
            StatusCode::NOT_FOUND
        }
        (Code::KeyExists | Code::PromotionSuperseded, _) => StatusCode::CONFLICT,
        (Code::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        // The only network of an administrator's call is their own: the body broke off or came too slowly.
        (Code::Network, _) => StatusCode::BAD_REQUEST,
        (Code::Timeout, _) => StatusCode::REQUEST_TIMEOUT,
        (_, Fault::Refused | Fault::Configuration) => StatusCode::BAD_REQUEST,
        (_, Fault::Environment | Fault::Bug) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = routes::json(status, refusal);
    if refusal.code == Code::Busy {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> core::result::Result<Call, Code> {
        Call::parse(&method.parse().unwrap(), &uri.parse().unwrap()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn calls_are_told_apart_by_method_and_path() {
        let id = || ResourcePath::parse("a/b/c").unwrap();
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c"), Ok(Call::PutKey(id(), Tags::default())));
        let tags = || Tags::parse("owner=a&label=b").unwrap();
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c?owner=a&label=b"), Ok(Call::PutKey(id(), tags())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/label?owner=a&label=b"), Ok(Call::LabelKey(id(), tags())));
        assert_eq!(parse("PUT", "/admin/v1/authorization"), Ok(Call::PutAuthorization));
        assert_eq!(parse("GET", "/admin/v1/authorization"), Ok(Call::ListAuthorization));
        assert_eq!(parse("GET", "/admin/v1/authorization/7"), Ok(Call::ShowAuthorization(7)));
        assert_eq!(parse("GET", "/admin/v1/keys"), Ok(Call::ListKeys));
        assert_eq!(parse("GET", "/admin/v1/keys/a/b/c"), Ok(Call::ShowKey(id())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/disable"), Ok(Call::DisableKey(id())));
        assert_eq!(parse("PUT", "/admin/v1/policies/a/b/c"), Ok(Call::PutPolicy(id())));
        assert_eq!(parse("GET", "/admin/v1/policies/a/b/c"), Ok(Call::ShowPolicy(id())));
        assert_eq!(parse("POST", "/admin/v1/promotions"), Ok(Call::PutPromotion));
        let listed = |environment| Ok(Call::ListPromotions { repository: "r:1/a/b".into(), environment });
        assert_eq!(parse("GET", "/admin/v1/promotions?repository=r:1/a/b"), listed(None));
        let production = Environment::parse("production").unwrap();
        let both = "/admin/v1/promotions?environment=production&repository=r:1/a/b";
        assert_eq!(parse("GET", both), listed(Some(production)));
        let decisions = LogRead::Decisions { after: 3, limit: 2, kind: None };
        assert_eq!(parse("GET", "/admin/v1/audit?after=3&limit=2"), Ok(Call::ReadLog(decisions)));
        assert_eq!(parse("GET", "/admin/v1/log/checkpoint"), Ok(Call::ReadLog(LogRead::Checkpoint)));
    }

    #[test]
    fn calls_that_are_none_refused() {
        assert_eq!(parse("DELETE", "/admin/v1/keys/a/b/c"), Err(Code::RouteUnknown));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/enable"), Err(Code::RouteUnknown));
        assert_eq!(parse("GET", "/admin/v2/keys"), Err(Code::RouteUnknown));
        assert_eq!(parse("GET", "/admin/v1/authorization/x"), Err(Code::RouteUnknown));
        assert_eq!(parse("PUT", "/admin/v1/authorization/1"), Err(Code::RouteUnknown));
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c?label=a&label=a"), Err(Code::RequestInvalid));
        assert_eq!(parse("PUT", "/admin/v1/keys/a/../c"), Err(Code::Malformed));
        assert_eq!(parse("PUT", "/admin/v1/keys/a%2fb/c"), Err(Code::Malformed));
        assert_eq!(parse("GET", "/admin/v1/audit?after=x"), Err(Code::RequestInvalid));
        for query in ["", "?environment=a", "?repository=a&repository=a", "?repository=a&x=y", "?repository=a%2Fb"] {
            assert_eq!(parse("GET", &format!("/admin/v1/promotions{query}")), Err(Code::RequestInvalid), "{query}");
        }
        assert_eq!(parse("GET", "/admin/v1/promotions?repository=a&environment=A"), Err(Code::Malformed));
        assert_eq!(parse("GET", "/admin/v1/audit?before=1"), Err(Code::RequestInvalid));
    }
}
