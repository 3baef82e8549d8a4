//! What a value must be: the forms that every field of a policy takes.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code};

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule<T> {
    /// This value.
    Exactly(T),
    /// One of these, at least one.
    OneOf(Vec<T>),
    /// What the reference values of that name state (`Policy::with_reference_values`). Before they are taken nothing is.
    ReferenceValues(String),
    /// Whatever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// What a version must be at least.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Floor<T> {
    /// This or newer, in every component.
    AtLeast(T),
    /// What the reference values of that name state (`Policy::with_reference_values`). Before they are taken nothing is.
    ReferenceValues(String),
    /// Whatever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// What a number must not exceed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ceiling<T> {
    /// This or less.
    AtMost(T),
    /// Whatever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// `N` bytes, written as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A manifest's digest as OCI writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OciDigest(pub Sha256);

/// As many values as a message lists. Of more it says how many there are.
const SHOWN: usize = 16;

impl<T> Rule<T> {
    /// Whether this rule leaves only named values.
    pub const fn is_fixed(&self) -> bool {
        !matches!(self, Self::Any { .. })
    }

    /// Whether `value` is allowed.
    pub fn allows(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        match self {
            Self::Exactly(want) => want == value,
            Self::OneOf(wanted) => wanted.contains(value),
            Self::ReferenceValues(_) => false,
            Self::Any { .. } => true,
        }
    }

    /// The rule in words.
    pub fn describe(&self, show: impl Fn(&T) -> String) -> String {
        match self {
            Self::Exactly(want) => show(want),
            Self::OneOf(wanted) if wanted.len() > SHOWN => format!("one of {} values", wanted.len()),
            Self::OneOf(wanted) => format!("one of {}", wanted.iter().map(show).collect::<Vec<_>>().join(", ")),
            Self::ReferenceValues(name) => not_taken(name),
            Self::Any { because } => format!("any, because {because}"),
        }
    }

    /// The check of that name: whether `got` is allowed, and what it refuses with.
    pub(crate) fn check(&self, name: &str, code: Code, got: &T, show: impl Fn(&T) -> String) -> Check
    where
        T: PartialEq,
    {
        Check::new(name, self.allows(got), code, show(got), self.describe(&show))
    }

    /// The bundle that its value is still to be taken from.
    pub(crate) fn source(&self) -> Option<&str> {
        if let Self::ReferenceValues(name) = self { Some(name) } else { None }
    }

    /// Whether it says anything: a list with entries, a reason with words; not that it takes a value which it never took.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Exactly(_) => true,
            Self::OneOf(wanted) => !wanted.is_empty(),
            Self::ReferenceValues(_) => false,
            Self::Any { because } => !because.trim().is_empty(),
        }
    }

    /// Whatever it is, for that reason.
    pub(crate) fn any(because: &str) -> Self {
        Self::Any { because: because.to_owned() }
    }
}

impl<T> Floor<T> {
    /// The check of that name: whether `meets` holds of `got` and the floor, and what it refuses with. Of what has no value
    /// only a floor that says `any` holds.
    pub(crate) fn check(&self, name: &str, code: Code, got: Option<&T>, meets: impl Fn(&T, &T) -> bool) -> Check
    where
        T: fmt::Display,
    {
        let (held, want) = match self {
            Self::AtLeast(floor) => (got.is_some_and(|got| meets(got, floor)), format!("at least {floor}")),
            Self::ReferenceValues(name) => (false, not_taken(name)),
            Self::Any { because } => (true, format!("any, because {because}")),
        };
        Check::new(name, held, code, shown(got), want)
    }

    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::AtLeast(_) => true,
            Self::ReferenceValues(_) => false,
            Self::Any { because } => !because.trim().is_empty(),
        }
    }

    /// Whatever it is, for that reason.
    pub(crate) fn any(because: &str) -> Self {
        Self::Any { because: because.to_owned() }
    }
}

impl<T> Ceiling<T> {
    /// The check of that name: whether `got` is at most so much. What has no value exceeds every ceiling.
    pub(crate) fn check(&self, name: &str, code: Code, got: Option<&T>) -> Check
    where
        T: fmt::Display + PartialOrd,
    {
        let (held, want) = match self {
            Self::AtMost(ceiling) => (got.is_some_and(|got| got <= ceiling), format!("at most {ceiling}")),
            Self::Any { because } => (true, format!("any, because {because}")),
        };
        Check::new(name, held, code, shown(got), want)
    }

    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::AtMost(_) => true,
            Self::Any { because } => !because.trim().is_empty(),
        }
    }

    /// Whatever it is, for that reason.
    pub(crate) fn any(because: &str) -> Self {
        Self::Any { because: because.to_owned() }
    }
}

fn not_taken(name: &str) -> String {
    format!("the value in reference values `{name}`, which were not taken")
}

fn shown(got: Option<&impl fmt::Display>) -> String {
    got.map_or_else(|| "not stated".to_owned(), ToString::to_string)
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        strongroom_wire::bytes::hex_array(&text, "value").map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OciDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Sha256::from_oci(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
