use crate::api::tests::{KEY, app, booting, get, send};
use crate::inference::tensor::tests::doubling;
use crate::inference::tests::counting;
use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;

const ASK: &str = r#"{"id":"7","inputs":[{"name":"x","datatype":"INT32","shape":[1,2],"data":[1,2]}]}"#;

fn serving() -> Router {
    app([doubling()]).router()
}

async fn infer(router: &Router, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
    let (status, _, body) = send(router, Method::POST, path, headers, body).await;
    (status, serde_json::from_slice(&body).unwrap())
}

fn refused(answer: &(StatusCode, Value)) -> (u16, &str) {
    assert!(answer.1["error"].is_string(), "{}", answer.1);
    (answer.0.as_u16(), answer.1["code"].as_str().unwrap())
}

#[tokio::test]
async fn enclave_that_serves_is_live_and_ready_and_one_that_starts_is_live_alone() {
    for (router, status, is_ready) in
        [(serving(), StatusCode::OK, true), (booting(), StatusCode::SERVICE_UNAVAILABLE, false)]
    {
        assert_eq!(get(&router, "/v2/health/live", &[]).await, (StatusCode::OK, json!({"live": true})));
        assert_eq!(get(&router, "/v2/health/ready", &[]).await, (status, json!({"ready": is_ready})));
    }
}

#[tokio::test]
async fn server_described_to_a_principal_and_to_nobody_else() {
    let router = serving();
    let (status, body) = get(&router, "/v2", &[KEY]).await;
    let extensions = json!(["binary_tensor_data", "model_repository"]);
    assert_eq!((status, &body["extensions"]), (StatusCode::OK, &extensions));
    assert_eq!(refused(&get(&router, "/v2", &[]).await), (401, "unauthenticated"));
    assert_eq!(refused(&get(&booting(), "/v2", &[KEY]).await), (503, "not-ready"));
}

