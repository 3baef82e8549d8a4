//! From a registry's answer to a [`Refusal`] (distribution specification 1.1, "Error Codes").

use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;
use strongroom_transport::{BoxError, read_body};
use strongroom_wire::{Code, Refusal, Result, limits};

/// How much of a registry's own words is repeated, in characters.
const WORDS: usize = 200;

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Error>,
}

#[derive(Deserialize)]
struct Error {
    code: String,
    #[serde(default)]
    message: String,
}

/// The answer, if it has one of these statuses.
///
/// # Errors
/// `registry-unauthorized` for 401 and 403, `registry-not-found` for 404, else `registry-failed`.
pub(crate) async fn expect<B>(response: Response<B>, statuses: &[StatusCode], what: &str) -> Result<Response<B>>
where
    B: hyper::body::Body<Data = bytes::Bytes>,
    B::Error: Into<BoxError>,
{
    let status = response.status();
    if statuses.contains(&status) {
        return Ok(response);
    }
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::RegistryUnauthorized,
        StatusCode::NOT_FOUND => Code::RegistryNotFound,
        _ => Code::RegistryFailed,
    };
    let words = read_body(response.into_body(), limits::REGISTRY_ERROR, what).await.ok();
    let words = words.as_deref().and_then(words_of).map(|words| format!(": {words}")).unwrap_or_default();
    let want: Vec<_> = statuses.iter().map(StatusCode::as_str).collect();
    Err(Refusal::new(code, what).got(format!("{status}{words}")).want(want.join(" or ")))
}

/// The first error of an error document, on one line and without what a terminal would act on.
fn words_of(body: &[u8]) -> Option<String> {
    let document: Errors = serde_json::from_slice(body).ok()?;
    let error = document.errors.into_iter().next()?;
    let words = format!("{} {}", error.code, error.message);
    Some(words.chars().filter(|c| !c.is_control()).take(WORDS).collect::<String>().trim_end().to_owned())
}

/// A header of an answer that the specification demands.
///
/// # Errors
/// `registry-failed`: it is absent or not text.
pub(crate) fn demanded<'a>(headers: &'a HeaderMap, name: &header::HeaderName, what: &str) -> Result<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| {
        Refusal::new(Code::RegistryFailed, what).got(format!("no {name} header")).want("an answer of a registry")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    async fn code_of(status: u16, body: &'static str) -> Refusal {
        let response = Response::builder().status(status).body(Full::new(bytes::Bytes::from_static(body.as_bytes())));
        expect(response.unwrap(), &[StatusCode::OK], "manifest").await.unwrap_err()
    }

    #[tokio::test]
    async fn statuses_have_their_codes() {
        for (status, code) in [
            (401, Code::RegistryUnauthorized),
            (403, Code::RegistryUnauthorized),
            (404, Code::RegistryNotFound),
            (202, Code::RegistryFailed),
            (400, Code::RegistryFailed),
            (429, Code::RegistryFailed),
            (500, Code::RegistryFailed),
        ] {
            assert_eq!(code_of(status, "").await.code, code, "{status}");
        }
    }

    #[tokio::test]
    async fn words_of_the_registry_are_repeated_on_one_line() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\n\u001b[31mway"}]}"#;
        let got = code_of(403, body).await.got.unwrap();
        assert_eq!(got, "403 Forbidden: DENIED no[31mway");
        assert_eq!(code_of(403, "<html>").await.got.unwrap(), "403 Forbidden");
    }
}
