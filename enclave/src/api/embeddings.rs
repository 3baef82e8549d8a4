//! `POST /v1/embeddings`: from a body to a call, from a call to the answer.

use super::request::{EmbeddingsRequest, EncodingFormat, read};
use super::{Caller, Serving};
use crate::inference::{Embeddings, Input};
use axum::body::Body;
use axum::response::Json;
use serde::Serialize;
use strongroom_policy::CallAction;
use strongroom_wire::{Code, Refusal, Result, bytes as text};

/// What is asked, all limits kept.
#[derive(Debug)]
pub(super) struct Call {
    model: String,
    inputs: Vec<Input>,
    format: EncodingFormat,
    dimensions: Option<usize>,
}

/// OpenAI's answer.
#[derive(Debug, Serialize)]
pub(super) struct EmbeddingsAnswer {
    object: &'static str,
    data: Vec<Row>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Row {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Call {
    /// Reads and parses a body.
    ///
    /// # Errors
    /// `too-large`, `timeout` or `network` reading it; else as [`EmbeddingsRequest::parse`].
    pub(super) async fn read(body: Body) -> Result<Self> {
        read(body, Self::parse).await
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let EmbeddingsRequest { model, input, encoding_format, dimensions } = EmbeddingsRequest::parse(json)?;
        let format = encoding_format.unwrap_or(EncodingFormat::Float);
        Ok(Self { model, inputs: input.into_list()?, format, dimensions })
    }

    /// Has the model answer it, for `caller`.
    ///
    /// # Errors
    /// `request-invalid` a model of another kind, or other dimensions than the model's; else as [`Serving::authorize`] and
    /// [`crate::inference::Embedder::embed`].
    pub(super) async fn answer(self, caller: &Caller, serving: &Serving) -> Result<Json<EmbeddingsAnswer>> {
        let call = serving.authorize(caller, CallAction::Embed, &self.model)?;
        let model = serving.models.get(&call)?.embedder()?;
        if self.dimensions.is_some_and(|wanted| wanted != model.dimensions()) {
            // A shortened vector is not what the signed model computes.
            return Err(Refusal::new(Code::RequestInvalid, "dimensions")
                .got(self.dimensions.unwrap_or_default())
                .want(model.dimensions()));
        }
        let Embeddings { vectors, tokens } = model.embed(&call, self.inputs).await?;
        let row = |(index, vector): (usize, Vec<f32>)| Row {
            object: "embedding",
            index,
            embedding: self.format.write(vector),
        };
        Ok(Json(EmbeddingsAnswer {
            object: "list",
            data: vectors.into_iter().enumerate().map(row).collect(),
            model: self.model,
            usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
        }))
    }
}

impl EncodingFormat {
    fn write(self, vector: Vec<f32>) -> Vector {
        match self {
            Self::Float => Vector::Float(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Vector::Base64(text::to_base64(&bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::limits;

    #[test]
    fn base64_is_of_little_endian_floats() {
        let Vector::Base64(written) = EncodingFormat::Base64.write(vec![1.0, -2.5]) else { panic!("other form") };
        assert_eq!(text::from_base64(&written, "vector").unwrap(), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
    }

    #[test]
    fn answer_has_openai_s_shape() {
        let answer = EmbeddingsAnswer {
            object: "list",
            data: vec![Row { object: "embedding", index: 0, embedding: Vector::Float(vec![0.5]) }],
            model: "m".into(),
            usage: Usage { prompt_tokens: 2, total_tokens: 2 },
        };
        let want = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), want);
    }

    #[tokio::test]
    async fn body_over_the_limit_refused_unread() {
        let read = |extra: usize| {
            let json = r#"{"model":"m","input":"a"}"#;
            Call::read(Body::from(format!("{json}{}", " ".repeat(limits::API_BODY - json.len() + extra))))
        };
        assert!(read(0).await.is_ok());
        assert_eq!(read(1).await.unwrap_err().code, Code::TooLarge);
    }
}
