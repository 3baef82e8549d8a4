//! What a promoter signs: an in-toto statement v1 about a manifest's digest, with a predicate of our own.
//!
//! ```json
//! {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": "<manifest>"}}],
//!  "predicateType": "https://strongroom.org/promotion/v1",
//!  "predicate": {"action": "promote", "repository": "registry.example/models/embed", "environment": "production",
//!                "sequence": 7, "issued": "2026-01-31T12:00:00Z", "expires": "2026-03-02T12:00:00Z",
//!                "policy": {"sha256": "<release policy>"}}}
//! ```
//!
//! A demotion has `"action": "demote"` and a `reason`, and neither `expires` nor `policy`: it does not end.

use crate::bundle::{Bundle, Hint};
use crate::cosign::{STATEMENT_TYPE, is_statement_type};
use crate::dsse::Envelope;
use crate::keys::Sign;
use serde::{Deserialize, Serialize};
use strongroom_wire::digest::Sha256;
use strongroom_wire::time::{parse_rfc3339, rfc3339};
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The predicate type of a promotion or demotion.
pub const PREDICATE_TYPE: &str = "https://strongroom.org/promotion/v1";

/// What one promoter says of one manifest. Times are in seconds of Unix time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The digest of the manifest that it is about.
    pub manifest: Sha256,
    /// Where the manifest is: `host[:port]/repo`.
    pub repository: String,
    /// What it is promoted to, or taken out of.
    pub environment: Environment,
    /// Its place among all statements about this repository and environment, from 1 to [`limits::PROMOTION_SEQUENCE`].
    pub sequence: u64,
    /// When it was made, by the promoter's clock.
    pub issued: u64,
    /// What it says.
    pub action: Action,
}

/// What a statement says of its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is for the environment.
    Promote {
        /// The last second at which it holds, at most [`limits::PROMOTION_VALIDITY`] after it was made.
        expires: u64,
        /// SHA-256 of the release policy that it was promoted under, where it names one.
        policy: Option<Sha256>,
    },
    /// It is not for the environment any more. That has no end.
    Demote {
        /// Why: one line of at most [`limits::PROMOTION_REASON`] characters.
        reason: String,
    },
}

