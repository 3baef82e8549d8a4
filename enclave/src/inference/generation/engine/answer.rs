//! A request to the engine, and each answer to it.

use crate::inference::generation::batch::Row;
use crate::inference::generation::form::Guide;
use crate::inference::generation::held::Held;
use crate::inference::generation::sampling::{Draws, Sampling, Scratch, choose, log_probabilities};
use crate::inference::generation::text::Text;
use crate::inference::generation::vocabulary::{Likely, Vocabulary};
use crate::inference::shares::Share;
use crate::prompt::Prompt;
use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// What comes of a request, as it comes.
#[derive(Debug)]
pub enum Event {
    /// More of an answer.
    Text {
        /// Which answer, from 0.
        choice: usize,
        /// What comes after the text of before.
        text: Prompt<String>,
        /// The token that it came with, where that was asked for. What is held back comes with a later one, or with none.
        chosen: Option<Chosen>,
    },
    /// The end of an answer.
    End {
        /// Which answer, from 0.
        choice: usize,
        /// Why it ends.
        finish: Finish,
        /// Tokens of it, the one that ended it included.
        tokens: usize,
    },
}

/// A token of an answer, how likely it was, and what was likeliest in its place. By the model alone: before what a form rules out, and
/// before temperature.
#[derive(Debug)]
pub struct Chosen {
    /// The token.
    pub token: Likely,
    /// The likeliest ones, as many as were asked for, the likeliest first.
    pub likeliest: Vec<Likely>,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or it came to what it was to stop at.
    Stop,
    /// It is as long as it may be.
    Length,
}

/// A request, of whose prompt the tokens are known.
#[derive(Debug)]
pub(in crate::inference) struct Call {
    pub(in crate::inference::generation) prompt: Prompt<Vec<u32>>,
    pub(in crate::inference::generation) stops: Vec<Prompt<String>>,
    pub(in crate::inference::generation) guide: Option<Guide>,
    /// Since when there is no room for it, though whoever asks has nothing under way.
    pub(in crate::inference::generation) out_since: Option<Instant>,
    pub(in crate::inference::generation) of: Arc<Of>,
}

/// What all answers to a request have of it.
pub(in crate::inference) struct Of {
    pub(in crate::inference::generation) identity: Arc<str>,
    pub(in crate::inference::generation) choices: usize,
    /// Tokens of the prompt and of an answer together.
    pub(in crate::inference::generation) tokens: usize,
    pub(in crate::inference::generation) sampling: Sampling,
    pub(in crate::inference::generation) seed: u64,
    /// How many of the likeliest tokens are told beside each; `None`: not even how likely that one was.
    pub(in crate::inference::generation) likeliest: Option<usize>,
    pub(in crate::inference::generation) since: Instant,
    pub(in crate::inference::generation) reply: mpsc::UnboundedSender<Result<Event>>,
    /// One of the places of its identity.
    pub(in crate::inference::generation) share: Share,
    /// A place among the requests of the model, until the last answer ends.
    pub(in crate::inference::generation) permit: OwnedSemaphorePermit,
    /// A place among those of a form.
    pub(in crate::inference::generation) of_form: Option<(Share, OwnedSemaphorePermit)>,
}

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Of")
            .field("choices", &self.choices)
            .field("permit", &self.permit)
            .field("share", &self.share)
            .field("of_form", &self.of_form)
            .finish_non_exhaustive()
    }
}

impl Of {
    pub(super) fn identity(&self) -> Arc<str> {
        Arc::clone(&self.identity)
    }

    /// Whether somebody waits for it, and not longer than `longest`; who waited too long is told so with `code`.
    pub(super) fn is_wanted(&self, now: Instant, longest: Duration, code: Code) -> bool {
        if self.reply.is_closed() {
            return false;
        }
        let waited = now.saturating_duration_since(self.since);
        if waited > longest {
            self.fail(&Refusal::new(code, "generation").got(format!("{} s", waited.as_secs())));
            return false;
        }
        true
    }

    /// Tells whoever waits that nothing more comes.
    pub(super) fn fail(&self, refusal: &Refusal) {
        match refusal.code {
            // Of load, or of what was asked for.
            Code::Busy | Code::Timeout | Code::TooLarge => tracing::debug!(%refusal, "generation ended"),
            _ => tracing::error!(%refusal, "generation failed"),
        }
        // Who hung up needs no answer.
        let _ = self.reply.send(Err(refusal.clone()));
    }

    /// Whether somebody heard of it.
    fn tell(&self, event: Event) -> bool {
        self.reply.send(Ok(event)).is_ok()
    }
}

