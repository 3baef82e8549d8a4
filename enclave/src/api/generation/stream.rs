//! An answer as it comes: server-sent events (the HTML standard, §9.2), each a document of OpenAI's, and `[DONE]` after the last.

use super::Begun;
use super::answer::{Head, Usage};
use crate::api::error::document as error_document;
use crate::inference::{Answering, Event};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use core::convert::Infallible;
use futures_util::stream;
use serde::Serialize;
use strongroom_wire::{Code, Refusal, Result};

/// What is left of an answer.
struct Pieces {
    head: Head,
    with_usage: bool,
    first: Option<Event>,
    rest: Answering,
    begun: Vec<bool>,
    tokens: usize,
    is_over: bool,
}

/// The answer, whose body ends when the answers do. Dropped, they are not gone on with.
pub(super) fn response(begun: Begun, with_usage: bool) -> Response {
    let Begun { head, first, rest, choices, .. } = begun;
    let begun = vec![false; choices];
    let pieces = Pieces { head, with_usage, first: Some(first), rest, begun, tokens: 0, is_over: false };
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
            Some(event) => event.and_then(|event| self.piece(&event)).unwrap_or_else(|refusal| self.failure(&refusal)),
            None => self.end(),
        })
    }

    /// One event, before the first of its choice with what that begins with.
    fn piece(&mut self, event: &Event) -> Result<Bytes> {
        let mut text = Vec::new();
        let (Event::Text { choice, .. } | Event::End { choice, .. }) = event;
        if let Some(begun) = self.begun.get_mut(*choice).filter(|begun| !**begun) {
            *begun = true;
            if let Some(beginning) = self.head.beginning(*choice, self.with_usage) {
                write(&mut text, &beginning)?;
            }
        }
        if let Event::End { tokens, .. } = event {
            self.tokens = self.tokens.saturating_add(*tokens);
        }
        write(&mut text, &self.head.event(event, self.with_usage))?;
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
