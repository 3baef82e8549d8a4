//! What is decided, before it is a row of the audit log (`strongroom_wire::audit`).

use serde::Serialize;
use serde_json::Value;
use strongroom_appraisal::UnixTime;
use strongroom_wire::Code;
use strongroom_wire::audit::{Link, Row};

/// What a decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Evidence was appraised; the subject is the deployment document's digest.
    Attestation,
    /// A key was asked for; the subject is its id.
    Release,
    /// An administrator's call; the subject is method and path.
    Admin,
}

impl Kind {
    /// As stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Release => "release",
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

impl Event {
    /// Its row after `last`.
    pub(crate) fn row(&self, last: Link, time: UnixTime) -> Row {
        let mut row = Row {
            seq: last.seq.saturating_add(1),
            time,
            kind: self.kind.as_str().to_owned(),
            subject: self.subject.clone(),
            code: self.code.map_or("", Code::as_str).to_owned(),
            detail: self.detail.to_string(),
            previous: last.hash,
            hash: last.hash,
        };
        row.hash = row.compute_hash();
        row
    }
}
