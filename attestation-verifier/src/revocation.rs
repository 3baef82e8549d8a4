//! What may be revoked or quarantined, and whom that is about.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strongroom_appraisal::UnixTime;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::spiffe::SpiffeId;
use strongroom_wire::{Code, Refusal, Result};

use crate::platform::Authentic;
use crate::store::Opening;

/// Characters of a value that is none which are shown.
const SHOWN: usize = 200;

/// By what something is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Whoever holds a key, by its RFC 7638 thumbprint, or an identity, by its SPIFFE id.
    Identity,
    /// Software: MEASUREMENT or MRTD, in hex.
    Measurement,
    /// A machine: CHIP_ID or platform instance, in hex.
    Chip,
    /// A model: the digest of its manifest, `sha256:<hex>`.
    Model,
    /// A data key, by its id, and whoever was given it.
    Key,
}

/// One thing that is revoked, or that something could be revoked by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Claimed")]
pub(crate) struct Mark {
    kind: What,
    value: String,
}

/// A mark whose value was not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    kind: What,
    value: String,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// For good.
    Revoked,
    /// Until a named person releases it.
    Quarantined,
}

/// A revocation or quarantine that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Revocation {
    /// Of what.
    #[serde(flatten)]
    pub(crate) mark: Mark,
    /// Which of both.
    pub(crate) state: State,
    /// Why.
    pub(crate) because: String,
    /// Who said so.
    pub(crate) by: String,
    /// Since when, in seconds since 1970.
    pub(crate) created: UnixTime,
}

/// Everything that somebody could be revoked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Subject(BTreeSet<Mark>);

impl What {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Measurement => "measurement",
            Self::Chip => "chip",
            Self::Model => "model",
            Self::Key => "key",
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Identity => "43 characters of base64url (RFC 7638), or spiffe://…",
            Self::Measurement => "96 lower-case hex digits",
            Self::Chip => "128 lower-case hex digits, or on TDX 32",
            Self::Model => "sha256: and 64 lower-case hex digits",
            Self::Key => "<repo>/<type>/<tag>",
        }
    }

    /// Whether `value` has the one form in which this is compared: what has another would revoke nothing, and seem to.
    fn is_form(self, value: &str) -> bool {
        let hex = |lengths: &[usize]| {
            let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            lengths.contains(&value.len()) && value.bytes().all(digit)
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match self {
            Self::Identity => SpiffeId::parse(value).is_ok() || (value.len() == 43 && value.bytes().all(word)),
            Self::Measurement => hex(&[96]),
            Self::Chip => hex(&[32, 128]),
            Self::Model => Sha256::from_oci(value).is_ok(),
            Self::Key => ResourcePath::parse(value).is_ok(),
        }
    }
}

impl Mark {
    /// # Errors
    /// `request-invalid`: a value that is none of its kind.
    pub(crate) fn new(kind: What, value: String) -> Result<Self> {
        match kind.is_form(&value) {
            true => Ok(Self { kind, value }),
            false => {
                let short: String = value.chars().take(SHOWN).collect();
                Err(Refusal::new(Code::RequestInvalid, kind.as_str()).got(short).want(kind.form()))
            }
        }
    }

    /// As they are stored.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        (self.kind.as_str(), &self.value)
    }
}

impl TryFrom<Claimed> for Mark {
    type Error = Refusal;

    fn try_from(claimed: Claimed) -> Result<Self> {
        Self::new(claimed.kind, claimed.value)
    }
}

impl State {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Quarantined => "quarantined",
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Revoked => Code::Revoked,
            Self::Quarantined => Code::Quarantined,
        }
    }
}

impl Revocation {
    /// What is said to whoever it is about.
    pub(crate) fn refusal(&self) -> Refusal {
        let (kind, value) = self.mark.parts();
        Refusal::new(self.state.code(), kind).got(value).want(format!("none that is {}", self.state.as_str()))
    }
}

impl Subject {
    /// A guest that holds the key with this thumbprint, and was launched with that document.
    ///
    /// # Errors
    /// `reference-invalid`: of a model of the document, which no parsed one has.
    pub(crate) fn of_guest(authentic: &Authentic, holder: &str, deployment: &Deployment) -> Result<Self> {
        let guest = [(What::Identity, Some(holder.to_owned())), (What::Measurement, Some(authentic.measurement()))];
        let machine = [(What::Chip, authentic.machine())];
        let guest = guest.into_iter().chain(machine).filter_map(|(kind, value)| Some(Mark { kind, value: value? }));
        let mut subject = Self(guest.collect());
        for model in &deployment.settings().models {
            let (_, digest) = model.repository_and_digest()?;
            subject = digest.into_iter().fold(subject, Self::with_model);
        }
        Ok(subject)
    }

    /// Also a model, by the digest of its manifest.
    pub(crate) fn with_model(mut self, manifest: Sha256) -> Self {
        self.0.insert(Mark { kind: What::Model, value: manifest.oci() });
        self
    }

    /// Also a key that guests like it were given, and the model that it was given for.
    pub(crate) fn with_opening(self, opening: &Opening) -> Self {
        // It is always named by digest.
        let manifest = opening.model.split_once('@').and_then(|(_, digest)| Sha256::from_oci(digest).ok());
        manifest.into_iter().fold(self.with_key(&opening.key), Self::with_model)
    }

    /// An identity that somebody asks for.
    pub(crate) fn of_identity(id: &SpiffeId) -> Self {
        Self(BTreeSet::from([Mark { kind: What::Identity, value: id.to_string() }]))
    }

    /// Also a data key, which it is to have or has.
    pub(crate) fn with_key(mut self, id: &ResourcePath) -> Self {
        self.0.insert(Mark { kind: What::Key, value: id.to_string() });
        self
    }

    /// Everything it could be revoked by.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_in_the_form_in_which_it_is_compared_accepted_and_in_another_refused() {
        let hex = |digits: usize| "0a".repeat(digits / 2);
        let word = |length: usize| "-_aZ".repeat(11).chars().take(length).collect::<String>();
        let text = str::to_owned;
        for (kind, value, accepted) in [
            (What::Chip, hex(128), true),
            (What::Chip, hex(128).to_uppercase(), false),
            (What::Chip, hex(32), true),
            (What::Chip, hex(34), false),
            (What::Measurement, hex(96), true),
            (What::Measurement, hex(94), false),
            (What::Model, Sha256([1; 32]).oci(), true),
            (What::Model, Sha256([1; 32]).to_string(), false),
            (What::Key, text("models/embed/v1"), true),
            (What::Key, text("models/embed"), false),
            (What::Identity, word(43), true),
            (What::Identity, word(42), false),
            (What::Identity, text("spiffe://example/enclave"), true),
            (What::Identity, text("spiffe://"), false),
            (What::Identity, text("spiffe://example/a b"), false),
        ] {
            let mark = Mark::new(kind, value.clone());
            let code = mark.as_ref().err().map(|refusal| refusal.code);
            assert_eq!(code, (!accepted).then_some(Code::RequestInvalid), "{kind:?} {value}");
        }
    }
}