impl core::ops::Deref for Call {
    type Target = Of;

    fn deref(&self) -> &Of {
        &self.of
    }
}

impl Call {
    pub(super) fn prompt(&self) -> &[u32] {
        self.prompt.expose()
    }

    pub(super) fn choices(&self) -> usize {
        self.of.choices
    }

    pub(super) fn tokens(&self) -> usize {
        self.of.tokens
    }

    /// What it holds until its answers begin.
    pub(super) fn held(&self) -> Held {
        Held::by_request(self.prompt().len(), self.tokens(), self.choices())
    }
}

/// An answer under way.
pub(super) struct Answer {
    of: Arc<Of>,
    choice: usize,
    draws: Draws,
    guide: Option<Guide>,
    text: Option<Text>,
    /// The token that runs next.
    last: u32,
    /// Tokens that ran, the prompt's included.
    length: usize,
    /// Tokens of the answer.
    tokens: usize,
}

impl Answer {
    /// The answers to `call`, none with a token yet.
    pub(super) fn all(call: Call, vocabulary: &Arc<Vocabulary>) -> Vec<Self> {
        let answer = |choice: usize| Self {
            of: Arc::clone(&call.of),
            choice,
            draws: Draws::new(call.seed, u64::try_from(choice).unwrap_or(u64::MAX)),
            guide: call.guide.clone(),
            text: Some(Text::new(Arc::clone(vocabulary), &call.stops)),
            last: 0,
            length: call.prompt().len(),
            tokens: 0,
        };
        (0..call.choices()).map(answer).collect()
    }

    pub(super) const fn call(&self) -> &Arc<Of> {
        &self.of
    }

    /// Takes the next token by these logits, and says whether another is wanted.
    pub(super) fn take(&mut self, logits: &[f32], vocabulary: &Vocabulary, scratch: &mut Scratch) -> bool {
        let token = match self.next(logits, vocabulary, scratch) {
            Ok(token) => token,
            Err(refusal) => {
                self.of.fail(&refusal);
                return false;
            }
        };
        // What ran to get here is kept by the graph.
        if self.tokens > 0 {
            self.length = self.length.saturating_add(1);
        }
        self.tokens = self.tokens.saturating_add(1);
        self.last = token;
        if vocabulary.is_end(token) {
            return self.end(Finish::Stop);
        }
        let Some(all) = &mut self.text else { return false };
        let (text, stopped) = all.push(token);
        let chosen = self.of.likeliest.map(|most| chosen(logits, token, most, vocabulary));
        let is_said = !text.expose().is_empty() || chosen.is_some();
        if is_said && !self.of.tell(Event::Text { choice: self.choice, text, chosen }) {
            return false;
        }
        if stopped {
            self.text = None;
            return self.end(Finish::Stop);
        }
        // The last token of an answer need not run.
        self.length.saturating_add(1) < self.of.tokens || self.end(Finish::Length)
    }

    /// The next token, of those that the form allows if there is one.
    fn next(&mut self, logits: &[f32], vocabulary: &Vocabulary, scratch: &mut Scratch) -> Result<u32> {
        let Some(guide) = &mut self.guide else {
            return choose(logits, &self.of.sampling, &mut self.draws, scratch);
        };
        let limit = |logits: &mut [f32]| guide.limit(logits);
        let token = scratch.choose_of(logits, limit, &self.of.sampling, &mut self.draws)?;
        if !vocabulary.is_end(token) {
            guide.take(token)?;
        }
        Ok(token)
    }

    /// Tells the rest; there is no more to it.
    fn end(&mut self, finish: Finish) -> bool {
        let choice = self.choice;
        if let Some(text) = self.text.take().map(Text::end).filter(|text| !text.expose().is_empty()) {
            self.of.tell(Event::Text { choice, text, chosen: None });
        }
        self.of.tell(Event::End { choice, finish, tokens: self.tokens });
        false
    }
}

fn chosen(logits: &[f32], token: u32, most: usize, vocabulary: &Vocabulary) -> Chosen {
    let (own, likeliest) = log_probabilities(logits, token, most);
    let likely = |(token, logarithm): (u32, f64)| vocabulary.likely(token, logarithm);
    Chosen { token: likely((token, own)), likeliest: likeliest.into_iter().map(likely).collect() }
}

impl Row for Answer {
    fn token(&self) -> u32 {
        self.last
    }

    fn length(&self) -> usize {
        self.length
    }

    fn most(&self) -> usize {
        self.of.tokens
    }
}
