//! Answers that are held to a form, by models that would say something else.

use super::reciting::reciter;
use super::*;
use crate::inference::session;
use crate::inference::tests::folder;
use crate::runtime::tests::runtime;
use crate::setup::{peer, setup};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::path::Path;

const CHAT: &str = "{{ messages }}";

fn held_to(schema: &Value) -> Ask {
    Ask { form: Some(Form::Json(Schema::parse(&schema.to_string()).unwrap())), ..ask(text("a"), None) }
}

#[tokio::test]
async fn answer_that_is_of_its_form_by_itself_is_the_same_as_without_one() {
    let said = r#"{"a": [1, 2.5, "é"], "b": null}"#;
    let generator = reciter(said, CHAT);
    let free = answered(&generator, ask(text("a"), None)).await.unwrap();
    assert_eq!(free, (said.to_owned(), Finish::Stop, said.len() + 1));
    assert_eq!(answered(&generator, held_to(&json!({"type": "object"}))).await.unwrap(), free);
}

#[tokio::test]
async fn answer_that_would_be_of_another_form_is_of_the_one_that_is_asked_for() {
    let generator = reciter(r#"{"a": [1, 2.5, "é"], "b": null}"#, CHAT);
    let schema = json!({"type": "object", "properties": {"a": {"enum": ["no", "yes"]}, "c": {"type": "integer", "maximum": 5, "minimum": 1}},
        "required": ["a", "c"], "additionalProperties": false});
    let (said, finish, _) = answered(&generator, held_to(&schema)).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(
        finish == Finish::Stop && said["a"].is_string() && (1..=5).contains(&said["c"].as_i64().unwrap()),
        "{said}"
    );
}

#[tokio::test]
async fn all_choices_of_a_request_and_others_beside_it_each_have_their_own_form() {
    let generator = reciter("[1,[2,3],4]", CHAT);
    let list = json!({"type": "array"});
    let three = Ask { choices: 3, ..held_to(&list) };
    let (caller, number) = (caller(), held_to(&json!({"type": "integer", "maximum": 9})));
    let (mut answering, beside, free) = (
        generator.generate(&caller, three).await.unwrap(),
        answered(&generator, number),
        answered(&generator, ask(text("a"), None)),
    );
    let mut texts = vec![String::new(); 3];
    let (all, beside, free) = tokio::join!(
        async {
            while let Some(event) = answering.next().await {
                if let Event::Text { choice, text, .. } = event.unwrap() {
                    texts[choice].push_str(text.expose());
                }
            }
            texts
        },
        beside,
        free
    );
    assert_eq!(all, vec!["[1,[2,3],4]"; 3]);
    assert_eq!(free.unwrap().0, "[1,[2,3],4]");
    assert!(serde_json::from_str::<i64>(&beside.unwrap().0).unwrap() <= 9);
}

#[tokio::test]
async fn request_of_a_form_beyond_those_that_may_be_refused_and_one_without_taken() {
    let generator = reciter("{}", CHAT);
    let all = u32::try_from(limits::FORMS).unwrap();
    let taken = Arc::clone(&generator.forms).try_acquire_many_owned(all).unwrap();
    let object = || held_to(&json!({"type": "object"}));
    assert_eq!(generator.generate(&caller(), object()).await.unwrap_err().code, Code::Busy);
    assert!(answered(&generator, ask(text("a"), None)).await.is_ok());
    drop(taken);
    assert!(answered(&generator, object()).await.is_ok());
    let all = generator.forms.acquire_many(all).await;
    assert!(all.is_ok(), "it gives its place back");
    drop(all);
    let own = Arc::from(caller().identity().to_string());
    let taken: Vec<_> = (0..limits::FORMS / 4).map(|_| generator.form_shares.take(&own).unwrap()).collect();
    assert_eq!(generator.generate(&caller(), object()).await.unwrap_err().code, Code::Busy, "of one identity");
    assert!(generator.form_shares.take(&Arc::from("another")).is_ok());
    drop(taken);
}

#[tokio::test]
async fn calls_demanded_of_a_model_that_is_known_to_call_made_and_of_another_refused() {
    let calls = || Form::Calls { tools: vec![("f".to_owned(), Schema::object())], several: false };
    let knows = reciter("I would rather not", "{{ tools }}<tool_call>");
    let demanded = |generator: Generator| async move {
        answered(&generator, Ask { form: Some(calls()), ..ask(text("a"), Some(200)) }).await
    };
    let (said, ..) = demanded(knows).await.unwrap();
    assert!(said.starts_with("<tool_call>\n{\"name\": \"f\", \"arguments\": {"), "{said}");
    let refusal = demanded(reciter("I would rather not", "{{ tools }}")).await.unwrap_err();
    assert_eq!((refusal.code, refusal.what.as_str()), (Code::RequestInvalid, "tool_choice"));
}

#[tokio::test]
async fn likelihoods_are_of_each_token_and_of_the_likeliest_in_its_place() {
    let generator = reciter("é!", CHAT);
    let mut answering =
        generator.generate(&caller(), Ask { likeliest: Some(2), ..ask(text("a"), None) }).await.unwrap();
    let (mut said, mut bytes) = (String::new(), Vec::new());
    while let Some(event) = answering.next().await {
        if let Event::Text { text, chosen, .. } = event.unwrap() {
            let Chosen { token, likeliest } = chosen.unwrap();
            said.push_str(text.expose());
            assert_eq!(token.bytes.expose(), likeliest[0].bytes.expose());
            assert!((token.log_probability - likeliest[0].log_probability).abs() < 1e-12);
            // 10 against 0, -1, -2, …
            let all = (1.0 + (-10f64).exp() / (1.0 - (-1f64).exp())).ln();
            assert!(
                (token.log_probability + all).abs() < 1e-4 && (likeliest[1].log_probability + 10.0 + all).abs() < 1e-4
            );
            assert_eq!((likeliest.len(), likeliest[1].bytes.expose().as_slice()), (2, &b"<|begin|>"[..]));
            bytes.extend(token.bytes.expose().clone());
        }
    }
    assert_eq!((said.as_str(), bytes.as_slice()), ("é!", "é!".as_bytes()));
}

/// Schemas of many kinds, each short enough for a model that says anything to come to an end.
fn schemas() -> Vec<Value> {
    let word = json!({"type": "string", "maxLength": 6});
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    vec![
        object(json!({"a": word, "b": {"type": "boolean"}}), json!(["a", "b"])),
        object(json!({"a": word, "b": {"type": "null"}}), json!(["b"])),
        json!({"type": "array", "items": {"type": "integer", "minimum": -20, "maximum": 300}, "minItems": 2, "maxItems": 5}),
        json!({"enum": ["red", "green", 3, null, true, {"a": [1]}]}),
        json!({"const": {"kind": "é\"\\\n", "n": [1, 2.5]}}),
        json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 0, "maximum": 9}]}),
        json!({"oneOf": [object(json!({"k": {"const": "x"}}), json!(["k"])), object(json!({"k": {"const": "y"}, "v": word}), json!(["k", "v"]))]}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "array", "prefixItems": [word, {"type": "integer", "minimum": 1, "maximum": 3}], "items": false, "minItems": 2}),
        json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9}, "minProperties": 1, "maxProperties": 2}),
        json!({"type": "object", "patternProperties": {"^[a-c]{1,3}$": {"type": "boolean"}}, "additionalProperties": false}),
        json!({"allOf": [{"type": "integer", "minimum": 10}, {"maximum": 90, "multipleOf": 5}]}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": object(json!({"leaf": {"type": "boolean"},
            "more": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}}), json!(["leaf"]))}}),
        json!({"type": ["boolean", "null"]}),
    ]
}

