//! `POST /v1/token-classification`: what transformers' pipeline of that name is asked and answers, in the frame that `/v1/classify` has.

use super::classify::Classified;
use super::request::{Inputs, parse, read};
use super::{Caller, Serving};
use crate::inference::{Aggregation, Entity, Input, Strategy, TokenClasses};
use crate::prompt::Prompt;
use axum::body::Body;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What is asked, all limits kept.
#[derive(Debug)]
pub(super) struct Call {
    model: String,
    inputs: Vec<Input>,
    aggregation: Aggregation,
}

/// A request, as it was sent.
#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    input: Inputs,
    #[serde(default)]
    aggregation_strategy: Strategy,
    #[serde(default)]
    ignore_labels: Ignored,
    #[serde(default)]
    stride: Option<IgnoredAny>,
    #[serde(default)]
    grouped_entities: Option<IgnoredAny>,
    #[serde(default)]
    ignore_subwords: Option<IgnoredAny>,
    #[serde(default)]
    is_split_into_words: Option<IgnoredAny>,
    #[serde(default)]
    delimiter: Option<IgnoredAny>,
    #[serde(default)]
    dimensions: Option<IgnoredAny>,
    #[serde(default)]
    encoding_format: Option<IgnoredAny>,
}

/// Labels that nothing is told of.
#[derive(Debug)]
struct Ignored(BTreeSet<String>);

impl Default for Ignored {
    /// As the pipeline does: what is outside of everything.
    fn default() -> Self {
        Self(BTreeSet::from(["O".to_owned()]))
    }
}

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = Ignored;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("labels")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<Ignored, A::Error> {
                let mut labels = BTreeSet::new();
                for _ in 0..limits::IGNORED_LABELS {
                    match list.next_element::<String>()? {
                        None => return Ok(Ignored(labels)),
                        Some(label) if label.len() <= limits::LABEL => drop(labels.insert(label)),
                        Some(_) => return Err(A::Error::custom("a label that no model has")),
                    }
                }
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(Ignored(labels)),
                    Some(_) => Err(A::Error::custom("too many labels")),
                }
            }
        }
        deserializer.deserialize_seq(Labels)
    }
}

/// The row of an input.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    index: usize,
    entities: Vec<Told>,
}

/// A token, or several together, of which one has `entity` and `index`, the other `entity_group`.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_group: Option<String>,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(serialize_with = "exposed")]
    word: Prompt<String>,
    start: usize,
    end: usize,
}

impl Call {
    /// Reads and parses a body.
    ///
    /// # Errors
    /// `too-large`, `timeout` or `network` reading it; `request-invalid` it is no such request.
    pub(super) async fn read(body: Body) -> Result<Self> {
        read(body, Self::parse).await
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let want = "`model`, `input`: a string or strings, `aggregation_strategy`: `none` or `simple`, `ignore_labels`: strings";
        let request: Request = parse(json, "token classification request", want)?;
        // What would change the answer, of the pipeline or of embeddings.
        let others = [
            ("stride", request.stride),
            ("grouped_entities", request.grouped_entities),
            ("ignore_subwords", request.ignore_subwords),
            ("is_split_into_words", request.is_split_into_words),
            ("delimiter", request.delimiter),
            ("dimensions", request.dimensions),
            ("encoding_format", request.encoding_format),
        ];
        if let Some((name, _)) = others.into_iter().find(|(_, value)| value.is_some()) {
            return Err(Refusal::new(Code::RequestInvalid, name).want("none: it is not served"));
        }
        let Request { model, input, aggregation_strategy: strategy, ignore_labels: Ignored(ignored), .. } = request;
        Ok(Self { model, inputs: input.into_list()?, aggregation: Aggregation { strategy, ignored } })
    }

    /// Has the model answer it, for `caller`.
    ///
    /// # Errors
    /// `request-invalid` a model of another kind; else as [`Serving::authorize`] and [`crate::inference::TokenClassifier::classify`].
    pub(super) async fn answer(self, caller: &Caller, serving: &Serving) -> Result<Classified<Row>> {
        let call = serving.authorize(caller, CallAction::Infer, &self.model)?;
        let model = serving.models.get(&call)?.token_classifier()?;
        let TokenClasses { entities, tokens } = model.classify(&call, self.inputs, self.aggregation).await?;
        let row = |(index, entities): (usize, Vec<Entity>)| Row {
            index,
            entities: entities.into_iter().map(Told::from).collect(),
        };
        Classified::of("tokens", self.model, entities.into_iter().enumerate().map(row).collect(), tokens)
    }
}

impl From<Entity> for Told {
    fn from(Entity { label, score, word, start, end, index }: Entity) -> Self {
        let (entity, entity_group) = if index.is_some() { (Some(label), None) } else { (None, Some(label)) };
        Self { entity, entity_group, score, index, word, start, end }
    }
}

fn exposed<S: Serializer>(word: &Prompt<String>, to: S) -> core::result::Result<S::Ok, S::Error> {
    to.serialize_str(word.expose())
}

#[cfg(test)]
mod tests;
