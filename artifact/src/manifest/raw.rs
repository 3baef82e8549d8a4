//! The JSON of an OCI image manifest and the annotations that mean something here. Others are passed over, as OCI 1.1
//! demands: what is signed is the bytes, so nobody can have added them.

use super::Blob;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

/// ModelPack: where a layer's file is in the model.
pub(super) const FILE_PATH: &str = "org.cncf.model.filepath";
/// OCI: what tools that know nothing of models save a layer as.
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// On a layer: `<part>/<parts>` of its file.
pub(super) const PART: &str = "org.strongroom.part";
/// On a sealed layer: length of its plaintext.
pub(super) const PLAIN_SIZE: &str = "org.strongroom.enc.size";
/// On the manifest: [`crate::seal::SCHEME`].
pub(super) const SCHEME: &str = "org.strongroom.enc.scheme";
/// On the manifest: the artifact id, 32 hex digits.
pub(super) const ARTIFACT_ID: &str = "org.strongroom.enc.artifact-id";
/// On the manifest: the commitment of the data key, 64 hex digits.
pub(super) const KEY_COMMITMENT: &str = "org.strongroom.enc.key-commitment";
/// On the manifest: `kbs:///<repo>/<type>/<tag>`.
pub(super) const KEY_ID: &str = "org.strongroom.enc.kid";
/// On the manifest: the hash of the signed statement; absent: SHA-256.
pub(super) const STATEMENT_HASH: &str = "org.strongroom.statement.hash-type";

pub(super) type Annotations = BTreeMap<String, String>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default)]
    pub(super) artifact_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: Annotations,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: Annotations,
}

impl Descriptor {
    pub(super) fn blob(self, what: &str) -> Result<Blob> {
        let digest = Sha256::from_oci(&self.digest).map_err(|refusal| refusal.within(what))?;
        Ok(Blob { media_type: self.media_type, digest, size: self.size })
    }
}
