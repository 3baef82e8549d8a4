//! Writing a manifest and its config.

use super::raw::{self, Annotations, Descriptor};
use super::{MODEL, MODEL_CONFIG, Manifest, OCI_MANIFEST, Sealing, media};
use crate::hash::HashAlgorithm;
use crate::seal;
use serde_json::json;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// A blob that was stored, to be named by a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLayer {
    /// Where the file is in the model.
    pub path: String,
    /// Which part of the file, from 1.
    pub part: u32,
    /// How many parts the file has.
    pub parts: u32,
    /// Length of the part's plaintext.
    pub plain_size: u64,
    /// SHA-256 of the blob as stored.
    pub digest: Sha256,
    /// Length of the blob as stored.
    pub size: u64,
}

/// Collects the layers of a model.
#[derive(Debug)]
pub struct ManifestBuilder {
    sealing: Option<Sealing>,
    statement_hash: HashAlgorithm,
    layers: Vec<NewLayer>,
}

/// A manifest and the config blob that it names.
#[derive(Debug, Clone)]
pub struct Built {
    /// The manifest, with its bytes and digest.
    pub manifest: Manifest,
    /// The bytes of the config blob.
    pub config: Vec<u8>,
}

impl ManifestBuilder {
    /// A model whose statement hashes its files with `statement_hash`; sealed as `sealing` says, or plain.
    pub const fn new(sealing: Option<Sealing>, statement_hash: HashAlgorithm) -> Self {
        Self { sealing, statement_hash, layers: Vec::new() }
    }

    /// Adds a layer. Their order does not matter.
    pub fn push(&mut self, layer: NewLayer) {
        self.layers.push(layer);
    }

    /// The manifest over all layers, sorted by path, the same for the same layers. Refuses what [`Manifest::parse`] would.
    pub fn build(mut self) -> Result<Built> {
        self.layers.sort_by(|a, b| (a.path.as_bytes(), a.part).cmp(&(b.path.as_bytes(), b.part)));
        // ModelPack v0.0.7: no member beyond the schema's, and digests of the blobs as stored, since those of the plaintext
        // would give a secret model away.
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.digest.oci()).collect();
        let config = json!({"descriptor": {}, "modelfs": {"type": "layers", "diffIds": diff_ids}, "config": {}});
        let config = to_bytes(&config)?;
        let manifest = raw::Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.into(),
            artifact_type: MODEL.into(),
            config: Descriptor {
                media_type: MODEL_CONFIG.into(),
                digest: Sha256::of(&config).oci(),
                size: u64::try_from(config.len()).map_err(|e| Refusal::malformed("config", e))?,
                annotations: Annotations::new(),
            },
            layers: self.layers.iter().map(|layer| describe(layer, self.sealing.is_some())).collect(),
            annotations: self.annotations(),
        };
        Ok(Built { manifest: Manifest::parse(&to_bytes(&manifest)?)?, config })
    }

    fn annotations(&self) -> Annotations {
        let mut annotations = Annotations::new();
        if let Some(sealing) = &self.sealing {
            annotations.insert(raw::SCHEME.into(), seal::SCHEME.into());
            annotations.insert(raw::ARTIFACT_ID.into(), sealing.id.to_string());
            annotations.insert(raw::KEY_COMMITMENT.into(), hex::encode(sealing.commitment));
            annotations.insert(raw::KEY_ID.into(), sealing.key.uri());
        }
        if self.statement_hash != HashAlgorithm::Sha256 {
            annotations.insert(raw::STATEMENT_HASH.into(), self.statement_hash.as_str().into());
        }
        annotations
    }
}

fn describe(layer: &NewLayer, sealed: bool) -> Descriptor {
    let mut annotations = Annotations::from([
        (raw::FILE_PATH.into(), layer.path.clone()),
        (raw::TITLE.into(), media::stored_name(&layer.path, layer.part, layer.parts, sealed)),
    ]);
    if sealed {
        annotations.insert(raw::PLAIN_SIZE.into(), layer.plain_size.to_string());
    }
    if layer.parts != 1 || layer.part != 1 {
        annotations.insert(raw::PART.into(), format!("{}/{}", layer.part, layer.parts));
    }
    let media_type = media::of(&layer.path, sealed);
    Descriptor { media_type, digest: layer.digest.oci(), size: layer.size, annotations }
}

fn to_bytes(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Refusal::new(Code::Internal, "manifest").because(e))
}
