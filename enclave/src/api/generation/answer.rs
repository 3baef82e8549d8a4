//! OpenAI's answers: a document of all choices, or one of each piece.

use super::Route;
use crate::clock;
use crate::inference::{Event, Finish};
use crate::prompt::Prompt;
use serde::{Serialize, Serializer};
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
    logprobs: Option<()>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Told>,
}

/// Text on its way to the caller, zeroised once it is written.
struct Told(Prompt<String>);

impl Told {
    fn new(text: &str) -> Self {
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
    const fn name(self) -> &'static str {
        match self {
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

    fn said(&self, content: Option<&str>, role: Option<&'static str>) -> Said {
        match self.route {
            Route::Chat => Said::Delta(Message { role, content: content.map(Told::new) }),
            Route::Text => Said::Text(Told::new(content.unwrap_or_default())),
        }
    }

    /// What a chat's choice begins with, before its text.
    pub(super) fn beginning(&self, index: usize, with_usage: bool) -> Option<Document> {
        let said = self.said(Some(""), Some("assistant"));
        let choice = Choice { index, said, logprobs: None, finish_reason: None };
        (self.route == Route::Chat).then(|| self.piece(Some(choice), with_usage.then_some(None)))
    }

    /// A piece of an answer; what says what was used comes after the last, so the others say that they do not.
    pub(super) fn event(&self, event: &Event, with_usage: bool) -> Document {
        let (index, said, finish_reason) = match event {
            Event::Text { choice, text } => (*choice, self.said(Some(text.expose()), None), None),
            Event::End { choice, finish, .. } => (*choice, self.said(None, None), Some(finish.name())),
        };
        self.piece(Some(Choice { index, said, logprobs: None, finish_reason }), with_usage.then_some(None))
    }

    /// What was used, after all pieces.
    pub(super) fn used(&self, usage: Usage) -> Document {
        self.piece(None, Some(Some(usage)))
    }
}

/// An answer that is being put together.
#[derive(Debug)]
pub(super) struct Whole(Vec<(Prompt<String>, Option<Finish>, usize)>);

impl Whole {
    /// Of this many choices.
    pub(super) fn new(choices: usize) -> Self {
        Self((0..choices).map(|_| (Prompt::new(String::new()), None, 0)).collect())
    }

    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::Text { choice, text } => {
                if let Some((all, ..)) = self.0.get_mut(choice) {
                    all.expose_mut().push_str(text.expose());
                }
            }
            Event::End { choice, finish, tokens } => {
                if let Some((_, end, count)) = self.0.get_mut(choice) {
                    (*end, *count) = (Some(finish), tokens);
                }
            }
        }
    }

    /// Tokens of all choices.
    pub(super) fn tokens(&self) -> usize {
        self.0.iter().map(|(.., tokens)| tokens).sum()
    }

    pub(super) fn document(&self, head: &Head, usage: &Usage) -> Document {
        let choice = |(index, (text, finish, _)): (usize, &(Prompt<String>, Option<Finish>, usize))| {
            let text = Told::new(text.expose());
            let said = match head.route {
                Route::Chat => Said::Message(Message { role: Some("assistant"), content: Some(text) }),
                Route::Text => Said::Text(text),
            };
            Choice { index, said, logprobs: None, finish_reason: finish.map(Finish::name) }
        };
        let object = match head.route {
            Route::Chat => "chat.completion",
            Route::Text => "text_completion",
        };
        head.document(object, self.0.iter().enumerate().map(choice).collect(), Some(Some(*usage)))
    }
}
