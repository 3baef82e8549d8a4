//! What a request says of tools, and of the form of its answer.

use super::body::invalid;
use crate::inference::{Form, Schema};
use core::fmt;
use minijinja::Value;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use strongroom_wire::{Code, Refusal, Result, limits};

/// `tools`, `tool_choice`, `parallel_tool_calls` and `response_format` of a request.
pub(super) struct Wanted {
    pub(super) tools: Option<Box<RawValue>>,
    pub(super) tool_choice: Option<ToolChoice>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) response_format: Option<ResponseFormat>,
}

/// The same, understood.
#[derive(Default)]
pub(super) struct Understood {
    /// As templates want them.
    pub(super) tools: Option<Value>,
    pub(super) callable: Callable,
    pub(super) form: Option<Form>,
}

/// The names of the tools that may be called; none where no call is looked for. They are a caller's text.
#[derive(Default)]
pub(super) struct Callable(pub(super) BTreeSet<String>);

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callable")
    }
}

/// Which tools are to be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// What the model decides.
    Auto,
    /// None: they are not even told of.
    None,
    /// One at least.
    Required,
    /// This one.
    Named(String),
    /// What nobody knows.
    Other,
}

/// What an answer has to be.
#[derive(Deserialize)]
pub(super) struct ResponseFormat {
    r#type: String,
    json_schema: Option<Described>,
}

/// A schema with its name, which nobody needs, and with `strict`: it is held to either way.
#[derive(Deserialize)]
struct Described {
    schema: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Tool {
    r#type: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    parameters: Option<Box<RawValue>>,
    strict: Option<bool>,
}

impl Wanted {
    /// What all of it comes to.
    ///
    /// # Errors
    /// `request-invalid` a member is not as OpenAI has it, or they contradict one another; `too-large` too many tools, or too long
    /// ones; else as [`Schema::parse`].
    pub(super) fn understood(self) -> Result<Understood> {
        let form = self.response_format.map(ResponseFormat::into_form).transpose()?.flatten();
        let tools: Vec<Tool> = match &self.tools {
            Some(tools) => parsed(tools, "tools", "a list of functions, each with its name")?,
            None => Vec::new(),
        };
        if tools.len() > limits::TOOLS {
            return Err(Refusal::too_large("tools", tools.len(), limits::TOOLS));
        }
        let choice = self.tool_choice.unwrap_or(ToolChoice::Auto);
        let several = self.parallel_tool_calls.unwrap_or(true);
        if tools.is_empty() {
            let demands = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
            return if demands || choice == ToolChoice::Other {
                Err(invalid("tool_choice", "`none` or `auto`, or tools beside it"))
            } else {
                Ok(Understood { form, ..Understood::default() })
            };
        }
        let callable = names(&tools)?;
        if choice == ToolChoice::None {
            return Ok(Understood { form, ..Understood::default() });
        }
        if form.is_some() {
            return Err(invalid("response_format", "`text` beside tools, or a `tool_choice` of `none`"));
        }
        let form = match choice {
            // What a model calls by itself is held to nothing.
            ToolChoice::Auto if tools.iter().any(|tool| tool.function.strict == Some(true)) => {
                return Err(invalid("strict", "false, or a `tool_choice` that demands a call"));
            }
            ToolChoice::Auto if several => None,
            ToolChoice::Auto => {
                return Err(invalid("parallel_tool_calls", "true, or a `tool_choice` that demands a call"));
            }
            ToolChoice::Required => Some(calls(&tools, several, |_| true)?),
            ToolChoice::Named(name) if callable.contains(&name) => Some(calls(&tools, false, |tool| *tool == name)?),
            _ => return Err(invalid("tool_choice", "`none`, `auto`, `required`, or one of the tools")),
        };
        let tools = self.tools.map(|tools| parsed(&tools, "tools", "a list of functions")).transpose()?;
        Ok(Understood { tools, callable: Callable(callable), form })
    }
}

/// The names, none twice, and each as OpenAI lets it be: they are written into what the model is held to.
fn names(tools: &[Tool]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for Tool { r#type, function: Function { name, .. } } in tools {
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if r#type != "function" || !is_name || !names.insert(name.clone()) {
            return Err(invalid(
                "tools",
                "functions, whose names are 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, none twice",
            ));
        }
    }
    Ok(names)
}

fn calls(tools: &[Tool], several: bool, is_wanted: impl Fn(&String) -> bool) -> Result<Form> {
    let wanted = tools.iter().map(|tool| &tool.function).filter(|function| is_wanted(&function.name));
    let arguments = |function: &Function| match &function.parameters {
        // A tool without a word about its arguments takes whatever there is.
        None => Ok(Schema::object()),
        Some(schema) if schema.get().trim() == "{}" => Ok(Schema::object()),
        Some(schema) => Schema::parse(schema.get()),
    };
    let (mut tools, mut parts) = (Vec::new(), 0usize);
    for function in wanted {
        let arguments = arguments(function)?;
        parts = parts.saturating_add(arguments.parts());
        if !arguments.is_of_objects() {
            return Err(invalid("parameters", "a schema whose `type` is `object`"));
        }
        if parts > limits::SCHEMA_PARTS {
            return Err(Refusal::too_large("parts of the schemas of tools", parts, limits::SCHEMA_PARTS));
        }
        tools.push((function.name.clone(), arguments));
    }
    Ok(Form::Calls { tools, several })
}

impl ResponseFormat {
    fn into_form(self) -> Result<Option<Form>> {
        match (self.r#type.as_str(), self.json_schema.and_then(|described| described.schema)) {
            ("text", None) => Ok(None),
            ("json_object", None) => Ok(Some(Form::Json(Schema::object()))),
            ("json_schema", Some(schema)) => Ok(Some(Form::Json(Schema::parse(schema.get())?))),
            _ => Err(invalid("response_format", "`text`, `json_object`, or `json_schema` with its `schema`")),
        }
    }
}

/// JSON of a caller's that is read twice, once no more of it than may be.
///
/// # Errors
/// `too-large` it is over [`limits::API_INPUT`]; `request-invalid` it is no `T`.
pub(super) fn parsed<'a, T: Deserialize<'a>>(json: &'a RawValue, member: &str, want: &str) -> Result<T> {
    if json.get().len() > limits::API_INPUT {
        return Err(Refusal::too_large(format!("bytes of `{member}`"), json.get().len(), limits::API_INPUT));
    }
    // What serde says of it may quote it.
    serde_json::from_str(json.get()).map_err(|_| Refusal::new(Code::RequestInvalid, member).want(want))
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = ToolChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a choice")
            }

            fn visit_str<E>(self, choice: &str) -> core::result::Result<ToolChoice, E> {
                Ok(match choice {
                    "auto" => ToolChoice::Auto,
                    "none" => ToolChoice::None,
                    "required" => ToolChoice::Required,
                    _ => ToolChoice::Other,
                })
            }

            fn visit_unit<E>(self) -> core::result::Result<ToolChoice, E> {
                Ok(ToolChoice::Auto)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<ToolChoice, A::Error> {
                let mut choice = ToolChoice::Other;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "function" {
                        choice = ToolChoice::Named(map.next_value::<Named>()?.name);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(choice)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
