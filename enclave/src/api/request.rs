//! The bodies of requests, and that of `POST /v1/embeddings` (OpenAI's reference, "Create embeddings").
//!
//! Members that are not known are passed over, since OpenAI's clients send some (`user`). No error quotes the body.

use crate::inference::Input;
use axum::body::Body;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use strongroom_transport::read_body;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroize as _;

/// Reads a body, and gives what `parse` makes of it.
///
/// # Errors
/// `too-large` over [`limits::API_BODY`]; `timeout` or `network` reading it; else as `parse`.
pub(super) async fn read<T>(body: Body, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let body = read_body(body, limits::API_BODY, "request body").await?;
    let parsed = parse(&body);
    // Unless something still holds a clone, the body can be overwritten; it is a prompt.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    parsed
}

/// What a body says.
///
/// # Errors
/// `request-invalid` it is not `what`, which is `want`.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8], what: &str, want: &str) -> Result<T> {
    // serde's message quotes what it did not expect, which may be a prompt.
    serde_json::from_slice(json).map_err(|error| {
        let at = format!("a mistake at line {}, column {}", error.line(), error.column());
        Refusal::new(Code::RequestInvalid, what).got(at).want(want)
    })
}

/// A request, as it was sent.
#[derive(Debug, Deserialize)]
pub(super) struct EmbeddingsRequest {
    pub(super) model: String,
    pub(super) input: Inputs,
    #[serde(default)]
    pub(super) encoding_format: Option<EncodingFormat>,
    #[serde(default)]
    pub(super) dimensions: Option<usize>,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingFormat {
    /// JSON numbers.
    Float,
    /// Base64 of little-endian IEEE 754 binary32.
    Base64,
}

/// A string, strings, the tokens of one input, or those of several.
#[derive(Debug)]
pub(super) struct Inputs {
    kept: Vec<Input>,
    /// How many there were; more than [`limits::API_INPUTS`] are counted and not kept.
    count: usize,
}

impl EmbeddingsRequest {
    /// Parses a body.
    ///
    /// # Errors
    /// `request-invalid` it is no such request; `too-large` it has too many inputs.
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        parse(json, "embeddings request", "`model`, and `input`: a string, strings, tokens or lists of tokens")
    }
}

impl Inputs {
    fn one(input: Input) -> Self {
        Self { kept: vec![input], count: 1 }
    }

    /// The inputs, at least one.
    ///
    /// # Errors
    /// `request-invalid` none; `too-large` more than [`limits::API_INPUTS`].
    pub(super) fn into_list(self) -> Result<Vec<Input>> {
        match self.count {
            0 => Err(Refusal::new(Code::RequestInvalid, "input").got("an empty list").want("at least one")),
            1..=limits::API_INPUTS => Ok(self.kept),
            more => Err(Refusal::too_large("inputs", more, limits::API_INPUTS)),
        }
    }
}

