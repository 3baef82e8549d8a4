//! Against a KBS that answers as Confidential Containers' does (the protocol's notes, §2 to 6, 10 and 11): 401 for everything but
//! unknown routes, errors without our code and without a content type, a cookie that expires, a token of its own profile.

use super::path;
use crate::attester::tests::Unsigned;
use crate::boot::tests::settings;
use crate::kbs::{Session, Verifier};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use strongroom_jose::encrypt;
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config};
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::{Sha256, sha384};
use strongroom_wire::kbs::{SnpEvidence, TeePubKey};
use strongroom_wire::{Code, Refusal, Result};

const NONCE: &str = "bm9uY2Ugb2YgdGhpcnR5LXR3byBieXRlcyBpdCBpcyA=";
const KEY: [u8; 32] = [0x5a; 32];
const SET: &str = "kbs-session-id=8d1f6c0e6c0f4d0c9a7e5d9b2f3a4c5d; Expires=Sat, 21 Nov 2026 17:35:00 GMT";

/// One route's answer in place of the sound one.
type Fault = (&'static str, StatusCode, &'static str);

struct Kbs {
    fault: Option<Fault>,
    extra_params: Value,
    attested: Mutex<Option<TeePubKey>>,
}

/// An error as §11 has it.
fn error(kind: &str, detail: &str) -> Response {
    let body =
        json!({"type": format!("https://github.com/confidential-containers/kbs/errors/{kind}"), "detail": detail});
    let status = if kind.ends_with("NotFound") && kind != "TokenNotFound" || kind == "InvalidRequestPath" {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::UNAUTHORIZED
    };
    (status, body.to_string().into_bytes()).into_response()
}

impl Kbs {
    fn sound() -> Self {
        Self { fault: None, extra_params: json!(""), attested: Mutex::default() }
    }

    /// Starts it, and gives the document that names it, without a token key.
    async fn start(self) -> Deployment {
        let (bound, identity) = (bind("127.0.0.1:0").await.unwrap(), ServerIdentity::generate(&[]).unwrap());
        let mut settings = settings();
        settings.verifier.url = format!("https://{}", bound.local_addr());
        settings.verifier.pin = Sha256(identity.spki_sha256());
        settings.verifier.token_key = String::new();
        let deployment = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
        let router = Router::new()
            .route("/kbs/v0/auth", post(auth))
            .route("/kbs/v0/attest", post(attest))
            .route("/kbs/v0/resource/{*path}", get(resource))
            .fallback(async || error("PluginNotFound", "plugin not found"))
            .with_state(Arc::new(self));
        let tls = server_config(&identity).unwrap();
        tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), core::future::pending()));
        deployment
    }

    fn fault_at(&self, route: &str) -> Option<Response> {
        let (at, status, body) = self.fault?;
        (at == route).then(|| (status, body).into_response())
    }
}

