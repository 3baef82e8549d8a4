//! OpenAI's answers: a document of all choices, or one of each piece.

use super::Route;
use super::calls::{Calls, Part, ToolCall};
use super::likely;
use super::tools::Callable;
use crate::clock;
use crate::inference::{Chosen, Event, Finish};
use crate::prompt::Prompt;
use serde::{Serialize, Serializer};
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// What all documents of one answer begin with.
#[derive(Debug, Clone)]
pub(super) struct Head {
    route: Route,
    id: String,
    created: u64,
    pub(super) model: String,
    fingerprint: String,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    pub(super) total_tokens: usize,
}

/// A document of an answer.
#[derive(Serialize)]
pub(super) struct Document {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    /// What computes it: the model's manifest.
    system_fingerprint: String,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    #[serde(flatten)]
    said: Said,
    logprobs: Option<likely::Told>,
    finish_reason: Option<&'static str>,
}

/// What a choice says, in the member that its route has for it.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Message(Message),
    Delta(Message),
    Text(Told),
}

#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// Absent from a piece that says nothing, and null in a whole answer that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<Told>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

/// Text on its way to the caller, zeroised once it is written.
pub(super) struct Told(pub(super) Prompt<String>);

impl Told {
    pub(super) fn new(text: &str) -> Self {
        Self(Prompt::new(text.to_owned()))
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl Usage {
    pub(super) const fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) }
    }
}

impl Finish {
    /// As OpenAI calls it, of an answer that called tools or not.
    const fn name(self, called: bool) -> &'static str {
        match self {
            Self::Stop if called => "tool_calls",
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

impl Head {
    /// Of an answer that begins now, by the model of this manifest.
    pub(super) fn new(route: Route, model: String, manifest: Sha256) -> Result<Self> {
        let mut random = [0; 12];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
        let kind = match route {
            Route::Chat => "chatcmpl",
            Route::Text => "cmpl",
        };
        let (id, created) = (format!("{kind}-{}", hex::encode(random)), clock::now());
        Ok(Self { route, id, created, model, fingerprint: manifest.oci() })
    }

    fn document(&self, object: &'static str, choices: Vec<Choice>, usage: Option<Option<Usage>>) -> Document {
        Document {
            id: self.id.clone(),
            object,
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    fn piece(&self, choice: Option<Choice>, usage: Option<Option<Usage>>) -> Document {
        let object = match self.route {
            Route::Chat => "chat.completion.chunk",
            Route::Text => "text_completion",
        };
        self.document(object, choice.into_iter().collect(), usage)
    }

    /// What a chat's choice begins with, before its text.
    pub(super) fn beginning(&self, index: usize, with_usage: bool) -> Option<Document> {
        let content = Some(Some(Told::new("")));
        let said = Said::Delta(Message { role: Some("assistant"), content, tool_calls: Vec::new() });
        let choice = Choice { index, said, logprobs: None, finish_reason: None };
        (self.route == Route::Chat).then(|| self.piece(Some(choice), with_usage.then_some(None)))
    }

    /// A piece of an answer; what says what was used comes after the last, so the others say that they do not.
    pub(super) fn part(
        &self,
        index: usize,
        part: Option<Part>,
        logprobs: Option<likely::Told>,
        with_usage: bool,
    ) -> Document {
        let (content, tool_calls) = match part {
            Some(Part::Text(text)) => (Some(Told(text)), Vec::new()),
            Some(Part::Call(call)) => (None, vec![call]),
            None => (Some(Told::new("")), Vec::new()),
        };
        let said = match self.route {
            Route::Chat => Said::Delta(Message { role: None, content: content.map(Some), tool_calls }),
            Route::Text => Said::Text(content.unwrap_or_else(|| Told::new(""))),
        };
        self.piece(Some(Choice { index, said, logprobs, finish_reason: None }), with_usage.then_some(None))
    }

    /// The last piece of a choice.
    pub(super) fn ending(&self, index: usize, finish: Finish, called: bool, with_usage: bool) -> Document {
        let said = match self.route {
            Route::Chat => Said::Delta(Message { role: None, content: None, tool_calls: Vec::new() }),
            Route::Text => Said::Text(Told::new("")),
        };
        let choice = Choice { index, said, logprobs: None, finish_reason: Some(finish.name(called)) };
        self.piece(Some(choice), with_usage.then_some(None))
    }

    /// How likely the tokens of a choice were, of which the first begins at the character `offset`.
    pub(super) fn likely<'a>(&self, chosen: impl Iterator<Item = &'a Chosen>, offset: usize) -> likely::Told {
        likely::Told::of(self.route, chosen, offset)
    }

    /// What was used, after all pieces.
    pub(super) fn used(&self, usage: Usage) -> Document {
        self.piece(None, Some(Some(usage)))
    }
}

/// The choices of an answer that is being put together.
#[derive(Debug)]
pub(super) struct Whole(Vec<OfOne>);

#[derive(Debug)]
struct OfOne {
    calls: Calls,
    text: Prompt<String>,
    called: Vec<ToolCall>,
    chosen: Vec<Chosen>,
    finish: Option<Finish>,
    tokens: usize,
}

impl Whole {
    /// Of this many choices, each of which may call these tools.
    pub(super) fn new(choices: usize, callable: &Arc<Callable>) -> Self {
        let one = || OfOne {
            calls: Calls::new(Arc::clone(callable)),
            text: Prompt::new(String::new()),
            called: Vec::new(),
            chosen: Vec::new(),
            finish: None,
            tokens: 0,
        };
        Self((0..choices).map(|_| one()).collect())
    }

    /// Adds what came.
    ///
    /// # Errors
    /// As [`Calls::push`].
    pub(super) fn add(&mut self, event: Event) -> Result<()> {
        let (Event::Text { choice, .. } | Event::End { choice, .. }) = event;
        let Some(one) = self.0.get_mut(choice) else { return Ok(()) };
        let parts = match event {
            Event::Text { text, chosen, .. } => {
                one.chosen.extend(chosen);
                one.calls.push(text.expose())?
            }
            Event::End { finish, tokens, .. } => {
                (one.finish, one.tokens) = (Some(finish), tokens);
                one.calls.end().into_iter().collect()
            }
        };
        for part in parts {
            match part {
                Part::Text(text) => one.text.expose_mut().push_str(text.expose()),
                Part::Call(mut call) => {
                    call.index = None;
                    one.called.push(call);
                }
            }
        }
        Ok(())
    }

    /// Tokens of all choices.
    pub(super) fn tokens(&self) -> usize {
        self.0.iter().map(|one| one.tokens).sum()
    }

    /// All of it; with how likely the tokens were where that was asked for.
    pub(super) fn document(self, head: &Head, usage: &Usage, with_likely: bool) -> Document {
        let choice = |(index, one): (usize, OfOne)| {
            let logprobs = with_likely.then(|| head.likely(one.chosen.iter(), 0));
            let called = one.calls.are_any();
            let text = Some(Told(one.text)).filter(|text| !(called && text.0.expose().is_empty()));
            let said = match head.route {
                Route::Chat => {
                    Said::Message(Message { role: Some("assistant"), content: Some(text), tool_calls: one.called })
                }
                Route::Text => Said::Text(text.unwrap_or_else(|| Told::new(""))),
            };
            Choice { index, said, logprobs, finish_reason: one.finish.map(|finish| finish.name(called)) }
        };
        let object = match head.route {
            Route::Chat => "chat.completion",
            Route::Text => "text_completion",
        };
        head.document(object, self.0.into_iter().enumerate().map(choice).collect(), Some(Some(*usage)))
    }
}
