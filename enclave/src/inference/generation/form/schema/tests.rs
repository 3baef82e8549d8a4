use super::*;

fn parse(schema: &Value) -> Result<Schema> {
    Schema::parse(&schema.to_string())
}

#[test]
fn keyword_that_is_held_to_accepted_and_one_that_is_not_refused_by_its_name_wherever_it_is() {
    for of in [
        |inner: Value| inner,
        |inner: Value| json!({"type": "object", "properties": {"not": inner}}),
        |inner: Value| json!({"items": {"anyOf": [true, inner]}}),
        |inner: Value| json!({"additionalProperties": {"$defs": {"a": {"prefixItems": [inner]}}}}),
    ] {
        assert!(parse(&of(json!({"type": "string", "title": "a"}))).is_ok());
        for keyword in NOT_HELD_TO {
            let refusal = parse(&of(json!({"type": "string", keyword: true}))).unwrap_err();
            assert_eq!((refusal.code, refusal.what.as_str()), (Code::RequestInvalid, keyword));
        }
        let refusal = parse(&of(json!({"type": "string", "secretLength": 2}))).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid);
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
}

#[test]
fn what_looks_like_a_keyword_in_a_value_is_none() {
    for schema in [json!({"enum": [{"not": 1}]}), json!({"const": {"if": 1}}), json!({"default": {"secret": [{}]}})] {
        assert!(parse(&schema).is_ok(), "{schema}");
    }
}

#[test]
fn reference_to_what_was_walked_through_accepted_and_to_anything_else_refused() {
    let to = |to: &str| parse(&json!({"$ref": to, "$defs": {"a": true}, "default": {"multipleOf": 9_999_991}}));
    for inside in ["#", "#/$defs/a", "#/definitions/a"] {
        assert!(to(inside).is_ok(), "{inside}");
    }
    for other in ["#/default", "#/$defs/a/default", "https://example.org/a", "a", "#a", "#/", ""] {
        assert_eq!(to(other).unwrap_err().code, Code::RequestInvalid, "{other}");
    }
}

#[test]
fn schema_of_its_own_draft_and_with_its_name_at_its_root_accepted_and_another_refused() {
    let inner = |schema: Value| json!({"properties": {"a": schema}});
    for sound in [json!({"$schema": DRAFT, "$id": "a"}), json!({"items": true}), inner(json!({"$schema": DRAFT}))] {
        assert!(parse(&sound).is_ok(), "{sound}");
    }
    for (other, keyword) in [
        (json!({"$schema": "http://json-schema.org/draft-04/schema#", "const": 1}), "$schema"),
        (inner(json!({"$id": "a"})), "$id"),
        (json!({"prefixItems": [true], "additionalItems": false}), "additionalItems"),
    ] {
        assert_eq!(parse(&other).unwrap_err().what, keyword, "{other}");
    }
    assert_eq!(parse(&json!({"items": [true]})).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn numbers_that_binary64_has_exactly_accepted_and_greater_ones_refused() {
    for of in [|n: i64| json!({"enum": [[n]]}), |n: i64| json!({"const": {"a": n}}), |n: i64| json!({"minimum": n})] {
        assert!(parse(&of((1 << 53) - 1)).is_ok() && parse(&of(1 - (1 << 53))).is_ok());
        for n in [1 << 53, (1 << 53) + 1, i64::MIN] {
            assert_eq!(parse(&of(n)).unwrap_err().code, Code::RequestInvalid, "{n}");
        }
    }
}

#[test]
fn what_is_no_schema_refused() {
    for schema in ["1", "null", r#""a""#, "{", "[]", r#"{"properties":[]}"#, r#"{"anyOf":{}}"#, r#"{"items":1}"#] {
        assert_eq!(Schema::parse(schema).unwrap_err().code, Code::RequestInvalid, "{schema}");
    }
    assert!(Schema::parse("true").is_ok());
}

#[test]
fn multiple_of_few_digits_accepted_and_of_more_or_of_two_numbers_refused() {
    for number in [json!(1), json!(7), json!(0.01), json!(0.25), json!(1e-7), json!(100), json!(5000)] {
        assert!(parse(&json!({"type": "number", "multipleOf": number})).is_ok(), "{number}");
    }
    for number in [json!(0), json!(-1), json!(101), json!(0.123), json!("1"), json!(9_999_991), json!(1.01)] {
        let refusal = parse(&json!({"type": "number", "multipleOf": number})).unwrap_err();
        assert_eq!((refusal.code, refusal.what.as_str()), (Code::RequestInvalid, "multipleOf"), "{number}");
    }
    let two = |a: u32, b: u32| parse(&json!({"allOf": [{"multipleOf": a}, {"multipleOf": b}]}));
    assert!(two(7, 7).is_ok());
    assert_eq!(two(7, 11).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn schema_at_the_limits_accepted_and_one_more_refused() {
    let deep = |depth: usize| parse(&(0..depth).fold(json!(true), |inner, _| json!({"items": inner})));
    assert!(deep(limits::SCHEMA_DEPTH).is_ok());
    assert_eq!(deep(limits::SCHEMA_DEPTH + 1).unwrap_err().code, Code::TooLarge);
    let wide = |parts: usize| parse(&json!({"anyOf": vec![true; parts - 1]}));
    assert!(wide(limits::SCHEMA_PARTS).is_ok());
    assert_eq!(wide(limits::SCHEMA_PARTS + 1).unwrap_err().code, Code::TooLarge);
    let names: Vec<String> = (0..limits::SCHEMA_PARTS).map(|n| format!("a{n}")).collect();
    let needs = |count: usize| parse(&json!({"required": names.iter().take(count).collect::<Vec<_>>()}));
    assert!(needs(limits::SCHEMA_PARTS - 1).is_ok());
    assert_eq!(needs(limits::SCHEMA_PARTS).unwrap_err().code, Code::TooLarge);
    let of = |count: usize| parse(&json!({"enum": vec![json!([]); count]}));
    assert!(of(limits::SCHEMA_PARTS - 1).is_ok());
    assert_eq!(of(limits::SCHEMA_PARTS).unwrap_err().code, Code::TooLarge);
    let words = |count: usize| parse(&json!({"enum": vec!["a"; count]}));
    assert!(words(limits::SCHEMA_VALUES).is_ok());
    assert_eq!(words(limits::SCHEMA_VALUES + 1).unwrap_err().code, Code::TooLarge);
    let long = |size: usize| Schema::parse(&format!("{{{}}}", " ".repeat(size - 2)));
    assert!(long(limits::SCHEMA).is_ok());
    assert_eq!(long(limits::SCHEMA + 1).unwrap_err().code, Code::TooLarge);
}

#[test]
fn debug_shows_no_schema() {
    assert_eq!(format!("{:?}", parse(&json!({"title": "secret"})).unwrap()), "Schema");
}