/// One element of a list; a number is one token of the only input.
enum Element {
    Text(Input),
    Tokens(Input),
    Token(u32),
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Inputs;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an input")
            }

            fn visit_str<E>(self, text: &str) -> core::result::Result<Inputs, E> {
                Ok(Inputs::one(Input::text(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<Inputs, A::Error> {
                match list.next_element()? {
                    None => Ok(Inputs { kept: Vec::new(), count: 0 }),
                    Some(Element::Token(first)) => {
                        let mut tokens = vec![first];
                        while let Some(token) = list.next_element()? {
                            tokens.push(token);
                        }
                        Ok(Inputs::one(Input::tokens(tokens)))
                    }
                    Some(Element::Text(first)) => several(list, first, |element| match element {
                        Element::Text(input) => Some(input),
                        Element::Tokens(_) | Element::Token(_) => None,
                    }),
                    Some(Element::Tokens(first)) => several(list, first, |element| match element {
                        Element::Tokens(input) => Some(input),
                        Element::Text(_) | Element::Token(_) => None,
                    }),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn several<'de, A: SeqAccess<'de>>(
    mut list: A,
    first: Input,
    of_kind: impl Fn(Element) -> Option<Input>,
) -> core::result::Result<Inputs, A::Error> {
    let mut kept = vec![first];
    while kept.len() < limits::API_INPUTS {
        let Some(element) = list.next_element()? else { break };
        kept.push(of_kind(element).ok_or_else(|| A::Error::custom("inputs of several kinds"))?);
    }
    let mut count = kept.len();
    while list.next_element::<IgnoredAny>()?.is_some() {
        count = count.saturating_add(1);
    }
    Ok(Inputs { kept, count })
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a string, a token or tokens")
            }

            fn visit_str<E>(self, text: &str) -> core::result::Result<Element, E> {
                Ok(Element::Text(Input::text(text.to_owned())))
            }

            fn visit_u64<E: serde::de::Error>(self, token: u64) -> core::result::Result<Element, E> {
                u32::try_from(token).map(Element::Token).map_err(|_| E::custom("token"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<Element, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = list.next_element()? {
                    tokens.push(token);
                }
                Ok(Element::Tokens(Input::tokens(tokens)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(input: &str) -> Result<usize> {
        let request = EmbeddingsRequest::parse(format!(r#"{{"model":"m","input":{input}}}"#).as_bytes())?;
        let counted = request.input.count;
        request.input.into_list().map(|inputs| {
            assert_eq!(inputs.len(), counted);
            counted
        })
    }

    #[test]
    fn each_of_openai_s_forms_accepted() {
        for (input, count) in
            [(r#""text""#, 1), (r#""""#, 1), (r#"["a","","c"]"#, 3), ("[1,2,3]", 1), ("[[1,2],[3]]", 2), ("[[]]", 1)]
        {
            assert_eq!(inputs(input).unwrap(), count, "{input}");
        }
    }

    #[test]
    fn other_forms_refused_without_being_quoted() {
        for input in [
            "null",
            "1",
            "{}",
            r#"["secret",1]"#,
            r#"[1,"secret"]"#,
            r#"[[1],"secret"]"#,
            "[-1]",
            "[4294967296]",
            "[1.5]",
            "[[[1]]]",
        ] {
            let refusal = inputs(input).unwrap_err();
            assert_eq!(refusal.code, Code::RequestInvalid, "{input}");
            assert!(!refusal.to_string().contains("secret"), "{refusal}");
        }
        assert_eq!(inputs("[]").unwrap_err().code, Code::RequestInvalid);
    }

    #[test]
    fn inputs_at_the_limit_accepted_and_one_more_refused() {
        let list = |n: usize| format!("[{}]", vec![r#""a""#; n].join(","));
        assert_eq!(inputs(&list(limits::API_INPUTS)).unwrap(), limits::API_INPUTS);
        let refusal = inputs(&list(limits::API_INPUTS + 1)).unwrap_err();
        assert_eq!((refusal.code, refusal.got.as_deref()), (Code::TooLarge, Some("2049")));
    }

    #[test]
    fn members_of_openai_s_clients_understood_or_passed_over() {
        let json = br#"{"model":"m","input":"a","encoding_format":"base64","dimensions":384,"user":"u","x":{"y":[1]}}"#;
        let request = EmbeddingsRequest::parse(json).unwrap();
        assert_eq!((request.encoding_format, request.dimensions), (Some(EncodingFormat::Base64), Some(384)));
    }

    #[test]
    fn request_without_model_or_input_or_with_an_unknown_format_refused() {
        for json in [
            r#"{"input":"secret"}"#,
            r#"{"model":"m"}"#,
            r#"{"model":"m","input":"a","encoding_format":"secret"}"#,
            r#"{"model":"m","input":"a","dimensions":"secret"}"#,
            r#"{"model":"m","input":"secret"#,
            "secret",
            "",
        ] {
            let refusal = EmbeddingsRequest::parse(json.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, Code::RequestInvalid, "{json}");
            assert!(!refusal.to_string().contains("secret"), "{refusal}");
        }
    }
}
