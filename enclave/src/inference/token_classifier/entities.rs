//! From the logits of tokens to what they are parts of, as the pipeline `token-classification` of transformers does.

use crate::inference::encoder::Span;
use crate::inference::labels::likeliest;
use crate::prompt::Prompt;
use serde::Deserialize;
use std::collections::BTreeSet;
use strongroom_wire::{Code, Refusal, Result};

/// What of the tokens is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregation {
    /// What is made of neighbouring tokens.
    pub strategy: Strategy,
    /// Labels that nothing is told of, by their name in the answer.
    pub ignored: BTreeSet<String>,
}

/// What is made of neighbouring tokens (`aggregation_strategy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Each is told by itself.
    #[default]
    None,
    /// Those of one kind are one entity, until one begins another (`B-…`).
    Simple,
}

/// Something in a text that has a class.
#[derive(Debug)]
pub struct Entity {
    /// Its label; of several tokens together, without what tells a beginning from what goes on (`B-`, `I-`).
    pub label: String,
    /// How likely the label is, by softmax; of several tokens the mean.
    pub score: f32,
    /// How it reads by the model's vocabulary.
    pub word: Prompt<String>,
    /// Its first character in the text, counted from 0 in Unicode code points.
    pub start: usize,
    /// The character after its last.
    pub end: usize,
    /// Its place among the tokens that the model sees, from 0; none of several tokens together.
    pub index: Option<usize>,
}

/// A token with its likeliest label.
#[derive(Debug)]
pub(super) struct Token<'a> {
    span: Span,
    label: &'a str,
    score: f32,
}

/// The tokens at `spans`, by logits of one label after the other for one token after the other.
///
/// # Errors
/// `runtime-failed` there are not as many.
pub(super) fn read<'a>(spans: Vec<Span>, logits: &[f32], labels: &'a [String]) -> Result<Vec<Token<'a>>> {
    let rows: Vec<&[f32]> = logits.chunks_exact(labels.len().max(1)).collect();
    let token = |span: Span| {
        let row = rows.get(span.index).copied();
        let found = row.and_then(|row| likeliest(row).map(|found| (row, found)));
        let found = found.and_then(|(row, (at, highest))| labels.get(at).map(|label| (row, label.as_str(), highest)));
        let (row, label, highest) = found
            .ok_or_else(|| Refusal::new(Code::RuntimeFailed, "running model.onnx").got("logits of fewer tokens"))?;
        // 1 at least, of the highest itself.
        let all: f32 = row.iter().map(|logit| (logit - highest).exp()).sum();
        Ok(Token { span, label, score: 1.0 / all })
    };
    spans.into_iter().map(token).collect()
}

/// What is told of `tokens`; `join` puts words together.
///
/// # Errors
/// As `join`.
pub(super) fn of(
    tokens: Vec<Token<'_>>,
    aggregation: &Aggregation,
    join: impl Fn(&[&str]) -> Result<Prompt<String>>,
) -> Result<Vec<Entity>> {
    match aggregation.strategy {
        Strategy::None => {
            let told = tokens.into_iter().filter(|token| !aggregation.ignored.contains(token.label));
            Ok(told.map(Token::alone).collect())
        }
        Strategy::Simple => {
            let groups = tokens.chunk_by(|last, next| next.continues(last));
            let told =
                groups.filter(|group| !group.first().is_some_and(|token| aggregation.ignored.contains(token.group())));
            told.filter_map(|group| together(group, &join).transpose()).collect()
        }
    }
}

impl Token<'_> {
    fn alone(self) -> Entity {
        let Self { span: Span { index, word, start, end }, label, score } = self;
        Entity { label: label.to_owned(), score, word, start, end, index: Some(index) }
    }

    /// Whether it begins an entity, and of what kind that is. A label without `B-` or `I-` goes on with its like.
    fn tag(&self) -> (bool, &str) {
        match (self.label.strip_prefix("B-"), self.label.strip_prefix("I-")) {
            (Some(kind), _) => (true, kind),
            (None, kind) => (false, kind.unwrap_or(self.label)),
        }
    }

    fn continues(&self, last: &Token<'_>) -> bool {
        let (begins, kind) = self.tag();
        !begins && kind == last.tag().1
    }

    /// What an entity is called that begins with it.
    fn group(&self) -> &str {
        self.label.split_once('-').map_or(self.label, |(_, kind)| kind)
    }
}

fn together(tokens: &[Token<'_>], join: impl Fn(&[&str]) -> Result<Prompt<String>>) -> Result<Option<Entity>> {
    let [first, ..] = tokens else { return Ok(None) };
    let words: Vec<&str> = tokens.iter().map(|token| token.span.word.expose().as_str()).collect();
    let word = join(&words)?;
    let end = tokens.last().map_or(first.span.end, |last| last.span.end);
    let (sum, count) = tokens.iter().fold((0.0f32, 0.0f32), |(sum, count), token| (sum + token.score, count + 1.0));
    let label = first.group().to_owned();
    Ok(Some(Entity { label, score: sum / count, word, start: first.span.start, end, index: None }))
}
