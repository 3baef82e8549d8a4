//! Text generation: a chat or a text to tokens, tokens through the model one after the other, text back as it comes.
//!
//! Requests share steps, so the last bits of a token's logits depend on what else was asked at the time, as they do on the machine's
//! vector instructions; nothing else of a request shows in another's answer. Nothing of one request is kept for another:
//! the memory of its tokens ends with it, zeroised.

mod batch;
mod decoder;
mod engine;
mod form;
mod held;
mod lanes;
mod sampling;
mod schedule;
mod template;
mod text;
mod vocabulary;

pub use engine::{Chosen, Event, Finish};
pub use form::{Form, Schema};
pub use sampling::Sampling;
pub use template::{Chat, Message};
pub use vocabulary::Likely;

use super::rows::Rows;
use super::shares::Shares;
use super::turns::Turns;
use super::{JOBS, reserve};
use crate::api::Authorized;
use crate::memory::ModelFiles;
use crate::prompt::Prompt;
use batch::Forward;
use core::future::poll_fn;
use core::task::{Context, Poll};
use decoder::Decoder;
use engine::{Call, Of};
use form::Guide;
use held::Held;
use ort::session::Session;
use std::sync::Arc;
use std::time::Instant;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, limits};
use template::Template;
use tokio::sync::{Semaphore, mpsc};
use vocabulary::Vocabulary;

/// A loaded model that generates text.
#[derive(Debug)]
pub struct Generator {
    vocabulary: Arc<Vocabulary>,
    template: Option<Arc<Template>>,
    worker: mpsc::UnboundedSender<Call>,
    /// Bytes kept of a token.
    of_token: usize,
    jobs: Arc<Semaphore>,
    /// How many of those each identity has.
    shares: Shares,
    /// Places of requests whose answers are of a form.
    forms: Arc<Semaphore>,
    /// How many of those each identity has.
    form_shares: Shares,
    turns: Turns,
}

/// What is to be answered.
#[derive(Debug)]
pub enum Asked {
    /// A chat, by the model's template.
    Chat(Chat),
    /// A text, which the answer goes on.
    Text(Prompt<String>),
    /// The same in tokens.
    Tokens(Prompt<Vec<u32>>),
}

/// A request.
#[derive(Debug)]
pub struct Ask {
    /// What is to be answered.
    pub asked: Asked,
    /// Tokens of an answer at the most; `None`: as many as the model has room for.
    pub most: Option<usize>,
    /// How many answers, 1 to [`limits::CHOICES`].
    pub choices: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts before the first of which an answer ends; none is empty.
    pub stops: Vec<Prompt<String>>,
    /// What the answers have to be; `None`: any text.
    pub form: Option<Form>,
    /// How many of the likeliest tokens are told beside each that comes, with how likely they were, up to
    /// [`limits::TOP_LOG_PROBABILITIES`]; `None`: nothing of that is told.
    pub likeliest: Option<usize>,
}

/// The answers to one request, as they come. Dropped, they are not gone on with.
#[derive(Debug)]
pub struct Answering {
    /// Whose it is, as long as it goes on.
    call: Authorized,
    prompt_tokens: usize,
    open: usize,
    /// Pieces of each answer that were given, of a token at least each.
    given: Vec<usize>,
    events: mpsc::UnboundedReceiver<Result<Event>>,
}

impl Answering {
    /// Tokens of the prompt.
    pub const fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// What comes next; `None` once all answers have ended, or after a refusal.
    ///
    /// # Errors
    /// `busy` it waited for longer than [`limits::GENERATION_WAIT`], or had more than half of the memory while another waited; `timeout` it took longer than
    /// [`limits::GENERATION_TIME`]; `runtime-failed`.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, for who is polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if self.open == 0 {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| {
            // A channel that ends before the answers do is of a thread that has ended.
            let event = event.unwrap_or_else(|| Err(gone()));
            match &event {
                Ok(Event::End { choice, tokens, .. }) => {
                    self.open = self.open.saturating_sub(1);
                    let given = self.given.get(*choice).copied().unwrap_or_default();
                    self.call.spend(0, tokens.saturating_sub(given));
                }
                Err(refusal) => {
                    self.open = 0;
                    self.call.fail(refusal);
                }
                // Counted at once, since whoever hangs up before the end has had it.
                Ok(Event::Text { choice, .. }) => {
                    if let Some(given) = self.given.get_mut(*choice) {
                        *given = given.saturating_add(1);
                    }
                    self.call.spend(0, 1);
                }
            }
            Some(event)
        })
    }
}

