//! What was decided, and the chain that makes a changed decision evident.
//!
//! The hash of a row is an RFC 6962 §2.1 leaf hash over `"strongroom/audit/v1\0" ‖ u64be seq ‖ u64be time ‖ 4 × (u32be
//! length ‖ text of kind, subject, code, detail) ‖ previous hash`; the first row follows a hash of zeros. Whoever keeps the
//! hash of one row notices any later change to it or to a row before it. Rows cut off the end leave no trace here.

use serde::Serialize;
use serde_json::Value;
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, merkle};

/// What a decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Evidence was appraised; the subject is the deployment document's digest.
    Attestation,
    /// A key was asked for; the subject is its id.
    Release,
    /// An administrator's call; the subject is method and path.
    Admin,
}

impl Kind {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Release => "release",
            Self::Admin => "admin",
        }
    }
}

/// A decision that is to be recorded.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it was about.
    pub kind: Kind,
    /// Whom or what it was about.
    pub subject: String,
    /// Why it was refused; `None`: it was not.
    pub code: Option<Code>,
    /// Everything that it was decided on, without secrets.
    pub detail: Value,
}

/// A recorded decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// From 1, without gaps.
    pub seq: u64,
    /// Seconds since 1970.
    pub time: UnixTime,
    /// [`Kind`] as stored.
    pub kind: String,
    /// Whom or what it was about.
    pub subject: String,
    /// The refusal's code; empty where it was not refused.
    pub code: String,
    /// What it was decided on, as the JSON text that was hashed.
    pub detail: String,
    /// Hash of the row before.
    pub previous: Sha256,
    /// Hash of this row.
    pub hash: Sha256,
}

impl Row {
    /// The row of `event` after `last`.
    pub(crate) fn after(last: Option<(u64, Sha256)>, time: UnixTime, event: &Event) -> Self {
        let (seq, previous) = last.map_or((1, Sha256([0; 32])), |(seq, hash)| (seq.saturating_add(1), hash));
        let mut row = Self {
            seq,
            time,
            kind: event.kind.as_str().to_owned(),
            subject: event.subject.clone(),
            code: event.code.map_or("", Code::as_str).to_owned(),
            detail: event.detail.to_string(),
            previous,
            hash: Sha256([0; 32]),
        };
        row.hash = row.compute_hash();
        row
    }

    fn compute_hash(&self) -> Sha256 {
        let mut bytes = b"strongroom/audit/v1\0".to_vec();
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.time.to_be_bytes());
        for text in [&self.kind, &self.subject, &self.code, &self.detail] {
            // Texts come out of requests far below 4 GiB; a longer one would only be hashed under a wrong length.
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.previous.0);
        merkle::leaf_hash(&bytes)
    }

    /// Whether this row is whole and follows `last`.
    ///
    /// # Errors
    /// `store-failed`: it was changed, or a row before it was changed or taken out.
    pub fn verify_after(&self, last: Option<(u64, Sha256)>) -> Result<(u64, Sha256)> {
        let (seq, previous) = last.map_or((1, Sha256([0; 32])), |(seq, hash)| (seq.saturating_add(1), hash));
        let broken = || Refusal::new(Code::StoreFailed, format!("audit row {}: the chain is broken", self.seq));
        if self.seq != seq {
            return Err(broken().got(self.seq).want(seq));
        }
        if self.previous != previous {
            return Err(broken().got(self.previous).want(previous));
        }
        let hash = self.compute_hash();
        if self.hash != hash { Err(broken().got(self.hash).want(hash)) } else { Ok((seq, hash)) }
    }
}

/// Verifies a whole log, from its first row.
///
/// # Errors
/// `store-failed`: the first row that does not follow the one before.
pub fn verify_chain<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Result<()> {
    rows.into_iter().try_fold(None, |last, row| row.verify_after(last).map(Some)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (time, code) in [(10, None), (11, Some(Code::NoPolicy)), (11, None)] {
            let event =
                Event { kind: Kind::Release, subject: "a/b/c".into(), code, detail: serde_json::json!({"k": 1}) };
            let last = rows.last().map(|row| (row.seq, row.hash));
            rows.push(Row::after(last, time, &event));
        }
        rows
    }

    #[test]
    fn untouched_chain_holds() {
        verify_chain(&rows()).unwrap();
    }

    #[test]
    fn every_changed_column_breaks_the_chain() {
        let changes: [fn(&mut Row); 7] = [
            |row| row.seq = 7,
            |row| row.time = 12,
            |row| row.kind = "admin".into(),
            |row| row.subject = "a/b/d".into(),
            |row| row.code = String::new(),
            |row| row.detail = "{}".into(),
            |row| row.previous = Sha256([1; 32]),
        ];
        for change in changes {
            let mut rows = rows();
            change(&mut rows[1]);
            assert_eq!(verify_chain(&rows).unwrap_err().code, Code::StoreFailed);
            // Nor does hashing the changed row again help: the next row names the old hash.
            rows[1].hash = rows[1].compute_hash();
            assert_eq!(verify_chain(&rows).unwrap_err().code, Code::StoreFailed);
        }
    }

    #[test]
    fn row_taken_out_or_moved_breaks_the_chain() {
        let mut without = rows();
        without.remove(1);
        assert_eq!(verify_chain(&without).unwrap_err().code, Code::StoreFailed);
        let mut swapped = rows();
        swapped.swap(0, 1);
        assert_eq!(verify_chain(&swapped).unwrap_err().code, Code::StoreFailed);
    }

    #[test]
    fn text_moved_from_one_column_to_the_next_changes_the_hash() {
        let mut row = rows().remove(1);
        let before = row.compute_hash();
        (row.subject, row.code) = ("a/b/cn".into(), "o-policy".into());
        assert_ne!(row.compute_hash(), before);
    }
}
