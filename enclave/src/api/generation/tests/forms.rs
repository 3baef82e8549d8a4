//! Answers of a form, calls of tools, and how likely tokens were, as callers get them.

use super::*;
use crate::api::access::tests::access;
use crate::api::tests::app_of;
use crate::inference::generation_tests::reciting;
use crate::lease::Tenure;

const HERMES: &str = "{% for t in tools or [] %}<tool_call>{{ t | tojson }}{% endfor %}\
    {% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments.x }}{% endfor %}{% endfor %}";

fn saying(text: &str) -> Router {
    app([reciting(text, HERMES)]).router()
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"x": {"type": "integer", "minimum": 7, "maximum": 9}},
        "required": ["x"], "additionalProperties": false});
    json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}])
}

#[tokio::test]
async fn answer_held_to_a_schema_is_of_it_whole_and_in_pieces() {
    let router = saying("I will not say it");
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
    let (status, whole) = document(&router, CHAT, with(chat("a"), json!({"response_format": format}))).await;
    assert_eq!(status, StatusCode::OK);
    let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(said).unwrap()["ok"].is_boolean(), "{said}");
    let streamed = with(chat("a"), json!({"response_format": format, "stream": true}));
    let (documents, _) = pieces(&answer(&router, CHAT, streamed).await.1);
    let pieces: String =
        documents.iter().map(|d| d["choices"][0]["delta"]["content"].as_str().unwrap_or_default()).collect();
    assert_eq!(pieces, said);
    let free = document(&router, CHAT, chat("a")).await.1;
    assert_eq!(free["choices"][0]["message"]["content"], "I will not say it");
    // Of a text, too.
    let text = json!({"model": "tiny/1", "prompt": "a", "temperature": 0, "max_tokens": 99, "response_format": {"type": "json_object"}});
    let (_, text) = document(&router, TEXT, text).await;
    assert!(text["choices"][0]["text"].as_str().unwrap().starts_with('{'));
}

#[tokio::test]
async fn schema_that_is_not_held_to_refused_by_the_keyword_that_is_not() {
    let of = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    let router = saying("[1]");
    let (status, _) = document(&router, CHAT, with(chat("a"), of(json!({"type": "array"})))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, got) =
        document(&router, CHAT, with(chat("a"), of(json!({"type": "array", "uniqueItems": true})))).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
    assert!(got["error"]["message"].as_str().unwrap().contains("uniqueItems"), "{got}");
}

#[tokio::test]
async fn calls_that_a_model_makes_told_in_openai_s_shape_whole_and_in_pieces() {
    let router = saying("Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 8}}\n</tool_call>");
    let asked = with(chat("a"), json!({"tools": tools()}));
    let (status, got) = document(&router, CHAT, asked.clone()).await;
    assert_eq!(status, StatusCode::OK);
    let choice = &got["choices"][0];
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!("Let me see."))
    );
    assert_eq!(call["function"], json!({"name": "f", "arguments": "{\"x\": 8}"}));
    assert!(
        call["id"].as_str().unwrap().starts_with("call_") && call["type"] == "function" && call.get("index").is_none()
    );
    let (documents, is_done) = pieces(&answer(&router, CHAT, with(asked, json!({"stream": true}))).await.1);
    assert!(is_done);
    let deltas: Vec<&Value> = documents.iter().map(|d| &d["choices"][0]["delta"]).collect();
    let said: String = deltas.iter().map(|d| d["content"].as_str().unwrap_or_default()).collect();
    let calls: Vec<&Value> = deltas.iter().flat_map(|d| d["tool_calls"].as_array().into_iter().flatten()).collect();
    assert_eq!((said.as_str(), calls.len()), ("Let me see.", 1));
    assert_eq!((&calls[0]["index"], &calls[0]["function"]), (&json!(0), &call["function"]));
    assert_eq!(documents.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    // Nobody asked for tools: it is text.
    let (_, got) = document(&router, CHAT, chat("a")).await;
    assert!(got["choices"][0]["message"]["content"].as_str().unwrap().contains("<tool_call>"));
    assert_eq!(got["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn call_that_is_demanded_made_with_arguments_of_their_schema() {
    let router = saying("No.");
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "f"}})] {
        let demanded = json!({"tools": tools(), "tool_choice": choice, "parallel_tool_calls": false});
        let (status, got) = document(&router, CHAT, with(chat("a"), demanded)).await;
        assert_eq!(status, StatusCode::OK);
        let choice = &got["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let called = &choice["message"]["tool_calls"][0]["function"];
        let arguments: Value = serde_json::from_str(called["arguments"].as_str().unwrap()).unwrap();
        assert!((7..=9).contains(&arguments["x"].as_i64().unwrap()) && called["name"] == "f", "{called}");
    }
    let (_, got) = document(&router, CHAT, with(chat("a"), json!({"tools": tools(), "tool_choice": "none"}))).await;
    assert_eq!(got["choices"][0]["message"]["content"], "No.");
    // A template that knows of no tools.
    let (status, got) = document(&serving(), CHAT, with(chat("a"), json!({"tools": tools()}))).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
    assert!(got["error"]["message"].as_str().unwrap().contains("tools"), "{got}");
}

