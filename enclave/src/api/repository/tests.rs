use super::*;
use crate::api::access;
use crate::api::tests::{KEY, app, app_of, embed, get, send};
use crate::inference::tests::counting;
use crate::lease::Tenure;
use axum::Router;
use axum::http::Method;
use serde_json::Value;
use strongroom_wire::evidence::WORKLOAD_HEADER;

const INDEX: &str = "/v2/repository/index";
const LOAD: &str = "/v2/repository/models/tiny/1/load";

/// An enclave whose document lets everybody manage its model, and no model change.
fn managed() -> Router {
    let all = r#"@id("a") permit (principal, action, resource);"#;
    let access = access::tests::access(|access| access.policies = Some(all.into()));
    app_of([counting()], Tenure::without_lease(), access).router()
}

async fn post(router: &Router, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = send(router, Method::POST, path, &[KEY], body).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

async fn refused(router: &Router, path: &str, body: &str) -> (u16, String) {
    let (status, body) = post(router, path, body).await;
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn caller_whom_no_policy_permits_to_manage_refused_and_one_whom_it_does_told_that_nothing_may_change() {
    let without = app([counting()]).router();
    assert_eq!(refused(&without, LOAD, "").await, (403, "policy-denied".into()));
    let managed = managed();
    for path in [LOAD, "/v2/repository/models/tiny/1/unload"] {
        assert_eq!(refused(&managed, path, "").await, (409, "model-fixed".into()), "{path}");
    }
    assert_eq!(embed(&managed, &[KEY], r#"{"model":"tiny/1","input":"a"}"#).await.0, 200);
}

#[tokio::test]
async fn change_of_no_model_or_of_no_kind_or_with_a_body_that_is_none_refused() {
    let router = managed();
    assert_eq!(refused(&router, "/v2/repository/models/other/load", "").await, (404, "model-unknown".into()));
    assert_eq!(refused(&router, "/v2/repository/models/tiny/1/reload", "").await, (404, "route-unknown".into()));
    for body in ["7", "{", r#"{"parameters":{"config":"{}"}}"#, r#"{"more":1}"#] {
        assert_eq!(refused(&router, LOAD, body).await, (400, "request-invalid".into()), "{body}");
    }
    let fitting = format!(r#"{{"parameters":{{}}{}}}"#, " ".repeat(limits::CHANGE_REQUEST - 17));
    assert_eq!(refused(&router, LOAD, &fitting).await, (409, "model-fixed".into()));
    assert_eq!(refused(&router, LOAD, &format!("{fitting} ")).await, (413, "too-large".into()));
    let unload = r#"{"parameters":{"reference":"r:1/m:v2"}}"#;
    let fixed = refused(&router, "/v2/repository/models/tiny/1/unload", unload).await;
    assert_eq!(fixed, (409, "model-fixed".into()), "what may not change is asked first");
}

#[tokio::test]
async fn index_lists_what_is_served_to_whom_may_list_it() {
    let (status, body) = post(&managed(), INDEX, "").await;
    let version = Sha256([1; 32]).oci();
    let served = json!([{"name": "tiny/1", "version": version, "state": "READY", "reason": ""}]);
    assert_eq!((status, body), (200, served));
    let nobody = access::tests::access(|access| access.policies = Some("// none".into()));
    let nobody = app_of([counting()], Tenure::without_lease(), nobody).router();
    assert_eq!(post(&nobody, INDEX, "").await, (200, json!([])));
}

#[tokio::test]
async fn request_that_names_the_workload_answered_and_one_that_names_another_refused_before_its_body_is_read() {
    let app = app([counting()]);
    let workload = app.serving().unwrap().workload;
    let router = app.router();
    let ask = async |pinned: &str, body: &str| {
        let (status, body) = embed(&router, &[KEY, (WORKLOAD_HEADER, pinned)], body).await;
        (status.as_u16(), body["error"].clone())
    };
    assert_eq!(ask(&workload.to_string(), r#"{"model":"tiny/1","input":"a"}"#).await.0, 200);
    let other = "07".repeat(32);
    let (status, error) = ask(&other, "no body").await;
    assert_eq!((status, error["code"].as_str()), (412, Some("workload-changed")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&other) && message.contains(&workload.to_string()), "found and wanted: {message}");
    assert_eq!(ask("7", "{}").await.0, 400);
    let (status, _) = get(&router, "/v1/models", &[(WORKLOAD_HEADER, &other)]).await;
    assert_eq!(status, 401, "who asks comes first");
}
