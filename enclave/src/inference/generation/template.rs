//! A model's chat template: messages to the text that the model was trained on.
//!
//! The template is Jinja, as transformers renders it (`apply_chat_template`): blocks take the newline after and the space before
//! them away, `tojson` leaves characters as they are, and `raise_exception` refuses a chat. It comes out of the signed artifact, and is
//! bounded all the same: it may not load another, and its steps, its depth and its text have limits.

use crate::inference::encoder::settings;
use crate::memory::ModelFiles;
use crate::prompt::Prompt;
use core::fmt;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde::{Deserialize, Serialize as _};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

const NAME: &str = "chat";
/// Depth of a template's calls of itself: those of models have one or two.
const DEPTH: usize = 32;
/// Spaces of a line of JSON that a template may ask for: they ask for four.
const DEEPEST_INDENT: usize = 16;

/// What is asked of a model that chats.
pub struct Chat {
    /// The messages, each as the template wants it: `role`, `content`, and what else the caller gave.
    pub messages: Vec<Message>,
    /// The tools that the model may call, as OpenAI describes them.
    pub tools: Option<Value>,
}

/// One message.
pub struct Message {
    /// Who says it.
    pub role: String,
    /// What is said.
    pub content: Prompt<String>,
    /// Other members, `tool_calls` for one.
    pub others: Vec<(String, Value)>,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chat")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message")
    }
}

/// A template that was read.
pub(super) struct Template {
    environment: Environment<'static>,
    begin: Option<String>,
    end: Option<String>,
    takes_tools: bool,
    calls_tools: bool,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("takes_tools", &self.takes_tools).finish_non_exhaustive()
    }
}

/// Of `tokenizer_config.json` and `config.json` of transformers, what is about chats.
#[derive(Default, Deserialize)]
struct Config {
    chat_template: Option<Source>,
    bos_token: Option<Special>,
    eos_token: Option<Special>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    One(String),
    Several(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Described { content: String },
}

impl Special {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Described { content: text } => text,
        }
    }
}

impl Source {
    /// Of several, the one called `default`.
    fn text(self) -> Option<String> {
        match self {
            Self::One(text) => Some(text),
            Self::Several(all) => all.into_iter().find(|named| named.name == "default").map(|named| named.template),
        }
    }
}

impl Template {
    /// The template of an opened model: `chat_template.jinja`, else what `tokenizer_config.json` or `config.json` has. `end` is
    /// its token that ends an answer, where the former names none. `None`: the model does not chat.
    ///
    /// # Errors
    /// `model-unsupported` it cannot be read.
    pub(super) fn load(files: &ModelFiles, end: Option<String>) -> Result<Option<Self>> {
        let file = "chat_template.jinja";
        let unsupported = |why: &dyn fmt::Display| Refusal::new(Code::ModelUnsupported, "chat template").because(why);
        let tokenizer = settings::<Config>(files, "tokenizer_config.json")?.unwrap_or_default();
        let of_file = match files.get(file) {
            Some(jinja) => {
                Some(String::from_utf8(jinja.read(limits::MODEL_SETTINGS, file)?).map_err(|e| unsupported(&e))?)
            }
            None => None,
        };
        let of_model = || settings::<Config>(files, "config.json").map(|config| config.and_then(|c| c.chat_template));
        let text = match (of_file, tokenizer.chat_template) {
            (Some(text), _) => Some(text),
            (None, Some(source)) => source.text(),
            (None, None) => of_model()?.and_then(Source::text),
        };
        let Some(text) = text else { return Ok(None) };
        let (takes_tools, calls_tools) = (text.contains("tools"), text.contains("<tool_call>"));
        let mut environment = environment().map_err(|e| unsupported(&e))?;
        environment.add_template_owned(NAME, text).map_err(|e| unsupported(&e))?;
        let (begin, named) = (tokenizer.bos_token.map(Special::text), tokenizer.eos_token.map(Special::text));
        Ok(Some(Self { environment, begin, end: named.or(end), takes_tools, calls_tools }))
    }

    /// Whether it has the model call tools in the way that [`super::Form::Calls`] says.
    pub(super) const fn calls_tools(&self) -> bool {
        self.calls_tools
    }

    /// The text of `chat` up to where the model's answer begins.
    ///
    /// # Errors
    /// `request-invalid` there are tools and the template knows of none, or it does not take the chat; `too-large` its text is
    /// over [`limits::API_INPUT`].
    pub(super) fn render(&self, chat: &Chat) -> Result<Prompt<String>> {
        if chat.tools.is_some() && !self.takes_tools {
            return Err(Refusal::new(Code::RequestInvalid, "tools").got("a model whose chat template knows of none"));
        }
        // What the template's error says may be of the chat.
        let refused =
            |_| Refusal::new(Code::RequestInvalid, "messages").got("what the model's chat template does not take");
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let text = |text: &Option<String>| text.as_deref().map_or(Value::UNDEFINED, Value::from);
        let asked = Value::from_pairs([
            ("messages", chat.messages.iter().map(Message::value).collect()),
            ("tools", chat.tools.clone().unwrap_or_else(|| Value::from(()))),
            ("bos_token", text(&self.begin)),
            ("eos_token", text(&self.end)),
            ("add_generation_prompt", Value::from(true)),
        ]);
        let mut rendered = Bounded::default();
        let outcome = template.render_captured_to(asked, &mut rendered).map(drop);
        if rendered.is_over {
            return Err(Refusal::too_large("bytes of the messages", "more", limits::API_INPUT));
        }
        outcome.map_err(refused)?;
        let text = String::from_utf8(core::mem::take(&mut *rendered.text));
        text.map(Prompt::new).map_err(|_| Refusal::new(Code::Internal, "text of a chat template"))
    }
}

impl Message {
    fn value(&self) -> Value {
        let said = [("role", self.role.as_str()), ("content", self.content.expose().as_str())];
        let said = said.map(|(name, text)| (name, Value::from(text)));
        Value::from_pairs(
            said.into_iter().chain(self.others.iter().map(|(name, value)| (name.as_str(), value.clone()))),
        )
    }
}

/// What a template writes, up to [`limits::API_INPUT`]: a list of a caller's can be hundreds of times as long once it is indented.
#[derive(Default)]
struct Bounded {
    text: Zeroizing<Vec<u8>>,
    is_over: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > limits::API_INPUT {
            self.is_over = true;
            return Err(io::Error::other("too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What transformers sets up for a template.
fn environment() -> core::result::Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(DEPTH);
    environment.set_fuel(Some(limits::TEMPLATE_STEPS));
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> core::result::Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    Ok(environment)
}

/// Python's `json.dumps` with `ensure_ascii=False`, which has a space after each comma and colon, or lines of `indent`.
fn to_json(value: &Value, given: Kwargs) -> core::result::Result<String, Error> {
    let mut json = Bounded::default();
    let written = match given.get::<Option<usize>>("indent")? {
        None => value.serialize(&mut Serializer::with_formatter(&mut json, Python)),
        Some(indent) => {
            let indent = " ".repeat(indent.min(DEEPEST_INDENT));
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter))
        }
    };
    // What templates say of themselves, and is so here anyway.
    if given.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        return Err(Error::new(ErrorKind::InvalidOperation, "ASCII alone"));
    }
    given.assert_all_used()?;
    written.map_err(|_| Error::from(ErrorKind::BadSerialization))?;
    String::from_utf8(core::mem::take(&mut *json.text)).map_err(|_| Error::from(ErrorKind::BadSerialization))
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
pub(super) mod tests;
