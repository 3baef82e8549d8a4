//! Whose root a chain of evidence ended at, and the realm that follows from it.

use crate::digest::Sha256;
use crate::{Code, Refusal, Result};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The root that evidence was verified under: `amd`, `intel`, or `test:<sha256 of the root key's SPKI>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// One of AMD's pinned ARKs.
    Amd,
    /// Intel's pinned SGX/TDX root CA.
    Intel,
    /// A root that somebody named in place of the vendors': SHA-256 of its SubjectPublicKeyInfo.
    Test(Sha256),
}

/// Test and vendor roots never share a process, a store or a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realm {
    /// Silicon vendors' roots only.
    Vendor,
    /// One test root only.
    Test(Sha256),
}

impl Root {
    /// The realm of this root.
    pub const fn realm(self) -> Realm {
        match self {
            Self::Amd | Self::Intel => Realm::Vendor,
            Self::Test(spki) => Realm::Test(spki),
        }
    }

    /// Parses `amd`, `intel` or `test:<64 hex>`.
    pub fn parse(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("test:")) {
            ("amd", _) => Ok(Self::Amd),
            ("intel", _) => Ok(Self::Intel),
            (_, Some(hex)) => Sha256::from_hex(hex).map(Self::Test),
            _ => Err(Refusal::new(Code::Malformed, "root").got(text).want("amd, intel or test:<64 hex digits>")),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd => f.write_str("amd"),
            Self::Intel => f.write_str("intel"),
            Self::Test(spki) => write!(f, "test:{spki}"),
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor => f.write_str("vendor"),
            Self::Test(spki) => write!(f, "test:{spki}"),
        }
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_root_is_read_as_it_is_shown_and_has_its_realm() {
        let test = Sha256([0xab; 32]);
        let text = format!("test:{}", "ab".repeat(32));
        for (root, shown, realm, named) in [
            (Root::Amd, "amd", Realm::Vendor, "vendor"),
            (Root::Intel, "intel", Realm::Vendor, "vendor"),
            (Root::Test(test), &text, Realm::Test(test), &text),
        ] {
            assert_eq!(
                (root.to_string(), root.realm(), realm.to_string()),
                (shown.to_owned(), realm, named.to_owned())
            );
            assert_eq!(Root::parse(shown).unwrap(), root);
            assert_eq!(serde_json::to_value(root).unwrap(), shown);
            assert_eq!(serde_json::from_value::<Root>(shown.into()).unwrap(), root);
        }
    }

    #[test]
    fn other_words_and_test_roots_without_a_digest_refused() {
        for other in ["", "AMD", "vendor", "test", "test:", "test:amd", "test:AB"] {
            assert_eq!(Root::parse(other).unwrap_err().code, Code::Malformed, "{other}");
            assert!(serde_json::from_value::<Root>(other.into()).is_err(), "{other}");
        }
    }
}
