//! One way to read TOML and JSON documents: limited in length, unknown members refused, errors with a place.

use crate::{Code, Refusal, Result};
use serde::de::DeserializeOwned;

/// Reads a TOML document of at most `limit` bytes. `code` is the refusal for anything but an unknown field.
pub fn parse_toml<T: DeserializeOwned>(bytes: &[u8], what: &str, limit: usize, code: Code) -> Result<T> {
    let text = limited_text(bytes, what, limit)?;
    toml::from_str(text).map_err(|error| {
        let message = error.message().to_owned();
        let line = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        let place = line.map_or_else(|| what.to_owned(), |line| format!("{what}, line {line}"));
        explain(code, place, &message)
    })
}

/// Reads a JSON document of at most `limit` bytes. `code` is the refusal for anything but an unknown field.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], what: &str, limit: usize, code: Code) -> Result<T> {
    if bytes.len() > limit {
        return Err(Refusal::too_large(what, format!("{} bytes", bytes.len()), limit));
    }
    serde_json::from_slice(bytes).map_err(|error| explain(code, what.to_owned(), &error.to_string()))
}

fn limited_text<'a>(bytes: &'a [u8], what: &str, limit: usize) -> Result<&'a str> {
    if bytes.len() > limit {
        return Err(Refusal::too_large(what, format!("{} bytes", bytes.len()), limit));
    }
    core::str::from_utf8(bytes).map_err(|e| Refusal::malformed(what, e))
}

/// serde reports unknown members in prose only; its wording is fixed by `serde::de::Error::unknown_field`.
fn explain(code: Code, place: String, message: &str) -> Refusal {
    let code = if message.starts_with("unknown field") { Code::UnknownField } else { code };
    Refusal::new(code, place).because(message.lines().collect::<Vec<_>>().join(" "))
}