async fn auth(State(kbs): State<Arc<Kbs>>, body: axum::body::Bytes) -> Response {
    if let Some(fault) = kbs.fault_at("auth") {
        return fault;
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    if (&request["version"], &request["tee"]) != (&json!("0.4.0"), &json!("snp"))
        || request.get("extra-params").is_none()
    {
        return error("AttestationError", "RCAR handshake Auth failed");
    }
    let challenge = json!({"nonce": NONCE, "extra-params": kbs.extra_params});
    ([(SET_COOKIE, SET)], challenge.to_string()).into_response()
}

fn has_session(headers: &HeaderMap) -> bool {
    headers.get(COOKIE).is_some_and(|cookie| SET.starts_with(&format!("{};", cookie.to_str().unwrap())))
}

/// What §5 has the hardware commit to, written out as it is hashed.
fn report_data(key: &Value) -> Vec<u8> {
    let member = |name: &str| key[name].as_str().unwrap();
    let text = format!(
        r#"{{"additional-evidence":"","nonce":"{NONCE}","tee-pubkey":{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"{}","y":"{}"}}}}"#,
        member("x"),
        member("y"),
    );
    [&sha384(text.as_bytes())[..], &[0; 16]].concat()
}

async fn attest(State(kbs): State<Arc<Kbs>>, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    if let Some(fault) = kbs.fault_at("attest") {
        return fault;
    }
    let failed = || error("AttestationError", "RCAR handshake Attest failed");
    let shown: Value = serde_json::from_slice(&body).unwrap();
    let (runtime, init_data) = (&shown["runtime-data"], &shown["init-data"]);
    let evidence: SnpEvidence = serde_json::from_value(shown["tee-evidence"]["primary_evidence"].clone()).unwrap();
    let report = evidence.report().unwrap();
    let bound = report.report_data[..] == report_data(&runtime["tee-pubkey"])
        && report.host_data == Sha256::of(init_data["body"].as_str().unwrap().as_bytes()).0;
    if !has_session(&headers) || runtime["nonce"] != NONCE || init_data["format"] != "toml" || !bound {
        return failed();
    }
    *kbs.attested.lock().unwrap() = Some(serde_json::from_value(runtime["tee-pubkey"].clone()).unwrap());
    // Its own issuer, profile and claims, by a key that nobody was told of: §8 has neither `aud` nor `cnf`.
    let parts = [json!({"alg": "ES256", "typ": "JWT"}), json!({"iss": "CoCo-Attestation-Service", "submods": {}})];
    let [header, claims] = parts.map(|part| to_base64url(part.to_string().as_bytes()));
    let token = format!("{header}.{claims}.{}", to_base64url(&[7; 64]));
    ([(SET_COOKIE, SET)], json!({"token": token}).to_string()).into_response()
}

async fn resource(State(kbs): State<Arc<Kbs>>, request: Request) -> Response {
    if let Some(fault) = kbs.fault_at("resource") {
        return fault;
    }
    let attested = kbs.attested.lock().unwrap().clone();
    match attested {
        Some(key) if has_session(request.headers()) && request.uri().path() == "/kbs/v0/resource/a/b/c" => {
            let jwe = serde_json::to_string(&encrypt(&KEY, &key).unwrap()).unwrap();
            // The order that the official client re-serialises.
            let protected = serde_json::from_str::<Value>(&jwe).unwrap()["protected"].as_str().unwrap().to_owned();
            let header = String::from_utf8(from_base64url(&protected, "header").unwrap()).unwrap();
            assert!(
                header.starts_with(r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":"#)
            );
            jwe.into_response()
        }
        Some(_) if has_session(request.headers()) => error("PluginInternalError", "Plugin resource: no such resource"),
        _ => error("TokenNotFound", "Attestation Token not found"),
    }
}

async fn session(deployment: &Deployment) -> Result<Session> {
    let attester = Unsigned { host_data: Sha256::of(deployment.raw()).0, ..Unsigned::default() };
    Verifier::of_deployment(deployment, crate::clock::Clock::default())?.attest(Arc::new(attester)).await
}

async fn key(fault: Option<Fault>) -> core::result::Result<Vec<u8>, Refusal> {
    let deployment = Kbs { fault, ..Kbs::sound() }.start().await;
    let key = session(&deployment).await?.key(&path()).await?;
    Ok(key.expose().to_vec())
}

#[tokio::test]
async fn key_arrives_from_a_kbs_whose_token_says_nothing_of_the_guest() {
    assert_eq!(key(None).await.unwrap(), KEY);
}

#[tokio::test]
async fn each_error_of_a_kbs_ends_the_boot_with_what_the_kbs_called_it() {
    const JSON: [&str; 5] = [
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/AttestationError","detail":"d"}"#,
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"d"}"#,
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/JweError","detail":"d"}"#,
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/TokenVerifierError","detail":"d"}"#,
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/InvalidRequestPath","detail":"d"}"#,
    ];
    let (denied, missing) = (StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND);
    let [attestation, policy, jwe, token, route] = JSON;
    for (at, status, body, got) in [
        ("auth", denied, attestation, "401 Unauthorized, AttestationError"),
        ("auth", missing, route, "404 Not Found, InvalidRequestPath"),
        ("attest", denied, attestation, "401 Unauthorized, AttestationError"),
        ("resource", denied, policy, "401 Unauthorized, PolicyDeny"),
        ("resource", denied, jwe, "401 Unauthorized, JweError"),
        ("resource", denied, token, "401 Unauthorized, TokenVerifierError"),
        ("resource", missing, route, "404 Not Found, InvalidRequestPath"),
        ("resource", StatusCode::BAD_GATEWAY, "<html>", "502 Bad Gateway"),
    ] {
        let refusal = key(Some((at, status, body))).await.unwrap_err();
        assert_eq!((refusal.code, refusal.got.as_deref()), (Code::VerifierRefused, Some(got)), "{at}");
    }
    // Answers of 200 that are none.
    for (at, body, code) in [
        ("auth", "{}", Code::Malformed),
        ("attest", r#"{"tokens":""}"#, Code::Malformed),
        (
            "resource",
            r#"{"protected":"","encrypted_key":"","iv":"","ciphertext":"","tag":""}"#,
            Code::WrappedKeyInvalid,
        ),
    ] {
        assert_eq!(key(Some((at, StatusCode::OK, body))).await.unwrap_err().code, code, "{at}");
    }
}

#[tokio::test]
async fn resource_that_a_kbs_does_not_have_refused_and_the_session_goes_on() {
    let deployment = Kbs::sound().start().await;
    let session = session(&deployment).await.unwrap();
    let other = strongroom_wire::kbs::ResourcePath::parse("a/b/other").unwrap();
    let refusal = session.key(&other).await.unwrap_err();
    assert_eq!(refusal.got.as_deref(), Some("401 Unauthorized, PluginInternalError"));
    assert_eq!(session.key(&path()).await.unwrap().expose(), &KEY);
}

#[tokio::test]
async fn kbs_that_selects_another_hash_refused() {
    let extra_params = json!({"selected-hash-algorithm": "sha512"});
    let deployment = Kbs { extra_params, ..Kbs::sound() }.start().await;
    assert_eq!(session(&deployment).await.unwrap_err().code, Code::VersionUnsupported);
}
