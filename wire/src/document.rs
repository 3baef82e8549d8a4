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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        a: u32,
        b: u32,
    }

    fn toml(text: &str) -> Result<Example> {
        parse_toml(text.as_bytes(), "example", 11, Code::PolicyInvalid)
    }

    #[test]
    fn document_at_its_limit_accepted_and_one_byte_more_refused() {
        assert_eq!(toml("a = 1\nb = 22").unwrap_err().code, Code::TooLarge);
        assert_eq!(toml("a = 1\nb =22").unwrap(), Example { a: 1, b: 22 });
        let json = |text: &str| parse_json::<Example>(text.as_bytes(), "example", 13, Code::PolicyInvalid);
        assert_eq!(json(r#"{"a":1,"b":2}"#).unwrap(), Example { a: 1, b: 2 });
        assert_eq!(json(r#"{"a":1,"b":22}"#).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn refusal_names_the_line_and_tells_an_unknown_member_from_a_wrong_one() {
        let wrong = toml("a = 1\nb = x").unwrap_err();
        assert_eq!(wrong.code, Code::PolicyInvalid);
        assert!(wrong.what.starts_with("example, line 2: "), "{}", wrong.what);
        assert!(toml("a = x\nb = 1").unwrap_err().what.starts_with("example, line 1: "));
        assert_eq!(toml("a=1\nb=1\nc=1").unwrap_err().code, Code::UnknownField);
        assert_eq!(
            parse_toml::<Example>(&[0xff], "example", 9, Code::PolicyInvalid).unwrap_err().code,
            Code::Malformed
        );
    }
}