fn gone() -> Refusal {
    Refusal::new(Code::RuntimeFailed, "generation thread is gone")
}

impl Generator {
    /// Whether `session` holds a graph that generates.
    pub(super) fn is_for(session: &Session) -> bool {
        decoder::is_decoder(session)
    }

    /// A model whose graph `session` holds: with `tokenizer.json`, its chat template if it has one, and the settings beside it. Blocks.
    ///
    /// # Errors
    /// `model-unsupported` a needed file is missing or says what is not served here; `runtime-failed` the graph does not run.
    pub(super) fn load(session: Session, files: &ModelFiles) -> Result<Self> {
        // Its steps are of everybody's answers, and no answer waits until another's ends.
        if Rows::of(files)? == Rows::OfOne {
            let refusal = Refusal::new(Code::ModelUnsupported, "operators of a graph that generates");
            return Err(refusal.got("one that scales all rows alike").want("rows computed each for itself"));
        }
        let vocabulary = Vocabulary::load(files)?;
        let template = Template::load(files, vocabulary.end())?;
        let mut decoder = Decoder::new(session)?;
        // The first runs are the slowest, and show a graph that cannot run at all, or not with past and present in one.
        let mut probe = decoder.cache(2)?;
        decoder.run(&mut probe, &[0])?;
        decoder.run(&mut probe, &[0])?;
        Self::new(decoder, vocabulary, template)
    }