#[tokio::test]
async fn calls_and_what_came_of_them_are_told_to_the_model() {
    let router = saying("It is 9.");
    let messages = json!([{"role": "user", "content": "?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
            "function": {"name": "f", "arguments": "{\"x\": 12345}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "nine"}]);
    let (status, got) = document(&router, CHAT, with(chat("a"), json!({"messages": messages}))).await;
    assert_eq!(status, StatusCode::OK);
    // One token a byte.
    assert_eq!(got["usage"]["prompt_tokens"], "[user]?[assistant]12345[tool]nine".len());
}

#[tokio::test]
async fn likelihoods_told_where_the_deployment_says_so_and_refused_where_it_does_not() {
    let allows = access(|access| access.log_probabilities = true);
    let router = app_of([reciting("é", HERMES)], Tenure::without_lease(), allows).router();
    let asked = with(chat("a"), json!({"logprobs": true, "top_logprobs": 2}));
    let (status, got) = document(&saying("é"), CHAT, asked.clone()).await;
    assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
    assert!(got["error"]["message"].as_str().unwrap().contains("logprobs"), "{got}");

    let (status, got) = document(&router, CHAT, asked.clone()).await;
    assert_eq!(status, StatusCode::OK);
    let content = got["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[0]["bytes"], &content[1]["bytes"]), (2, &json!([0xc3]), &json!([0xa9])));
    assert!(
        content[0]["logprob"].as_f64().unwrap() > -0.01
            && content[0]["logprob"] == content[0]["top_logprobs"][0]["logprob"]
    );
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    let (documents, _) = pieces(&answer(&router, CHAT, with(asked, json!({"stream": true}))).await.1);
    let streamed: Vec<&Value> = documents
        .iter()
        .flat_map(|d| d["choices"][0]["logprobs"]["content"].as_array().into_iter().flatten())
        .collect();
    assert_eq!(streamed, content.iter().collect::<Vec<_>>());

    let text = json!({"model": "tiny/1", "prompt": "a", "temperature": 0, "logprobs": 1});
    let (_, got) = document(&router, TEXT, text).await;
    let logprobs = &got["choices"][0]["logprobs"];
    assert_eq!((logprobs["tokens"].as_array().unwrap().len(), &logprobs["text_offset"]), (2, &json!([0, 1])));
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 1);
    let (_, got) = document(&router, CHAT, chat("a")).await;
    assert_eq!(got["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_s_client_parses_answers_of_a_form_and_calls_of_tools() {
    let Some(done) = asked_by("openai_forms.py", saying("I will not say it.")).await else { return };
    assert!(
        ["calm", "alarm"].map(Value::from).contains(&done["report"]["mood"]) && done["report"]["sure"].is_boolean()
    );
    assert_eq!((&done["finish"], &done["said"]), (&json!("tool_calls"), &json!("")));
    for call in ["called", "demanded"] {
        assert!(
            ["Oslo", "Bergen"].map(Value::from).contains(&done[call]["city"]) && done[call]["days"].is_i64(),
            "{done}"
        );
    }
}
