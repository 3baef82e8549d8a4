//! Where in a text its tokens are, and how they read.

use super::{Encoder, Input, Kind, Sequence, sequence};
use crate::prompt::Prompt;
use core::cell::LazyCell;
use strongroom_wire::{Code, Refusal, Result};
use tokenizers::{Decoder as _, Model as _, ModelWrapper};
use zeroize::Zeroize as _;

/// A token that stands for a part of the text; those that the tokenizer adds do not.
#[derive(Debug)]
pub(in crate::inference) struct Span {
    /// Its place among all tokens that the model sees, from 0.
    pub(in crate::inference) index: usize,
    /// As the vocabulary has it; where that does not, as the text does.
    pub(in crate::inference) word: Prompt<String>,
    /// Its first character in the text, counted from 0 in Unicode code points.
    pub(in crate::inference) start: usize,
    /// The character after its last.
    pub(in crate::inference) end: usize,
}

impl Encoder {
    /// As [`Encoder::encode`], and where each token is that stands for a part of the text.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and `request-invalid` for tokens: there is no text that they are in.
    pub(in crate::inference) fn encode_spans(&self, input: &Input) -> Result<(Sequence, Vec<Span>)> {
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, what);
        let Kind::Text(text) = &input.0 else {
            return Err(invalid("input").got("tokens").want("text"));
        };
        let text = text.expose().as_str();
        let encoding = self.tokenizer.encode_char_offsets(text, true);
        let encoding = encoding.map_err(|_| invalid("text that the model's tokenizer does not take"))?;
        let unknown = unknown(self.tokenizer.get_model());
        // At which byte each character begins: of thousands that are unknown, none is looked for from the beginning.
        let bytes = LazyCell::new(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>());
        let part = |start: usize, end: usize| {
            let (start, end) = (bytes.get(start)?, bytes.get(end)?);
            text.get(*start..*end)
        };
        let tokens = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets());
        let tokens = tokens.zip(encoding.get_special_tokens_mask()).enumerate();
        let spans =
            tokens.filter(|(_, (_, special))| **special == 0).map(|(index, (((id, token), (start, end)), _))| {
                let read = if unknown == Some(*id) { part(*start, *end) } else { None };
                let word = Prompt::new(read.unwrap_or(token).to_owned());
                Span { index, word, start: *start, end: *end }
            });
        let spans = spans.collect();
        Ok((sequence(&encoding)?, spans))
    }

    /// The words of neighbouring tokens as one text, put together as the tokenizer does.
    ///
    /// # Errors
    /// `runtime-failed` it does not.
    pub(in crate::inference) fn join(&self, words: &[&str]) -> Result<Prompt<String>> {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let joined = match self.tokenizer.get_decoder() {
            Some(decoder) => decoder.decode(words),
            None => {
                let joined = words.join(" ");
                words.zeroize();
                Ok(joined)
            }
        };
        // Its own message may quote the text.
        joined.map(Prompt::new).map_err(|_| Refusal::new(Code::RuntimeFailed, "decoder of tokenizer.json"))
    }
}

/// The token that stands for whatever the vocabulary does not have.
fn unknown(model: &ModelWrapper) -> Option<u32> {
    let name = match model {
        ModelWrapper::BPE(model) => model.unk_token.as_deref(),
        ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
        // SentencePiece's name; the library does not tell which it is.
        ModelWrapper::Unigram(_) => Some("<unk>"),
    };
    name.and_then(|name| model.token_to_id(name))
}
