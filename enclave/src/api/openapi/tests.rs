use crate::api::error::told;
use crate::api::routes::table;
use crate::api::tests::{KEY, app, booting, send};
use crate::inference::tensor::Datatype;
use crate::inference::tensor::tests::doubling;
use axum::Router;
use axum::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strongroom_wire::{Code, limits};

fn document() -> Value {
    serde_json::from_str(super::DOCUMENT).unwrap()
}

/// Every operation of the document: its method, its path, itself.
fn operations(document: &Value) -> Vec<(Method, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths
        .flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |(method, of)| (path, method, of)));
    each.map(|(path, method, of)| (method.to_uppercase().parse().unwrap(), path.as_str(), of)).collect()
}

/// The status of an operation's answer, with its parameters filled in.
async fn status(router: &Router, method: &Method, path: &str, headers: &[(&str, &str)]) -> u16 {
    let path = path.replace("{name}", "other").replace("{version}", "1");
    send(router, method.clone(), &path, headers, "").await.0.as_u16()
}

#[tokio::test]
async fn every_operation_is_a_route_and_answers_as_it_says_while_starting_to_strangers_and_to_nonsense() {
    let document = document();
    let (starting, serving) = (booting(), app([doubling()]).router());
    let operations = operations(&document);
    assert!(operations.len() > 12);
    for (method, path, operation) in operations {
        for (router, headers) in [(&starting, &[KEY][..]), (&serving, &[]), (&serving, &[KEY])] {
            let status = status(router, &method, path, headers).await;
            assert!(operation["responses"][status.to_string()].is_object(), "{method} {path}: {status}");
        }
        let is_open = operation["security"] == json!([]);
        assert_eq!(status(&serving, &method, path, &[]).await == 401, !is_open, "{method} {path}");
    }
}

/// The route that has an operation of the document: names that may have slashes are one there.
fn route_of(path: &str) -> String {
    let several = ["/v2/models/", "/v2/repository/models/"].into_iter().find(|several| path.starts_with(several));
    several.map_or_else(|| path.replace("{name}", "{*name}"), |several| format!("{several}{{*target}}"))
}

#[test]
fn every_route_is_in_the_document_and_every_operation_in_the_table() {
    let document = document();
    let documented: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method.to_string(), route_of(path))).collect();
    let routes = table().into_iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(documented, routes);
}

#[test]
fn every_status_that_a_refusal_is_told_with_is_one_of_each_operation_that_runs_a_model() {
    let document = document();
    let operations = operations(&document);
    for id in ["modelInfer", "modelVersionInfer", "embed", "classify", "classifyTokens", "chat", "complete"] {
        let (_, _, operation) = operations.iter().find(|(_, _, operation)| operation["operationId"] == id).unwrap();
        for code in Code::ALL {
            let status = told(*code).0.as_u16().to_string();
            assert!(operation["responses"][&status].is_object(), "{id}: {status} of {code}");
        }
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = document();
    let text = super::DOCUMENT;
    let references: Vec<&str> =
        text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn document_has_the_release_s_version_and_the_limits_that_are_kept() {
    let document = document();
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let of = |pointer: &str| document.pointer(&format!("/components/schemas{pointer}")).cloned().unwrap_or_default();
    let request = "/InferenceRequest/properties";
    for (pointer, limit) in [
        (format!("{request}/id/maxLength"), limits::REQUEST_ID),
        (format!("{request}/inputs/maxItems"), limits::TENSORS),
        (format!("{request}/outputs/maxItems"), limits::TENSORS),
        (format!("{request}/inputs/items/properties/shape/maxItems"), limits::TENSOR_RANK),
        ("/EmbeddingsRequest/properties/input/anyOf/0/maxLength".into(), limits::API_INPUT),
        ("/EmbeddingsRequest/properties/input/anyOf/1/maxItems".into(), limits::API_INPUTS),
        ("/TokenClassificationRequest/properties/ignore_labels/maxItems".into(), limits::IGNORED_LABELS),
        ("/TokenClassificationRequest/properties/input/anyOf/0/maxLength".into(), limits::API_INPUT),
        ("/TokenClassificationRequest/properties/input/anyOf/1/maxItems".into(), limits::API_INPUTS),
        ("/CompletionRequest/properties/prompt/anyOf/0/maxLength".into(), limits::API_INPUT),
        ("/ChatRequest/properties/messages/maxItems".into(), limits::API_MESSAGES),
        ("/ChatRequest/properties/n/maximum".into(), limits::CHOICES),
        ("/ChatRequest/properties/tools/maxItems".into(), limits::TOOLS),
        ("/ChatRequest/properties/top_logprobs/maximum".into(), limits::TOP_LOG_PROBABILITIES),
        ("/CompletionRequest/properties/logprobs/maximum".into(), limits::TOP_LOG_PROBABILITIES),
        ("/ChatRequest/properties/stop/anyOf/1/maxItems".into(), limits::STOPS),
        ("/ChatRequest/properties/stop/anyOf/0/maxLength".into(), limits::STOP),
    ] {
        assert_eq!(of(&pointer), json!(limit), "{pointer}");
    }
    let name = &document["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["schema"]["maxLength"];
    assert_eq!(*name, json!(limits::MODEL_NAME));
    let datatypes: Vec<&str> = Datatype::ALL.iter().map(|datatype| datatype.as_str()).collect();
    assert_eq!(of("/Port/properties/datatype/enum"), json!(datatypes));
    assert_eq!(of(&format!("{request}/inputs/items/properties/datatype/enum")), json!(datatypes));
}
