mod certificates;

use super::*;
use crate::api::tests::{KEY, app_of, embed, get, send};
use crate::boot::tests::settings;
use crate::inference::tests::counting;
use crate::lease::Tenure;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;
use strongroom_transport::read_body;
use strongroom_wire::deployment::{self, IdentityKind, IdentityLimits, Limits, Principal};
use tower::ServiceExt as _;

/// What a document says of callers that has two bearer keys, and what `change` adds.
pub(crate) fn access(change: impl FnOnce(&mut deployment::Access)) -> Access {
    access_at(Clock::default(), change)
}

pub(super) fn access_at(clock: Clock, change: impl FnOnce(&mut deployment::Access)) -> Access {
    let principal = |name: &str, key: &[u8]| Principal { name: name.into(), key_sha256: Sha256::of(key) };
    let mut settings = settings();
    settings.principals = vec![principal("app", b"key-of-app"), principal("other", b"key-of-other")];
    change(&mut settings.access);
    Access::of(&settings, clock).unwrap()
}

/// Proof that somebody may have `action` done by `model`.
pub(crate) fn authorized(action: CallAction, model: &str) -> Authorized {
    let access = access(|_| ());
    let app = Identity::new(IdentityKind::ApiKey, "app");
    let caller = access.place(app.into(), &Record::begin(Method::GET, "", Arc::new(Metrics::of([])))).unwrap();
    access.authorize(&caller, action, model, Sha256([1; 32])).unwrap()
}

fn router(change: impl FnOnce(&mut deployment::Access)) -> Router {
    app_of([counting()], Tenure::without_lease(), access(change)).router()
}

const ASK: &str = r#"{"model":"tiny/1","input":"a"}"#;
const OTHER: (&str, &str) = ("authorization", "Bearer key-of-other");

fn policies(cedar: &str) -> impl FnOnce(&mut deployment::Access) {
    let cedar = cedar.to_owned();
    move |access| access.policies = Some(cedar)
}

async fn code(router: &Router, key: (&str, &str)) -> (u16, String) {
    let (status, body) = embed(router, &[key], ASK).await;
    (status.as_u16(), body["error"]["code"].as_str().unwrap_or("ok").to_owned())
}

fn said(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn caller_whom_a_policy_permits_served_and_another_not() {
    let router = router(policies(
        r#"@id("a") permit (principal == Strongroom::ApiKey::"app", action == Strongroom::Action::"Embed", resource);"#,
    ));
    assert_eq!(code(&router, KEY).await, said(200, "ok"));
    assert_eq!(code(&router, OTHER).await, said(403, "policy-denied"));
    // The body of the refusal does not say which policies there are.
    let (_, body) = embed(&router, &[OTHER], ASK).await;
    assert_eq!(body["error"]["message"], "policy-denied");
    let (status, body) = get(&router, "/v1/models/tiny/1", &[KEY]).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::FORBIDDEN, &json!("policy-denied")), "not to be listed");
}

#[tokio::test]
async fn policies_that_are_none_permit_nobody_and_none_at_all_every_bearer_key() {
    for (change, want) in [(None, said(200, "ok")), (Some("// none"), said(403, "authorization-empty"))] {
        let router = router(|access| access.policies = change.map(str::to_owned));
        assert_eq!(code(&router, KEY).await, want);
    }
}

#[tokio::test]
async fn policy_that_cannot_be_evaluated_refuses() {
    let router = router(policies(
        r#"@id("a") permit (principal, action, resource);
           @id("b") forbid (principal, action, resource) when { (if context.certificate then 0 else 1) + 9223372036854775807 == 0 };"#,
    ));
    assert_eq!(code(&router, KEY).await, said(403, "policy-failed"));
}

