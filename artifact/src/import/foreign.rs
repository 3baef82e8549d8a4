//! Manifests that other tools wrote: ModelPack's (modctl, KitOps), with files as they are or in archives, KitOps' own, and any whose
//! layers are named files, as ORAS makes them.

use crate::manifest::OCI_MANIFEST;
use crate::path::{parse_path, verify_distinct};
use serde::Deserialize;
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// What says where a layer's file is, the surest first: ModelPack, ModelPack before it was the CNCF's, OCI.
const PATHS: [&str; 3] = ["org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title"];
/// ORAS: the layer is a directory, compressed.
const ORAS_UNPACK: &str = "io.deis.oras.content.unpack";
/// Ours: the layer is a part of a file.
const PART: &str = "org.strongroom.part";
/// Whose layers are archives where their type ends in `.tar`.
const ARCHIVES: [&str; 3] =
    ["application/vnd.cncf.model.", "application/vnd.cnai.model.", "application/vnd.kitops.modelkit."];

/// A layer of a manifest that another tool wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLayer {
    /// SHA-256 of the blob.
    pub digest: Sha256,
    /// Its length in bytes.
    pub size: u64,
    /// What it holds.
    pub content: LayerContent,
}

/// What a layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerContent {
    /// The file at this path, safe and relative.
    File(String),
    /// Files in a tar archive.
    Archive,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The layers of a manifest, at most [`limits::MANIFEST`] long.
///
/// # Errors
/// `model-unsupported`: an index, or a layer that is encrypted, compressed, part of a file, or without a path; `path-unsafe`;
/// `too-large`; `malformed`.
pub fn parse_foreign(manifest: &[u8]) -> Result<Vec<ForeignLayer>> {
    let manifest: Manifest = document::parse_json(manifest, "manifest", limits::MANIFEST, Code::Malformed)?;
    let kind = manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST);
    if manifest.schema_version != 2 || kind != OCI_MANIFEST {
        return Err(unsupported("media type of a manifest", kind).want(OCI_MANIFEST));
    }
    if manifest.layers.is_empty() || manifest.layers.len() > limits::LAYERS {
        return Err(Refusal::malformed("layers of a manifest", "none, or too many").got(manifest.layers.len()));
    }
    let layers = manifest.layers.into_iter().map(layer).collect::<Result<Vec<_>>>()?;
    verify_distinct(layers.iter().filter_map(|layer| match &layer.content {
        LayerContent::File(path) => Some(path.as_str()),
        LayerContent::Archive => None,
    }))?;
    let total = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    if total > limits::MODEL {
        return Err(Refusal::too_large("model", format!("{total} bytes"), limits::MODEL));
    }
    Ok(layers)
}

fn layer(descriptor: Descriptor) -> Result<ForeignLayer> {
    let Descriptor { media_type, digest, size, annotations } = descriptor;
    let unpacked = annotations.get(ORAS_UNPACK).is_some_and(|unpack| unpack == "true");
    let kind = media_type.as_str();
    if kind.ends_with("+encrypted") || annotations.contains_key(PART) {
        return Err(unsupported("layer", kind).want("one that is a file: `strongroom model pull` reads our own models"));
    }
    if unpacked || ["gzip", "zstd"].iter().any(|packing| kind.ends_with(packing)) {
        return Err(unsupported("layer", kind).want("one that is not compressed"));
    }
    let content = if kind.ends_with(".tar") && ARCHIVES.iter().any(|known| kind.starts_with(known)) {
        LayerContent::Archive
    } else {
        // ORAS calls a file, of whatever kind, a layer of an image; one of an image has no path.
        let path = PATHS.iter().find_map(|name| annotations.get(*name));
        let path = path.ok_or_else(|| unsupported("layer without a path", kind).want(PATHS.join(" or ")))?;
        LayerContent::File(parse_path(path)?.to_owned())
    };
    Ok(ForeignLayer { digest: Sha256::from_oci(&digest)?, size, content })
}

