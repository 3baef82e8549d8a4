//! Refusals of our own API: problem details (RFC 9457) under the status code that fits, for those who can take it. The KBS
//! protocol's clients know 401 and 404 alone, and get those on its paths (`routes.rs`).

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use strongroom_wire::{Code, Fault, Refusal};

/// Below it, answers are in our own form.
const OWN: &str = "/v1/";

/// What a response refuses, for whoever gives it another form.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) Refusal);

/// The members of RFC 9457 §3.1, and the refusal's own.
#[derive(Serialize)]
struct Problem<'a> {
    /// What it is about is `code`; no page is behind it.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// For people.
    detail: String,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    want: Option<&'a str>,
}

/// Gives refusals on our own paths their own form.
pub(crate) async fn own_form(request: Request, next: Next) -> Response {
    let own = request.uri().path().starts_with(OWN);
    let response = next.run(request).await;
    match response.extensions().get::<Refused>() {
        Some(Refused(refusal)) if own => {
            let problem = problem(refusal);
            let (mut head, _) = response.into_parts();
            (head.status, head.extensions) = (problem.0, http::Extensions::new());
            head.headers.remove(CONTENT_LENGTH);
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            if head.status == StatusCode::UNAUTHORIZED {
                head.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Response::from_parts(head, Body::from(problem.1))
        }
        _ => response,
    }
}

fn problem(refusal: &Refusal) -> (StatusCode, Vec<u8>) {
    let status = status(refusal.code);
    let told = is_the_guest_s_own(refusal.code);
    let shown = |text: &'_ Option<String>| text.clone().filter(|_| told);
    let (got, want) = (shown(&refusal.got), shown(&refusal.want));
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: format!("refused: {}", refusal.code),
        code: refusal.code,
        got: got.as_deref(),
        want: want.as_deref(),
    };
    // Texts and numbers: it cannot fail.
    (status, serde_json::to_vec(&problem).unwrap_or_default())
}

/// What fits best, by what the peer can do about it.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::RouteUnknown => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Busy => StatusCode::TOO_MANY_REQUESTS,
        Code::NonceUsed => StatusCode::CONFLICT,
        Code::SessionUnknown | Code::SessionExpired | Code::TokenInvalid => StatusCode::UNAUTHORIZED,
        Code::Malformed
        | Code::UnknownField
        | Code::RequestInvalid
        | Code::IdentityInvalid
        | Code::VersionUnsupported
        | Code::PlatformUnsupported
        | Code::KeyInvalid => StatusCode::BAD_REQUEST,
        _ => match code.fault() {
            Fault::Refused | Fault::Configuration => StatusCode::FORBIDDEN,
            Fault::Environment => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// Whether got and want say nothing but what the guest sent itself and what everybody may know: of a policy, of what is kept here,
/// and of what a registry said, it is told nothing.
const fn is_the_guest_s_own(code: Code) -> bool {
    matches!(
        code,
        Code::Malformed
            | Code::UnknownField
            | Code::TooLarge
            | Code::VersionUnsupported
            | Code::PlatformUnsupported
            | Code::RouteUnknown
            | Code::RequestInvalid
            | Code::IdentityInvalid
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(code: Code) -> (u16, Value) {
        let (status, body) = problem(&Refusal::new(code, "what").got("got").want("want"));
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn problem_has_the_members_of_the_standard_and_the_status_that_fits() {
        let (status, body) = shown(Code::Malformed);
        let want = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "refused: malformed",
            "code": "malformed", "got": "got", "want": "want",
        });
        assert_eq!((status, body), (400, want));
        for (code, status) in [
            (Code::SessionUnknown, 401),
            (Code::MeasurementNotApproved, 403),
            (Code::NoPolicy, 403),
            (Code::RouteUnknown, 404),
            (Code::NonceUsed, 409),
            (Code::TooLarge, 413),
            (Code::Busy, 429),
            (Code::Internal, 500),
            (Code::StoreFailed, 503),
            (Code::EndorsementUnavailable, 503),
        ] {
            assert_eq!(shown(code).0, status, "{code}");
        }
    }

    #[test]
    fn what_a_policy_or_the_store_says_is_not_told() {
        for code in [
            Code::MeasurementNotApproved,
            Code::TcbTooOld,
            Code::KeyUnknown,
            Code::StoreFailed,
            Code::ReportDataMismatch,
        ] {
            let (_, body) = shown(code);
            assert_eq!((body.get("got"), body.get("want")), (None, None), "{code}");
        }
    }
}
