//! How likely the tokens of an answer were, in the shapes of OpenAI's two APIs.

use super::Route;
use crate::inference::{Chosen, Likely};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is told of some tokens.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// Of a chat's.
    Chat {
        /// Each token.
        content: Vec<Value>,
        /// Nothing is refused by a model of ours otherwise than in its text.
        refusal: Option<()>,
    },
    /// Of a text's.
    Text {
        /// What each token reads as.
        tokens: Vec<String>,
        /// How likely each was.
        token_logprobs: Vec<f64>,
        /// What was likeliest in the place of each.
        top_logprobs: Vec<Map<String, Value>>,
        /// At which character of the answer each begins.
        text_offset: Vec<usize>,
    },
}

impl Told {
    /// Of `chosen`, the first of which begins at the character `offset` of its answer.
    pub(super) fn of<'a>(route: Route, chosen: impl Iterator<Item = &'a Chosen>, mut offset: usize) -> Self {
        match route {
            Route::Chat => Self::Chat { content: chosen.map(content).collect(), refusal: None },
            Route::Text => {
                let (mut tokens, mut token_logprobs) = (Vec::new(), Vec::new());
                let (mut top_logprobs, mut text_offset) = (Vec::new(), Vec::new());
                for Chosen { token, likeliest } in chosen {
                    tokens.push(token.text.expose().clone());
                    token_logprobs.push(token.log_probability);
                    let named = |likely: &Likely| (likely.text.expose().clone(), json!(likely.log_probability));
                    top_logprobs.push(likeliest.iter().map(named).collect());
                    text_offset.push(offset);
                    offset = offset.saturating_add(token.text.expose().chars().count());
                }
                Self::Text { tokens, token_logprobs, top_logprobs, text_offset }
            }
        }
    }
}

fn content(chosen: &Chosen) -> Value {
    let mut token = described(&chosen.token);
    if let Some(token) = token.as_object_mut() {
        token.insert("top_logprobs".to_owned(), chosen.likeliest.iter().map(described).collect());
    }
    token
}

fn described(likely: &Likely) -> Value {
    // OpenAI's word for those that cannot be told.
    let bytes = Some(likely.bytes.expose()).filter(|bytes| !bytes.is_empty());
    json!({"token": likely.text.expose(), "logprob": likely.log_probability, "bytes": bytes})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;

    #[test]
    fn bytes_of_a_token_told_and_null_where_they_cannot_be() {
        let told = |bytes: Vec<u8>| {
            let likely = Likely { text: Prompt::new("a".into()), bytes: Prompt::new(bytes), log_probability: -0.5 };
            described(&likely)
        };
        assert_eq!(told(vec![0x61]), json!({"token": "a", "logprob": -0.5, "bytes": [0x61]}));
        assert_eq!(told(vec![])["bytes"], Value::Null);
    }
}
