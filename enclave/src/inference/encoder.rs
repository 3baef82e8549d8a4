//! From text to tokens, as the model's own `tokenizer.json` says.

use crate::memory::ModelFiles;
use crate::prompt::Prompt;
use core::fmt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokenizers::{Encoding, Token, Tokenizer, TruncationParams};

/// One input of a request.
#[derive(Debug)]
pub struct Input(Kind);

#[derive(Debug)]
enum Kind {
    Text(Prompt<String>),
    Tokens(Prompt<Vec<u32>>),
}

impl Input {
    /// Text of at most [`limits::API_INPUT`] bytes; what the model has no room for is cut off.
    pub fn text(text: String) -> Self {
        Self(Kind::Text(Prompt::new(text)))
    }

    /// Tokens of the model's vocabulary, without the special ones around them, which are added as they are to text.
    pub fn tokens(tokens: Vec<u32>) -> Self {
        Self(Kind::Tokens(Prompt::new(tokens)))
    }

    /// Its size in bytes: of the text in UTF-8, or four a token.
    fn size(&self) -> usize {
        match &self.0 {
            Kind::Text(text) => text.expose().len(),
            Kind::Tokens(tokens) => tokens.expose().len().saturating_mul(size_of::<u32>()),
        }
    }
}

/// That `inputs` are of a size to be tokenised.
///
/// # Errors
/// `too-large` one is over [`limits::API_INPUT`], or all are over [`limits::API_BODY`].
pub(super) fn bound(inputs: &[Input]) -> Result<()> {
    let mut all = 0usize;
    for input in inputs {
        let size = input.size();
        if size > limits::API_INPUT {
            return Err(Refusal::too_large("bytes of one input", size, limits::API_INPUT));
        }
        all = all.saturating_add(size);
    }
    if all > limits::API_BODY {
        return Err(Refusal::too_large("bytes of all inputs", all, limits::API_BODY));
    }
    Ok(())
}

/// What the model sees of one input: token ids and the segment each belongs to, equally many.
pub(super) struct Sequence {
    pub(super) ids: Prompt<Vec<u32>>,
    pub(super) segments: Vec<u32>,
}

impl Sequence {
    pub(super) fn len(&self) -> usize {
        self.ids.expose().len()
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence of {}", self.len())
    }
}

/// A model's tokenizer.
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    padding: u32,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("padding", &self.padding).finish_non_exhaustive()
    }
}

/// `sentence_bert_config.json` of sentence-transformers.
#[derive(Deserialize)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
}

/// `config.json` of transformers.
#[derive(Deserialize)]
struct ModelConfig {
    max_position_embeddings: Option<usize>,
}

impl Encoder {
    /// The tokenizer of an opened model. It truncates as `tokenizer.json` says; where that is silent, to `max_seq_length` of
    /// `sentence_bert_config.json`, else to `max_position_embeddings` of `config.json`.
    ///
    /// # Errors
    /// `model-unsupported` there is no tokenizer, it cannot be read, or nothing bounds the length of its output.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let unsupported = |why: &dyn fmt::Display| Refusal::new(Code::ModelUnsupported, "tokenizer.json").because(why);
        let file = files.get("tokenizer.json").ok_or_else(|| unsupported(&"missing"))?;
        let json = file.read(limits::TOKENIZER, "tokenizer.json")?;
        let mut tokenizer = Tokenizer::from_bytes(&json).map_err(|e| unsupported(&e))?;
        let padding = tokenizer.get_padding().map_or(0, |padding| padding.pad_id);
        tokenizer.with_padding(None);
        let longest = match tokenizer.get_truncation() {
            Some(truncation) => truncation.max_length,
            None => {
                let max_length = stated_length(files)?;
                let truncation = TruncationParams { max_length, ..TruncationParams::default() };
                tokenizer.with_truncation(Some(truncation)).map_err(|e| unsupported(&e))?;
                max_length
            }
        };
        if !(1..=limits::SEQUENCE).contains(&longest) {
            let got = format!("{longest} tokens");
            return Err(unsupported(&"longest sequence").got(got).want(format!("1 to {}", limits::SEQUENCE)));
        }
        Ok(Self { tokenizer, padding })
    }

    /// The token that fills shorter sequences of a batch. It is masked out, so it only has to be one of the vocabulary.
    pub(super) const fn padding(&self) -> u32 {
        self.padding
    }

    /// What the model sees of each of `inputs`, and of how many tokens that is. `is_gone` says whether nobody waits for it
    /// any more, and is asked before each input.
    ///
    /// # Errors
    /// `too-large` more than [`limits::API_TOKENS`], found out at the first that is too many; `network` the caller is gone;
    /// else as [`Self::encode`].
    pub(super) fn encode_all(&self, inputs: &[Input], is_gone: impl Fn() -> bool) -> Result<(Vec<Sequence>, usize)> {
        let (mut sequences, mut tokens) = (Vec::with_capacity(inputs.len()), 0usize);
        for input in inputs {
            if is_gone() {
                return Err(Refusal::new(Code::Network, "caller").got("gone"));
            }
            let sequence = self.encode(input)?;
            tokens = tokens.saturating_add(sequence.len());
            if tokens > limits::API_TOKENS {
                let got = format!("more than {}", limits::API_TOKENS);
                return Err(Refusal::too_large("tokens of one request", got, limits::API_TOKENS));
            }
            sequences.push(sequence);
        }
        Ok((sequences, tokens))
    }

    /// What the model sees of `input`: cut to its length, special tokens added.
    ///
    /// # Errors
    /// `request-invalid` a token is not of the vocabulary, or the tokenizer cannot take the text, or makes nothing of it.
    pub(super) fn encode(&self, input: &Input) -> Result<Sequence> {
        // The tokenizer's own message may quote the text.
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, what);
        let encoding = match &input.0 {
            Kind::Text(text) => self.tokenizer.encode_fast(text.expose().as_str(), true),
            Kind::Tokens(ids) => self.tokenizer.post_process(self.known(ids.expose())?, None, true),
        };
        let encoding = encoding.map_err(|_| invalid("text that the model's tokenizer does not take"))?;
        if encoding.is_empty() {
            return Err(invalid("input without a token"));
        }
        Ok(Sequence { ids: Prompt::new(encoding.get_ids().to_vec()), segments: encoding.get_type_ids().to_vec() })
    }

    fn known(&self, ids: &[u32]) -> Result<Encoding> {
        let token = |id: &u32| {
            let text = self.tokenizer.id_to_token(*id);
            let unknown = || Refusal::new(Code::RequestInvalid, "token that the model does not have");
            text.map(|text| Token::new(*id, text, (0, 0))).ok_or_else(unknown)
        };
        let tokens = ids.iter().map(token).collect::<Result<Vec<_>>>()?;
        Ok(Encoding::from_tokens(tokens, 0))
    }
}

