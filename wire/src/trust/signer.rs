//! One who may sign: by a key, or by an identity that an issuer vouched for when it signed.

use crate::{Code, Refusal, Result};
use core::fmt;
use serde::{Deserialize, Serialize};

/// A signer and how it is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Signer {
    /// What people call it; appears in logs and results.
    pub name: String,
    /// What its signatures are recognised by.
    pub by: SignedBy,
}

/// What a signature is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// A key: PEM SubjectPublicKeyInfo.
    Key(String),
    /// An identity in a certificate of Fulcio's, which is of no use without a transparency log ("keyless").
    Identity(Identity),
}

/// Whom an issuer vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// URL of the OpenID Connect issuer, compared as a whole (Fulcio's extension 1.3.6.1.4.1.57264.1.8).
    pub issuer: String,
    /// The subject alternative name of the certificate, compared as a whole: a mail address or URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// In place of [`Self::subject`]: a pattern over all of it. `*` stands for any text without `/` and `@`, `**` for any
    /// without `@`: who may name a branch must not be able to write the rest of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_pattern: Option<String>,
}

/// The form of [`Signer`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
}

impl TryFrom<Written> for Signer {
    type Error = String;

    fn try_from(written: Written) -> core::result::Result<Self, String> {
        let by = match (written.key, written.identity) {
            (Some(key), None) => SignedBy::Key(key),
            (None, Some(identity)) => SignedBy::Identity(identity),
            _ => return Err(format!("signer `{}` has either a key or an identity", written.name)),
        };
        Ok(Self { name: written.name, by })
    }
}

impl From<Signer> for Written {
    fn from(signer: Signer) -> Self {
        let (key, identity) = match signer.by {
            SignedBy::Key(key) => (Some(key), None),
            SignedBy::Identity(identity) => (None, Some(identity)),
        };
        Self { name: signer.name, key, identity }
    }
}

impl Signer {
    /// One with a key: PEM SubjectPublicKeyInfo.
    pub fn with_key(name: impl Into<String>, pem: impl Into<String>) -> Self {
        Self { name: name.into(), by: SignedBy::Key(pem.into()) }
    }

    /// One with an identity.
    pub fn with_identity(name: impl Into<String>, identity: Identity) -> Self {
        Self { name: name.into(), by: SignedBy::Identity(identity) }
    }

    /// Text that two signers share only if they are one.
    pub(super) fn sameness(&self) -> String {
        match &self.by {
            SignedBy::Key(pem) => pem.split_whitespace().collect(),
            SignedBy::Identity(identity) => identity.to_string(),
        }
    }
}

impl Identity {
    /// Refuses, with `configuration-invalid`, an identity without issuer, one without exactly one of subject and pattern, and a
    /// pattern that fixes nothing or is longer than subjects are.
    pub fn verify_shape(&self) -> Result<()> {
        let wrong = |what: &str| Err(Refusal::new(Code::ConfigurationInvalid, format!("identity of a signer: {what}")));
        if self.issuer.is_empty() {
            return wrong("no issuer");
        }
        match (&self.subject, &self.subject_pattern) {
            (Some(subject), None) if !subject.is_empty() => Ok(()),
            (None, Some(pattern)) if pattern.len() > SUBJECT => wrong("its pattern is longer than a subject"),
            (None, Some(pattern)) => {
                let host = pattern.strip_prefix("https://").unwrap_or(pattern);
                // At least a host or the domain of a mail address is fixed.
                match host.split(['/', '@']).any(|part| part.contains('.') && !part.contains('*')) {
                    true => Ok(()),
                    false => wrong("a pattern fixes at least a host or a domain"),
                }
            }
            _ => wrong("either `subject` or `subject-pattern`, and not empty"),
        }
    }

    /// Whether an issuer and a subject are these.
    pub fn is(&self, issuer: &str, subject: &str) -> bool {
        self.issuer == issuer && self.has_subject(subject)
    }

    /// Whether a subject is this one, whoever vouched for it.
    pub fn has_subject(&self, subject: &str) -> bool {
        match (&self.subject, &self.subject_pattern) {
            (Some(wanted), None) => wanted == subject,
            (None, Some(pattern)) => subject.len() <= SUBJECT && matches(pattern, subject),
            _ => false,
        }
    }

    /// The subject or pattern, as people read it.
    pub fn subject_text(&self) -> &str {
        self.subject.as_deref().or(self.subject_pattern.as_deref()).unwrap_or_default()
    }
}

/// Length in bytes of the longest subject that a pattern is held against. GitHub's, the longest in use, are about 150.
const SUBJECT: usize = 1024;

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.subject_text(), self.issuer)
    }
}

/// Whether `text` as a whole is of `pattern`. Takes time by the product of their lengths at most.
fn matches(pattern: &str, text: &str) -> bool {
    // For each length of a beginning of `text`: whether the pattern read so far is exactly that.
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    let mut rest = pattern;
    while let Some(first) = rest.bytes().next() {
        let (length, any): (usize, Option<&[u8]>) = match first {
            b'*' if rest.starts_with("**") => (2, Some(b"@")),
            b'*' => (1, Some(b"/@")),
            _ => (1, None),
        };
        rest = rest.get(length..).unwrap_or_else(|| skip_character(rest));
        let literal = pattern.get(..pattern.len() - rest.len()).unwrap_or_default().as_bytes().last().copied();
        let mut next = vec![false; reached.len()];
        match any {
            Some(never) => spread(&reached, text.as_bytes(), never, &mut next),
            None => step(&reached, text.as_bytes(), literal, &mut next),
        }
        reached = next;
    }
    reached.last() == Some(&true)
}
