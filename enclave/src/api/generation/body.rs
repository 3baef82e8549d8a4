//! The bodies of both requests (OpenAI's reference, "Create chat completion" and "Create completion").
//!
//! What would change the answer and is not served is refused by its name; members that are not known are passed over. No error
//! quotes the body.

use super::Route;
use super::tools::{Callable, ResponseFormat, ToolChoice, Understood, Wanted, parsed};
use crate::inference::{Ask, Asked, Chat, Message, Sampling};
use crate::prompt::Prompt;
use core::fmt;
use minijinja::Value;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use strongroom_wire::{Code, Refusal, Result, limits};

/// OpenAI's own: what `/v1/completions` generates at the most where nothing is said.
const TEXT_TOKENS: usize = 16;

/// A request, as it was sent.
#[derive(Deserialize)]
pub(super) struct Request {
    model: String,
    messages: Option<Vec<Said>>,
    prompt: Option<Given>,
    tools: Option<Box<RawValue>>,
    tool_choice: Option<ToolChoice>,
    parallel_tool_calls: Option<bool>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    n: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stops>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    logprobs: Option<Logprobs>,
    top_logprobs: Option<usize>,
    #[serde(default)]
    frequency_penalty: Asks,
    #[serde(default)]
    presence_penalty: Asks,
    #[serde(default)]
    logit_bias: Asks,
    #[serde(default)]
    suffix: Asks,
    #[serde(default)]
    echo: Asks,
    #[serde(default)]
    functions: Asks,
    #[serde(default)]
    audio: Asks,
    response_format: Option<ResponseFormat>,
    best_of: Option<usize>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    #[serde(default)]
    content: Content,
    name: Option<String>,
    tool_calls: Option<Box<RawValue>>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Whether it is told how likely tokens were, of a chat; and for how many beside each, of a text.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Logprobs {
    Whether(bool),
    Most(usize),
}

/// Whether a member asks for something: it does, unless it is absent, null, false, zero or empty.
#[derive(Default)]
struct Asks(bool);

/// The text of a message: a string, nothing, or parts of text.
#[derive(Default)]
struct Content(String);

/// Up to [`limits::STOPS`] texts.
struct Stops(Vec<Prompt<String>>);

/// A text, its tokens, or a list of one text.
enum Given {
    Text(Prompt<String>),
    Tokens(Prompt<Vec<u32>>),
}

pub(super) fn invalid(member: &str, want: &str) -> Refusal {
    Refusal::new(Code::RequestInvalid, member).want(want)
}

impl Request {
    /// Parses a body.
    ///
    /// # Errors
    /// `request-invalid` it is no such request.
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        // serde's message quotes what it did not expect, which may be a prompt.
        serde_json::from_slice(json).map_err(|error| {
            Refusal::new(Code::RequestInvalid, "generation request")
                .got(format!("a mistake at line {}, column {}", error.line(), error.column()))
                .want("`model`, and `messages` or `prompt`, as OpenAI's reference says")
        })
    }

    /// Whether the answer is to come in pieces, and then whether with what was used.
    pub(super) fn streamed(&self) -> Option<bool> {
        let with_usage = self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
        self.stream.unwrap_or(false).then_some(with_usage)
    }

