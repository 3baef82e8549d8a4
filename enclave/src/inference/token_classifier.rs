//! Classification of tokens: text to tokens, tokens through ONNX Runtime, and the likeliest label of each to what it is a part of.

mod entities;

pub use entities::{Aggregation, Entity, Strategy};

use super::classifier::Classifier;
use super::embedder::{Embedder, Embeddings};
use super::encoder::{Encoder, Input};
use super::graph::tells_tokens;
use super::labels::Labels;
use crate::api::Authorized;
use crate::memory::ModelFiles;
use ort::session::Session;
use std::sync::Arc;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Labels of a token for which it takes one place among the tokens that may wait: eight are 32 bytes.
const OF_A_PLACE: usize = 8;

/// A loaded model that tells the classes of the tokens of a text: names, places, parts of speech.
#[derive(Debug)]
pub struct TokenClassifier {
    pub(super) encoder: Embedder,
    labels: Arc<[String]>,
}

/// What came out for one request.
#[derive(Debug)]
pub struct TokenClasses {
    /// What was found in each input, in the order of the inputs and of the text.
    pub entities: Vec<Vec<Entity>>,
    /// Tokens that went through the model, special ones included, padding not.
    pub tokens: usize,
}

impl TokenClassifier {
    /// Whether `session` holds such a graph.
    pub(super) fn is_for(session: &Session) -> bool {
        Classifier::is_for(session) && tells_tokens(session)
    }

    /// A model whose graph `session` holds: with `tokenizer.json`, and `config.json`, which says what the labels are. Blocks.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub(super) fn load(session: Session, files: &ModelFiles) -> Result<Self> {
        let config = Labels::load(files, "ForTokenClassification")?;
        let encoder = Embedder::load(session, files)?;
        let labels = config.of_graph(encoder.dimensions())?;
        Ok(Self::new(encoder, labels))
    }

    pub(super) fn new(encoder: Embedder, labels: Vec<String>) -> Self {
        Self { encoder, labels: labels.into() }
    }

    /// Tells the classes of the tokens of `inputs`, which are texts, for a caller who is authorised to that.
    ///
    /// # Errors
    /// As [`Embedder::embed`]; `too-large` also over [`limits::TOKENS_TOLD`] tokens, or where tokens times labels are over
    /// [`limits::TOKEN_SCORES`]; `request-invalid` also an input
    /// of tokens.
    pub async fn classify(
        &self,
        call: &Authorized,
        inputs: Vec<Input>,
        aggregation: Aggregation,
    ) -> Result<TokenClasses> {
        call.verify_for(CallAction::Infer)?;
        let most = limits::TOKEN_SCORES.checked_div(self.labels.len()).unwrap_or(0).min(limits::TOKENS_TOLD);
        let weight = self.labels.len().div_ceil(OF_A_PLACE);
        let ran = self.encoder.run_by(call, inputs, most, weight, Encoder::encode_spans).await?;
        let (Embeddings { vectors, tokens }, spans) = ran;
        let (tokenizer, labels) = (Arc::clone(&self.encoder.encoder), Arc::clone(&self.labels));
        // Millions of scores are read: not where everybody is served.
        let reading = tokio::task::spawn_blocking(move || {
            let each = spans.into_iter().zip(vectors);
            let entities = each.map(|(spans, logits)| {
                let tokens = entities::read(spans, &logits, &labels)?;
                entities::of(tokens, &aggregation, |words| tokenizer.join(words))
            });
            entities.collect::<Result<_>>()
        });
        let entities = reading.await.map_err(|_| Refusal::new(Code::Internal, "thread that reads logits"))??;
        Ok(TokenClasses { entities, tokens })
    }
}

#[cfg(test)]
mod tests;