#[tokio::test]
async fn models_that_a_caller_may_not_know_of_are_not_listed() {
    let router = router(policies(r#"@id("a") permit (principal == Strongroom::ApiKey::"app", action, resource);"#));
    let listed = async |key| get(&router, "/v1/models", &[key]).await.1["data"].as_array().unwrap().len();
    assert_eq!((listed(KEY).await, listed(OTHER).await), (1, 0));
}

#[test]
fn call_that_is_authorised_for_one_thing_is_for_no_other() {
    let call = authorized(CallAction::Embed, "tiny/1");
    assert_eq!((call.identity().name(), call.identity().kind()), ("app", IdentityKind::ApiKey));
    assert!(call.verify_for(CallAction::Embed).is_ok());
    assert_eq!(call.verify_for(CallAction::Generate).unwrap_err().code, Code::Internal);
}

#[tokio::test]
async fn model_that_is_called_for_something_else_than_it_was_authorised_refuses() {
    let call = authorized(CallAction::ListModels, "tiny/1");
    let inputs = vec![crate::inference::Input::text("a".into())];
    assert_eq!(counting().embedder().unwrap().embed(&call, inputs).await.unwrap_err().code, Code::Internal);
}

fn limited(limits: Limits) -> impl FnOnce(&mut deployment::Access) {
    move |access| access.limits = limits
}

#[tokio::test]
async fn identity_over_its_requests_is_told_when_to_come_back_and_others_are_served() {
    let router = router(limited(Limits { requests_per_minute: Some(2), ..Limits::default() }));
    for _ in 0..2 {
        assert_eq!(code(&router, KEY).await, said(200, "ok"));
    }
    let (status, headers, body) = send(&router, Method::POST, "/v1/embeddings", &[KEY], ASK).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((29..=30).contains(&wait), "{wait}");
    assert!(String::from_utf8(body).unwrap().contains("limit-exceeded"));
    assert_eq!(code(&router, OTHER).await, said(200, "ok"));
}

#[tokio::test]
async fn tokens_of_a_request_count_against_those_that_follow() {
    let router = router(limited(Limits { tokens_per_minute: Some(2), ..Limits::default() }));
    // One of three tokens is begun while there are some left, and is made up for first.
    assert_eq!(embed(&router, &[KEY], r#"{"model":"tiny/1","input":"a b c d"}"#).await.0, StatusCode::OK);
    assert_eq!(code(&router, KEY).await, said(429, "limit-exceeded"));
    assert_eq!(code(&router, OTHER).await, said(200, "ok"));
}

#[tokio::test]
async fn limits_of_one_identity_are_in_place_of_all_others() {
    let one = |count| Limits { requests_per_minute: Some(count), ..Limits::default() };
    let router = router(|access| {
        let own = IdentityLimits { kind: IdentityKind::ApiKey, name: "app".into(), limits: one(2) };
        let same_name = IdentityLimits { kind: IdentityKind::Workload, name: "other".into(), limits: one(2) };
        (access.limits, access.identities) = (one(1), vec![own, same_name]);
    });
    assert_eq!([code(&router, KEY).await.0, code(&router, KEY).await.0, code(&router, KEY).await.0], [200, 200, 429]);
    assert_eq!([code(&router, OTHER).await.0, code(&router, OTHER).await.0], [200, 429]);
}

#[tokio::test]
async fn request_under_way_takes_a_place_until_it_is_over() {
    let access = access(limited(Limits { concurrent: Some(1), ..Limits::default() }));
    let record = || Record::begin(Method::GET, "", Arc::new(Metrics::of([])));
    let place = || access.place(Identity::new(IdentityKind::ApiKey, "app").into(), &record());
    let caller = place().unwrap();
    let call = access.authorize(&caller, CallAction::Embed, "tiny/1", Sha256([1; 32])).unwrap();
    drop(caller);
    assert_eq!(place().unwrap_err().code, Code::LimitExceeded, "what is authorised goes on");
    drop(call);
    assert!(place().is_ok());
}

#[tokio::test]
async fn answer_that_is_not_taken_yet_keeps_its_place() {
    let router = router(limited(Limits { concurrent: Some(1), ..Limits::default() }));
    let request = Request::post("/v1/embeddings").header(KEY.0, KEY.1).body(Body::from(ASK)).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let length: usize = answer.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    assert_eq!(code(&router, KEY).await, said(429, "limit-exceeded"));
    assert_eq!(code(&router, OTHER).await, said(200, "ok"));
    assert_eq!(read_body(answer.into_body(), 1 << 20, "answer").await.unwrap().len(), length);
    assert_eq!(code(&router, KEY).await, said(200, "ok"));
}

#[test]
fn document_whose_policies_or_keys_are_none_refused_before_anything_is_pulled() {
    let code = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Access::of(&settings, Clock::default()).err().map(|refusal| refusal.code)
    };
    assert_eq!(code(&|_| ()), None);
    assert_eq!(code(&|s| s.access.policies = Some("permit".into())), Some(Code::PolicyInvalid));
    let domain = |bundle: &str| deployment::TrustedDomain {
        name: strongroom_wire::spiffe::TrustDomain::parse("a.test").unwrap(),
        bundle: bundle.into(),
    };
    assert_eq!(code(&|s| s.access.trust_domains = vec![domain("{}")]), Some(Code::Malformed));
    assert_eq!(code(&|s| s.access.trust_domains = vec![domain(r#"{"keys":[]}"#)]), Some(Code::IdentityInvalid));
}

#[test]
fn example_of_the_documents_is_one() {
    #[derive(serde::Deserialize)]
    struct Example {
        access: deployment::Access,
    }
    let page = include_str!("../../../../docs/callers.md");
    let block = |kind: &str| page.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0;
    let example = strongroom_wire::document::parse_toml(block("toml").as_bytes(), "example", 1 << 16, Code::Malformed);
    let Example { access } = example.unwrap();
    assert_eq!((access.issuers.len(), access.trust_domains.len(), access.identities.len()), (1, 1, 1));
    let policies = CallPolicies::parse(access.policies.unwrap().as_bytes()).unwrap();
    assert_eq!(policies.policies().warnings(), [""; 0]);
    assert_eq!(block("cedar"), PRINCIPALS);
}
