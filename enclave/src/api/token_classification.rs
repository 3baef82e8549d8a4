//! `POST /v1/token-classification`: what transformers' pipeline of that name is asked and answers, in the frame that `/v1/classify` has.

use super::classify::Classified;
use super::request::{Inputs, parse, read};
use super::{Caller, Serving};
use crate::inference::{Aggregation, Entity, Input, Strategy, TokenClasses};
use crate::prompt::Prompt;
use axum::body::Body;
use axum::response::Json;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result};

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
    ignore_labels: Option<BTreeSet<String>>,
    /// Of texts that are cut in several, which they are not here.
    #[serde(default)]
    stride: Option<IgnoredAny>,
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
        let Request { model, input, aggregation_strategy: strategy, ignore_labels, stride } =
            parse(json, "token classification request", want)?;
        if stride.is_some() {
            return Err(Refusal::new(Code::RequestInvalid, "stride").want("none: a text is not cut in several"));
        }
        // As the pipeline does: what is outside of everything.
        let ignored = ignore_labels.unwrap_or_else(|| BTreeSet::from(["O".to_owned()]));
        Ok(Self { model, inputs: input.into_list()?, aggregation: Aggregation { strategy, ignored } })
    }

    /// Has the model answer it, for `caller`.
    ///
    /// # Errors
    /// `request-invalid` a model of another kind; else as [`Serving::authorize`] and [`crate::inference::TokenClassifier::classify`].
    pub(super) async fn answer(self, caller: &Caller, serving: &Serving) -> Result<Json<Classified<Row>>> {
        let call = serving.authorize(caller, CallAction::Infer, &self.model)?;
        let model = serving.models.get(&call)?.token_classifier()?;
        let TokenClasses { entities, tokens } = model.classify(&call, self.inputs, &self.aggregation).await?;
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
