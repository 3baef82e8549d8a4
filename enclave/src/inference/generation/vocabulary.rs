//! A generating model's tokens: which text they are, which of them end an answer, and how many fit.

use super::form::Grammars;
use crate::inference::encoder::{settings, tokenizer};
use crate::memory::ModelFiles;
use crate::prompt::Prompt;
use core::fmt;
use serde::Deserialize;
use std::sync::OnceLock;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokenizers::Tokenizer;
use zeroize::Zeroizing;

/// The tokens of one model.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    ends: Vec<u32>,
    context: usize,
    /// Made when first wanted: where nobody asks for a form, nothing waits for it.
    grammars: OnceLock<Option<Grammars>>,
}

/// A token that comes, or could have come.
#[derive(Debug)]
pub struct Likely {
    /// What it reads as by itself: of a part of a character, replacement characters.
    pub text: Prompt<String>,
    /// Its bytes; none where they cannot be told.
    pub bytes: Prompt<Vec<u8>>,
    /// The natural logarithm of how likely it is.
    pub log_probability: f64,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("ends", &self.ends).field("context", &self.context).finish_non_exhaustive()
    }
}

/// `generation_config.json` of transformers.
#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ends>,
}

/// `config.json` of transformers.
#[derive(Deserialize)]
struct ModelConfig {
    eos_token_id: Option<Ends>,
    max_position_embeddings: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
}

impl Vocabulary {
    /// What an opened model says: the tokens in `tokenizer.json`, those that end an answer in `generation_config.json` or
    /// `config.json`, and how many fit in `config.json`.
    ///
    /// # Errors
    /// `model-unsupported` a file is missing, cannot be read, or does not say it; more than [`limits::SEQUENCE`] are to fit.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let mut tokenizer = tokenizer(files)?;
        tokenizer.with_padding(None);
        let cleared = tokenizer.with_truncation(None);
        cleared.map_err(|e| Refusal::new(Code::ModelUnsupported, "tokenizer.json").because(e))?;
        let config = settings::<ModelConfig>(files, "config.json")?;
        let generation = settings::<GenerationConfig>(files, "generation_config.json")?;
        let (of_config, context) = config.map_or((None, None), |c| (c.eos_token_id, c.max_position_embeddings));
        let ends = match generation.and_then(|generation| generation.eos_token_id).or(of_config) {
            Some(Ends::One(end)) => vec![end],
            Some(Ends::Several(ends)) => ends,
            None => Vec::new(),
        };
        let unsupported = |what: &str| Refusal::new(Code::ModelUnsupported, what);
        if ends.is_empty() {
            return Err(
                unsupported("tokens that end an answer").want("eos_token_id in generation_config.json or config.json")
            );
        }
        let context =
            context.ok_or_else(|| unsupported("longest text").want("max_position_embeddings in config.json"))?;
        if !(2..=limits::SEQUENCE).contains(&context) {
            return Err(unsupported("longest text").got(context).want(format!("2 to {} tokens", limits::SEQUENCE)));
        }
        Ok(Self { tokenizer, ends, context, grammars: OnceLock::new() })
    }

    /// Tokens that fit, prompt and answer together.
    pub(super) const fn context(&self) -> usize {
        self.context
    }

    /// Whether `token` ends an answer.
    pub(super) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The text of a special token.
    pub(super) fn end(&self) -> Option<String> {
        self.ends.first().and_then(|end| self.tokenizer.id_to_token(*end))
    }

    /// The tokens of `text`; `marked`: with those that the model wants around a text.
    ///
    /// # Errors
    /// `request-invalid` the tokenizer does not take it.
    pub(super) fn encode(&self, text: &str, marked: bool) -> Result<Prompt<Vec<u32>>> {
        // The tokenizer's own message may quote the text.
        let invalid = |_| Refusal::new(Code::RequestInvalid, "text that the model's tokenizer does not take");
        Ok(Prompt::new(self.tokenizer.encode_fast(text, marked).map_err(invalid)?.get_ids().to_vec()))
    }

    /// Whether it has all of `tokens`.
    pub(super) fn has(&self, tokens: &[u32]) -> bool {
        tokens.iter().all(|token| self.tokenizer.id_to_token(*token).is_some())
    }

    /// What makes forms into grammars over its tokens. Blocks, the first time for up to a second.
    ///
    /// # Errors
    /// `request-invalid` which bytes its tokens stand for cannot be told.
    pub(super) fn grammars(&self) -> Result<&Grammars> {
        let made = || self.tokenizer.to_string(false).ok().and_then(|json| Grammars::of(&json, &self.ends));
        let none = || Refusal::new(Code::RequestInvalid, "model").got("one whose answers cannot be held to a form");
        self.grammars.get_or_init(made).as_ref().ok_or_else(none)
    }

    /// `token`, as likely as `log_probability` says.
    pub(super) fn likely(&self, token: u32, log_probability: f64) -> Likely {
        let text = Prompt::new(self.tokenizer.decode(&[token], false).unwrap_or_default());
        let bytes = Prompt::new(self.grammars().map(|grammars| grammars.bytes(token)).unwrap_or_default());
        Likely { text, bytes, log_probability }
    }

    /// The text of `tokens` without the special ones.
    pub(super) fn decode(&self, tokens: &[u32]) -> Zeroizing<String> {
        Zeroizing::new(self.tokenizer.decode(tokens, true).unwrap_or_default())
    }
}