fn stated_length(files: &ModelFiles) -> Result<usize> {
    let sentence = settings::<SentenceBertConfig>(files, "sentence_bert_config.json")?.and_then(|s| s.max_seq_length);
    let stated = match sentence {
        Some(length) => Some(length),
        None => settings::<ModelConfig>(files, "config.json")?.and_then(|s| s.max_position_embeddings),
    };
    stated.ok_or_else(|| {
        Refusal::new(Code::ModelUnsupported, "longest sequence")
            .got("not stated")
            .want("truncation in tokenizer.json, max_seq_length or max_position_embeddings")
    })
}

/// A settings file of a model, where it has one. Members that are not asked for are passed over: models bring many.
pub(super) fn settings<T: DeserializeOwned>(files: &ModelFiles, path: &str) -> Result<Option<T>> {
    let Some(file) = files.get(path) else { return Ok(None) };
    let json = file.read(limits::MODEL_SETTINGS, path)?;
    let parsed = serde_json::from_slice(&json);
    parsed.map(Some).map_err(|e| Refusal::new(Code::ModelUnsupported, path).because(e))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::inference::tests::files;
    use std::cell::Cell;

    /// Words of one letter each, `[CLS]` and `[SEP]` around them; `more` goes into the top of the document.
    fn tokenizer(more: &str) -> String {
        let head = r#"{"version":"1.0","#;
        let tail = r#""added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"decoder":null,
            "post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]},
            "model":{"type":"WordLevel","unk_token":"[UNK]",
                "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"a":4,"b":5,"c":6,"d":7,"e":8}}}"#;
        format!("{head}{more}{tail}")
    }

    fn encoder(more: &str, others: &[(&str, &str)]) -> Result<Encoder> {
        let tokenizer = tokenizer(more);
        let all = [&[("tokenizer.json", tokenizer.as_str())], others].concat();
        Encoder::load(&files(&all))
    }

    /// An encoder of the words above, six tokens at most, for tests of what is around it.
    pub(in crate::inference) fn letters() -> Encoder {
        encoder("", &[CONFIG]).unwrap()
    }

    fn ids(encoder: &Encoder, input: Input) -> Vec<u32> {
        encoder.encode(&input).unwrap().ids.expose().clone()
    }

    const TRUNCATION: &str =
        r#""truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0},"#;
    const SENTENCE: (&str, &str) = ("sentence_bert_config.json", r#"{"max_seq_length":5,"do_lower_case":false}"#);
    const CONFIG: (&str, &str) = ("config.json", r#"{"max_position_embeddings":6,"hidden_size":2}"#);

    #[test]
    fn truncation_is_the_tokenizer_s_else_the_sentence_model_s_else_the_model_s() {
        let long = || Input::text("a b c d e a b c".into());
        assert_eq!(ids(&encoder(TRUNCATION, &[SENTENCE, CONFIG]).unwrap(), long()), [2, 4, 5, 3]);
        assert_eq!(ids(&encoder("", &[SENTENCE, CONFIG]).unwrap(), long()), [2, 4, 5, 6, 3]);
        assert_eq!(ids(&encoder("", &[CONFIG]).unwrap(), long()), [2, 4, 5, 6, 7, 3]);
        assert_eq!(encoder("", &[]).unwrap_err().code, Code::ModelUnsupported);
    }

    #[test]
    fn length_at_the_limit_accepted_and_over_it_refused() {
        let config = |n: usize| encoder("", &[("config.json", &format!(r#"{{"max_position_embeddings":{n}}}"#))]);
        assert!(config(limits::SEQUENCE).is_ok());
        assert_eq!(config(limits::SEQUENCE + 1).unwrap_err().code, Code::ModelUnsupported);
    }

    #[test]
    fn padding_of_the_tokenizer_is_left_to_the_batch() {
        let padding = r#""padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":1,
            "pad_type_id":0,"pad_token":"[UNK]"},"#;
        let encoder = encoder(padding, &[CONFIG]).unwrap();
        assert_eq!(encoder.padding(), 1);
        assert_eq!(ids(&encoder, Input::text("a".into())), [2, 4, 3]);
    }

    #[test]
    fn empty_text_is_its_special_tokens() {
        assert_eq!(ids(&encoder("", &[CONFIG]).unwrap(), Input::text(String::new())), [2, 3]);
    }

    #[test]
    fn tokens_are_wrapped_and_cut_as_text_is() {
        let encoder = encoder("", &[SENTENCE]).unwrap();
        assert_eq!(ids(&encoder, Input::tokens(vec![4, 5])), ids(&encoder, Input::text("a b".into())));
        assert_eq!(ids(&encoder, Input::tokens(vec![4, 5, 6, 7, 8])), [2, 4, 5, 6, 3]);
    }

    #[test]
    fn last_token_of_the_vocabulary_accepted_and_the_one_after_it_refused() {
        let encoder = encoder("", &[SENTENCE]).unwrap();
        assert!(encoder.encode(&Input::tokens(vec![8])).is_ok());
        let refusal = encoder.encode(&Input::tokens(vec![9])).unwrap_err();
        assert_eq!(refusal.code, Code::RequestInvalid);
        assert!(!refusal.to_string().contains('9'));
    }

    #[test]
    fn tokens_of_a_request_at_the_limit_accepted_and_over_it_refused() {
        let encoder = encoder("", &[("config.json", r#"{"max_position_embeddings":8000}"#)]).unwrap();
        // With the two around them, 7500 tokens each.
        let mut inputs: Vec<Input> = (0..40).map(|_| Input::tokens(vec![4; 7498])).collect();
        assert_eq!(encoder.encode_all(&inputs, || false).unwrap().1, limits::API_TOKENS);
        inputs.push(Input::text(String::new()));
        assert_eq!(encoder.encode_all(&inputs, || false).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn inputs_at_the_limits_of_size_accepted_and_over_them_refused() {
        let text = |size: usize| Input::text("a".repeat(size));
        let tokens = |count: usize| Input::tokens(vec![4; count]);
        bound(&[text(limits::API_INPUT), tokens(limits::API_INPUT / 4)]).unwrap();
        assert_eq!(bound(&[text(limits::API_INPUT + 1)]).unwrap_err().code, Code::TooLarge);
        assert_eq!(bound(&[tokens(limits::API_INPUT / 4 + 1)]).unwrap_err().code, Code::TooLarge);
        let mut all: Vec<Input> = (0..limits::API_BODY / limits::API_INPUT).map(|_| text(limits::API_INPUT)).collect();
        bound(&all).unwrap();
        all.push(text(1));
        assert_eq!(bound(&all).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn caller_who_is_gone_gets_no_further_input_encoded() {
        let encoder = encoder("", &[CONFIG]).unwrap();
        let asked = Cell::new(0);
        let gone_at = |when: usize| {
            asked.set(0);
            let inputs: Vec<Input> = (0..3).map(|_| Input::text("a".into())).collect();
            let encoded = encoder.encode_all(&inputs, || asked.replace(asked.get() + 1) == when);
            encoded.map(|(sequences, _)| sequences.len()).map_err(|refusal| refusal.code)
        };
        assert_eq!((gone_at(3), asked.get()), (Ok(3), 3));
        assert_eq!((gone_at(1), asked.get()), (Err(Code::Network), 2));
    }

    #[test]
    fn model_without_a_readable_tokenizer_refused() {
        assert_eq!(Encoder::load(&files(&[])).unwrap_err().code, Code::ModelUnsupported);
        assert_eq!(Encoder::load(&files(&[("tokenizer.json", "{}")])).unwrap_err().code, Code::ModelUnsupported);
    }
}
