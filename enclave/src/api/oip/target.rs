//! What a path under `/v2/models/` asks for, of which model.

use strongroom_wire::{Code, Refusal, Result};

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// What it takes and gives.
    Metadata,
    /// Whether it is served.
    Ready,
    /// That it runs.
    Infer,
}

/// A model and what is asked of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name. Names have slashes as they please.
    pub(super) name: String,
    /// The version that it has to be of.
    pub(super) version: Option<String>,
    /// What is asked.
    pub(super) action: Action,
}

impl Target {
    /// The target of `{name}[/versions/{version}][/ready|/infer]`, percent-decoded already.
    ///
    /// A name is what is left when these ends are taken off. So a model whose own name has one is asked with its version alone.
    ///
    /// # Errors
    /// `model-unknown` no name is left.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let (rest, action) = match (path.strip_suffix("/ready"), path.strip_suffix("/infer")) {
            (Some(rest), _) => (rest, Action::Ready),
            (None, Some(rest)) => (rest, Action::Infer),
            (None, None) => (path, Action::Metadata),
        };
        let versioned = rest.rsplit_once("/versions/").filter(|(_, version)| !version.contains('/'));
        let (name, version) = versioned.map_or((rest, None), |(name, version)| (name, Some(version.to_owned())));
        if name.is_empty() {
            return Err(Refusal::new(Code::ModelUnknown, "model without a name"));
        }
        Ok(Self { name: name.to_owned(), version, action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, version: Option<&str>, action: Action) -> Target {
        Target { name: name.into(), version: version.map(str::to_owned), action }
    }

    #[test]
    fn name_version_and_action_told_apart() {
        for (path, want) in [
            ("m", target("m", None, Action::Metadata)),
            ("m/ready", target("m", None, Action::Ready)),
            ("m/infer", target("m", None, Action::Infer)),
            ("m/versions/1", target("m", Some("1"), Action::Metadata)),
            ("m/versions/sha256:ab/infer", target("m", Some("sha256:ab"), Action::Infer)),
            ("org/m/versions/1/ready", target("org/m", Some("1"), Action::Ready)),
            ("org/m", target("org/m", None, Action::Metadata)),
        ] {
            assert_eq!(Target::parse(path).unwrap(), want);
        }
    }

    #[test]
    fn model_whose_name_ends_as_a_path_does_is_asked_with_its_version() {
        for name in ["m/ready", "m/infer", "m/versions/a", "m/versions/a/b"] {
            let path = |end: &str| Target::parse(&format!("{name}/versions/1{end}")).unwrap();
            assert_eq!(path(""), target(name, Some("1"), Action::Metadata));
            assert_eq!(path("/infer"), target(name, Some("1"), Action::Infer));
        }
        assert_eq!(Target::parse("m/ready").unwrap(), target("m", None, Action::Ready));
        assert_eq!(Target::parse("m/versions/a/infer").unwrap(), target("m", Some("a"), Action::Infer));
    }

    #[test]
    fn path_without_a_name_refused() {
        for path in ["", "/infer", "/versions/1"] {
            assert_eq!(Target::parse(path).unwrap_err().code, Code::ModelUnknown, "{path}");
        }
    }
}