    /// The model's name, what it is asked, and the tools that it may call.
    ///
    /// # Errors
    /// `request-invalid` a member is out of its range, or asks for what is not served; `too-large` too many messages, tools or parts
    /// of a schema.
    pub(super) fn into_ask(self, route: Route) -> Result<(String, Ask, Callable)> {
        self.is_served()?;
        let likeliest = self.likeliest(route)?;
        let Self { tools, tool_choice, parallel_tool_calls, response_format, .. } = self;
        if route == Route::Text && tools.is_some() {
            return Err(invalid("tools", "nothing: a text has none"));
        }
        let wanted = Wanted { tools, tool_choice, parallel_tool_calls, response_format };
        let Understood { tools, callable, form } = wanted.understood()?;
        let most = self.max_completion_tokens.or(self.max_tokens);
        if most == Some(0) {
            return Err(invalid("max_tokens", "at least 1"));
        }
        let choices = self.n.unwrap_or(1);
        if !(1..=limits::CHOICES).contains(&choices) || self.best_of.is_some_and(|best| best != choices) {
            return Err(invalid("n", "1 to 8, and `best_of` the same"));
        }
        let sampling = Sampling {
            temperature: within("temperature", self.temperature, 2.0)?,
            top_p: within("top_p", self.top_p, 1.0)?,
            seed: self.seed.map(i64::cast_unsigned),
        };
        let stops = self.stop.map(|stops| stops.0).unwrap_or_default();
        if stops.iter().any(|stop| stop.expose().is_empty()) {
            return Err(invalid("stop", "no empty text"));
        }
        if form.is_some() && !stops.is_empty() {
            return Err(invalid(
                "stop",
                "nothing beside a `response_format` or a call that is demanded: it would cut them",
            ));
        }
        let (asked, most) = match (route, self.messages, self.prompt) {
            (Route::Chat, Some(messages), None) => (Asked::Chat(Chat { messages: all(messages)?, tools }), most),
            (Route::Text, None, Some(Given::Text(text))) => (Asked::Text(text), most.or(Some(TEXT_TOKENS))),
            (Route::Text, None, Some(Given::Tokens(tokens))) => (Asked::Tokens(tokens), most.or(Some(TEXT_TOKENS))),
            (Route::Chat, ..) => return Err(invalid("messages", "messages, and no `prompt`")),
            (Route::Text, ..) => return Err(invalid("prompt", "one text or its tokens, and no `messages`")),
        };
        Ok((self.model, Ask { asked, most, choices, sampling, stops, form, likeliest }, callable))
    }

    /// How many of the likeliest tokens are told beside each.
    fn likeliest(&self, route: Route) -> Result<Option<usize>> {
        let likeliest = match (route, self.logprobs, self.top_logprobs) {
            (Route::Chat, Some(Logprobs::Whether(true)), most) => Some(most.unwrap_or(0)),
            (Route::Chat, None | Some(Logprobs::Whether(false)), None | Some(0)) => None,
            (Route::Text, Some(Logprobs::Most(most)), None) => Some(most),
            (Route::Text, None | Some(Logprobs::Whether(false)), None) => None,
            (Route::Chat, ..) => return Err(invalid("logprobs", "true or false, and true beside `top_logprobs`")),
            (Route::Text, ..) => return Err(invalid("logprobs", "a number, and no `top_logprobs`")),
        };
        if likeliest.is_some_and(|most| most > limits::TOP_LOG_PROBABILITIES) {
            return Err(invalid("top_logprobs", "20 at most"));
        }
        Ok(likeliest)
    }

    fn is_served(&self) -> Result<()> {
        let asked = [
            ("frequency_penalty", &self.frequency_penalty),
            ("presence_penalty", &self.presence_penalty),
            ("logit_bias", &self.logit_bias),
            ("suffix", &self.suffix),
            ("echo", &self.echo),
            ("functions", &self.functions),
            ("audio", &self.audio),
        ];
        if let Some((member, _)) = asked.iter().find(|(_, asks)| asks.0) {
            return Err(invalid(member, "nothing: it is not served"));
        }
        Ok(())
    }
}

/// A number from 0 to `most`; 1 where none is given.
fn within(member: &str, number: Option<f32>, most: f32) -> Result<f32> {
    let number = number.unwrap_or(1.0);
    if (0.0..=most).contains(&number) { Ok(number) } else { Err(invalid(member, &format!("0 to {most}"))) }
}

