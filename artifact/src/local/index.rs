//! `strongroom-seal.json`, the index of a sealed directory.
//!
//! Nothing in it is trusted: it says where things are, and the AEAD and the key commitment decide whether they are.

use crate::data_key::ArtifactId;
use crate::manifest::stored_name;
use crate::path::{parse_path, verify_distinct};
use crate::seal::{SCHEME, associated_data, plain_len};
use serde::{Deserialize, Serialize};
use strongroom_wire::{Code, Refusal, Result, bytes, document, limits};

/// The name of the index.
pub const INDEX: &str = "strongroom-seal.json";

const VERSION: u32 = 1;

/// What a sealed directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of this format: 1.
    pub version: u32,
    /// [`SCHEME`].
    pub scheme: String,
    /// The artifact that the data key belongs to, 32 hex digits.
    pub artifact_id: String,
    /// [`crate::DataKey::commitment`] of the data key, 64 hex digits.
    pub key_commitment: String,
    /// The files, sorted by path.
    pub files: Vec<SealedFile>,
}

/// A file of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// Where it is in the model.
    pub path: String,
    /// Length of its plaintext.
    pub size: u64,
    /// Its parts, in order.
    pub parts: Vec<SealedPart>,
}

/// A sealed part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPart {
    /// The name of its sealed file, relative to the index.
    pub file: String,
    /// Length of its plaintext.
    pub size: u64,
    /// Length of its sealed file.
    pub sealed_size: u64,
    /// [`associated_data`] in hex, for other implementations of the scheme. It follows from the rest.
    pub associated_data: String,
}

impl Index {
    pub(super) fn new(id: &ArtifactId, commitment: &[u8; 32], files: Vec<SealedFile>) -> Self {
        Self {
            version: VERSION,
            scheme: SCHEME.to_owned(),
            artifact_id: id.to_string(),
            key_commitment: hex::encode(commitment),
            files,
        }
    }

    /// Reads an index of at most [`limits::SEAL_INDEX`].
    ///
    /// Refuses other versions and schemes, unsafe or clashing paths (`path-unsafe`), and members that contradict each other
    /// (`malformed`).
    pub fn parse(json: &[u8]) -> Result<Self> {
        let index: Self = document::parse_json(json, INDEX, limits::SEAL_INDEX, Code::Malformed)?;
        if index.version != VERSION {
            return Err(Refusal::new(Code::VersionUnsupported, INDEX).got(index.version).want(VERSION));
        }
        if index.scheme != SCHEME {
            return Err(Refusal::new(Code::ModelUnsupported, "sealing").got(&index.scheme).want(SCHEME));
        }
        if index.files.is_empty() || index.files.len() > limits::LAYERS {
            return Err(Refusal::malformed(INDEX, "no files, or too many").got(index.files.len()));
        }
        verify_distinct(index.files.iter().map(|file| file.path.as_str()))?;
        let id = index.id()?;
        index.commitment()?;
        index.files.iter().try_for_each(|file| verify_file(&id, file))?;
        Ok(index)
    }

    /// The artifact id.
    pub fn id(&self) -> Result<ArtifactId> {
        ArtifactId::from_hex(&self.artifact_id)
    }

    /// The key commitment.
    pub fn commitment(&self) -> Result<[u8; 32]> {
        bytes::hex_array(&self.key_commitment, "key commitment")
    }
}

impl SealedFile {
    /// A file of parts of the given lengths.
    pub(super) fn new(id: &ArtifactId, path: &str, lengths: &[u64]) -> Result<Self> {
        let parts = u32::try_from(lengths.len()).ok().filter(|parts| *parts <= limits::PARTS);
        let parts =
            parts.ok_or_else(|| Refusal::too_large(format!("parts of `{path}`"), lengths.len(), limits::PARTS))?;
        let describe = |(part, size): (u32, &u64)| SealedPart {
            file: stored_name(path, part, parts, true),
            size: *size,
            sealed_size: crate::seal::sealed_len(*size),
            associated_data: hex::encode(associated_data(id, path, part, parts)),
        };
        let size = lengths.iter().copied().fold(0, u64::saturating_add);
        Ok(Self { path: path.to_owned(), size, parts: (1..).zip(lengths).map(describe).collect() })
    }
}

/// Everything that an index says of a file follows from the lengths of its parts.
fn verify_file(id: &ArtifactId, file: &SealedFile) -> Result<()> {
    parse_path(&file.path)?;
    for part in &file.parts {
        plain_len(part.sealed_size)?;
    }
    let lengths: Vec<u64> = file.parts.iter().map(|part| part.size).collect();
    let hollow = lengths.len() > 1 && lengths.contains(&0);
    if lengths.is_empty() || hollow || SealedFile::new(id, &file.path, &lengths)? != *file {
        return Err(Refusal::malformed(INDEX, "members contradict each other").got(&file.path));
    }
    Ok(())
}
