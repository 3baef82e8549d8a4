use super::*;
use crate::inference::tests::files;
use serde_json::json;

/// The template of SmolLM2-135M-Instruct, as its package has it.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn said(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: Prompt::new(content.to_owned()), others: Vec::new() }
}

fn chat(messages: Vec<Message>) -> Chat {
    Chat { messages, tools: None }
}

/// A template of this text.
pub(in crate::inference::generation) fn template(text: &str) -> Template {
    Template::load(&files(&[("chat_template.jinja", text)]), Some("<end>".to_owned())).unwrap().unwrap()
}

fn rendered(text: &str, chat: &Chat) -> String {
    template(text).render(chat).unwrap().expose().clone()
}

/// What `transformers` 4.57's `apply_chat_template` gives for these.
#[test]
fn smollm2_s_template_renders_as_transformers_does() {
    let one = chat(vec![said("user", "Hi <b>&\n ")]);
    let system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";
    let want = format!("{system}<|im_start|>user\nHi <b>&\n <|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(rendered(SMOLLM2, &one), want);
    let several = chat(vec![said("system", "S"), said("user", "a"), said("assistant", "b"), said("user", "")]);
    let want = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(rendered(SMOLLM2, &several), want);
}

#[test]
fn blocks_take_their_lines_away_as_transformers_sets_jinja_up() {
    let text = "a\n  {% if true %}\nb\n  {% endif %}\nc {{ bos_token }}{{ eos_token }}\n";
    assert_eq!(rendered(text, &chat(vec![])), "a\nb\nc <end>");
}

#[test]
fn tools_are_given_as_python_writes_json_in_the_order_of_the_caller() {
    let tools: Value =
        serde_json::from_str(r#"[{"type":"function","function":{"name":"größe <a>","b":1.5,"a":[true,null]}}]"#)
            .unwrap();
    let chat = Chat { messages: vec![], tools: Some(tools) };
    let text = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}";
    let want = r#"{"type": "function", "function": {"name": "größe <a>", "b": 1.5, "a": [true, null]}}"#;
    assert_eq!(rendered(text, &chat), want);
    let lines = "{{ tools[0].function.a | tojson(indent=2) }}";
    assert_eq!(rendered(lines, &chat), "[\n  true,\n  null\n]");
}

#[test]
fn tools_given_to_a_template_that_knows_of_them_and_refused_by_one_that_does_not() {
    let tools = || Some(Value::from_pairs([("a", "b")]));
    let chat = Chat { messages: vec![said("user", "a")], tools: tools() };
    assert!(template("{{ tools }}").render(&chat).is_ok());
    assert_eq!(template(SMOLLM2).render(&chat).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn chat_that_the_template_refuses_refused_without_being_quoted() {
    let refusing = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no ' + m.content) }}{% endif %}{% endfor %}";
    assert!(template(refusing).render(&chat(vec![said("user", "secret")])).is_ok());
    let refusal = template(refusing).render(&chat(vec![said("tool", "secret")])).unwrap_err();
    assert_eq!(refusal.code, Code::RequestInvalid);
    assert!(!format!("{refusal} {refusal:?}").contains("secret"));
}

#[test]
fn template_that_never_ends_calls_itself_without_end_or_loads_another_ends() {
    for endless in [
        "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'chat' %}",
        "{% include '/etc/passwd' %}",
    ] {
        assert_eq!(template(endless).render(&chat(vec![])).unwrap_err().code, Code::RequestInvalid, "{endless}");
    }
}

#[test]
fn debug_shows_nothing_of_a_chat() {
    let message = || Message { others: vec![("name".into(), Value::from("secret"))], ..said("secret", "secret") };
    assert_eq!(format!("{:?}", message()), "Message");
    let chat = Chat { messages: vec![message()], tools: Some(Value::from("secret")) };
    assert_eq!(format!("{chat:?}"), "Chat");
}

#[test]
fn text_at_the_limit_of_size_accepted_and_over_it_refused() {
    let rendered =
        |size: usize| template("{{ messages[0].content }}").render(&chat(vec![said("user", &"a".repeat(size))]));
    assert!(rendered(limits::API_INPUT).is_ok());
    assert_eq!(rendered(limits::API_INPUT + 1).unwrap_err().code, Code::TooLarge);
}

/// 100 lists in one another around `zeroes`, each of which is a line of 400 bytes and more once it is indented.
#[test]
fn list_that_is_short_once_indented_accepted_and_one_that_is_long_refused_as_it_is_written() {
    let rendered = |zeroes: usize| {
        let list = (0..100).fold(Value::from(vec![0; zeroes]), |inner, _| Value::from(vec![inner]));
        template("{{ tools | tojson(indent=4) }}").render(&Chat { messages: Vec::new(), tools: Some(list) })
    };
    let short = rendered(100).unwrap();
    assert!(short.expose().len() > 40_000);
    assert_eq!(rendered(limits::API_INPUT / 400).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn template_is_the_file_s_else_the_tokenizer_s_else_the_model_s() {
    let tokenizer =
        json!({"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "b"}]})
            .to_string();
    let model = json!({"chat_template": "c"}).to_string();
    let all =
        [("chat_template.jinja", "a"), ("tokenizer_config.json", tokenizer.as_str()), ("config.json", model.as_str())];
    for (from, want) in ["a", "b", "c"].into_iter().enumerate() {
        let template = Template::load(&files(&all[from..]), None).unwrap().unwrap();
        assert_eq!(*template.render(&chat(vec![])).unwrap().expose(), want);
    }
    assert!(Template::load(&files(&[("config.json", "{}")]), None).unwrap().is_none());
}

#[test]
fn special_tokens_are_the_tokenizer_s_plain_or_described() {
    let config = json!({"chat_template": "{{ bos_token }}{{ eos_token }}", "bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let template = Template::load(&files(&[("tokenizer_config.json", &config.to_string())]), None).unwrap().unwrap();
    assert_eq!(*template.render(&chat(vec![])).unwrap().expose(), "<s></s>");
}

#[test]
fn template_that_is_none_refused() {
    for text in ["{% if %}", "{{ a"] {
        let refusal = Template::load(&files(&[("chat_template.jinja", text)]), None).unwrap_err();
        assert_eq!(refusal.code, Code::ModelUnsupported, "{text}");
    }
}
