//! What a model that classifies calls its classes, as `config.json` of transformers says.

use super::encoder::settings;
use crate::memory::ModelFiles;
use serde::Deserialize;
use std::collections::BTreeMap;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What `config.json` says.
#[derive(Debug, Deserialize)]
pub(super) struct Labels {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    id2label: BTreeMap<usize, String>,
    pub(super) problem_type: Option<String>,
}

/// That `config.json` says something else than is wanted.
pub(super) fn unsupported(got: &str) -> Refusal {
    Refusal::new(Code::ModelUnsupported, "config.json").got(got.to_owned())
}

impl Labels {
    /// Of a model whose architecture's name ends in `architecture`.
    ///
    /// # Errors
    /// `model-unsupported` there is no `config.json`, or it says another architecture.
    pub(super) fn load(files: &ModelFiles, architecture: &str) -> Result<Self> {
        let found = settings::<Self>(files, "config.json")?.ok_or_else(|| unsupported("missing"))?;
        match found.architectures.iter().any(|name| name.ends_with(architecture)) {
            true => Ok(found),
            false => Err(unsupported(&found.architectures.join(", ")).want(format!("an architecture …{architecture}"))),
        }
    }

    /// The labels, in the order of what the graph gives, which has `width` of them.
    ///
    /// # Errors
    /// `model-unsupported` there are not as many, or none; `too-large` one is over [`limits::LABEL`].
    pub(super) fn of_graph(&self, width: usize) -> Result<Vec<String>> {
        let labels: Vec<String> = (0..).map_while(|at| self.id2label.get(&at).cloned()).collect();
        if labels.len() != self.id2label.len() || labels.len() != width || labels.is_empty() {
            let got = format!("{} labels, and {} in id2label", labels.len(), self.id2label.len());
            return Err(unsupported(&got).want(format!("{width}, numbered from 0, as the graph has")));
        }
        if labels.iter().any(|label| label.len() > limits::LABEL) {
            return Err(Refusal::too_large("bytes of a label", "more", limits::LABEL));
        }
        Ok(labels)
    }
}

/// The highest of `scores` and where it is; of several, the first, as numpy's `argmax` has it.
pub(super) fn likeliest(scores: &[f32]) -> Option<(usize, f32)> {
    let all = scores.iter().copied().enumerate();
    all.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeliest_is_the_highest_and_of_several_the_first() {
        assert_eq!(likeliest(&[0.25, 0.5, 0.25]), Some((1, 0.5)));
        assert_eq!(likeliest(&[0.5, 0.5]), Some((0, 0.5)));
        assert_eq!(likeliest(&[]), None);
    }
}