#[tokio::test]
async fn model_described_under_its_name_and_version_and_under_no_other() {
    let router = serving();
    let version = Sha256([1; 32]).oci();
    let port = |name: &str| json!([{"name": name, "datatype": "INT32", "shape": [-1, 2]}]);
    let want = json!({"name": "tiny/1", "versions": [version], "platform": "onnxruntime_onnx", "inputs": port("x"), "outputs": port("y")});
    for path in ["tiny/1", "tiny%2F1", &format!("tiny/1/versions/{version}")] {
        let path = format!("/v2/models/{path}");
        assert_eq!(get(&router, &path, &[KEY]).await, (StatusCode::OK, want.clone()));
        let ready = get(&router, &format!("{path}/ready"), &[KEY]).await;
        assert_eq!(ready, (StatusCode::OK, json!({"name": "tiny/1", "ready": true})));
        assert_eq!(refused(&get(&router, &path, &[]).await), (401, "unauthenticated"));
    }
    for path in ["tiny", "tiny/1/versions/1", "tiny/1/versions/1/ready", "%ff", "tiny/1/"] {
        assert_eq!(
            refused(&get(&router, &format!("/v2/models/{path}"), &[KEY]).await),
            (404, "model-unknown"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn tensors_of_a_principal_go_through_the_model_and_nobody_else_s_do() {
    let router = serving();
    let (status, body) = infer(&router, "/v2/models/tiny/1/infer", &[KEY], ASK).await;
    let output = json!({"name": "y", "datatype": "INT32", "shape": [1, 2], "data": [2, 4]});
    let want = json!({"model_name": "tiny/1", "model_version": Sha256([1; 32]).oci(), "id": "7", "outputs": [output]});
    assert_eq!((status, body), (StatusCode::OK, want));
    assert_eq!(refused(&infer(&router, "/v2/models/tiny/1/infer", &[], ASK).await), (401, "unauthenticated"));
    assert_eq!(refused(&infer(&booting(), "/v2/models/tiny/1/infer", &[KEY], ASK).await), (503, "not-ready"));
    assert_eq!(refused(&infer(&router, "/v2/models/other/infer", &[KEY], ASK).await), (404, "model-unknown"));
    assert_eq!(refused(&infer(&router, "/v2/models/tiny/1/infer", &[KEY], "no json").await), (400, "request-invalid"));
}

#[tokio::test]
async fn binary_data_both_ways_are_told_by_the_header() {
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","datatype":"INT32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#;
    let body = [json.as_bytes(), &[1, 0, 0, 0, 2, 0, 0, 0]].concat();
    let (router, length) = (serving(), json.len().to_string());
    let ask = |length: String| {
        let (router, body) = (router.clone(), body.clone());
        async move {
            let headers = [KEY, ("inference-header-content-length", length.as_str())];
            send(&router, Method::POST, "/v2/models/tiny/1/infer", &headers, body).await
        }
    };
    let (status, headers, answer) = ask(length).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &"application/octet-stream".parse().unwrap())
    );
    let (json, data) = answer.split_at(headers["inference-header-content-length"].to_str().unwrap().parse().unwrap());
    let json: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(
        (&json["outputs"][0]["parameters"]["binary_data_size"], data),
        (&json!(8), &[2, 0, 0, 0, 4, 0, 0, 0][..])
    );
    for length in ["-1", "x", "", "99999999999999999999"] {
        let (status, _, answer) = ask(length.into()).await;
        assert_eq!(
            (status, serde_json::from_slice::<Value>(&answer).unwrap()["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some("request-invalid"))
        );
    }
}

#[tokio::test]
async fn method_of_another_action_refused_with_those_that_there_are() {
    let router = serving();
    let ask = |method: Method, path: &'static str| {
        let router = router.clone();
        async move {
            let (status, headers, _): (StatusCode, HeaderMap, _) = send(&router, method, path, &[KEY], ASK).await;
            (status.as_u16(), headers[header::ALLOW].to_str().unwrap().to_owned())
        }
    };
    assert_eq!(ask(Method::GET, "/v2/models/tiny/1/infer").await, (405, "POST".into()));
    assert_eq!(ask(Method::POST, "/v2/models/tiny/1").await, (405, "GET,HEAD".into()));
    assert_eq!(ask(Method::POST, "/v2/models/tiny/1/ready").await, (405, "GET,HEAD".into()));
    assert_eq!(ask(Method::OPTIONS, "/v2/models/tiny/1/ready").await, (405, "GET,HEAD".into()));
    assert_eq!(ask(Method::DELETE, "/v2/models/tiny/1/infer").await, (405, "POST".into()));
    let (status, body) = get(&router, "/v2/other", &[KEY]).await;
    assert_eq!(refused(&(status, body)), (404, "route-unknown"));
}

#[tokio::test]
async fn model_takes_the_calls_of_its_kind_and_no_other() {
    let texts = app([counting()]).router();
    assert_eq!(refused(&infer(&texts, "/v2/models/tiny/1/infer", &[KEY], ASK).await), (400, "request-invalid"));
    assert_eq!(refused(&get(&texts, "/v2/models/tiny/1", &[KEY]).await), (400, "request-invalid"));
    assert_eq!(get(&texts, "/v2/models/tiny/1/ready", &[KEY]).await.0, StatusCode::OK);
    let (status, body) = infer(&serving(), "/v1/embeddings", &[KEY], r#"{"model":"tiny/1","input":"a"}"#).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
}

#[tokio::test]
async fn body_over_the_limit_refused_unread() {
    let router = serving();
    let ask = |extra: usize| format!("{ASK}{}", " ".repeat(limits::API_BODY - ASK.len() + extra));
    assert_eq!(infer(&router, "/v2/models/tiny/1/infer", &[KEY], ask(0)).await.0, StatusCode::OK);
    assert_eq!(refused(&infer(&router, "/v2/models/tiny/1/infer", &[KEY], ask(1)).await), (413, "too-large"));
}
