//! Refusals as callers see them: in the error document of the API that they called, with the stable code.

use super::access::Refused;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use strongroom_wire::{Code, Refusal};

/// A refusal on its way to a caller of OpenAI's API, or of any route that has no shape of its own.
#[derive(Debug)]
pub(super) struct Answer(pub(super) Refusal);

/// A refusal on its way to a caller of the Open Inference Protocol, whose document is `{"error": text}`.
#[derive(Debug)]
pub(super) struct InferenceAnswer(pub(super) Refusal);

impl From<Refusal> for InferenceAnswer {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// How a refusal is told: the status, OpenAI's type, and whether the caller is told more than the code.
pub(super) fn told(code: Code) -> (StatusCode, &'static str, bool) {
    let invalid = "invalid_request_error";
    match code {
        Code::RequestInvalid | Code::Malformed => (StatusCode::BAD_REQUEST, invalid, true),
        Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, invalid, true),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "authentication_error", true),
        // Which policy it was is the operator's to know.
        Code::PolicyDenied | Code::PolicyFailed | Code::AuthorizationEmpty => {
            (StatusCode::FORBIDDEN, "permission_error", false)
        }
        Code::ModelUnknown | Code::RouteUnknown => (StatusCode::NOT_FOUND, invalid, true),
        // As a condition that a request made (RFC 9110 §13.1) and that does not hold.
        Code::WorkloadChanged => (StatusCode::PRECONDITION_FAILED, invalid, true),
        Code::Timeout => (StatusCode::REQUEST_TIMEOUT, invalid, false),
        Code::Busy | Code::LimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", true),
        Code::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "server_error", true),
        Code::ClockBehind => (StatusCode::SERVICE_UNAVAILABLE, "server_error", false),
        // Whatever else was refused is the enclave's own trouble, and its operator's to read about.
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", false),
    }
}

/// OpenAI's error document.
fn openai(code: Code, kind: &str, message: String) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code, "param": null}})
}

/// The same of a refusal that comes after the status.
pub(super) fn document(refusal: &Refusal) -> Value {
    let (_, kind, all) = told(refusal.code);
    openai(refusal.code, kind, if all { refusal.to_string() } else { refusal.code.to_string() })
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        respond(self.0, openai)
    }
}

impl IntoResponse for InferenceAnswer {
    fn into_response(self) -> Response {
        respond(self.0, |code, _, message| json!({"error": message, "code": code}))
    }
}

/// That nothing is there, in the shape of the API that `path` is of.
pub(super) fn nothing(path: &str, what: &str) -> Response {
    let refusal = Refusal::new(Code::RouteUnknown, what);
    let is_inference = path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_inference { InferenceAnswer(refusal).into_response() } else { Answer(refusal).into_response() }
}

/// The answer with the document that `shape` makes of the code, OpenAI's type and what is told.
fn respond(refusal: Refusal, shape: impl FnOnce(Code, &str, String) -> Value) -> Response {
    let code = refusal.code;
    let (status, kind, all) = told(code);
    if status.is_server_error() && code != Code::NotReady {
        tracing::error!(%refusal, "request failed");
    }
    let message = if all { refusal.to_string() } else { code.to_string() };
    let mut response = (status, Json(shape(code, kind, message))).into_response();
    let (name, value) = match code {
        Code::Unauthenticated => (header::WWW_AUTHENTICATE, "Bearer"),
        Code::Busy | Code::LimitExceeded | Code::NotReady => (header::RETRY_AFTER, "1"),
        _ => (header::CACHE_CONTROL, "no-store"),
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response.extensions_mut().insert(Refused(refusal));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_as_an_error() {
        for code in Code::ALL {
            let status = told(*code).0;
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }

    #[test]
    fn what_went_wrong_inside_is_not_told() {
        for code in [Code::Internal, Code::RuntimeFailed, Code::AttesterFailed, Code::ReportDataMismatch, Code::Io] {
            assert_eq!(told(code), (StatusCode::INTERNAL_SERVER_ERROR, "server_error", false), "{code}");
        }
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let response = Answer(Refusal::new(Code::Busy, "queue")).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
