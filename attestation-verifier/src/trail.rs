//! What a decision was made on, collected while it is made, so that a refusal half way is recorded with all that was known.

use serde::Serialize;
use serde_json::{Map, Value, json};
use strongroom_wire::{Check, Refusal};

use crate::audit::{Event, Kind};

/// The longest text of a peer that is recorded, in characters. Measurements and keys' thumbprints are far shorter; it
/// keeps a peer from filling the log with one request.
const TEXT: usize = 512;

/// Notes for one row of the audit log. No note is ever a secret.
#[derive(Debug)]
pub(crate) struct Trail {
    kind: Kind,
    subject: String,
    notes: Map<String, Value>,
}

impl Trail {
    pub(crate) fn new(kind: Kind, subject: impl Into<String>) -> Self {
        Self { kind, subject: cut(&subject.into()), notes: Map::new() }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn about(&mut self, subject: impl Into<String>) {
        self.subject = cut(&subject.into());
    }

    pub(crate) fn note(&mut self, name: &str, value: impl Serialize) {
        // Texts, numbers and lists of checks: what serde_json cannot write is never handed in.
        self.notes.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }

    pub(crate) fn checks(&mut self, name: &str, checks: &[Check]) {
        self.note(name, checks);
    }

    /// The row: accepted, or refused with its reason. The operator's log gets the same.
    pub(crate) fn event(mut self, refusal: Option<&Refusal>) -> Event {
        if let Some(refusal) = refusal {
            let text = |text: &Option<String>| text.as_deref().map(cut);
            self.note(
                "refusal",
                json!({ "what": cut(&refusal.what), "got": text(&refusal.got), "want": text(&refusal.want) }),
            );
        }
        let detail = Value::Object(self.notes);
        let code = refusal.map(|refusal| refusal.code);
        tracing::info!(
            kind = self.kind.as_str(),
            subject = %self.subject,
            code = code.map_or("", strongroom_wire::Code::as_str),
            %detail,
            "decided"
        );
        Event { kind: self.kind, subject: self.subject, code, detail }
    }
}

/// A refusal as one line of the operator's log, whatever a peer put into it.
pub(crate) fn line(refusal: &Refusal) -> String {
    cut(&refusal.to_string()).escape_debug().to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Code;

    #[test]
    fn refusal_with_a_peer_s_line_breaks_stays_one_line() {
        let refusal = Refusal::new(Code::NonceMismatch, "nonce").got("x\n2026 ERROR forged\u{1b}[2J");
        let line = line(&refusal);
        assert!(!line.contains('\n') && !line.contains('\u{1b}') && line.contains("forged"), "{line}");
    }

    #[test]
    fn refusal_is_recorded_with_what_was_known_and_no_longer_than_the_limit() {
        let mut trail = Trail::new(Kind::Attestation, "-");
        trail.note("measurement", "00");
        let refusal = Refusal::new(Code::NonceMismatch, "nonce").got("x".repeat(1 << 20)).want("y");
        let event = trail.event(Some(&refusal));
        assert_eq!(event.code, Some(Code::NonceMismatch));
        assert_eq!(event.detail["measurement"], "00");
        assert_eq!(event.detail["refusal"]["got"].as_str().unwrap().len(), TEXT);
        assert_eq!(event.detail["refusal"]["want"], "y");
    }
}
