//! The proxy's own errors, in the shape that OpenAI's clients parse.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;
use strongroom_wire::{Code, Refusal};

#[derive(Serialize)]
struct Body {
    error: Error,
}

#[derive(Serialize)]
struct Error {
    message: String,
    r#type: &'static str,
    param: Option<String>,
    code: Code,
}

/// `refusal` as an answer. Its reader sits at this machine and is the operator too, so the message says everything.
pub(super) fn refusal(status: StatusCode, refusal: &Refusal) -> Response {
    let r#type = if status.is_client_error() { "invalid_request_error" } else { "api_error" };
    let error = Error { message: refusal.to_string(), r#type, param: None, code: refusal.code };
    (status, Json(Body { error })).into_response()
}
