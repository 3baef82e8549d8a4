mod leaks;

use super::*;
use crate::attester::tests::Unsigned;
use crate::evidence::Bound;
use crate::inference::Model;
use crate::inference::tests::{counting, panicking, tiny};
use crate::stage::Progress;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use strongroom_transport::read_body;
use strongroom_wire::bytes;
use strongroom_wire::evidence::{self, EvidenceAnswer, Workload};
use tower::ServiceExt as _;

pub(crate) const KEY: (&str, &str) = ("authorization", "Bearer key-of-app");

/// Somebody who may have texts embedded.
pub(crate) fn caller() -> Authorized {
    caller_of(CallAction::Embed, "tiny/1")
}

/// Somebody who may have that done by the model of that name.
pub(crate) fn caller_of(action: CallAction, model: &str) -> Authorized {
    access::tests::authorized(action, model)
}

/// An application that serves `models`.
pub(crate) fn app(models: impl IntoIterator<Item = Model>) -> App {
    app_until(models, Tenure::without_lease())
}

/// The same, for as long as `tenure` lasts.
pub(crate) fn app_until(models: impl IntoIterator<Item = Model>, tenure: Tenure) -> App {
    app_of(models, tenure, access::tests::access(|_| ()))
}

/// The same, for those whom `access` lets in.
pub(crate) fn app_of(models: impl IntoIterator<Item = Model>, tenure: Tenure, access: Access) -> App {
    let (mut progress, stage) = Progress::start();
    let app = App::new(stage);
    let mut served = Models::default();
    for model in models {
        served.insert("tiny/1".into(), model);
    }
    let workload = Workload { deployment: bytes::to_base64(b"document"), models: Vec::new() };
    let bound = Bound { channel_key: b"key".to_vec(), workload };
    let workload = bound.workload.digest().unwrap();
    let desk = Desk::open(Arc::new(Unsigned::default()), bound, crate::staple::Staple::of_host()).unwrap();
    let (access, tenure) = (Arc::new(access), Arc::new(tenure));
    app.serve(Serving { access, models: served, workload, desk, tenure, changes: None });
    progress.enter(Stage::Serving);
    app
}

fn serving() -> Router {
    app([]).router()
}

/// The same with the small model of the set-up; `None`, with a message, where it is not there.
fn serving_tiny() -> Option<Router> {
    Some(app([tiny()?]).router())
}

/// An enclave that does not serve yet.
pub(crate) fn booting() -> Router {
    let (_, stage) = Progress::start();
    App::new(stage).router()
}

pub(crate) async fn send(
    router: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body.into())).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, read_body(body, 1 << 22, "answer").await.unwrap().to_vec())
}

pub(crate) async fn get(router: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let (status, _, body) = send(router, Method::GET, path, headers, "").await;
    (status, serde_json::from_slice(&body).unwrap())
}