impl Statement {
    /// Reads the payload of a bundle. The statement around the predicate may have members that are not ours to know, as those
    /// of `cosign attest` do; the predicate may not.
    ///
    /// # Errors
    /// `promotion-invalid`.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        let read: Document<Subject, String> =
            document::parse_json(payload, "promotion", limits::SIGNATURE, Code::PromotionInvalid)
                .map_err(|refusal| Refusal { code: Code::PromotionInvalid, ..refusal })?;
        if !is_statement_type(&read.kind) || read.predicate_type != PREDICATE_TYPE {
            let got = format!("{} {}", read.kind, read.predicate_type);
            return Err(invalid("type").got(got).want(format!("{STATEMENT_TYPE} {PREDICATE_TYPE}")));
        }
        let [Subject { digest: DigestSet { sha256: manifest } }] = read.subject;
        let predicate = read.predicate;
        let time = |text: &str| {
            parse_rfc3339(text).ok_or_else(|| invalid("time").got(text).want("RFC 3339, UTC, in whole seconds"))
        };
        let action = match (predicate.action, predicate.expires, predicate.policy, predicate.reason) {
            (Verb::Promote, Some(expires), policy, None) => {
                Action::Promote { expires: time(&expires)?, policy: policy.map(|policy| policy.sha256) }
            }
            (Verb::Demote, None, None, Some(reason)) => Action::Demote { reason },
            _ => {
                let want = "`expires` and perhaps `policy` of a promotion, `reason` of a demotion";
                return Err(invalid("members").want(want));
            }
        };
        let statement = Self {
            manifest,
            repository: predicate.repository,
            environment: predicate.environment,
            sequence: predicate.sequence,
            issued: time(&predicate.issued)?,
            action,
        };
        statement.verify_shape().map(|()| statement)
    }

    /// The payload that is signed.
    ///
    /// # Errors
    /// `promotion-invalid`: it would not be read again.
    pub fn render(&self) -> Result<Vec<u8>> {
        self.verify_shape()?;
        let (action, expires, policy, reason) = match &self.action {
            Action::Promote { expires, policy } => (Verb::Promote, Some(rfc3339(*expires)), *policy, None),
            Action::Demote { reason } => (Verb::Demote, None, None, Some(reason.clone())),
        };
        let document = Document {
            kind: STATEMENT_TYPE,
            subject: [Subject { digest: DigestSet { sha256: self.manifest } }],
            predicate_type: PREDICATE_TYPE,
            predicate: Predicate {
                action,
                repository: self.repository.clone(),
                environment: self.environment.clone(),
                sequence: self.sequence,
                issued: rfc3339(self.issued),
                expires,
                policy: policy.map(|sha256| DigestSet { sha256 }),
                reason,
            },
        };
        serde_json::to_vec(&document).map_err(|e| Refusal::new(Code::Internal, "promotion").because(e))
    }

    /// Signs it, and gives the bundle.
    ///
    /// # Errors
    /// As [`Self::render`]; those of the key.
    pub fn sign(&self, key: &dyn Sign) -> Result<Vec<u8>> {
        Bundle::render(&Envelope::sign(&self.render()?, key)?, &key.public(), Hint::Cosign)
    }

    /// Whether it promotes.
    pub const fn promotes(&self) -> bool {
        matches!(self.action, Action::Promote { .. })
    }

    fn verify_shape(&self) -> Result<()> {
        let repository = &self.repository;
        let plain = repository.bytes().all(|byte| byte.is_ascii_graphic());
        if repository.is_empty() || repository.len() > limits::REFERENCE || !plain {
            return Err(invalid("repository").got(repository).want("host[:port]/repo"));
        }
        if !(1..=limits::PROMOTION_SEQUENCE).contains(&self.sequence) {
            return Err(invalid("sequence").got(self.sequence).want("at least 1 and below 2^53"));
        }
        match &self.action {
            Action::Promote { expires, .. } => {
                let lasts = expires.checked_sub(self.issued);
                if lasts.is_none_or(|seconds| seconds > limits::PROMOTION_VALIDITY) {
                    let got = format!("{} to {}", rfc3339(self.issued), rfc3339(*expires));
                    return Err(invalid("validity").got(got).want("at most 30 days"));
                }
            }
            Action::Demote { reason } => {
                let length = reason.chars().count();
                if reason.trim().is_empty() || length > limits::PROMOTION_REASON || reason.contains(char::is_control) {
                    let want = format!("one line of at most {} characters", limits::PROMOTION_REASON);
                    return Err(invalid("reason").got(format!("{length} characters")).want(want));
                }
            }
        }
        Ok(())
    }
}

/// What a bundle states as a promotion or demotion, whoever signed it; `None` where it is something else. Nothing is verified.
pub fn parse_attached(bundle: &[u8]) -> Option<Result<Statement>> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    let payload = Bundle::parse(bundle).and_then(|bundle| bundle.unverified_payload()).ok()?;
    let kind: Kind = serde_json::from_slice(&payload).ok()?;
    (kind.predicate_type == PREDICATE_TYPE).then(|| Statement::parse(&payload))
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::PromotionInvalid, format!("{what} of a promotion"))
}

#[derive(Serialize, Deserialize)]
struct Document<S, T> {
    #[serde(rename = "_type")]
    kind: T,
    /// Exactly one.
    subject: [S; 1],
    #[serde(rename = "predicateType")]
    predicate_type: T,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    digest: DigestSet,
}

#[derive(Serialize, Deserialize)]
struct DigestSet {
    sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    action: Verb,
    repository: String,
    environment: Environment,
    sequence: u64,
    issued: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<DigestSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Promote,
    Demote,
}
