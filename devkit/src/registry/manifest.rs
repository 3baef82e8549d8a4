//! What the registry reads of a pushed manifest: its references and what a referrers list says of it. It keeps the bytes.

use super::error::{Answer, ErrorCode, OciError};
use super::names::parse_digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an image index (image specification 1.1, "Image Index").
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A content descriptor (image specification 1.1, "Content Descriptors"), as far as the registry reads or writes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// A manifest that the registry takes.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Config and layers: each must be a blob of the repository.
    pub(super) blobs: Vec<Sha256>,
    /// An index's manifests: each must be a manifest of the repository.
    pub(super) manifests: Vec<Sha256>,
    /// What it refers to; that need not exist (distribution specification 1.1, "Pushing Manifests with Subject").
    pub(super) subject: Option<Sha256>,
    /// What a referrers list says of it.
    pub(super) descriptor: Descriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest pushed as `media_type`, which must be a known one and the document's own where it names one.
    pub(super) fn parse(media_type: &str, digest: Sha256, bytes: &[u8]) -> Answer<Self> {
        let invalid = |why: String| OciError::new(ErrorCode::ManifestInvalid, why);
        let document: Document = serde_json::from_slice(bytes).map_err(|e| invalid(format!("not a manifest: {e}")))?;
        if document.schema_version != 2 {
            return Err(invalid("schemaVersion is not 2".to_owned()));
        }
        if document.media_type.as_deref().is_some_and(|own| own != media_type) {
            return Err(invalid("the document's mediaType is not the request's Content-Type".to_owned()));
        }
        let (blobs, manifests) = match (media_type, &document.config) {
            (OCI_MANIFEST | DOCKER_MANIFEST, Some(config)) => {
                (digests(core::iter::once(config).chain(&document.layers))?, Vec::new())
            }
            (OCI_MANIFEST | DOCKER_MANIFEST, None) => return Err(invalid("a manifest has a config".to_owned())),
            (OCI_INDEX | DOCKER_LIST, None) => (Vec::new(), digests(&document.manifests)?),
            (OCI_INDEX | DOCKER_LIST, Some(_)) => return Err(invalid("an index has no config".to_owned())),
            _ => return Err(invalid(format!("`{media_type}` is no media type of a manifest"))),
        };
        let subject = document.subject.as_ref().map(|subject| parse_digest(&subject.digest)).transpose()?;
        // "Listing Referrers": the config's media type stands in for an absent artifactType.
        let artifact_type = document.artifact_type.filter(|t| !t.is_empty()).or(document.config.map(|c| c.media_type));
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.oci(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            artifact_type,
            annotations: document.annotations,
        };
        Ok(Self { blobs, manifests, subject, descriptor })
    }
}

fn digests<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Answer<Vec<Sha256>> {
    descriptors.into_iter().map(|descriptor| parse_digest(&descriptor.digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(content: &[u8]) -> Value {
        json!({"mediaType": "application/x", "digest": Sha256::of(content).oci(), "size": content.len()})
    }

    fn image() -> Value {
        json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/a",
            "config": descriptor(b"{}"), "layers": [descriptor(b"layer")], "annotations": {"k": "v"},
        })
    }

    fn parse(media_type: &str, document: &Value) -> Answer<Manifest> {
        let bytes = document.to_string();
        Manifest::parse(media_type, Sha256::of(bytes.as_bytes()), bytes.as_bytes())
    }

    fn refused(media_type: &str, document: &Value) -> ErrorCode {
        parse(media_type, document).unwrap_err().code()
    }

    #[test]
    fn references_and_description_of_an_image_manifest_are_read() {
        let mut document = image();
        document["subject"] = descriptor(b"subject");
        let manifest = parse(OCI_MANIFEST, &document).unwrap();
        assert_eq!(manifest.blobs, [Sha256::of(b"{}"), Sha256::of(b"layer")]);
        assert_eq!(manifest.subject, Some(Sha256::of(b"subject")));
        assert_eq!(manifest.descriptor.artifact_type.as_deref(), Some("application/a"));
        assert_eq!(manifest.descriptor.annotations["k"], "v");
        assert_eq!(manifest.descriptor.size, u64::try_from(document.to_string().len()).unwrap());
    }

    #[test]
    fn config_type_stands_in_for_an_absent_artifact_type() {
        let mut document = image();
        document.as_object_mut().unwrap().remove("artifactType");
        let manifest = parse(OCI_MANIFEST, &document).unwrap();
        assert_eq!(manifest.descriptor.artifact_type.as_deref(), Some("application/x"));
    }

    #[test]
    fn index_names_manifests_and_no_blobs() {
        let document = json!({"schemaVersion": 2, "manifests": [descriptor(b"m")]});
        let index = parse(OCI_INDEX, &document).unwrap();
        assert_eq!((index.blobs.len(), index.manifests), (0, vec![Sha256::of(b"m")]));
        assert_eq!(index.descriptor.artifact_type, None);
    }

    #[test]
    fn manifest_of_another_type_than_it_was_pushed_as_refused() {
        assert_eq!(refused(DOCKER_MANIFEST, &image()), ErrorCode::ManifestInvalid);
    }

    #[test]
    fn manifest_of_an_unknown_type_refused() {
        let artifact = json!({"schemaVersion": 2});
        assert_eq!(refused("application/vnd.oci.artifact.manifest.v1+json", &artifact), ErrorCode::ManifestInvalid);
    }

    #[test]
    fn manifest_of_schema_1_without_config_or_with_a_foreign_digest_refused() {
        for (pointer, value, code) in [
            ("/schemaVersion", json!(1), ErrorCode::ManifestInvalid),
            ("/config", json!(null), ErrorCode::ManifestInvalid),
            ("/config/digest", json!("sha512:00"), ErrorCode::DigestInvalid),
        ] {
            let mut document = image();
            *document.pointer_mut(pointer).unwrap() = value;
            assert_eq!(refused(OCI_MANIFEST, &document), code, "{pointer}");
        }
    }
}