/// `tests/peers/check_schemas.py`: `jsonschema` of Python.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_model_that_says_anything_follow_their_schemas_as_python_validates_them() {
    let (Some(runtime), Some(path), Some(python)) = (runtime(), setup("MODEL_TINY_CHAT"), peer("PEERS_PYTHON")) else {
        return;
    };
    let files = folder(&path, &[]);
    let generator = Generator::load(session::load(&runtime, &files).unwrap(), &files).unwrap();
    let (schemas, caller) = (schemas(), caller());
    let mut answers = Vec::new();
    // No more at a time than one identity may have.
    for (seed, some) in (0..3u64).flat_map(|seed| schemas.chunks(limits::FORMS / 8).map(move |some| (seed, some))) {
        let each = some.iter().map(async |schema| {
            let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed: Some(seed) };
            let mut answering = generator.generate(&caller, Ask { sampling, ..held_to(schema) }).await.unwrap();
            let mut said = String::new();
            while let Some(event) = answering.next().await {
                match event.unwrap() {
                    Event::Text { text, .. } => said.push_str(text.expose()),
                    Event::End { finish: Finish::Stop, .. } => return Some((schema.clone(), said)),
                    Event::End { .. } => return None,
                }
            }
            None
        });
        answers.extend(join_all(each).await.into_iter().flatten());
    }
    let ended = schemas.iter().filter(|schema| answers.iter().any(|(of, _)| of == *schema)).count();
    assert!(ended == schemas.len() && answers.len() * 10 > schemas.len() * 3 * 8, "{ended} {}", answers.len());
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("answers.json");
    std::fs::write(&input, serde_json::to_vec(&answers).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/check_schemas.py");
    let checked = std::process::Command::new(python).arg(script).arg(&input).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
