//! The forms of the service's answers.

use crate::certificate::{crl_expires, parse_chain};
use crate::http::Answer;
use serde::Deserialize;
use serde::de::IgnoredAny;
use strongroom_wire::{Refusal, Result, limits};

/// The issuer chain of an answer: PEM in a header, percent-encoded (RFC 3986 §2.1).
///
/// # Errors
/// `malformed`, `too-large`.
pub(super) fn header_chain(answer: &Answer, name: &str) -> Result<String> {
    let value = answer.headers.get(name).ok_or_else(|| Refusal::malformed(name, "no such header"))?;
    if value.len() > limits::PCK_CHAIN.saturating_mul(3) {
        return Err(Refusal::too_large(name, value.len(), limits::PCK_CHAIN.saturating_mul(3)));
    }
    let pem = percent_decoded(value.as_bytes()).ok_or_else(|| Refusal::malformed(name, "not percent-encoded"))?;
    parse_chain(pem.as_bytes(), name)?;
    Ok(pem)
}

fn percent_decoded(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_first_chunk::<2>()?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        decoded.extend(byte);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

#[derive(Deserialize)]
struct Rest {
    signature: String,
}

/// The text of member `name`, which is the first, and the signature over it (hex). The text is what is signed, so it is cut
/// out as it stands and not written anew.
///
/// # Errors
/// `malformed`.
pub(super) fn signed_member(body: &[u8], name: &str) -> Result<(String, String)> {
    let malformed = |cause: &str| Refusal::malformed(format!("answer with {name}"), cause);
    let text = core::str::from_utf8(body).map_err(|_| malformed("not UTF-8"))?;
    let quoted = format!("\"{name}\"");
    let value = after(text, "{").and_then(|text| after(text, &quoted)).and_then(|text| after(text, ":"));
    let value = value.ok_or_else(|| malformed("it is not the first member"))?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => {}
        Some(Err(e)) => return Err(malformed(&e.to_string())),
        None => return Err(malformed("it ends before the member does")),
    }
    let (signed, rest) = value.split_at_checked(values.byte_offset()).ok_or_else(|| malformed("no signature"))?;
    let rest = after(rest, ",").ok_or_else(|| malformed("no signature"))?;
    let rest: Rest = serde_json::from_str(&format!("{{{rest}")).map_err(|e| malformed(&e.to_string()))?;
    if rest.signature.len() != 128 || hex::decode(&rest.signature).is_err() {
        return Err(malformed("the signature is not 64 bytes in hex"));
    }
    Ok((signed.to_owned(), rest.signature))
}

/// What follows `token`, with or without white space around it.
fn after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    text.trim_start().strip_prefix(token).map(str::trim_start)
}

/// A revocation list in hex, from DER or, as a PCCS sends it, from hex.
///
/// # Errors
/// `malformed`.
pub(super) fn crl(body: &[u8]) -> Result<String> {
    const WHAT: &str = "revocation list";
    let from_hex = hex::decode(body.trim_ascii());
    let der = from_hex.as_deref().unwrap_or(body);
    crl_expires(der, WHAT)?;
    Ok(hex::encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Code;

    #[test]
    fn member_is_cut_out_byte_for_byte() {
        let signature = "ab".repeat(64);
        let read = |body: String| signed_member(body.as_bytes(), "tcbInfo").map_err(|refusal| refusal.code);
        let text = r#"{"b" : [1,  "}"], "a":"\u0041"}"#;
        let want = Ok((text.to_owned(), signature.clone()));
        assert_eq!(read(format!(r#"{{"tcbInfo":{text},"signature":"{signature}"}}"#)), want);
        assert_eq!(read(format!(" {{ \"tcbInfo\" : {text},\n\"signature\" : \"{signature}\" }}\n")), want);
        for body in [
            String::new(),
            format!(r#"{{"other":{text},"signature":"{signature}"}}"#),
            format!(r#"{{"tcbInfo":{text}"#),
            format!(r#"{{"tcbInfo":{text}}}"#),
            format!(r#"{{"tcbInfo":{text},"signature":"{signature}"}} more"#),
            format!(r#"{{"tcbInfo":{text},"signature":"abcd"}}"#),
            format!(r#"{{"tcbInfo":,"signature":"{signature}"}}"#),
        ] {
            assert_eq!(read(body.clone()), Err(Code::Malformed), "{body}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_and_broken_one_refused() {
        assert_eq!(percent_decoded(b"-----BEGIN%20A%0a+/=").as_deref(), Some("-----BEGIN A\n+/="));
        for broken in [&b"%"[..], b"%0", b"%zz", b"%ff"] {
            assert_eq!(percent_decoded(broken), None);
        }
    }

    #[test]
    fn list_is_taken_as_der_and_as_hex() {
        let hierarchy = strongroom_devkit::intel::Hierarchy::generate().unwrap();
        let der = hierarchy.root.crl(&[], strongroom_devkit::intel::ALWAYS).unwrap();
        assert_eq!(crl(&der).unwrap(), hex::encode(&der));
        assert_eq!(crl(format!("{}\n", hex::encode_upper(&der)).as_bytes()).unwrap(), hex::encode(&der));
        assert_eq!(crl(&der[..der.len() - 1]).unwrap_err().code, Code::Malformed);
    }
}
