//! The verifier's audit log: one entry of it. The log is a transparency log of C2SP (c2sp.org/tlog-tiles), whose leaves are the
//! canonical JSON (RFC 8785) of its entries, hashed by RFC 6962 §2.1; an entry's number is its index in the tree.
//!
//! Entry 0 is made with the log and is no decision: its subject is the log's origin, its detail the log's key and realm. So
//! decisions count from 1.

use crate::{Code, Refusal, Result, canonical, limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of this format.
pub const VERSION: u32 = 1;

/// The kind of entry 0.
pub const ORIGIN: &str = "log";

/// An entry, in JSON as the admin API serves it too. Nobody vouches for one that was not proved to be in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`VERSION`].
    pub v: u32,
    /// Its number, from 0, without gaps.
    pub seq: u64,
    /// Seconds since 1970; 0 in entry 0.
    pub time: u64,
    /// What it was about: `attestation`, `release`, `admin`; `log` in entry 0.
    pub kind: String,
    /// Whom or what it was about.
    pub subject: String,
    /// The refusal's code; empty where it was not refused.
    pub code: String,
    /// What it was decided on.
    pub detail: Value,
}

impl Entry {
    /// The leaf that it is in the log.
    ///
    /// # Errors
    /// `too-large`: longer than [`limits::LOG_ENTRY`]; `malformed`: a number in it has no canonical form.
    pub fn leaf(&self) -> Result<Vec<u8>> {
        let Self { v, seq, time, kind, subject, code, detail } = self;
        leaf(*v, (*seq, *time), [kind, subject, code], detail)
    }

    /// Parses a leaf, which has one form alone.
    ///
    /// # Errors
    /// `malformed`; `version-unsupported`; `too-large`.
    pub fn parse(leaf: &[u8]) -> Result<Self> {
        if leaf.len() > limits::LOG_ENTRY {
            return Err(Refusal::too_large("audit entry", leaf.len(), limits::LOG_ENTRY));
        }
        let entry: Self = serde_json::from_slice(leaf).map_err(|e| Refusal::malformed("audit entry", e))?;
        if entry.v != VERSION {
            return Err(Refusal::new(Code::VersionUnsupported, "audit entry").got(entry.v).want(VERSION));
        }
        if entry.leaf()? != leaf {
            return Err(Refusal::new(Code::Malformed, "audit entry").want("canonical JSON (RFC 8785)"));
        }
        Ok(entry)
    }
}

/// [`Entry::leaf`] of an entry that nobody made: its version, its number and time, its kind, subject and code, and its detail.
///
/// # Errors
/// As there.
pub fn leaf(v: u32, (seq, time): (u64, u64), [kind, subject, code]: [&str; 3], detail: &Value) -> Result<Vec<u8>> {
    let mut leaf = Vec::with_capacity(1024);
    // The names in their order.
    leaf.extend(b"{\"code\":");
    canonical::write_text(code, &mut leaf)?;
    leaf.extend(b",\"detail\":");
    canonical::write(detail, &mut leaf)?;
    leaf.extend(b",\"kind\":");
    canonical::write_text(kind, &mut leaf)?;
    leaf.extend(b",\"seq\":");
    canonical::write_number(&seq.into(), &mut leaf)?;
    leaf.extend(b",\"subject\":");
    canonical::write_text(subject, &mut leaf)?;
    leaf.extend(b",\"time\":");
    canonical::write_number(&time.into(), &mut leaf)?;
    leaf.extend(b",\"v\":");
    canonical::write_number(&v.into(), &mut leaf)?;
    leaf.push(b'}');
    if leaf.len() > limits::LOG_ENTRY {
        return Err(Refusal::too_large("audit entry", leaf.len(), limits::LOG_ENTRY));
    }
    Ok(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        Entry {
            v: VERSION,
            seq: 7,
            time: 10,
            kind: "release".into(),
            subject: "a/b/c".into(),
            code: "no-policy".into(),
            detail: json!({ "z": [1, "ä\u{1}"], "a": null }),
        }
    }

    const LEAF: &str = "{\"code\":\"no-policy\",\"detail\":{\"a\":null,\"z\":[1,\"ä\\u0001\"]},\"kind\":\"release\",\
                        \"seq\":7,\"subject\":\"a/b/c\",\"time\":10,\"v\":1}";

    #[test]
    fn leaf_is_canonical_json_and_reads_back() {
        assert_eq!(String::from_utf8(entry().leaf().unwrap()).unwrap(), LEAF);
        assert_eq!(Entry::parse(LEAF.as_bytes()), Ok(entry()));
    }

    #[test]
    fn leaf_of_another_form_refused() {
        for (other, code) in [
            (LEAF.replace("\"seq\":7", "\"seq\": 7"), Code::Malformed),
            (LEAF.replace("\"v\":1", "\"v\":2"), Code::VersionUnsupported),
            (LEAF.replace("\"time\":10", "\"time\":-10"), Code::Malformed),
            (LEAF.replace(",\"v\":1", ",\"v\":1,\"w\":1"), Code::Malformed),
            (LEAF.replace("\"seq\":7,\"subject\":\"a/b/c\"", "\"subject\":\"a/b/c\",\"seq\":7"), Code::Malformed),
            (LEAF.replace("\\u0001", "\\u0001\\u0041"), Code::Malformed),
            (format!("{LEAF}\n"), Code::Malformed),
        ] {
            assert_eq!(Entry::parse(other.as_bytes()).unwrap_err().code, code, "{other}");
        }
    }

    #[test]
    fn entry_at_the_limit_accepted_and_one_byte_longer_refused() {
        let of = |length: usize| Entry { subject: "x".repeat(length), ..entry() };
        let rest = of(0).leaf().unwrap().len();
        let longest = of(limits::LOG_ENTRY - rest).leaf().unwrap();
        assert!(Entry::parse(&longest).is_ok());
        let longer = of(limits::LOG_ENTRY - rest + 1);
        assert_eq!(longer.leaf().unwrap_err().code, Code::TooLarge);
        let bytes = serde_json_canonicalizer::to_vec(&longer).unwrap();
        assert_eq!(Entry::parse(&bytes).unwrap_err().code, Code::TooLarge);
    }
}
