//! What is decided, before it is an entry of the audit log (`strongroom_wire::audit`).

use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::audit::{self, VERSION};
use strongroom_wire::{Code, Refusal, Result};

/// What a decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Evidence was appraised; the subject is the deployment document's digest.
    Attestation,
    /// A key was asked for; the subject is its id.
    Release,
    /// A lease was asked for; the subject is the deployment document's digest.
    Lease,
    /// An identity was asked for, whose SPIFFE id is the subject; or an authority was made for the trust domain that is.
    Identity,
    /// A revocation list or collateral was shown that is newer than all before: older ones are refused from then on. The subject is
    /// `newest`.
    Endorsements,
    /// An administrator's call; the subject is method and path.
    Admin,
}

impl Kind {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Release => "release",
            Self::Lease => "lease",
            Self::Identity => "identity",
            Self::Endorsements => "endorsements",
            Self::Admin => "admin",
        }
    }
}

/// A decision that is to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// What it was about.
    pub(crate) kind: Kind,
    /// Whom or what it was about.
    pub(crate) subject: String,
    /// Why it was refused; `None`: it was not.
    pub(crate) code: Option<Code>,
    /// Everything that it was decided on, without secrets.
    pub(crate) detail: Value,
}

/// JSON tools read numbers as floating point, exactly up to here (RFC 8785, appendix D): what is longer is text.
const EXACT: u64 = 1 << 53;

impl Event {
    /// Its leaf in the log, as entry number `seq`. Where what it was decided on is too much for one, each of its texts and lists
    /// is cut to half as much until it is not, and `cut` says to how much: a peer may choose some of it, and must not keep its
    /// refusal from being recorded.
    ///
    /// # Errors
    /// `malformed`, `too-large`: what is not cut has no canonical form, or is too much by itself. Subjects are cut before.
    pub(crate) fn leaf(&self, seq: u64, time: UnixTime) -> Result<Vec<u8>> {
        let words = [self.kind.as_str(), &self.subject, self.code.map_or("", Code::as_str)];
        let whole = match is_exact(&self.detail) {
            true => Cow::Borrowed(&self.detail),
            false => Cow::Owned(cut(&self.detail, usize::MAX)),
        };
        let mut outcome = audit::leaf(VERSION, (seq, time), words, &whole);
        let mut most = 1024;
        while let (Err(Refusal { code: Code::TooLarge, .. }), 2..) = (&outcome, most) {
            most /= 2;
            let mut less = cut(&self.detail, most);
            if let Value::Object(detail) = &mut less {
                detail.insert("cut".to_owned(), json!(most));
            }
            outcome = audit::leaf(VERSION, (seq, time), words, &less);
        }
        outcome
    }
}

/// Whether all of it is recorded as it is.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Number(number) => number.as_u64().is_none_or(|number| number <= EXACT),
        _ => true,
    }
}

/// The same with at most so many characters in a text and members in a list.
fn cut(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) if text.len() <= most => Value::String(text.clone()),
        Value::String(text) => Value::String(text.chars().take(most).collect()),
        Value::Array(list) => list.iter().take(most).map(|value| cut(value, most)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| (name.clone(), cut(value, most));
            Value::Object(members.iter().map(member).collect())
        }
        Value::Number(number) if number.as_u64().is_some_and(|number| number > EXACT) => {
            Value::String(number.to_string())
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::audit::Entry;
    use strongroom_wire::limits;

    fn leaf(detail: Value) -> Entry {
        let event = Event { kind: Kind::Attestation, subject: "s".into(), code: Some(Code::NonceMismatch), detail };
        Entry::parse(&event.leaf(3, 5).unwrap()).unwrap()
    }

    #[test]
    fn event_is_recorded_with_everything() {
        let entry = leaf(json!({ "a": [1, "b", { "c": null }] }));
        assert_eq!((entry.seq, entry.time, entry.kind.as_str()), (3, 5, "attestation"));
        assert_eq!((entry.subject.as_str(), entry.code.as_str()), ("s", "nonce-mismatch"));
        assert_eq!(entry.detail, json!({ "a": [1, "b", { "c": null }] }));
    }

    #[test]
    fn number_that_tools_do_not_read_exactly_is_text() {
        let entry = leaf(json!({ "exact": EXACT, "long": EXACT + 1 }));
        assert_eq!(entry.detail, json!({ "exact": EXACT, "long": (EXACT + 1).to_string() }));
    }

    #[test]
    fn event_of_any_size_is_recorded_and_says_what_was_cut() {
        let text = "\u{1}".repeat(1000);
        let checks: Vec<_> = (0..200).map(|n| json!({ "name": n.to_string(), "got": text, "want": text })).collect();
        let entry = leaf(json!({ "appraisal": checks, "measurement": "00" }));
        let most = entry.detail["cut"].as_u64().unwrap();
        assert!((2..1000).contains(&most), "{most}");
        assert_eq!((&entry.detail["measurement"], &entry.detail["appraisal"][0]["name"]), (&json!("00"), &json!("0")));
        assert!(entry.leaf().unwrap().len() > limits::LOG_ENTRY / 4, "no more is cut than has to be");
    }
}
