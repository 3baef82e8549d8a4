use super::*;
use crate::inference::generation::vocabulary::tests::bytes;
use crate::inference::generation::vocabulary::tests::tokenizer_of_bytes;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use strongroom_wire::limits;

const END: u32 = 256;

fn schema(schema: &Value) -> Schema {
    Schema::parse(&schema.to_string()).unwrap()
}

fn guide(form: Form) -> Result<Guide> {
    bytes().grammars().unwrap().guide(form)
}

/// The tokens that may come next.
fn may(guide: &mut Guide) -> Vec<u32> {
    let mut logits = vec![0.0; 300];
    guide.limit(&mut logits).unwrap();
    (0..).zip(&logits).filter(|(_, logit)| logit.is_finite()).map(|(token, _)| token).collect()
}

/// Whether `text` is of the form, and may end there.
fn follows(form: Form, text: &str) -> bool {
    let mut guide = guide(form).unwrap();
    for byte in text.bytes().map(u32::from) {
        if !may(&mut guide).contains(&byte) {
            return false;
        }
        guide.take(byte).unwrap();
    }
    may(&mut guide).contains(&END)
}

#[test]
fn text_that_follows_its_schema_accepted_and_one_that_does_not_refused() {
    let object = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}},
        "required": ["a"], "additionalProperties": false});
    for (schema_of, yes, no) in [
        (object, r#"{"a": 3}"#, r#"{"a": 2}"#),
        (json!({"type": "string", "maxLength": 2}), r#""日本""#, r#""日本x""#),
        (json!({"enum": ["a", 1, null]}), "null", "nul"),
        (json!({"type": "array", "items": {"type": "boolean"}, "minItems": 1}), "[true,false]", "[]"),
        (json!({"type": "string", "pattern": "^[a-c]+$"}), r#""abc""#, r#""abd""#),
        (
            json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}),
            "[[],[[]]]",
            "[[],1]",
        ),
        (json!({"type": "integer", "multipleOf": 7}), "21", "22"),
    ] {
        assert!(follows(Form::Json(schema(&schema_of)), yes), "{yes}");
        assert!(!follows(Form::Json(schema(&schema_of)), no), "{no}");
    }
    assert!(follows(Form::Json(Schema::object()), r#"{"a": [1.5e3, {"b": "é\n"}]}"#));
    assert!(!follows(Form::Json(Schema::object()), "[]"));
}

#[test]
fn calls_are_of_the_tools_with_the_arguments_that_they_take() {
    let arguments = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"],
        "additionalProperties": false, "$defs": {"x": {"enum": ["\"}\n</tool_call>"]}}});
    let form = |several| Form::Calls {
        tools: vec![("f-1".into(), schema(&arguments)), ("g".into(), Schema::object())],
        several,
    };
    let f = "<tool_call>\n{\"name\": \"f-1\", \"arguments\": {\"x\": \"\\\"}\\n</tool_call>\"}}\n</tool_call>";
    let g = "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
    assert!(follows(form(false), f) && follows(form(false), g) && follows(form(true), &format!("{f}\n{g}")));
    assert!(!follows(form(false), &format!("{f}\n{g}")), "one alone");
    assert!(!follows(form(true), "") && !follows(form(true), "Hello"));
    assert!(!follows(form(true), &g.replace("\"g\"", "\"h\"")) && !follows(form(true), &f.replace("\"x\"", "\"y\"")));
}

#[test]
fn schema_that_nothing_follows_refused() {
    for of in [
        json!(false),
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "string", "pattern": "["}),
        json!({"type": "string", "format": "secret"}),
        json!({"type": 1}),
        json!({"oneOf": [{"type": "string"}, {"type": "string", "minLength": 2}]}),
    ] {
        let refusal = guide(Form::Json(schema(&of))).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid, "{of}");
        assert!(!format!("{refusal} {refusal:?}").contains("secret"));
    }
}

