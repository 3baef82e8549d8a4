//! SHA-256 and SHA-384 values, as every other module of this crate carries them.

use crate::{Code, Refusal, Result};
use aws_lc_rs::digest;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256 digest. Shown as 64 hex digits; in OCI and in JSON of this project as written by [`Sha256::oci`] where a
/// registry is meant, else as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// The digest of the concatenation of `parts`. The caller's format must make the concatenation unambiguous.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        Self::from_slice(context.finish().as_ref())
    }

    /// The digest that a finished SHA-256 context holds.
    pub fn from_finished(finished: &digest::Digest) -> Self {
        Self::from_slice(finished.as_ref())
    }

    fn from_slice(slice: &[u8]) -> Self {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(slice) {
            *to = *from;
        }
        Self(out)
    }

    /// Parses 64 hex digits, lower case.
    pub fn from_hex(text: &str) -> Result<Self> {
        crate::bytes::hex_array(text, "sha256").map(Self)
    }

    /// `sha256:<64 hex>`, as OCI names content.
    pub fn oci(&self) -> String {
        format!("sha256:{self}")
    }

    /// Parses `sha256:<64 hex>`; other algorithms are refused.
    pub fn from_oci(text: &str) -> Result<Self> {
        match text.strip_prefix("sha256:") {
            Some(hex) => Self::from_hex(hex),
            None => Err(Refusal::new(Code::Malformed, "digest").got(text).want("sha256:<64 hex digits>")),
        }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

/// SHA-384 of `bytes`.
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    fixed(digest::digest(&digest::SHA384, bytes).as_ref())
}

/// SHA-512 of the concatenation of `parts`.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut context = digest::Context::new(&digest::SHA512);
    for part in parts {
        context.update(part);
    }
    fixed(context.finish().as_ref())
}

fn fixed<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(slice) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_abc_is_the_one_of_fips_180() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
        assert_eq!(Sha256::of_parts(&[b"a", b"bc"]), Sha256::from_hex(abc).unwrap());
        assert_eq!(Sha256::from_oci(&format!("sha256:{abc}")).unwrap().to_string(), abc);
        assert_eq!(hex::encode(&sha384(b"abc")[..8]), "cb00753f45a35e8b");
        assert_eq!(hex::encode(&sha512(&[b"abc"])[..8]), "ddaf35a193617aba");
    }

    #[test]
    fn digest_of_another_algorithm_or_case_refused() {
        assert_eq!(Sha256::from_oci("sha512:00").unwrap_err().code, Code::Malformed);
        assert_eq!(Sha256::from_hex(&"A".repeat(64)).unwrap_err().code, Code::Malformed);
        assert_eq!(Sha256::from_hex(&"a".repeat(63)).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn digest_is_shown_and_printed_for_debugging_as_hex() {
        let digest = Sha256([0xab; 32]);
        assert_eq!((digest.to_string(), format!("{digest:?}")), ("ab".repeat(32), "ab".repeat(32)));
        assert_eq!(digest.oci(), format!("sha256:{digest}"));
    }
}