#[cfg(test)]
pub(in crate::inference) mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;
    use crate::inference::tests::files;
    use serde_json::{Map, Value, json};

    /// A tokenizer of bytes, each of its own number, and of `<|end|>`, 256, and `<|begin|>`, 257.
    pub(in crate::inference) fn tokenizer_of_bytes() -> String {
        let mut next = 256u32;
        // The alphabet of GPT-2: printable bytes are themselves, and others follow 255 in their order.
        let letter = |byte: u8| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap()
            }
        };
        let letters: Map<String, Value> =
            (0..=u8::MAX).map(letter).zip(0u32..).map(|(letter, id)| (letter.to_string(), json!(id))).collect();
        let special = |id: u32, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        json!({
            "version": "1.0",
            "added_tokens": [special(256, "<|end|>"), special(257, "<|begin|>")],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            "model": {"type": "BPE", "vocab": letters, "merges": []},
        })
        .to_string()
    }

    pub(in crate::inference::generation) fn vocabulary(others: &[(&str, &str)]) -> Result<Vocabulary> {
        let tokenizer = tokenizer_of_bytes();
        Vocabulary::load(&files(&[&[("tokenizer.json", tokenizer.as_str())], others].concat()))
    }

    /// Bytes, each a token of its own number; 256 ends an answer, and 64 fit.
    pub(in crate::inference) fn bytes() -> Vocabulary {
        vocabulary(&[CONFIG]).unwrap()
    }

    const CONFIG: (&str, &str) = ("config.json", r#"{"eos_token_id":256,"max_position_embeddings":64}"#);

    #[test]
    fn text_and_tokens_are_told_from_one_another_and_special_ones_left_out() {
        let vocabulary = bytes();
        let tokens = vocabulary.encode("é<|end|>", true).unwrap();
        assert_eq!(*tokens.expose(), [0xc3, 0xa9, 256]);
        assert_eq!(*vocabulary.decode(tokens.expose()), "é");
        assert!(vocabulary.has(&[0, 257]) && !vocabulary.has(&[258]));
    }

    #[test]
    fn ends_are_those_of_the_generation_s_settings_else_of_the_model_s() {
        let several = ("generation_config.json", r#"{"eos_token_id":[7,8]}"#);
        let ends = |others: &[(&str, &str)]| {
            let vocabulary = vocabulary(others).unwrap();
            [7, 8, 256].map(|token| vocabulary.is_end(token))
        };
        assert_eq!(ends(&[CONFIG]), [false, false, true]);
        assert_eq!(ends(&[CONFIG, several]), [true, true, false]);
        assert_eq!(ends(&[CONFIG, ("generation_config.json", "{}")]), [false, false, true]);
    }

    #[test]
    fn model_that_says_no_end_or_no_length_refused() {
        for config in [
            r#"{"max_position_embeddings":64}"#,
            r#"{"eos_token_id":[],"max_position_embeddings":64}"#,
            r#"{"eos_token_id":256}"#,
            r#"{"eos_token_id":256,"max_position_embeddings":1}"#,
            "{",
        ] {
            assert_eq!(vocabulary(&[("config.json", config)]).unwrap_err().code, Code::ModelUnsupported, "{config}");
        }
        assert_eq!(vocabulary(&[]).unwrap_err().code, Code::ModelUnsupported);
        let length = |n: usize| {
            vocabulary(&[("config.json", &format!(r#"{{"eos_token_id":1,"max_position_embeddings":{n}}}"#))])
        };
        assert!(length(limits::SEQUENCE).is_ok());
        assert_eq!(length(limits::SEQUENCE + 1).unwrap_err().code, Code::ModelUnsupported);
    }
}