fn unsupported(what: &str, got: &str) -> Refusal {
    Refusal::new(Code::ModelUnsupported, what).got(got.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(layers: &Value) -> Result<Vec<ForeignLayer>> {
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": layers});
        parse_foreign(manifest.to_string().as_bytes())
    }

    fn one(media_type: &str, annotations: &Value) -> Result<LayerContent> {
        let digest = Sha256::of(b"x").oci();
        let layer = json!({"mediaType": media_type, "digest": digest, "size": 1, "annotations": annotations});
        parse(&json!([layer])).map(|mut layers| layers.remove(0).content)
    }

    #[test]
    fn files_and_archives_of_other_tools_read() {
        let file = |path: &str| LayerContent::File(path.to_owned());
        for (media_type, annotations, want) in [
            ("application/vnd.cncf.model.weight.v1.raw", json!({"org.cncf.model.filepath": "a/b"}), file("a/b")),
            ("application/vnd.cnai.model.doc.v1.raw", json!({"org.cnai.model.filepath": "a"}), file("a")),
            ("application/octet-stream", json!({"org.opencontainers.image.title": "t"}), file("t")),
            ("application/vnd.oci.image.layer.v1.tar", json!({"org.opencontainers.image.title": "t"}), file("t")),
            (
                "application/vnd.cncf.model.weight.v1.raw",
                json!({"org.opencontainers.image.title": "t", "org.cncf.model.filepath": "p"}),
                file("p"),
            ),
            ("application/vnd.cncf.model.weight.v1.tar", json!({}), LayerContent::Archive),
            ("application/vnd.kitops.modelkit.model.v1.tar", json!({}), LayerContent::Archive),
        ] {
            assert_eq!(one(media_type, &annotations).unwrap(), want, "{media_type}");
        }
    }

    #[test]
    fn layers_that_are_no_plain_files_refused() {
        let titled = json!({"org.opencontainers.image.title": "t"});
        for (media_type, annotations, code) in [
            ("application/octet-stream", json!({}), Code::ModelUnsupported),
            ("application/vnd.cncf.model.weight.v1.tar+gzip", titled.clone(), Code::ModelUnsupported),
            ("application/vnd.cncf.model.weight.v1.raw+encrypted", titled.clone(), Code::ModelUnsupported),
            ("application/vnd.oci.image.layer.v1.tar", json!({}), Code::ModelUnsupported),
            ("application/vnd.oci.image.layer.v1.tar+gzip", titled.clone(), Code::ModelUnsupported),
            (
                "application/octet-stream",
                json!({"org.opencontainers.image.title": "t", "io.deis.oras.content.unpack": "true"}),
                Code::ModelUnsupported,
            ),
            (
                "application/octet-stream",
                json!({"org.opencontainers.image.title": "t", "org.strongroom.part": "1/2"}),
                Code::ModelUnsupported,
            ),
            ("application/octet-stream", json!({"org.opencontainers.image.title": "/etc/x"}), Code::PathUnsafe),
            ("application/octet-stream", json!({"org.opencontainers.image.title": "a/../../x"}), Code::PathUnsafe),
        ] {
            assert_eq!(one(media_type, &annotations).unwrap_err().code, code, "{media_type} {annotations}");
        }
        assert!(one("application/octet-stream", &titled).is_ok());
    }

    #[test]
    fn manifests_of_other_kinds_and_paths_given_twice_refused() {
        let layer = |size: u64| {
            json!({"mediaType": "x", "digest": Sha256::of(b"x").oci(), "size": size,
            "annotations": {"org.opencontainers.image.title": "t"}})
        };
        assert!(parse(&json!([layer(1)])).is_ok());
        assert_eq!(parse(&json!([layer(1), layer(2)])).unwrap_err().code, Code::PathUnsafe);
        assert_eq!(parse(&json!([])).unwrap_err().code, Code::Malformed);
        assert_eq!(parse(&json!([layer(limits::MODEL + 1)])).unwrap_err().code, Code::TooLarge);
        let index =
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []});
        assert_eq!(parse_foreign(index.to_string().as_bytes()).unwrap_err().code, Code::ModelUnsupported);
        let digest = json!([{"mediaType": "x", "digest": "sha512:00", "size": 1,
            "annotations": {"org.opencontainers.image.title": "t"}}]);
        assert_eq!(parse(&digest).unwrap_err().code, Code::Malformed);
    }
}
