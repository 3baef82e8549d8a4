use super::*;
use crate::inference::Form;

fn chat(members: &str) -> Result<Ask> {
    let json = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"secret"}}]{members}}}"#);
    Request::parse(json.as_bytes())?.into_ask(Route::Chat).map(|(_, ask, _)| ask)
}

fn text(members: &str) -> Result<Ask> {
    Request::parse(format!(r#"{{"model":"m"{members}}}"#).as_bytes())?.into_ask(Route::Text).map(|(_, ask, _)| ask)
}

#[test]
fn members_that_ask_for_nothing_or_are_not_known_passed_over() {
    for members in [
        r#","logprobs":false,"top_logprobs":0,"frequency_penalty":0.0,"presence_penalty":0,"logit_bias":{}"#,
        r#","logprobs":null,"functions":[],"response_format":{"type":"text"},"best_of":1,"n":1,"stop":null"#,
        r#","user":"u","store":false,"metadata":{"a":"b"},"parallel_tool_calls":true,"tool_choice":"auto""#,
    ] {
        assert!(chat(members).is_ok(), "{members}");
    }
}

#[test]
fn what_is_not_served_refused_by_its_name() {
    for (member, value) in [
        ("logprobs", "2"),
        ("logprobs", r#"true,"top_logprobs":21"#),
        ("frequency_penalty", "0.5"),
        ("presence_penalty", "-1"),
        ("logit_bias", r#"{"5":1}"#),
        ("echo", "true"),
        ("suffix", r#""x""#),
        ("functions", r#"[{"name":"f"}]"#),
        ("response_format", r#"{"type":"xml"}"#),
        ("response_format", r#"{"type":"json_schema"}"#),
        ("uniqueItems", r#"0,"response_format":{"type":"json_schema","json_schema":{"schema":{"uniqueItems":true}}}"#),
        ("tool_choice", r#""required""#),
        ("tool_choice", r#""other""#),
    ] {
        let refusal = chat(&format!(r#","{member}":{value}"#)).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid, "{member}");
        assert!(refusal.to_string().contains(member), "{refusal}");
    }
}

#[test]
fn numbers_within_their_ranges_accepted_and_beyond_refused() {
    for members in [
        r#","temperature":0"#,
        r#","temperature":2"#,
        r#","top_p":0"#,
        r#","top_p":1"#,
        r#","n":8"#,
        r#","max_tokens":1"#,
        r#","max_completion_tokens":1"#,
        r#","seed":-9223372036854775808"#,
    ] {
        assert!(chat(members).is_ok(), "{members}");
    }
    for members in [
        r#","temperature":-0.1"#,
        r#","temperature":2.1"#,
        r#","top_p":1.1"#,
        r#","top_p":-1"#,
        r#","n":0"#,
        r#","n":9"#,
        r#","max_tokens":0"#,
        r#","max_tokens":-1"#,
        r#","seed":1.5"#,
        r#","best_of":2"#,
        r#","tool_choice":"required""#,
        r#","tool_choice":{"type":"function"}"#,
    ] {
        assert_eq!(chat(members).unwrap_err().code, Code::RequestInvalid, "{members}");
    }
}

#[test]
fn what_is_said_of_sampling_understood_and_else_openai_s_own() {
    let sampling = chat(r#","temperature":0.5,"top_p":0.25,"seed":7"#).unwrap().sampling;
    assert_eq!(sampling, Sampling { temperature: 0.5, top_p: 0.25, seed: Some(7) });
    assert_eq!(chat("").unwrap().sampling, Sampling { temperature: 1.0, top_p: 1.0, seed: None });
    assert_eq!((chat("").unwrap().most, text(r#","prompt":"a""#).unwrap().most), (None, Some(16)));
    assert_eq!(chat(r#","max_tokens":3,"max_completion_tokens":2"#).unwrap().most, Some(2));
}

#[test]
fn stops_at_the_limits_accepted_and_beyond_or_empty_refused() {
    let stops = |stops: &str| chat(&format!(r#","stop":{stops}"#)).map(|ask| ask.stops.len());
    assert_eq!((stops(r#""a""#).unwrap(), stops("[]").unwrap(), stops(r#"["a","b","c","d"]"#).unwrap()), (1, 0, 4));
    assert!(stops(&format!(r#""{}""#, "a".repeat(limits::STOP))).is_ok());
    for bad in [
        r#""""#,
        r#"["a",""]"#,
        r#"["a","b","c","d","e"]"#,
        "[1]",
        &format!(r#"["{}"]"#, "a".repeat(limits::STOP + 1)),
        &format!(r#""{}""#, "a".repeat(limits::STOP + 1)),
    ] {
        assert_eq!(stops(bad).unwrap_err().code, Code::RequestInvalid, "{bad}");
    }
}

#[test]
fn messages_in_each_of_openai_s_forms_understood() {
    let json = br#"{"model":"m","messages":[
        {"role":"developer","content":"be brief"},
        {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},
        {"role":"tool","content":"r","tool_call_id":"1"},
        {"role":"assistant"}]}"#;
    let (_, ask, _) = Request::parse(json).unwrap().into_ask(Route::Chat).unwrap();
    let Asked::Chat(chat) = ask.asked else { panic!("no chat") };
    let said: Vec<_> =
        chat.messages.iter().map(|m| (m.role.as_str(), m.content.expose().as_str(), m.others.len())).collect();
    assert_eq!(
        said,
        [("system", "be brief", 0), ("user", "ab", 0), ("assistant", "", 1), ("tool", "r", 1), ("assistant", "", 0)]
    );
}

#[test]
fn messages_that_are_none_and_pictures_refused_without_being_quoted() {
    for messages in [
        "[]",
        "{}",
        "null",
        r#"["secret"]"#,
        r#"[{"content":"secret"}]"#,
        r#"[{"role":"user","content":5}]"#,
        r#"[{"role":"user","content":[{"type":"image_url","image_url":"secret"}]}]"#,
    ] {
        let json = format!(r#"{{"model":"m","messages":{messages}}}"#);
        let refusal = Request::parse(json.as_bytes()).and_then(|request| request.into_ask(Route::Chat)).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid, "{messages}");
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
    let many =
        |n: usize| format!(r#"{{"model":"m","messages":[{}]}}"#, vec![r#"{"role":"user","content":""}"#; n].join(","));
    let asked = |n| Request::parse(many(n).as_bytes()).unwrap().into_ask(Route::Chat);
    assert!(asked(limits::API_MESSAGES).is_ok());
    assert_eq!(asked(limits::API_MESSAGES + 1).unwrap_err().code, Code::TooLarge);
}

#[test]
fn prompt_in_each_form_of_one_text_accepted_and_of_several_refused() {
    for prompt in [r#""a""#, r#"["a"]"#, "[1,2]", r#""""#] {
        assert!(text(&format!(r#","prompt":{prompt}"#)).is_ok(), "{prompt}");
    }
    for prompt in [r#"["secret","b"]"#, "[]", "[[1],[2]]", r#"[1,"secret"]"#, "[-1]", "null", "5"] {
        let refusal = text(&format!(r#","prompt":{prompt}"#)).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid, "{prompt}");
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
}

#[test]
fn each_route_has_its_own_member_and_refuses_the_other_s() {
    assert!(chat("").is_ok());
    assert_eq!(chat(r#","prompt":"a""#).unwrap_err().code, Code::RequestInvalid);
    assert_eq!(text("").unwrap_err().code, Code::RequestInvalid);
    assert_eq!(text(r#","prompt":"a","messages":[]"#).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn tools_given_unless_there_are_none_or_the_caller_wants_none() {
    let tools = |members: &str| match chat(members).unwrap().asked {
        Asked::Chat(chat) => chat.tools.is_some(),
        _ => panic!("no chat"),
    };
    assert!(tools(r#","tools":[{"type":"function","function":{"name":"f"}}]"#));
    assert!(!tools(r#","tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none""#));
    assert!(!tools(r#","tools":[]"#) && !tools(""));
}

#[test]
fn tools_and_what_is_demanded_of_them_understood_and_what_contradicts_itself_refused() {
    let tool = |name: &str| {
        format!(r#"{{"type":"function","function":{{"name":"{name}","parameters":{{"type":"object"}}}}}}"#)
    };
    let of = |choice: &str| chat(&format!(r#","tools":[{},{}]{choice}"#, tool("f"), tool("g-1")));
    let form = |choice: &str| match of(choice).unwrap().form {
        Some(Form::Calls { tools, several }) => {
            Some((tools.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), several))
        }
        Some(Form::Json(_)) => panic!("no calls"),
        None => None,
    };
    let both = || vec!["f".to_owned(), "g-1".to_owned()];
    assert_eq!((form(""), form(r#","tool_choice":"auto""#)), (None, None));
    assert_eq!(form(r#","tool_choice":"required""#), Some((both(), true)));
    assert_eq!(form(r#","tool_choice":"required","parallel_tool_calls":false"#), Some((both(), false)));
    let named = r#","tool_choice":{"type":"function","function":{"name":"g-1"}}"#;
    assert_eq!(form(named), Some((vec!["g-1".to_owned()], false)));
    for choice in [
        r#","tool_choice":{"type":"function","function":{"name":"h"}}"#,
        r#","tool_choice":"secret""#,
        r#","parallel_tool_calls":false"#,
        r#","response_format":{"type":"json_object"}"#,
    ] {
        let refusal = of(choice).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid, "{choice}");
        assert!(!refusal.to_string().contains("secret"));
    }
    assert!(of(r#","stop":"a""#).is_ok());
    for stopped in [r#""tools":[TOOL],"tool_choice":"required""#, r#""response_format":{"type":"json_object"}"#] {
        let members = format!(",{}", stopped.replace("TOOL", &tool("f")));
        assert!(chat(&members).is_ok());
        assert_eq!(chat(&format!(r#"{members},"stop":"a""#)).unwrap_err().what, "stop");
    }
    let with = |members: &str| {
        chat(&format!(
            r#","tools":[{{"type":"function","function":{{"name":"f"{members}}}}}],"tool_choice":"required""#
        ))
    };
    assert!(with("").is_ok() && with(r#","parameters":{}"#).is_ok() && with(r#","strict":true"#).is_ok());
    assert_eq!(with(r#","parameters":{"properties":{}}"#).unwrap_err().what, "parameters");
    let strict = |strict: bool| {
        chat(&format!(r#","tools":[{{"type":"function","function":{{"name":"f","strict":{strict}}}}}]"#))
    };
    assert!(strict(false).is_ok());
    assert_eq!(strict(true).unwrap_err().what, "strict");
    assert!(of(r#","response_format":{"type":"json_object"},"tool_choice":"none""#).unwrap().form.is_some());
    for tools in [
        r#"[{"type":"secret","function":{"name":"f"}}]"#.to_owned(),
        format!("[{},{}]", tool("f"), tool("f")),
        format!("[{}]", tool("secret name")),
        format!("[{}]", tool("")),
        format!("[{}]", tool(&"f".repeat(65))),
        r#""secret""#.to_owned(),
    ] {
        let refusal = chat(&format!(r#","tools":{tools}"#)).unwrap_err();
        assert_eq!((refusal.code, refusal.what.as_str()), (Code::RequestInvalid, "tools"), "{tools}");
        assert!(!refusal.to_string().contains("secret"));
    }
    let many = |count: usize| {
        chat(&format!(r#","tools":[{}]"#, (0..count).map(|n| tool(&format!("f{n}"))).collect::<Vec<_>>().join(",")))
    };
    assert!(many(limits::TOOLS).is_ok());
    assert_eq!(many(limits::TOOLS + 1).unwrap_err().code, Code::TooLarge);
    assert_eq!(text(&format!(r#","prompt":"a","tools":[{}]"#, tool("f"))).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn calls_made_before_given_to_templates_with_what_their_arguments_say() {
    let message = |arguments: &str| {
        let json = format!(
            r#"{{"model":"m","messages":[{{"role":"assistant","tool_calls":[{{"function":{{"name":"f","arguments":{arguments}}}}}]}}]}}"#
        );
        let (_, ask, _) = Request::parse(json.as_bytes()).unwrap().into_ask(Route::Chat)?;
        let Asked::Chat(mut chat) = ask.asked else { panic!("no chat") };
        let (_, calls) = chat.messages.remove(0).others.remove(0);
        Ok::<_, Refusal>(serde_json::to_value(&calls).unwrap()[0]["function"]["arguments"].clone())
    };
    assert_eq!(message(r#""{\"b\": 1, \"a\": [2.50]}""#).unwrap().to_string(), r#"{"b":1,"a":[2.5]}"#);
    assert_eq!(message(r#"{"b":1}"#).unwrap(), serde_json::json!({"b": 1}));
    assert_eq!(message(r#""no JSON""#).unwrap(), serde_json::json!("no JSON"));
    let long = |size: usize| message(&format!("\"{}\"", "a".repeat(size)));
    let around = r#"[{"function":{"name":"f","arguments":""}}]"#.len();
    assert!(long(limits::API_INPUT - around).is_ok());
    assert_eq!(long(limits::API_INPUT - around + 1).unwrap_err().code, Code::TooLarge);
}

#[test]
fn likelihoods_asked_for_as_each_api_has_it_understood_and_in_another_way_refused() {
    let of = |ask: Result<Ask>| ask.map(|ask| ask.likeliest).map_err(|refusal| refusal.code);
    let prompt = |members: &str| of(text(&format!(r#","prompt":"a"{members}"#)));
    assert_eq!(of(chat(r#","logprobs":true"#)), Ok(Some(0)));
    assert_eq!(of(chat(r#","logprobs":true,"top_logprobs":20"#)), Ok(Some(20)));
    assert_eq!(of(chat(r#","top_logprobs":1"#)), Err(Code::RequestInvalid));
    assert_eq!((prompt(r#","logprobs":0"#), prompt(r#","logprobs":20"#)), (Ok(Some(0)), Ok(Some(20))));
    assert_eq!(
        (prompt(r#","logprobs":21"#), prompt(r#","logprobs":true"#)),
        (Err(Code::RequestInvalid), Err(Code::RequestInvalid))
    );
}
