//! From text to tokens, as the model's own `tokenizer.json` says.

mod spans;

pub(super) use spans::Span;

use crate::memory::ModelFiles;
use crate::prompt::Prompt;
use core::fmt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding, PostProcessor as _, Token, Tokenizer, TruncationParams};

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

/// How an input becomes what the model sees of it; `T` is what is kept of it beside.
pub(super) type Encode<T> = fn(&Encoder, &Input) -> Result<(Sequence, T)>;

/// What became of the inputs of a request, in their order.
pub(super) struct Encoded<T> {
    pub(super) sequences: Vec<Sequence>,
    pub(super) kept: Vec<T>,
    /// Of all sequences together.
    pub(super) tokens: usize,
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
    /// `sentence_bert_config.json`, else to `max_position_embeddings` of `config.json`. It keeps nothing of what it is given.
    ///
    /// # Errors
    /// `model-unsupported` there is no tokenizer, it cannot be read, nothing bounds the length of its output, or that leaves
    /// no room beside the special tokens.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let unsupported = |why: &dyn fmt::Display| Refusal::new(Code::ModelUnsupported, "tokenizer.json").because(why);
        let mut tokenizer = tokenizer(files)?;
        let padding = tokenizer.get_padding().map_or(0, |padding| padding.pad_id);
        tokenizer.with_padding(None);
        let (longest, direction) = match tokenizer.get_truncation() {
            Some(truncation) => (truncation.max_length, truncation.direction),
            None => (stated_length(files)?, TruncationDirection::default()),
        };
        // The tokenizer takes the special tokens off the length unchecked.
        let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if longest <= special || longest > limits::SEQUENCE {
            let want = format!("more than the {special} added ones, at most {}", limits::SEQUENCE);
            return Err(unsupported(&"longest sequence").got(format!("{longest} tokens")).want(want));
        }
        // Of the file's own, a stride only makes overflow that is thrown away, and may panic; a strategy is about pairs.
        let truncation = TruncationParams { max_length: longest, direction, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| unsupported(&e))?;
        Ok(Self { tokenizer, padding })
    }

    /// The token that fills shorter sequences of a batch. It is masked out, so it only has to be one of the vocabulary.
    pub(super) const fn padding(&self) -> u32 {
        self.padding
    }

    /// What the model sees of each of `inputs` by `encode`, at most `most` tokens of all. `is_gone` says whether nobody waits for it any
    /// more, and is asked before each input.
    ///
    /// # Errors
    /// `too-large` more than `most`, found out at the first that is too many; `network` the caller is gone; else as `encode`.
    pub(super) fn encode_all<T>(
        &self,
        inputs: &[Input],
        most: usize,
        encode: Encode<T>,
        is_gone: impl Fn() -> bool,
    ) -> Result<Encoded<T>> {
        let (mut sequences, mut kept) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
        let mut tokens = 0usize;
        for input in inputs {
            if is_gone() {
                return Err(Refusal::new(Code::Network, "caller").got("gone"));
            }
            let (sequence, beside) = encode(self, input)?;
            tokens = tokens.saturating_add(sequence.len());
            if tokens > most {
                return Err(Refusal::too_large("tokens of one request", format!("more than {most}"), most));
            }
            sequences.push(sequence);
            kept.push(beside);
        }
        Ok(Encoded { sequences, kept, tokens })
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
        sequence(&encoding.map_err(|_| invalid("text that the model's tokenizer does not take"))?)
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

fn sequence(encoding: &Encoding) -> Result<Sequence> {
    if encoding.is_empty() {
        return Err(Refusal::new(Code::RequestInvalid, "input without a token"));
    }
    Ok(Sequence { ids: Prompt::new(encoding.get_ids().to_vec()), segments: encoding.get_type_ids().to_vec() })
}

/// What `tokenizer.json` says. It keeps nothing of what it is given.
///
/// # Errors
/// `model-unsupported` there is none, or it cannot be read.
pub(super) fn tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    let unsupported = |why: &dyn fmt::Display| Refusal::new(Code::ModelUnsupported, "tokenizer.json").because(why);
    let file = files.get("tokenizer.json").ok_or_else(|| unsupported(&"missing"))?;
    let json = file.read(limits::TOKENIZER, "tokenizer.json")?;
    let mut tokenizer = Tokenizer::from_bytes(&json).map_err(|e| unsupported(&e))?;
    forget_words(&mut tokenizer);
    Ok(tokenizer)
}

/// Turns off the cache of words that models of subwords have, and share between all who use them: one caller's would stay
/// for the life of the process, and the time of another's would tell them.
fn forget_words(tokenizer: &mut Tokenizer) {
    let mut model = tokenizer.get_model().clone();
    model.resize_cache(0);
    tokenizer.with_model(model);
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
pub(super) mod tests;
