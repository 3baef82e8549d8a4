//! `POST /v1/classify`, in the shape that vLLM gives its answers of `/classify`.

use super::request::{EmbeddingsRequest, read};
use super::room::{self, Room};
use super::{Caller, Serving};
use crate::clock;
use crate::inference::{Classes, Input};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result};

/// What is asked, all limits kept.
#[derive(Debug)]
pub(super) struct Call {
    model: String,
    inputs: Vec<Input>,
}

/// An answer: a row for each input.
#[derive(Debug, Serialize)]
pub(super) struct Classified<R> {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<R>,
    usage: Usage,
}

/// The row of an input.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    index: usize,
    label: String,
    probs: Vec<f32>,
    num_classes: usize,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
}

impl Call {
    /// Reads and parses a body: `model` and `input`, as of embeddings.
    ///
    /// # Errors
    /// `too-large`, `timeout` or `network` reading it; else as [`EmbeddingsRequest::parse`], and `request-invalid` what is of embeddings alone.
    pub(super) async fn read(body: Body) -> Result<Self> {
        read(body, |json| {
            let EmbeddingsRequest { model, input, encoding_format, dimensions } = EmbeddingsRequest::parse(json)?;
            let none = |name: &str| Err(Refusal::new(Code::RequestInvalid, name).want("none, of classes"));
            match (encoding_format, dimensions) {
                (Some(_), _) => none("encoding_format"),
                (_, Some(_)) => none("dimensions"),
                (None, None) => Ok(Self { model, inputs: input.into_list()? }),
            }
        })
        .await
    }

    /// Has the model answer it, for `caller`.
    ///
    /// # Errors
    /// `request-invalid` a model of another kind; else as [`Serving::authorize`] and [`crate::inference::Classifier::classify`].
    pub(super) async fn answer(self, caller: &Caller, serving: &Serving) -> Result<Classified<Row>> {
        let call = serving.authorize(caller, CallAction::Infer, &self.model)?;
        let model = serving.models.get(&call)?.classifier()?;
        let Classes { probabilities, tokens } = model.classify(&call, self.inputs).await?;
        let row = |(index, probs): (usize, Vec<f32>)| {
            let label = model.likeliest(&probs).unwrap_or_default().to_owned();
            Row { index, label, num_classes: probs.len(), probs }
        };
        Classified::of("classify", self.model, probabilities.into_iter().enumerate().map(row).collect(), tokens)
    }
}

impl<R: Serialize> Classified<R> {
    /// With an id of its own, after `kind`; by `model`, through which `tokens` went.
    ///
    /// # Errors
    /// `internal` there are no random numbers.
    pub(super) fn of(kind: &str, model: String, data: Vec<R>, tokens: usize) -> Result<Self> {
        let mut random = [0; 12];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
        Ok(Self {
            id: format!("{kind}-{}", hex::encode(random)),
            object: "list",
            created: clock::now(),
            model,
            data,
            usage: Usage { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0 },
        })
    }

    /// As it is sent, with room for it until it is taken.
    ///
    /// # Errors
    /// `too-large` over [`strongroom_wire::limits::TENSOR_ANSWER`]; `busy` there is no room.
    pub(super) fn write(self, room: &Room) -> Result<Response> {
        let json = HeaderValue::from_static("application/json");
        Ok(([(header::CONTENT_TYPE, json)], room.hold(room::json(&self)?)?).into_response())
    }
}

#[cfg(test)]
mod tests {
    use crate::api::tests::{KEY, app, send};
    use crate::inference::Model;
    use crate::inference::tests::{counting, folder};
    use crate::runtime::tests::runtime;
    use crate::setup::setup;
    use axum::Router;
    use axum::http::{Method, StatusCode};
    use serde_json::{Value, json};
    use strongroom_wire::digest::Sha256;

    async fn classify(router: &Router, body: &Value) -> (StatusCode, Value) {
        let (status, _, body) = send(router, Method::POST, "/v1/classify", &[KEY], body.to_string()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn classes_answered_in_vllm_s_shape_and_other_kinds_of_models_refused() {
        let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY_CLASSES")) else { return };
        let router = app([Model::load(&runtime, Sha256([1; 32]), &folder(&path, &[])).unwrap()]).router();
        let asked = json!({"model": "tiny/1", "input": ["a cat", "the quick brown fox"]});
        let (status, got) = classify(&router, &asked).await;
        assert_eq!((status, &got["object"], &got["model"]), (StatusCode::OK, &json!("list"), &json!("tiny/1")));
        assert!(got["id"].as_str().unwrap().starts_with("classify-"));
        let rows = got["data"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for (index, row) in rows.iter().enumerate() {
            let probs: Vec<f64> = row["probs"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
            let highest = probs.iter().copied().fold(0.0, f64::max);
            let label = ["calm", "alarm", "noise"][probs.iter().position(|p| (p - highest).abs() < 1e-12).unwrap()];
            assert_eq!((&row["index"], &row["label"], &row["num_classes"]), (&json!(index), &json!(label), &json!(3)));
            assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        }
        let tokens = got["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(tokens > 6 && got["usage"]["total_tokens"] == tokens && got["usage"]["completion_tokens"] == 0);
        let (status, got) = classify(&app([counting()]).router(), &asked).await;
        assert_eq!((status, &got["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("request-invalid")));
    }
    #[tokio::test]
    async fn what_is_of_embeddings_alone_refused_by_name() {
        let router = app([counting()]).router();
        for (name, value) in [("encoding_format", json!("float")), ("dimensions", json!(3))] {
            let (status, got) = classify(&router, &json!({"model": "tiny/1", "input": "a", name: value})).await;
            let message = got["error"]["message"].as_str().unwrap();
            assert!(status == StatusCode::BAD_REQUEST && message.contains(name), "{message}");
        }
        let (_, got) = classify(&router, &json!({"model": "tiny/1", "input": "a", "user": "u"})).await;
        assert!(got["error"]["message"].as_str().unwrap().contains("a model that classifies text"), "{got}");
    }
}
