//! What a call comes to, and how that is said.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use strongroom_wire::{Code, Fault, Refusal};

use super::Done;
use crate::admin_log;
use crate::routes;

/// What a call comes to.
pub(super) enum Answer {
    Json(StatusCode, Value),
    /// A policy as it was put, by its media type.
    Text(&'static str, Vec<u8>),
    Log(admin_log::Answer),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(status, body) => routes::json(status, &body),
            Self::Text(kind, body) => ([(CONTENT_TYPE, kind)], body).into_response(),
            Self::Log(answer) => answer.into_response(),
        }
    }
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Self {
        Self { answer, signer: None, erases: false }
    }
}

/// Why it was refused, whole.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let status = match (refusal.code, refusal.fault()) {
        (Code::AdminUnauthorized, _) => StatusCode::UNAUTHORIZED,
        (Code::RoleInsufficient | Code::ApprovalOwn, _) => StatusCode::FORBIDDEN,
        (
            Code::RouteUnknown
            | Code::KeyUnknown
            | Code::NoPolicy
            | Code::LogProofInvalid
            | Code::WitnessMissing
            | Code::ChangeUnknown,
            _,
        ) => StatusCode::NOT_FOUND,
        (Code::KeyExists | Code::PromotionSuperseded | Code::Revoked, _) => StatusCode::CONFLICT,
        (Code::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        // The only network of an administrator's call is their own: the body broke off or came too slowly.
        (Code::Network, _) => StatusCode::BAD_REQUEST,
        (Code::Timeout, _) => StatusCode::REQUEST_TIMEOUT,
        (Code::CustodyUnavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Fault::Refused | Fault::Configuration) => StatusCode::BAD_REQUEST,
        (_, Fault::Environment | Fault::Bug) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = routes::json(status, refusal);
    if refusal.code == Code::Busy {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}
