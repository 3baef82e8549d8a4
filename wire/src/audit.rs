//! The verifier's audit log: one row of it, and the chain that makes a changed row evident to whoever reads it.
//!
//! The hash of a row is an RFC 6962 §2.1 leaf hash over `"strongroom/audit/v1\0" ‖ u64be seq ‖ u64be time ‖ 4 × (u32be
//! length ‖ text of kind, subject, code, detail) ‖ previous hash`; the first row follows a hash of zeros. The text of detail
//! is its JSON without white space, members in the order in which they are served.
//!
//! Whoever keeps the hash of one row notices any later change to it or to a row before it. Rows cut off the end leave no
//! trace here.

use crate::digest::Sha256;
use crate::{Code, Refusal, Result, merkle};
use serde::{Deserialize, Serialize};

/// A recorded decision, in JSON as the admin API serves it. Nobody vouches for one that [`verify_chain`] has not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// From 1, without gaps.
    pub seq: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// What it was about: `attestation`, `release`, `admin`.
    pub kind: String,
    /// Whom or what it was about.
    pub subject: String,
    /// The refusal's code; empty where it was not refused.
    pub code: String,
    /// What it was decided on, as the JSON text that is hashed; in JSON, the value that this text is of.
    #[serde(with = "json_text")]
    pub detail: String,
    /// Hash of the row before.
    pub previous: Sha256,
    /// Hash of this row.
    pub hash: Sha256,
}

/// A place in the chain: the row of that number has that hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The row's number.
    pub seq: u64,
    /// The row's hash.
    pub hash: Sha256,
}

impl Link {
    /// Before the first row.
    pub const START: Self = Self { seq: 0, hash: Sha256([0; 32]) };
}

impl Row {
    /// The hash that a row of this content has, whatever [`Self::hash`] says.
    pub fn compute_hash(&self) -> Sha256 {
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

    /// Verifies that this row is whole and follows `last`; its own place.
    ///
    /// # Errors
    /// `store-tampered`: it was changed, or a row before it was changed or taken out.
    pub fn verify_after(&self, last: Link) -> Result<Link> {
        let seq = last.seq.saturating_add(1);
        let broken = || Refusal::new(Code::StoreTampered, format!("audit row {}: the chain is broken", self.seq));
        if self.seq != seq {
            return Err(broken().got(self.seq).want(seq));
        }
        if self.previous != last.hash {
            return Err(broken().got(self.previous).want(last.hash));
        }
        let hash = self.compute_hash();
        if self.hash != hash { Err(broken().got(self.hash).want(hash)) } else { Ok(Link { seq, hash }) }
    }
}

/// Verifies that `rows` follow `last` and one another, and returns the place of the last one: where the next page goes on.
/// A whole log follows [`Link::START`].
///
/// # Errors
/// `store-tampered`: the first row that does not follow the one before.
pub fn verify_chain<'a>(rows: impl IntoIterator<Item = &'a Row>, last: Link) -> Result<Link> {
    rows.into_iter().try_fold(last, |last, row| row.verify_after(last))
}

mod json_text {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        Value::deserialize(deserializer).map(|value| value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let mut last = Link::START;
        let mut rows: Vec<Row> = Vec::new();
        for (time, code) in [(10, ""), (11, "no-policy"), (11, "")] {
            let mut row = Row {
                seq: last.seq + 1,
                time,
                kind: "release".into(),
                subject: "a/b/c".into(),
                code: code.into(),
                detail: r#"{"k":1,"l":["ä"]}"#.into(),
                previous: last.hash,
                hash: Sha256([0; 32]),
            };
            row.hash = row.compute_hash();
            last = Link { seq: row.seq, hash: row.hash };
            rows.push(row);
        }
        rows
    }

    fn code(rows: &[Row]) -> Option<Code> {
        verify_chain(rows, Link::START).err().map(|refusal| refusal.code)
    }

    #[test]
    fn untouched_chain_holds_whole_and_page_by_page() {
        let rows = rows();
        let last = Link { seq: 3, hash: rows[2].hash };
        assert_eq!(verify_chain(&rows, Link::START).unwrap(), last);
        let first = verify_chain(&rows[..1], Link::START).unwrap();
        assert_eq!(verify_chain(&rows[1..], first).unwrap(), last);
        assert_eq!(verify_chain(&[], first).unwrap(), first);
        let elsewhere = Link { hash: Sha256([1; 32]), ..first };
        assert_eq!(verify_chain(&rows[1..], elsewhere).unwrap_err().code, Code::StoreTampered);
    }

    #[test]
    fn chain_holds_for_who_has_only_the_served_json() {
        let served = serde_json::to_string(&rows()).unwrap();
        assert!(served.contains(r#""detail":{"k":1,"l":["ä"]}"#), "{served}");
        let read: Vec<Row> = serde_json::from_str(&served).unwrap();
        assert_eq!(read, rows());
        let changed: Vec<Row> = serde_json::from_str(&served.replace(r#""k":1"#, r#""k":2"#)).unwrap();
        assert_eq!(code(&changed), Some(Code::StoreTampered));
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
            assert_eq!(code(&rows), Some(Code::StoreTampered));
            // Nor does hashing the changed row again help: the next row names the old hash.
            rows[1].hash = rows[1].compute_hash();
            assert_eq!(code(&rows), Some(Code::StoreTampered));
        }
    }

    #[test]
    fn row_taken_out_or_moved_breaks_the_chain() {
        let mut without = rows();
        without.remove(1);
        assert_eq!(code(&without), Some(Code::StoreTampered));
        let mut swapped = rows();
        swapped.swap(0, 1);
        assert_eq!(code(&swapped), Some(Code::StoreTampered));
    }

    #[test]
    fn text_moved_from_one_column_to_the_next_changes_the_hash() {
        let mut row = rows().remove(1);
        let before = row.compute_hash();
        (row.subject, row.code) = ("a/b/cn".into(), "o-policy".into());
        assert_ne!(row.compute_hash(), before);
    }
}
