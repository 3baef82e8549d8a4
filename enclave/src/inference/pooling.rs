//! From one vector a token to one vector an input, as the model's sentence-transformers modules say.

use super::encoder::settings;
use crate::memory::ModelFiles;
use ndarray::{Array1, ArrayView2, Axis};
use serde::Deserialize;
use serde_json::{Map, Value};
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

impl Module {
    /// The last part of its Python name.
    fn kind(&self) -> &str {
        self.r#type.rsplit('.').next().unwrap_or_default()
    }
}

impl Kind {
    /// What `config.json` of the pooling module says. Modes that are on together are concatenated, so one has to be on alone,
    /// and one whose member is not false counts as on, known here or not.
    fn load(files: &ModelFiles, path: &str) -> Result<Self> {
        let config = settings::<Map<String, Value>>(files, path)?.unwrap_or_default();
        let modes = config.iter().filter(|(name, _)| name.starts_with("pooling_mode"));
        let on: Vec<_> = modes.filter(|(_, on)| **on != Value::Bool(false)).map(|(n, on)| (n.as_str(), on)).collect();
        match on.as_slice() {
            [("pooling_mode_mean_tokens", Value::Bool(true))] => Ok(Self::Mean),
            [("pooling_mode_cls_token", Value::Bool(true))] => Ok(Self::First),
            other => {
                let got = other.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                Err(Refusal::new(Code::ModelUnsupported, path).got(got).want("pooling by mean or by first token alone"))
            }
        }
    }
}

impl Pooling {
    /// What `modules.json` says; without one, the mean, normalised.
    ///
    /// # Errors
    /// `model-unsupported` it says something else than a transformer, then pooling by mean or first token alone, then
    /// perhaps normalising.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let Some(modules) = settings::<Vec<Module>>(files, "modules.json")? else {
            return Ok(Self { kind: Kind::Mean, normalize: true });
        };
        let kinds: Vec<&str> = modules.iter().map(Module::kind).collect();
        let normalize = match kinds.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            other => {
                let refusal = Refusal::new(Code::ModelUnsupported, "modules.json").got(other.join(", "));
                return Err(refusal.want("Transformer, Pooling and at most Normalize, in that order"));
            }
        };
        let pooling = modules.get(1).map_or("", |module| module.path.as_str());
        Ok(Self { kind: Kind::load(files, &format!("{pooling}/config.json"))?, normalize })
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
        for mode in ["max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken", "of_another_day"] {
            let config = |on: bool| format!(r#"{{"pooling_mode_mean_tokens":{},"pooling_mode_{mode}":{on}}}"#, !on);
            assert!(pooling(&config(false)).is_ok(), "{mode}");
            assert_eq!(pooling(&config(true)).unwrap_err().code, Code::ModelUnsupported, "{mode}");
        }
    }

    #[test]
    fn other_pooling_beside_the_mean_refused() {
        for mode in ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken", "new"] {
            let beside =
                |on: &str| pooling(&format!(r#"{{"pooling_mode_mean_tokens":true,"pooling_mode_{mode}":{on}}}"#));
            assert_eq!(beside("false").unwrap().kind, Kind::Mean, "{mode}");
            for on in ["true", "1", "\"true\"", "null"] {
                assert_eq!(beside(on).unwrap_err().code, Code::ModelUnsupported, "{mode} {on}");
            }
        }
    }

    #[test]
    fn pooling_that_says_nothing_refused() {
        assert_eq!(pooling(r#"{"word_embedding_dimension":2}"#).unwrap_err().code, Code::ModelUnsupported);
        assert_eq!(Pooling::load(&files(&[("modules.json", MODULES)])).unwrap_err().code, Code::ModelUnsupported);
    }

    #[test]
    fn modules_in_their_order_accepted_and_in_any_other_refused() {
        let load = |kinds: &[&str]| {
            let module = |kind| format!(r#"{{"path":"1_Pooling","type":"sentence_transformers.models.{kind}"}}"#);
            let modules = format!("[{}]", kinds.iter().map(module).collect::<Vec<_>>().join(","));
            let config = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true}"#);
            Pooling::load(&files(&[("modules.json", &modules), config])).map_err(|refusal| refusal.code)
        };
        let mean = |normalize| Ok(Pooling { kind: Kind::Mean, normalize });
        assert_eq!(load(&["Transformer", "Pooling"]), mean(false));
        assert_eq!(load(&["Transformer", "Pooling", "Normalize"]), mean(true));
        for refused in [
            &[][..],
            &["Transformer"],
            &["Pooling"],
            &["Pooling", "Transformer"],
            &["Transformer", "Normalize"],
            &["Transformer", "Normalize", "Pooling"],
            &["Transformer", "Pooling", "Pooling"],
            &["Transformer", "Pooling", "Normalize", "Normalize"],
            &["Transformer", "Pooling", "Dense"],
            &["Transformer", "Pooling", "Dense", "Normalize"],
            &["Transformer", "Transformer", "Pooling"],
        ] {
            assert_eq!(load(refused), Err(Code::ModelUnsupported), "{refused:?}");
        }
    }
}
