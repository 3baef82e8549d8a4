//! The hashes that OMS statements may use, and the digest of one file under one of them.

mod blob;
mod lanes;
mod subtree;

use aws_lc_rs::digest;
use blake2::Digest as _;
pub(crate) use blob::BlobHash;
use core::fmt;
pub use lanes::FileHash;
use strongroom_wire::{Code, Refusal, Result};

/// OMS v1.0's `hash_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// `sha256`, which every verifier has.
    Sha256,
    /// `blake2b`, with 64 bytes. Read, never written.
    Blake2b,
    /// `blake3`, with 32 bytes.
    Blake3,
}

impl HashAlgorithm {
    /// The name in statements.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
            Self::Blake3 => "blake3",
        }
    }

    /// The algorithm of a name; others are refused with `model-unsupported`.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Sha256, Self::Blake2b, Self::Blake3].into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            Refusal::new(Code::ModelUnsupported, "hash of a statement").got(name).want("sha256, blake2b or blake3")
        })
    }

    /// Length of its digests in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Blake2b => 64,
        }
    }

    /// A fresh context.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Self::Sha256 => Context::Sha256(digest::Context::new(&digest::SHA256)),
            Self::Blake2b => Context::Blake2b(Box::default()),
            Self::Blake3 => Context::Blake3(Box::default()),
        })
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The digest of one file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Where the file is in the model ([`crate::path::parse_path`]).
    pub path: String,
    /// What it was hashed with.
    pub algorithm: HashAlgorithm,
    /// [`HashAlgorithm::digest_len`] bytes.
    pub digest: Vec<u8>,
}

/// Hashes a stream under one of the algorithms.
pub struct Hasher(Context);

enum Context {
    Sha256(digest::Context),
    Blake2b(Box<blake2::Blake2b512>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Context::Sha256(context) => context.update(bytes),
            Context::Blake2b(context) => context.update(bytes),
            Context::Blake3(context) => {
                context.update(bytes);
            }
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Context::Sha256(context) => context.finish().as_ref().to_vec(),
            Context::Blake2b(context) => context.finalize().to_vec(),
            Context::Blake3(context) => context.finalize().as_bytes().to_vec(),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_abc_are_those_of_the_specifications() {
        for (algorithm, start) in [
            (HashAlgorithm::Sha256, "ba7816bf8f01cfea"),
            (HashAlgorithm::Blake2b, "ba80a53f981c4d0d"),
            (HashAlgorithm::Blake3, "6437b3ac38465133"),
        ] {
            let mut hasher = algorithm.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            let digest = hasher.finish();
            assert_eq!(digest.len(), algorithm.digest_len());
            assert_eq!(hex::encode(&digest[..8]), start);
            assert_eq!(HashAlgorithm::parse(algorithm.as_str()).unwrap(), algorithm);
        }
    }

    #[test]
    fn unknown_hash_refused() {
        for name in ["sha1", "SHA256", "sha256-sharded-1000", ""] {
            assert_eq!(HashAlgorithm::parse(name).unwrap_err().code, Code::ModelUnsupported);
        }
    }
}