    fn new<F: Forward + Send + 'static>(
        forward: F,
        vocabulary: Vocabulary,
        template: Option<Template>,
    ) -> Result<Self> {
        let (vocabulary, of_token) = (Arc::new(vocabulary), forward.of_token());
        Ok(Self {
            worker: engine::start(forward, Arc::clone(&vocabulary), limits::GENERATION_MEMORY)?,
            vocabulary,
            template: template.map(Arc::new),
            of_token,
            jobs: Arc::new(Semaphore::new(JOBS)),
            shares: Shares::new(JOBS / 4),
            forms: Arc::new(Semaphore::new(limits::FORMS)),
            form_shares: Shares::new(limits::FORMS / 4),
            turns: Turns::default(),
        })
    }

    pub(super) fn share(&mut self, turns: &Turns) {
        self.turns = turns.clone();
    }

    pub(super) fn queued(&self) -> usize {
        JOBS.saturating_sub(self.jobs.available_permits())
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.worker.is_closed()
    }

    pub(super) async fn ended(&self) {
        self.worker.closed().await;
    }

    /// Generates what is asked for, for a caller who is authorised to that: as soon as the prompt is in tokens it gives what comes of it.
    ///
    /// # Errors
    /// `busy` too much waits already, of all or of this caller; `request-invalid` the model does not chat, or its template or tokenizer does not take what is
    /// asked, or it has no token, or its answers cannot be of that form; `too-large` it is over [`limits::API_INPUT`], or has no room in the model, or in
    /// [`limits::GENERATION_MEMORY`]; `runtime-failed`.
    pub async fn generate(&self, call: &Authorized, ask: Ask) -> Result<Answering> {
        call.verify_for(CallAction::Generate)?;
        let Ask { asked, most, choices, sampling, stops, form, likeliest } = ask;
        // Taken before work is spent on a request. Whoever waits for a turn waits here, where hanging up ends it.
        let identity = Arc::from(call.identity().to_string());
        let share = self.shares.take(&identity)?;
        let permit = reserve(&self.jobs, 1)?;
        let of_form = match &form {
            Some(_) => Some((self.form_shares.take(&identity)?, reserve(&self.forms, 1)?)),
            None => None,
        };
        let turn = self.turns.next().await?;
        let (vocabulary, template) = (Arc::clone(&self.vocabulary), self.template.clone());
        let encoding = tokio::task::spawn_blocking(move || {
            let begun = encode(&vocabulary, template.as_deref(), asked, form);
            if likeliest.is_some() {
                // Before the thread that everybody waits for wants it.
                let _ = vocabulary.grammars();
            }
            drop(turn);
            begun.map(|(prompt, guide)| (prompt, guide, share, permit, of_form))
        });
        let (prompt, guide, share, permit, of_form) =
            encoding.await.map_err(|_| Refusal::new(Code::Internal, "tokenizer thread"))??;
        let prompt_tokens = prompt.expose().len();
        let tokens = self.room(prompt_tokens, most, choices)?;
        let (reply, events) = mpsc::unbounded_channel();
        let seed = match sampling.seed {
            Some(seed) => seed,
            None => unknown_seed()?,
        };
        let since = Instant::now();
        let of = Of { identity, choices, tokens, sampling, seed, likeliest, since, reply, share, permit, of_form };
        self.worker.send(Call { prompt, stops, guide, out_since: None, of: Arc::new(of) }).map_err(|_| gone())?;
        call.spend(prompt_tokens, 0);
        Ok(Answering { call: call.clone(), prompt_tokens, open: choices, given: vec![0; choices], events })
    }

    /// The tokens of prompt and answer together.
    fn room(&self, prompt: usize, most: Option<usize>, choices: usize) -> Result<usize> {
        let context = self.vocabulary.context();
        let tokens = most.map_or(context, |most| prompt.saturating_add(most));
        if prompt == 0 {
            return Err(Refusal::new(Code::RequestInvalid, "prompt").got("no token").want("at least one"));
        }
        if prompt >= context || tokens > context {
            return Err(Refusal::too_large(
                "tokens of prompt and answer",
                tokens.max(prompt.saturating_add(1)),
                context,
            ));
        }
        let needed = Held::by_request(prompt, tokens, choices).tokens.saturating_mul(self.of_token);
        if needed > limits::GENERATION_MEMORY {
            return Err(Refusal::too_large("memory of prompt and answers", needed, limits::GENERATION_MEMORY));
        }
        Ok(tokens)
    }
}

/// The tokens of what is asked, and where an answer of `form` begins.
fn encode(
    vocabulary: &Vocabulary,
    template: Option<&Template>,
    asked: Asked,
    form: Option<Form>,
) -> Result<(Prompt<Vec<u32>>, Option<Guide>)> {
    if matches!(form, Some(Form::Calls { .. })) && !template.is_some_and(Template::calls_tools) {
        let refusal = Refusal::new(Code::RequestInvalid, "tool_choice").got("a model that is not known to call tools");
        return Err(refusal.want("`auto` or `none`"));
    }
    let prompt = match asked {
        Asked::Chat(chat) => {
            let no_chat = || Refusal::new(Code::RequestInvalid, "model").got("one without a chat template");
            vocabulary.encode(template.ok_or_else(no_chat)?.render(&chat)?.expose(), false)?
        }
        Asked::Text(text) => {
            let size = text.expose().len();
            if size > limits::API_INPUT {
                return Err(Refusal::too_large("bytes of the prompt", size, limits::API_INPUT));
            }
            vocabulary.encode(text.expose(), true)?
        }
        Asked::Tokens(tokens) if vocabulary.has(tokens.expose()) => tokens,
        Asked::Tokens(_) => return Err(Refusal::new(Code::RequestInvalid, "token that the model does not have")),
    };
    let guide = form.map(|form| vocabulary.grammars()?.guide(form)).transpose()?;
    Ok((prompt, guide))
}

fn unknown_seed() -> Result<u64> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
    Ok(u64::from_le_bytes(seed))
}

#[cfg(test)]
pub(crate) mod tests;
