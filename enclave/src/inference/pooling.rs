//! From one vector a token to one vector an input, as the model's sentence-transformers modules say.

use super::encoder::settings;
use crate::memory::ModelFiles;
use ndarray::{Array1, ArrayView2, Axis};
use serde::Deserialize;
use strongroom_wire::{Code, Refusal, Result};

/// What is done with the last hidden state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pooling {
    kind: Kind,
    normalize: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The mean over the input's own tokens.
    Mean,
    /// The first token's vector.
    First,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// `config.json` of the pooling module. Modes that are not named here are not supported, so their members are not read.
#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_cls_token: bool,
}

impl Pooling {
    /// What `modules.json` says; without one, the mean, normalised.
    ///
    /// # Errors
    /// `model-unsupported` it says something else than mean or first token, and normalising.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let unsupported = |what: String| Refusal::new(Code::ModelUnsupported, what);
        let Some(modules) = settings::<Vec<Module>>(files, "modules.json")? else {
            return Ok(Self { kind: Kind::Mean, normalize: true });
        };
        let mut pooling = Self { kind: Kind::Mean, normalize: false };
        for module in modules {
            match module.r#type.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => pooling.normalize = true,
                "Pooling" => {
                    let path = format!("{}/config.json", module.path);
                    let config = settings::<PoolingConfig>(files, &path)?;
                    pooling.kind = match config.map(|c| (c.pooling_mode_mean_tokens, c.pooling_mode_cls_token)) {
                        Some((true, false)) => Kind::Mean,
                        Some((false, true)) => Kind::First,
                        _ => return Err(unsupported(path).want("pooling by mean or by first token")),
                    };
                }
                other => {
                    return Err(unsupported("modules.json".into()).got(other).want("Transformer, Pooling, Normalize"));
                }
            }
        }
        Ok(pooling)
    }

    /// The input's vector out of `hidden` (`[tokens, dimensions]`), of which the first `len` rows are its own.
    pub(super) fn apply(self, hidden: ArrayView2<'_, f32>, len: usize) -> Vec<f32> {
        let own = hidden.axis_iter(Axis(0)).take(len);
        let mut vector = Array1::<f32>::zeros(hidden.ncols());
        match self.kind {
            Kind::First => own.take(1).for_each(|row| vector += &row),
            Kind::Mean => {
                let mut count = 0.0f32;
                own.for_each(|row| {
                    vector += &row;
                    count += 1.0;
                });
                vector /= count.max(1e-9);
            }
        }
        if self.normalize {
            let norm = vector.dot(&vector).sqrt();
            vector /= norm.max(1e-12);
        }
        vector.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tests::files;
    use ndarray::array;

    const MODULES: &str = r#"[
        {"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"#;

    fn pooling(config: &str) -> Result<Pooling> {
        Pooling::load(&files(&[("modules.json", MODULES), ("1_Pooling/config.json", config)]))
    }

    #[test]
    fn mean_is_over_the_input_s_own_tokens() {
        let pooling = pooling(r#"{"pooling_mode_mean_tokens":true}"#).unwrap();
        let hidden = array![[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]];
        assert_eq!(pooling.apply(hidden.view(), 2), [2.0, 4.0]);
        assert_ne!(pooling.apply(hidden.view(), 3), [2.0, 4.0]);
    }

    #[test]
    fn first_token_where_the_model_says_so() {
        let pooling = pooling(r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#).unwrap();
        assert_eq!(pooling.apply(array![[1.0, 2.0], [3.0, 6.0]].view(), 2), [1.0, 2.0]);
    }

    #[test]
    fn model_without_modules_is_mean_and_of_length_one() {
        let pooling = Pooling::load(&files(&[])).unwrap();
        assert_eq!(pooling.apply(array![[3.0, 4.0]].view(), 1), [0.6, 0.8]);
        assert_eq!(pooling.apply(array![[0.0, 0.0]].view(), 1), [0.0, 0.0]);
    }

    #[test]
    fn pooling_that_is_not_known_refused() {
        assert_eq!(pooling(r#"{"pooling_mode_max_tokens":true}"#).unwrap_err().code, Code::ModelUnsupported);
        let both = r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true}"#;
        assert_eq!(pooling(both).unwrap_err().code, Code::ModelUnsupported);
        let dense = MODULES.replace("models.Pooling", "models.Dense");
        assert_eq!(Pooling::load(&files(&[("modules.json", &dense)])).unwrap_err().code, Code::ModelUnsupported);
    }
}
