use crate::api::tests::{KEY, app, send};
use crate::inference::tests::{counting, naming};
use axum::Router;
use axum::http::Method;
use serde_json::{Value, json};
use strongroom_wire::limits;

async fn ask(router: &Router, more: &Value) -> (u16, Value) {
    let mut body = json!({"model": "tiny/1", "input": "a b c"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, _, body) = send(router, Method::POST, "/v1/token-classification", &[KEY], body.to_string()).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn tokens_answered_as_the_pipeline_of_transformers_does_in_the_frame_of_classes() {
    let router = app([naming()]).router();
    let (status, got) = ask(&router, &json!({"input": ["a b c", ""], "user": "u"})).await;
    assert_eq!((status, &got["object"], &got["model"]), (200, &json!("list"), &json!("tiny/1")));
    assert!(got["id"].as_str().unwrap().starts_with("tokens-"));
    assert_eq!(got["usage"], json!({"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0}));
    let token = |label: &str, word: &str, at: u64, index: u64| json!({"entity": label, "score": 1.0, "index": index, "word": word, "start": at, "end": at + 1});
    let named = json!([token("B-PER", "b", 2, 2), token("I-PER", "c", 4, 3)]);
    assert_eq!(got["data"], json!([{"index": 0, "entities": named}, {"index": 1, "entities": []}]));

    let (_, got) = ask(&router, &json!({"aggregation_strategy": "none", "ignore_labels": ["B-PER", "I-PER"]})).await;
    assert_eq!(got["data"][0]["entities"], json!([token("O", "a", 0, 1)]));
    let (_, got) = ask(&router, &json!({"aggregation_strategy": "simple"})).await;
    let group = json!({"entity_group": "PER", "score": 1.0, "word": "b c", "start": 2, "end": 5});
    assert_eq!(got["data"][0]["entities"], json!([group]));
}

#[tokio::test]
async fn what_is_not_served_and_models_of_other_kinds_refused() {
    let router = app([naming()]).router();
    for (more, named) in [
        (json!({"aggregation_strategy": "max"}), "`none` or `simple`"),
        (json!({"stride": 4}), "stride"),
        (json!({"grouped_entities": true}), "grouped_entities"),
        (json!({"ignore_subwords": true}), "ignore_subwords"),
        (json!({"is_split_into_words": false}), "is_split_into_words"),
        (json!({"delimiter": "_"}), "delimiter"),
        (json!({"dimensions": 3}), "dimensions"),
        (json!({"encoding_format": "float"}), "encoding_format"),
        (json!({"input": [4, 5]}), "text"),
        (json!({"input": []}), "input"),
        (json!({"ignore_labels": "O"}), "ignore_labels"),
    ] {
        let (status, got) = ask(&router, &more).await;
        assert_eq!((status, &got["error"]["code"]), (400, &json!("request-invalid")), "{more}");
        assert!(got["error"]["message"].as_str().unwrap().contains(named), "{got}");
    }
    let (status, got) = ask(&app([counting()]).router(), &json!({})).await;
    assert_eq!((status, &got["error"]["code"]), (400, &json!("request-invalid")));
    for path in ["/v1/classify", "/v1/embeddings"] {
        let body = r#"{"model": "tiny/1", "input": "a"}"#;
        assert_eq!(send(&router, Method::POST, path, &[KEY], body).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn ignored_labels_at_the_limits_accepted_and_over_them_refused() {
    let router = app([naming()]).router();
    let ignoring = async |labels: Vec<String>| ask(&router, &json!({"ignore_labels": labels})).await.0;
    let many = |count: usize| (0..count).map(|at| at.to_string()).collect();
    assert_eq!(ignoring(many(limits::IGNORED_LABELS)).await, 200);
    assert_eq!(ignoring(many(limits::IGNORED_LABELS + 1)).await, 400);
    assert_eq!(ignoring(vec!["a".repeat(limits::LABEL)]).await, 200);
    assert_eq!(ignoring(vec!["a".repeat(limits::LABEL + 1)]).await, 400);
}

#[tokio::test]
async fn answer_beyond_the_room_for_answers_is_busy() {
    let app = app([naming()]);
    let (room, router) = (app.room.clone(), app.router());
    assert_eq!(ask(&router, &json!({})).await.0, 200);
    let held = room.hold(vec![0; limits::API_BODIES].into()).unwrap();
    let (status, got) = ask(&router, &json!({})).await;
    assert_eq!((status, &got["error"]["code"]), (429, &json!("busy")));
    drop(held);
    assert_eq!(ask(&router, &json!({})).await.0, 200);
}
