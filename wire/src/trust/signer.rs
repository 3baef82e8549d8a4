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
            (None, Some(pattern)) if !fixes_a_domain(pattern) => {
                wrong("its pattern fixes no host and no domain of mail")
            }
            (None, Some(_)) => Ok(()),
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

/// Whether a pattern says which host a URI is on, or in which domain a mail address is.
fn fixes_a_domain(pattern: &str) -> bool {
    let domain = match pattern.split_once("://") {
        Some((_, rest)) => rest.split('/').next(),
        None => pattern.rsplit_once('@').map(|(_, domain)| domain),
    };
    domain.is_some_and(|domain| !domain.is_empty() && !domain.contains('*'))
}

/// Whether `text` as a whole is of `pattern`. Takes time by the product of their lengths at most.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    // For each length of a beginning of `text`: whether that is of the pattern as far as it is read.
    let mut ends: Vec<bool> = core::iter::once(true).chain(text.iter().map(|_| false)).collect();
    let mut rest = pattern.as_bytes();
    loop {
        let (never, after) = match rest {
            [] => return ends.last() == Some(&true),
            [b'*', b'*', after @ ..] => (Some(&b"@"[..]), after),
            [b'*', after @ ..] => (Some(&b"/@"[..]), after),
            [_, after @ ..] => (None, after),
        };
        let literal = rest.first();
        let mut before = false;
        let mut reached = false;
        // The beginning of no length, and then each that ends after `byte`.
        for (end, byte) in ends.iter_mut().zip(core::iter::once(None).chain(text.iter().map(Some))) {
            let was = *end;
            *end = match never {
                Some(never) => was || (reached && byte.is_some_and(|byte| !never.contains(byte))),
                None => before && byte == literal,
            };
            (before, reached) = (was, *end);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(subject: Option<&str>, pattern: Option<&str>) -> Identity {
        Identity {
            issuer: "https://issuer".into(),
            subject: subject.map(str::to_owned),
            subject_pattern: pattern.map(str::to_owned),
        }
    }

    #[test]
    fn subject_and_issuer_are_compared_as_a_whole() {
        let release = identity(Some("release@acme.example"), None);
        assert!(release.is("https://issuer", "release@acme.example"));
        for (issuer, subject) in [
            ("https://issuer/", "release@acme.example"),
            ("https://issue", "release@acme.example"),
            ("https://issuer", "Release@acme.example"),
            ("https://issuer", "release@acme.example.org"),
            ("https://issuer", ""),
        ] {
            assert!(!release.is(issuer, subject), "{issuer} {subject}");
        }
    }

    #[test]
    fn identity_is_shown_with_subject_or_pattern_and_issuer() {
        let (named, pattern) = (identity(Some("a@b.example"), None), identity(None, Some("*@b.example")));
        assert_eq!([named.subject_text(), pattern.subject_text()], ["a@b.example", "*@b.example"]);
        assert_eq!(named.to_string(), "a@b.example by https://issuer");
        assert_eq!(pattern.to_string(), "*@b.example by https://issuer");
    }

    #[test]
    fn wildcards_stand_for_what_they_say_and_no_more() {
        let workflow = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/*";
        assert!(matches(workflow, "https://github.com/acme/models/.github/workflows/release.yml@refs/tags/v1"));
        for beside in [
            "https://github.com/acme/models/.github/workflows/release.yml@refs/heads/v1",
            "https://github.com/acme/models/.github/workflows/release.yml@refs/tags/v1/v2",
            "https://github.com/acme/a/b/.github/workflows/release.yml@refs/tags/v1",
            "https://github.com/acmee/models/.github/workflows/release.yml@refs/tags/v1",
            // The name of a branch that plays the rest of the subject.
            "https://github.com/acme/m/.github/workflows/x.yml@refs/heads/y/.github/workflows/release.yml@refs/tags/v1",
        ] {
            assert!(!matches(workflow, beside), "{beside}");
        }
        assert!(matches("https://h.x/**@m", "https://h.x/a/b@m") && !matches("https://h.x/**@m", "https://h.x/a@b@m"));
        assert!(matches("a*b*c", "abbc") && matches("a*", "a") && matches("", "") && matches("**", "a/b"));
        assert!(!matches("a*b*c", "acb") && !matches("a", "aa") && !matches("aa", "a") && !matches("", "a"));
    }

    #[test]
    fn identity_of_somebody_accepted_and_of_anybody_refused() {
        for good in [
            identity(Some("a@b"), None),
            identity(None, Some("*@acme.example")),
            identity(None, Some("https://github.com/acme/**")),
        ] {
            assert_eq!(good.verify_shape(), Ok(()), "{good}");
        }
        let long = "a.b/".repeat(SUBJECT);
        for bad in [
            identity(None, None),
            identity(Some(""), None),
            identity(Some("a"), Some("a.b/*")),
            identity(None, Some("*")),
            identity(None, Some("https://**")),
            identity(None, Some("https://*/a/b")),
            identity(None, Some("*@*.com")),
            identity(None, Some(&long)),
            Identity { issuer: String::new(), ..identity(Some("a"), None) },
        ] {
            assert_eq!(bad.verify_shape().unwrap_err().code, Code::ConfigurationInvalid, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_without_wildcards_is_of_itself_alone(text in "[a-z@/.]{0,20}", other in "[a-z@/.]{0,20}") {
            prop_assert!(matches(&text, &text));
            prop_assert_eq!(matches(&text, &other), text == other);
        }

        #[test]
        fn anything_is_of_its_beginning_and_end_with_a_wildcard_between(a in "[a-z@/]{0,9}", b in "[a-z]{0,9}", c in "[a-z@/]{0,9}") {
            let (pattern, text) = (format!("{a}*{c}"), format!("{a}{b}{c}"));
            prop_assert!(matches(&pattern, &text));
        }
    }

    #[test]
    fn pattern_and_subject_of_the_longest_length_accepted_and_one_character_more_refused() {
        let with = |length: usize| format!("https://h/{}", "a".repeat(length - 10));
        let of = |pattern: String| Identity { issuer: "i".into(), subject: None, subject_pattern: Some(pattern) };
        assert_eq!(of(with(SUBJECT)).verify_shape(), Ok(()));
        assert_eq!(of(with(SUBJECT + 1)).verify_shape().unwrap_err().code, Code::ConfigurationInvalid);
        let any = of("https://h/*".into());
        assert!(any.has_subject(&with(SUBJECT)) && !any.has_subject(&with(SUBJECT + 1)));
    }
}
