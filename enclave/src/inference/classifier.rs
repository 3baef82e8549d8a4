//! Classification: text to tokens, tokens to batches, batches through ONNX Runtime, and what comes out to how likely each label is.

use super::embedder::{Embedder, Embeddings};
use super::encoder::Input;
use super::graph::{HIDDEN, LOGITS, POOLED};
use super::labels::{Labels, likeliest, unsupported};
use crate::api::Authorized;
use crate::memory::ModelFiles;
use ort::session::Session;
use strongroom_policy::CallAction;
use strongroom_wire::Result;

/// A loaded model that tells the class of a text.
#[derive(Debug)]
pub struct Classifier {
    pub(super) encoder: Embedder,
    labels: Vec<String>,
    scores: Scores,
}

/// What came out for one request.
#[derive(Debug)]
pub struct Classes {
    /// How likely each label is for each input, in the order of the labels.
    pub probabilities: Vec<Vec<f32>>,
    /// Tokens that went through the model, special ones included, padding not.
    pub tokens: usize,
}

/// How logits are read, as transformers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    /// One label excludes the others.
    Softmax,
    /// Each label is there or is not.
    Sigmoid,
}

impl Classifier {
    /// Whether `session` holds such a graph.
    pub(super) fn is_for(session: &Session) -> bool {
        let has = |name: &str| session.outputs().iter().any(|output| output.name() == name);
        has(LOGITS) && !has(POOLED) && !has(HIDDEN)
    }

    /// A model whose graph `session` holds: with `tokenizer.json`, and `config.json`, which says what the labels are. Blocks.
    ///
    /// # Errors
    /// `model-unsupported` a needed file is missing or says what is not served here, or as many labels as there are not; `runtime-failed`
    /// the graph does not run.
    pub(super) fn load(session: Session, files: &ModelFiles) -> Result<Self> {
        let config = Labels::load(files, "ForSequenceClassification")?;
        let encoder = Embedder::load(session, files)?;
        let labels = config.of_graph(encoder.dimensions())?;
        let scores = match config.problem_type.as_deref() {
            None if labels.len() == 1 => Scores::Sigmoid,
            None | Some("single_label_classification") => Scores::Softmax,
            Some("multi_label_classification") => Scores::Sigmoid,
            Some(other) => {
                return Err(unsupported(other).want("single_label_classification or multi_label_classification"));
            }
        };
        Ok(Self { encoder, labels, scores })
    }

    /// The labels, in the order of the model's.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The label that is likeliest by `probabilities`, which are in the order of the labels; of several, the first.
    pub fn likeliest(&self, probabilities: &[f32]) -> Option<&str> {
        likeliest(probabilities).and_then(|(at, _)| self.labels.get(at)).map(String::as_str)
    }

    /// Tells the classes of `inputs`, for a caller who is authorised to that.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn classify(&self, call: &Authorized, inputs: Vec<Input>) -> Result<Classes> {
        call.verify_for(CallAction::Infer)?;
        let Embeddings { mut vectors, tokens } = self.encoder.run(call, inputs).await?;
        vectors.iter_mut().for_each(|logits| self.scores.of(logits));
        Ok(Classes { probabilities: vectors, tokens })
    }
}

impl Scores {
    /// Puts how likely each label is in the place of its logit, all of which are finite.
    fn of(self, logits: &mut [f32]) {
        match self {
            Self::Softmax => {
                let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                logits.iter_mut().for_each(|logit| *logit = (*logit - highest).exp());
                // 1 at least, of the highest.
                let all: f32 = logits.iter().sum();
                logits.iter_mut().for_each(|logit| *logit /= all);
            }
            Self::Sigmoid => logits.iter_mut().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp())),
        }
    }
}

#[cfg(test)]
mod tests;