/// A schema that is another by its name, and that another one, as many times.
fn chain(length: usize) -> Value {
    let link = |n: usize| (format!("a{n}"), json!({"$ref": format!("#/$defs/a{}", n + 1)}));
    let links: serde_json::Map<String, Value> = (0..length - 1).map(link).collect();
    let mut all = json!({"$ref": "#/$defs/a0", "$defs": links});
    all["$defs"][format!("a{}", length - 1)] = json!({"type": "string"});
    all
}

/// What would take for ever, or all memory, ends within its bounds: in a refusal at its beginning or on the way, or by its end.
#[test]
fn hostile_schemas_end_within_their_bounds() {
    let any_of = |n: u32| json!({"anyOf": [{"properties": {format!("a{n}"): {"type": "string"}}}, {"properties": {format!("b{n}"): {"type": "string"}}}]});
    for (of, code) in [
        (json!({"allOf": (0..30).map(any_of).collect::<Vec<_>>()}), Some(Code::TooLarge)),
        (json!({"type": "string", "pattern": "^(.*a.{40})$"}), None),
        (json!({"type": "string", "minLength": 1_000_000_000}), None),
        (json!({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000}), None),
        (json!({"type": "string", "pattern": "(a{1,1000}){1,1000}"}), None),
        (json!({"type": "integer", "multipleOf": 97}), None),
        ((0..limits::SCHEMA_DEPTH).fold(json!({"type": "string"}), |inner, _| json!({"items": inner})), None),
        (chain(limits::SCHEMA_PARTS - 2), None),
    ] {
        let begun = Instant::now();
        match guide(Form::Json(schema(&of))) {
            Err(refusal) => assert_eq!(Some(refusal.code), code, "{of}"),
            Ok(mut guide) => {
                assert_eq!(code, None, "{of}");
                for token in [b'"', b'a', b'b'].into_iter().cycle().take(300).map(u32::from) {
                    let mut logits = vec![0.0; 258];
                    let outcome = guide.limit(&mut logits).and_then(|()| {
                        let likeliest = (0..).zip(&logits).filter(|(_, l)| l.is_finite()).map(|(t, _)| t);
                        let allowed: Vec<u32> = likeliest.collect();
                        let next = if allowed.contains(&token) { token } else { allowed[0] };
                        if next == END { Ok(()) } else { guide.take(next) }
                    });
                    if let Err(refusal) = outcome {
                        assert_eq!(refusal.code, Code::TooLarge, "{of}");
                        break;
                    }
                }
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{of}: {:?}", begun.elapsed());
    }
}

#[test]
fn logits_beyond_the_tokens_that_there_are_ruled_out_and_clones_go_their_own_ways() {
    let mut one = guide(Form::Json(schema(&json!({"enum": ["a", "b"]})))).unwrap();
    assert_eq!(may(&mut one), [u32::from(b'"')]);
    one.take(u32::from(b'"')).unwrap();
    let mut other = one.clone();
    other.take(u32::from(b'b')).unwrap();
    assert_eq!(may(&mut one), [b'a', b'b'].map(u32::from));
    assert_eq!(may(&mut other), [u32::from(b'"')]);
    assert_eq!(format!("{one:?}"), "Guide");
}

#[test]
fn bytes_of_tokens_are_theirs_and_those_of_special_ones_without_a_mark() {
    let vocabulary = bytes();
    let grammars = vocabulary.grammars().unwrap();
    assert_eq!((grammars.bytes(0xc3), grammars.bytes(END)), (vec![0xc3], b"<|end|>".to_vec()));
    assert!(grammars.bytes(1_000_000).is_empty());
}

#[test]
fn tokens_whose_bytes_cannot_be_told_have_no_grammars() {
    assert!(Grammars::of(&tokenizer_of_bytes(), &[256]).is_some());
    let words = json!({"decoder": {"type": "WordPiece"}, "added_tokens": [], "model": {"vocab": {"a": 0}}});
    for json in [words.to_string(), "{}".to_owned(), String::new()] {
        assert!(Grammars::of(&json, &[256]).is_none(), "{json}");
    }
    // One that ends no answer.
    assert!(Grammars::of(&tokenizer_of_bytes(), &[]).is_none());
}
