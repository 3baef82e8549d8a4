//! `POST /v1/chat/completions` and `POST /v1/completions`: from a body to a call, from a call to the answer, whole or as it comes.

mod answer;
mod body;
mod calls;
mod likely;
mod stream;
mod tools;

use super::request::read;
use super::{Caller, Serving};
use crate::inference::{Answering, Ask, Event};
use answer::{Head, Usage, Whole};
use axum::body::Body;
use axum::response::{IntoResponse as _, Json, Response};
use body::Request;
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result};
use tools::Callable;

/// Which of the two is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What is asked, all limits kept.
#[derive(Debug)]
pub(super) struct Call {
    route: Route,
    model: String,
    ask: Ask,
    /// The tools that it may call.
    callable: Callable,
    /// Whether the answer comes in pieces, and if so whether the last says what was used.
    streamed: Option<bool>,
}

/// A call that the model has begun to answer.
#[derive(Debug)]
pub(super) struct Begun {
    head: Head,
    streamed: Option<bool>,
    first: Event,
    rest: Answering,
    choices: usize,
    callable: Arc<Callable>,
    with_likely: bool,
}

impl Call {
    /// Reads and parses a body.
    ///
    /// # Errors
    /// `too-large`, `timeout` or `network` reading it; `request-invalid` it is no such request, or asks for what is not served here.
    pub(super) async fn read(route: Route, body: Body) -> Result<Self> {
        read(body, |json| Self::parse(route, json)).await
    }

    fn parse(route: Route, json: &[u8]) -> Result<Self> {
        let request = Request::parse(json)?;
        let streamed = request.streamed();
        let (model, ask, callable) = request.into_ask(route)?;
        Ok(Self { route, model, ask, callable, streamed })
    }

    /// Has the model begin to answer it, for `caller`. What is refused before the first token has a status of its own.
    ///
    /// # Errors
    /// `request-invalid` a model of another kind, or it asks what the deployment does not tell; else as [`Serving::authorize`], [`crate::inference::Generator::generate`] and
    /// [`Answering::next`].
    pub(super) async fn begin(self, caller: &Caller, serving: &Serving) -> Result<Begun> {
        let call = serving.authorize(caller, CallAction::Generate, &self.model)?;
        let model = serving.models.get(&call)?;
        let (choices, with_likely) = (self.ask.choices, self.ask.likeliest.is_some());
        if with_likely && !serving.access.tells_log_probabilities() {
            let refusal = Refusal::new(Code::RequestInvalid, "logprobs");
            return Err(refusal.want("nothing: this deployment does not tell them"));
        }
        let mut rest = model.generator()?.generate(&call, self.ask).await?;
        let head = Head::new(self.route, self.model, model.manifest())?;
        let first = rest.next().await.ok_or_else(|| Refusal::new(Code::Internal, "answer of no event"))??;
        let (streamed, callable) = (self.streamed, Arc::new(self.callable));
        Ok(Begun { head, streamed, first, rest, choices, callable, with_likely })
    }
}

impl Begun {
    /// The answer, in the form that was asked for.
    ///
    /// # Errors
    /// As [`Answering::next`], where it is asked for whole.
    pub(super) async fn answer(self) -> Result<Response> {
        match self.streamed {
            Some(with_usage) => Ok(stream::response(self, with_usage)),
            None => self.whole().await,
        }
    }

    async fn whole(mut self) -> Result<Response> {
        let mut whole = Whole::new(self.choices, &self.callable);
        whole.add(self.first)?;
        while let Some(event) = self.rest.next().await {
            whole.add(event?)?;
        }
        let usage = Usage::new(self.rest.prompt_tokens(), whole.tokens());
        Ok(Json(whole.document(&self.head, &usage, self.with_likely)).into_response())
    }
}

#[cfg(test)]
mod tests;
