//! What a decision was made on, collected while it is made, so that a refusal half way is recorded with all that was known.

use serde::Serialize;
use serde_json::{Map, Value, json};
use strongroom_wire::{Check, Refusal};

use crate::audit::{Event, Kind};

/// The longest text of a peer that is recorded, in characters. Measurements and keys' thumbprints are far shorter, and a
/// list of a few approved ones stays whole; it keeps a peer from filling the log with one request.
const TEXT: usize = 1000;

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

    /// Notes checks. Their texts are cut here too, whoever made them: names in certificates and TCBs are a peer's words.
    pub(crate) fn checks(&mut self, name: &str, checks: &[Check]) {
        let text = |text: &Option<String>| text.as_deref().map(cut);
        let short = |check: &Check| Check {
            name: cut(&check.name),
            got: text(&check.got),
            want: text(&check.want),
            ..check.clone()
        };
        self.note(name, checks.iter().map(short).collect::<Vec<_>>());
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

    #[test]
    fn check_is_recorded_no_longer_than_the_limit_however_it_was_made() {
        let long = "ä".repeat(200_000);
        let literal = Check {
            name: long.clone(),
            ok: false,
            code: Some(Code::ChipIdMismatch),
            got: Some(long.clone()),
            want: Some(long.clone()),
        };
        let short = Check::new("debug", true, Code::DebugEnabled, "false", "false");
        let mut trail = Trail::new(Kind::Attestation, "-");
        trail.checks(
            "appraisal",
            &[literal, Check::new(&long, false, Code::ChipIdMismatch, &long, &long), short.clone()],
        );
        let event = trail.event(None);
        for at in [0, 1] {
            for member in ["name", "got", "want"] {
                let text = event.detail["appraisal"][at][member].as_str().unwrap();
                assert_eq!(text.chars().count(), TEXT, "{at} {member}");
            }
            assert_eq!(event.detail["appraisal"][at]["code"], "chip-id-mismatch");
        }
        assert_eq!(event.detail["appraisal"][2], json!(short));
    }
}