pub(crate) async fn embed(router: &Router, headers: &[(&str, &str)], body: &str) -> (StatusCode, Value) {
    let (status, _, body) = send(router, Method::POST, "/v1/embeddings", headers, body).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn booting_enclave_is_live_and_answers_nothing_else() {
    let router = booting();
    assert_eq!(get(&router, "/healthz", &[]).await, (StatusCode::OK, json!({"status": "live"})));
    let (status, body) = get(&router, "/readyz", &[]).await;
    assert_eq!((status, body), (StatusCode::SERVICE_UNAVAILABLE, json!({"stage": "measuring"})));
    let nonce = format!("{}?nonce={}", evidence::PATH, "ab".repeat(32));
    for path in [nonce.as_str(), "/v1/models"] {
        let (status, body) = get(&router, path, &[KEY]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not-ready")));
    }
    let (status, body) = embed(&router, &[KEY], "{}").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not-ready")));
}

#[tokio::test]
async fn serving_enclave_is_ready() {
    assert_eq!(get(&serving(), "/readyz", &[]).await, (StatusCode::OK, json!({"stage": "serving"})));
}

#[tokio::test]
async fn enclave_whose_inference_thread_panics_is_no_longer_ready() {
    let router = app([panicking()]).router();
    assert_eq!(get(&router, "/readyz", &[]).await.0, StatusCode::OK);
    let (status, body) = embed(&router, &[KEY], r#"{"model":"tiny/1","input":"a"}"#).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("runtime-failed")));
    let failed = (StatusCode::SERVICE_UNAVAILABLE, json!({"stage": "failed"}));
    // The caller may hear of it before the thread is through with its end.
    while get(&router, "/readyz", &[]).await != failed {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn model_described_to_a_principal_as_in_the_list_and_to_nobody_else() {
    let router = app([panicking()]).router();
    let (_, list) = get(&router, "/v1/models", &[KEY]).await;
    // OpenAI's clients write the name either way.
    for path in ["/v1/models/tiny/1", "/v1/models/tiny%2F1"] {
        assert_eq!(get(&router, path, &[KEY]).await, (StatusCode::OK, list["data"][0].clone()));
        assert_eq!(get(&router, path, &[]).await.0, StatusCode::UNAUTHORIZED);
    }
    for path in ["/v1/models/tiny", "/v1/models/tiny/1/", "/v1/models/%ff"] {
        let (status, body) = get(&router, path, &[KEY]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model-unknown")), "{path}");
    }
}

#[tokio::test]
async fn request_without_room_for_its_body_refused_and_taken_again_afterwards() {
    let app = app([]);
    let room: Vec<_> =
        (0..16).map(|_| app.room.reserve(&Body::from_stream(stream::pending::<Result<Bytes>>())).unwrap()).collect();
    let router = app.router();
    let ask = r#"{"model":"other","input":"a"}"#;
    let (status, body) = embed(&router, &[KEY], ask).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("busy")));
    drop(room);
    assert_eq!(embed(&router, &[KEY], ask).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn models_listed_for_a_principal_and_for_nobody_else() {
    let router = serving();
    let (status, body) = get(&router, "/v1/models", &[KEY]).await;
    assert_eq!((status, &body["object"]), (StatusCode::OK, &json!("list")));
    let (status, headers, body) = send(&router, Method::GET, "/v1/models", &[], "").await;
    assert_eq!((status, &headers[header::WWW_AUTHENTICATE]), (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap()));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "unauthenticated");
    assert_eq!(body["error"]["type"], "authentication_error");
}

#[tokio::test]
async fn unknown_caller_refused_before_the_body_is_looked_at() {
    let router = serving();
    let (status, _) = embed(&router, &[("authorization", "Bearer guess")], "no json").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, body) = embed(&router, &[KEY], "no json").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
}

/// Where a route of the table is asked for.
fn path_of(route: &routes::Route) -> String {
    let target = if route.method == Method::POST { "tiny/1/infer" } else { "tiny/1" };
    route.path.replace("{*name}", "tiny/1").replace("{*target}", target)
}

#[tokio::test]
async fn every_route_of_the_table_is_a_caller_s_unless_it_is_one_of_these() {
    let router = app([counting()]).router();
    let mut open = Vec::new();
    for route in routes::table() {
        let path = path_of(&route);
        let nobody = send(&router, route.method.clone(), &path, &[], "").await.0;
        let caller = send(&router, route.method.clone(), &path, &[KEY], "").await.0;
        assert_ne!(caller, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        if route.of == routes::For::Callers {
            assert_eq!(nobody, StatusCode::UNAUTHORIZED, "{path}");
            assert_ne!(caller, StatusCode::UNAUTHORIZED, "{path}");
        } else {
            open.push(route.path);
        }
    }
    let probes = ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"];
    assert_eq!(open, [&[evidence::PATH, "/openapi.json"][..], &probes].concat());
}

#[tokio::test]
async fn unknown_model_route_and_method_refused() {
    let router = serving();
    let (status, body) = embed(&router, &[KEY], r#"{"model":"other","input":"a"}"#).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model-unknown")));
    let (status, body) = get(&router, "/v1/responses", &[KEY]).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("route-unknown")));
    let (status, _) = get(&router, "/v1/embeddings", &[KEY]).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn evidence_for_a_nonce_given_to_anybody() {
    let path = format!("{}?nonce={}", evidence::PATH, "ab".repeat(32));
    let (status, headers, body) = send(&serving(), Method::GET, &path, &[], "").await;
    assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &"application/json".parse().unwrap()));
    assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
    let answer = EvidenceAnswer::parse(&body).unwrap();
    assert!(answer.expected_report_data(&[0xab; 32], b"key").is_ok());
}

#[tokio::test]
async fn nonce_that_is_none_refused() {
    let router = serving();
    for query in ["", "?nonce=", "?nonce=ab", "?nonce=AB", "?other=1"] {
        let (status, body) = get(&router, &format!("{}{query}", evidence::PATH), &[]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("malformed")), "{query}");
    }
}

#[tokio::test]
async fn embeddings_as_floats_and_as_base64_are_the_same() {
    let Some(router) = serving_tiny() else { return };
    let ask =
        |format: &str| format!(r#"{{"model":"tiny/1","input":["a cat",""],"encoding_format":"{format}","user":"u"}}"#);
    let (status, floats) = embed(&router, &[KEY], &ask("float")).await;
    assert_eq!(status, StatusCode::OK);
    let (_, base64) = embed(&router, &[KEY], &ask("base64")).await;
    assert_eq!((&floats["usage"], &floats["model"]), (&base64["usage"], &json!("tiny/1")));
    for index in 0..2 {
        assert_eq!(floats["data"][index]["index"], index);
        let floats: Vec<f32> = serde_json::from_value(floats["data"][index]["embedding"].clone()).unwrap();
        let bytes = bytes::from_base64(base64["data"][index]["embedding"].as_str().unwrap(), "vector").unwrap();
        let decoded: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(floats, decoded);
    }
}

#[tokio::test]
async fn dimensions_of_the_model_accepted_and_others_refused() {
    let Some(router) = serving_tiny() else { return };
    let ask = |n: usize| format!(r#"{{"model":"tiny/1","input":"a","dimensions":{n}}}"#);
    assert_eq!(embed(&router, &[KEY], &ask(32)).await.0, StatusCode::OK);
    let (status, body) = embed(&router, &[KEY], &ask(31)).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
}
