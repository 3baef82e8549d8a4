mod forms;

use crate::api::tests::{KEY, app};
use crate::inference::generation_tests::alphabet;
use crate::setup::peer;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::path::Path;
use strongroom_transport::{ServeLimits, bind, read_body, serve};
use tokio::process::Command;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

fn serving() -> Router {
    app([alphabet()]).router()
}

fn request(path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(path).header(KEY.0, KEY.1);
    request.body(Body::from(body.to_string())).unwrap()
}

async fn answer(router: &Router, path: &str, body: Value) -> (StatusCode, String) {
    let response = router.clone().oneshot(request(path, &body)).await.unwrap();
    let status = response.status();
    let body = read_body(response.into_body(), 1 << 22, "answer").await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn document(router: &Router, path: &str, body: Value) -> (StatusCode, Value) {
    let (status, text) = answer(router, path, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// The documents of a stream, and whether it was closed as one is.
fn pieces(stream: &str) -> (Vec<Value>, bool) {
    let mut pieces: Vec<&str> = stream.split("\n\n").collect();
    assert_eq!(pieces.pop(), Some(""));
    let is_done = pieces.last() == Some(&"data: [DONE]");
    let documents = pieces.iter().filter(|piece| **piece != "data: [DONE]");
    (documents.map(|piece| serde_json::from_str(piece.strip_prefix("data: ").unwrap()).unwrap()).collect(), is_done)
}

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn chat(content: &str) -> Value {
    json!({"model": "tiny/1", "messages": [{"role": "user", "content": content}], "temperature": 0})
}

fn with(mut body: Value, members: Value) -> Value {
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn chat_answered_in_openai_s_shape() {
    let (status, got) = document(&serving(), CHAT, chat("w")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(got["id"].as_str().unwrap().starts_with("chatcmpl-") && got["created"].as_u64().unwrap() > 0);
    assert_eq!(got["object"], "chat.completion");
    assert_eq!(got["model"], "tiny/1");
    assert_eq!(got["system_fingerprint"], format!("sha256:{}", "01".repeat(32)));
    let message = json!({"role": "assistant", "content": "xyz"});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(got["choices"], json!([choice]));
    assert_eq!(got["usage"], json!({"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}));
}

#[tokio::test]
async fn text_answered_in_openai_s_shape() {
    let body = json!({"model": "tiny/1", "prompt": "ab", "max_tokens": 3, "temperature": 0, "n": 2});
    let (status, got) = document(&serving(), TEXT, body).await;
    assert_eq!(status, StatusCode::OK);
    assert!(got["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(got["object"], "text_completion");
    let choice = |index: usize| json!({"index": index, "text": "cde", "logprobs": null, "finish_reason": "length"});
    assert_eq!(got["choices"], json!([choice(0), choice(1)]));
    assert_eq!(got["usage"], json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}));
}

#[tokio::test]
async fn streamed_answer_is_the_whole_one_in_pieces() {
    let router = serving();
    for (path, body) in [
        (CHAT, with(chat("b"), json!({"stop": ["wx"], "n": 2}))),
        (TEXT, json!({"model": "tiny/1", "prompt": "b", "stop": "wx", "n": 2, "temperature": 0, "max_tokens": 60})),
    ] {
        let (_, whole) = document(&router, path, body.clone()).await;
        let streamed = with(body, json!({"stream": true, "stream_options": {"include_usage": true}}));
        let (status, text) = answer(&router, path, streamed).await;
        let (documents, is_done) = pieces(&text);
        assert!(status.is_success() && is_done && documents.len() > 30);
        let used = documents.last().unwrap();
        assert_eq!((&used["choices"], &used["usage"]), (&json!([]), &whole["usage"]));
        for choice in [0, 1] {
            let of_it: Vec<&Value> = documents
                .iter()
                .flat_map(|d| d["choices"].as_array().unwrap())
                .filter(|c| c["index"] == choice)
                .collect();
            let piece =
                |c: &&Value| c["delta"]["content"].as_str().or(c["text"].as_str()).unwrap_or_default().to_owned();
            let text: String = of_it.iter().map(piece).collect();
            let want = &whole["choices"][choice];
            assert_eq!(Some(text.as_str()), want["message"]["content"].as_str().or(want["text"].as_str()));
            assert_eq!(text, "cdefghijklmnopqrstuv");
            assert_eq!(of_it.last().unwrap()["finish_reason"], want["finish_reason"]);
            assert!(path == TEXT || of_it[0]["delta"]["role"] == "assistant");
        }
        assert!(
            documents.iter().rev().skip(1).all(|document| document["usage"].is_null() && document["id"] == used["id"])
        );
    }
}

#[tokio::test]
async fn stream_without_usage_has_no_member_of_it() {
    let (_, text) = answer(&serving(), CHAT, with(chat("x"), json!({"stream": true}))).await;
    let (documents, is_done) = pieces(&text);
    assert!(is_done && !text.contains("usage"));
    let deltas: Vec<&Value> = documents.iter().map(|document| &document["choices"][0]["delta"]).collect();
    let want =
        [json!({"role": "assistant", "content": ""}), json!({"content": "y"}), json!({"content": "z"}), json!({})];
    assert_eq!(deltas, want.iter().collect::<Vec<_>>());
    assert!(documents.iter().all(|document| document["object"] == "chat.completion.chunk"));
}

#[tokio::test]
async fn answer_that_fails_before_its_first_token_has_its_status_and_after_it_ends_the_stream_with_the_error() {
    let router = serving();
    for stream in [false, true] {
        let (status, got) = document(&router, CHAT, with(chat("!"), json!({"stream": stream}))).await;
        assert_eq!((status, &got["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("runtime-failed")));
    }
    // The space is answered, and `!` follows it.
    let (status, text) = answer(&router, CHAT, with(chat("\u{1f}"), json!({"stream": true}))).await;
    let (documents, is_done) = pieces(&text);
    assert!(status.is_success() && !is_done);
    assert_eq!(documents.last().unwrap()["error"]["code"], "runtime-failed");
    assert_eq!(documents[1]["choices"][0]["delta"]["content"], " ");
    let (status, got) = document(&router, CHAT, chat("\u{1f}")).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("runtime-failed")));
}

#[tokio::test]
async fn caller_is_known_and_the_model_there_before_anything_is_generated() {
    let router = serving();
    let mut stranger = request(CHAT, &chat("a"));
    stranger.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(router.clone().oneshot(stranger).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let (status, got) = document(&router, CHAT, with(chat("a"), json!({"model": "other"}))).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model-unknown")));
    let (status, got) = document(&router, "/v1/embeddings", json!({"model": "tiny/1", "input": "a"})).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
    let embedding = app([crate::inference::tests::counting()]).router();
    let (status, got) = document(&embedding, CHAT, chat("a")).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_s_client_chats_whole_in_pieces_and_asynchronously_and_may_leave() {
    let Some(done) = asked_by("openai_generate.py", serving()).await else { return };
    let (chat, streamed) = (&done["chat"], &done["streamed"]);
    let text = "tuvwxyz";
    assert_eq!((&chat["text"], &chat["finish"]), (&json!(text), &json!("stop")));
    assert_eq!(chat["usage"], json!({"prompt_tokens": 30, "completion_tokens": 8, "total_tokens": 38}));
    for member in ["text", "finish", "usage"] {
        assert_eq!(chat[member], streamed[member], "{member}");
    }
    assert_eq!(streamed["pieces"], 7);
    assert_eq!(done["asynchronous"], json!([text, text, text, text]));
    assert_eq!((&done["seeded"][0], &done["after_cancel"]), (&done["seeded"][1], &json!(text)));
    assert_eq!(done["completion"], json!({"text": "-./012", "finish": "length"}));
    assert_eq!(done["refused"], 400);
}

/// What a script of OpenAI's client says of a service; `None`, with a message, where there is no Python.
async fn asked_by(script: &str, service: Router) -> Option<Value> {
    let python = peer("PEERS_PYTHON")?;
    let (bound, (stop, stopped)) = (bind("127.0.0.1:0").await.unwrap(), oneshot::channel::<()>());
    let url = format!("http://{}/v1", bound.local_addr());
    let stopped = async { drop(stopped.await) };
    let server = tokio::spawn(serve(bound, None, service, ServeLimits::default(), stopped));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(script);
    let key = KEY.1.strip_prefix("Bearer ").unwrap();
    let output = Command::new(python).arg(script).args([&url, key, "tiny/1"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn stream_comes_as_it_is_generated_and_ends_the_work_when_it_is_dropped() {
    let router = serving();
    let response = router.clone().oneshot(request(CHAT, &with(chat("a"), json!({"stream": true})))).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    drop(body);
    // What is left of it would be in the way of nobody.
    let (status, _) = document(&router, CHAT, chat("w")).await;
    assert_eq!(status, StatusCode::OK);
}
