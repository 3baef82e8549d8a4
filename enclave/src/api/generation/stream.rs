//! An answer as it comes: server-sent events (the HTML standard, §9.2), each a document of OpenAI's, and `[DONE]` after the last.

use super::Begun;
use super::answer::{Head, Usage};
use super::calls::Calls;
use crate::api::error::document as error_document;
use crate::inference::{Answering, Event};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use core::convert::Infallible;
use futures_util::stream;
use serde::Serialize;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};

/// What is left of an answer.
struct Pieces {
    head: Head,
    with_usage: bool,
    first: Option<Event>,
    rest: Answering,
    choices: Vec<OfOne>,
    tokens: usize,
    is_over: bool,
}

/// How far one choice is.
struct OfOne {
    has_begun: bool,
    calls: Calls,
    /// Characters of the tokens whose likelihood was told.
    offset: usize,
}

/// The answer, whose body ends when the answers do. Dropped, they are not gone on with.
pub(super) fn response(begun: Begun, with_usage: bool) -> Response {
    let Begun { head, first, rest, choices, callable, .. } = begun;
    let one = |_| OfOne { has_begun: false, calls: Calls::new(Arc::clone(&callable)), offset: 0 };
    let choices = (0..choices).map(one).collect();
    let pieces = Pieces { head, with_usage, first: Some(first), rest, choices, tokens: 0, is_over: false };
    let body = stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.next().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

impl Pieces {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.rest.next().await,
        };
        Some(match next {
            Some(event) => event.and_then(|event| self.piece(event)).unwrap_or_else(|refusal| self.failure(&refusal)),
            None => self.end(),
        })
    }

    /// What one event comes to, before the first of its choice with what that begins with. Nothing, where it is held back.
    fn piece(&mut self, event: Event) -> Result<Bytes> {
        let (mut text, with_usage) = (Vec::new(), self.with_usage);
        let (Event::Text { choice, .. } | Event::End { choice, .. }) = event;
        let Some(one) = self.choices.get_mut(choice) else { return Ok(Bytes::new()) };
        if !core::mem::replace(&mut one.has_begun, true)
            && let Some(beginning) = self.head.beginning(choice, with_usage)
        {
            write(&mut text, &beginning)?;
        }
        match event {
            Event::Text { text: said, chosen, .. } => {
                let mut likely = chosen.as_ref().map(|chosen| self.head.likely(core::iter::once(chosen), one.offset));
                let length = chosen.map_or(0, |chosen| chosen.token.text.expose().chars().count());
                one.offset = one.offset.saturating_add(length);
                for part in one.calls.push(said.expose())? {
                    write(&mut text, &self.head.part(choice, Some(part), likely.take(), with_usage))?;
                }
                if let Some(likely) = likely {
                    write(&mut text, &self.head.part(choice, None, Some(likely), with_usage))?;
                }
            }
            Event::End { finish, tokens, .. } => {
                self.tokens = self.tokens.saturating_add(tokens);
                if let Some(part) = one.calls.end() {
                    write(&mut text, &self.head.part(choice, Some(part), None, with_usage))?;
                }
                write(&mut text, &self.head.ending(choice, finish, one.calls.are_any(), with_usage))?;
            }
        }
        Ok(text.into())
    }

    fn end(&mut self) -> Bytes {
        self.is_over = true;
        let usage = Usage::new(self.rest.prompt_tokens(), self.tokens);
        let mut text = Vec::new();
        if self.with_usage && write(&mut text, &self.head.used(usage)).is_err() {
            text.clear();
        }
        text.extend_from_slice(b"data: [DONE]\n\n");
        text.into()
    }

    /// What ends an answer that cannot be gone on with: its status is told already.
    fn failure(&mut self, refusal: &Refusal) -> Bytes {
        self.is_over = true;
        let mut text = Vec::new();
        match write(&mut text, &error_document(refusal)) {
            Ok(()) => text.into(),
            Err(_) => Bytes::new(),
        }
    }
}

fn write(to: &mut Vec<u8>, document: &impl Serialize) -> Result<()> {
    to.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *to, document).map_err(|_| Refusal::new(Code::Internal, "document of an answer"))?;
    to.extend_from_slice(b"\n\n");
    Ok(())
}