fn all(messages: Vec<Said>) -> Result<Vec<Message>> {
    if messages.is_empty() {
        return Err(invalid("messages", "at least one"));
    }
    if messages.len() > limits::API_MESSAGES {
        return Err(Refusal::too_large("messages", messages.len(), limits::API_MESSAGES));
    }
    // Read into something many times as long, so that it is bounded before.
    let calls: usize = messages.iter().filter_map(|said| said.tool_calls.as_ref()).map(|calls| calls.get().len()).sum();
    if calls > limits::API_INPUT {
        return Err(Refusal::too_large("bytes of `tool_calls`", calls, limits::API_INPUT));
    }
    messages.into_iter().map(Said::into_message).collect()
}

impl Said {
    fn into_message(self) -> Result<Message> {
        let calls = self.tool_calls.map(|calls| past_calls(&calls)).transpose()?;
        let (name, id) = (self.name.map(Value::from), self.tool_call_id.map(Value::from));
        let others = [("name", name), ("tool_calls", calls), ("tool_call_id", id)];
        let others = others.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
        // What OpenAI's newer models call a developer, templates call the system.
        let role = if self.role == "developer" { "system".to_owned() } else { self.role };
        Ok(Message { role, content: Prompt::new(self.content.0), others: others.collect() })
    }
}

/// Calls that a model made before. OpenAI has their arguments as text of JSON, and templates want what that says.
fn past_calls(calls: &RawValue) -> Result<Value> {
    let mut calls: serde_json::Value = parsed(calls, "tool_calls", "a list of calls")?;
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let read = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
        if let Some(read) = read {
            *arguments = read;
        }
    }
    Value::deserialize(calls).map_err(|_| invalid("tool_calls", "a list of calls"))
}

impl<'de> Deserialize<'de> for Asks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        // Looked at as it is written: whatever it is, nothing is made of it.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text: String = raw.get().chars().filter(|c| !c.is_ascii_whitespace()).take(8).collect();
        let is_nothing = matches!(text.as_str(), "null" | "false" | "[]" | "{}" | "\"\"");
        Ok(Self(!is_nothing && text.parse::<f64>() != Ok(0.0)))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part {
            r#type: String,
            text: Option<String>,
        }
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> core::result::Result<Content, E> {
                Ok(Content(text.to_owned()))
            }

            fn visit_unit<E>(self) -> core::result::Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> core::result::Result<Content, A::Error> {
                let mut content = String::new();
                while let Some(part) = parts.next_element::<Part>()? {
                    let text = part.text.filter(|_| part.r#type == "text");
                    content.push_str(&text.ok_or_else(|| A::Error::custom("part of a message"))?);
                }
                Ok(Content(content))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Stops;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stop")
            }

            fn visit_str<E: serde::de::Error>(self, stop: &str) -> core::result::Result<Stops, E> {
                if stop.len() > limits::STOP {
                    return Err(E::custom("stop"));
                }
                Ok(Stops(vec![Prompt::new(stop.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<Stops, A::Error> {
                let mut stops = Vec::new();
                while let Some(stop) = list.next_element::<String>()?.map(Prompt::new) {
                    if stops.len() == limits::STOPS || stop.expose().len() > limits::STOP {
                        return Err(A::Error::custom("stops"));
                    }
                    stops.push(stop);
                }
                Ok(Stops(stops))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        /// One element of a list.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Element {
            Token(u32),
            Text(String),
        }
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a prompt")
            }

            fn visit_str<E>(self, text: &str) -> core::result::Result<Given, E> {
                Ok(Given::Text(Prompt::new(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<Given, A::Error> {
                match list.next_element()? {
                    Some(Element::Text(text)) if list.next_element::<IgnoredAny>()?.is_none() => {
                        Ok(Given::Text(Prompt::new(text)))
                    }
                    Some(Element::Token(first)) => {
                        let mut tokens = Prompt::new(vec![first]);
                        while let Some(token) = list.next_element()? {
                            tokens.expose_mut().push(token);
                        }
                        Ok(Given::Tokens(tokens))
                    }
                    _ => Err(A::Error::custom("prompt")),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
