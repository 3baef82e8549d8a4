//! The manifest of a model: an OCI 1.1 image manifest in CNCF ModelPack's layout, one layer per file or part of a file.

mod builder;
mod media;
mod raw;

use crate::data_key::ArtifactId;
use crate::hash::HashAlgorithm;
use crate::path::{STATEMENT, parse_path, verify_distinct};
use crate::seal;
pub use builder::{Built, ManifestBuilder, NewLayer};
pub use media::stored_name;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result, bytes, document, limits};

/// OCI image specification 1.1: the media type of every manifest here.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// ModelPack: the artifact type of a model.
pub const MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";
/// ModelPack: the media type of a model's config.
pub const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

/// What a sealed model's manifest says of its sealing. Public, and signed with the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The artifact that the data key belongs to.
    pub id: ArtifactId,
    /// [`crate::DataKey::commitment`] of the data key.
    pub commitment: [u8; 32],
    /// Where the key service keeps the data key.
    pub key: ResourcePath,
}

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// SHA-256 of its bytes as stored.
    pub digest: Sha256,
    /// Their number.
    pub size: u64,
}

/// One file of a model, or one part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// SHA-256 of the blob as stored: of the ciphertext where it is sealed.
    pub digest: Sha256,
    /// Length of the blob as stored.
    pub size: u64,
    /// Its media type, with `+encrypted` where it is sealed.
    pub media_type: String,
    /// Where the file is in the model, a safe path.
    pub path: String,
    /// Which part of the file, from 1.
    pub part: u32,
    /// How many parts the file has.
    pub parts: u32,
    /// Length of the part's plaintext.
    pub plain_size: u64,
    /// Where the part's plaintext begins in the file.
    pub offset: u64,
    /// Length of the file's plaintext.
    pub file_size: u64,
    /// Whether the blob is a sealed stream ([`crate::seal`]).
    pub sealed: bool,
}

impl Layer {
    /// Whether this is (a part of) the model's signed statement.
    pub fn is_statement(&self) -> bool {
        self.path == STATEMENT
    }
}

/// A manifest whose shape holds. Nothing about it is trusted: see [`crate::ladder`].
#[derive(Debug, Clone)]
pub struct Manifest {
    raw: Vec<u8>,
    digest: Sha256,
    config: Blob,
    sealing: Option<Sealing>,
    statement_hash: HashAlgorithm,
    layers: Vec<Layer>,
}

impl Manifest {
    /// Reads a manifest of at most [`limits::MANIFEST`].
    ///
    /// Refuses with `model-unsupported` what is no model or one of other kinds of layers (archives, another sealing), with
    /// `path-unsafe` paths that leave or clash, with `seal-invalid` lengths that no sealed stream has, and with `malformed`
    /// the rest: a file with missing parts, a model that is sealed in part, sealed layers without the members that say how,
    /// or those members without sealed layers.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let manifest: raw::Manifest = document::parse_json(raw, "manifest", limits::MANIFEST, Code::Malformed)?;
        verify_kind(&manifest)?;
        if manifest.layers.is_empty() || manifest.layers.len() > limits::LAYERS {
            return Err(Refusal::malformed("layers of a manifest", "none, or too many")
                .got(manifest.layers.len())
                .want(format!("1 to {}", limits::LAYERS)));
        }
        let mut layers = manifest.layers.into_iter().map(parse_layer).collect::<Result<Vec<_>>>()?;
        place_parts(&mut layers)?;
        let sealing = parse_sealing(&manifest.annotations, &layers)?;
        let statement_hash = match manifest.annotations.get(raw::STATEMENT_HASH) {
            Some(name) => HashAlgorithm::parse(name)?,
            None => HashAlgorithm::Sha256,
        };
        let config = manifest.config.blob("config")?;
        Ok(Self { raw: raw.to_vec(), digest: Sha256::of(raw), config, sealing, statement_hash, layers })
    }

    /// The bytes that were read.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Their digest.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// The config blob, of which nothing is needed to open the model.
    pub const fn config(&self) -> &Blob {
        &self.config
    }

    /// How the model is sealed; `None` where it is plain. A model is the one or the other as a whole.
    pub const fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_ref()
    }

    /// The layers. Those of one file follow each other, in the order of its parts.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What the files of the signed statement are hashed with, so that they can be while they arrive.
    pub const fn statement_hash(&self) -> HashAlgorithm {
        self.statement_hash
    }

    /// Whether the model carries a signed statement over its files.
    pub fn has_statement(&self) -> bool {
        self.layers.iter().any(Layer::is_statement)
    }

    /// Length of all files together.
    pub fn plain_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.plain_size).fold(0, u64::saturating_add)
    }
}

fn verify_kind(manifest: &raw::Manifest) -> Result<()> {
    let unsupported = |what: &str, got: &str, want: &str| {
        let got: String = got.chars().take(200).collect();
        Refusal::new(Code::ModelUnsupported, what).got(got).want(want)
    };
    if manifest.schema_version != 2 {
        return Err(unsupported("schema version of a manifest", &manifest.schema_version.to_string(), "2"));
    }
    for (what, got, want) in [
        ("media type of a manifest", manifest.media_type.as_str(), OCI_MANIFEST),
        ("artifact type of a manifest", manifest.artifact_type.as_str(), MODEL),
        ("media type of a config", manifest.config.media_type.as_str(), MODEL_CONFIG),
    ] {
        if got != want {
            return Err(unsupported(what, got, want));
        }
    }
    Ok(())
}

fn parse_layer(descriptor: raw::Descriptor) -> Result<Layer> {
    let path = descriptor
        .annotations
        .get(raw::FILE_PATH)
        .ok_or_else(|| Refusal::new(Code::ModelUnsupported, "layer without a path").want(raw::FILE_PATH))?;
    let path = parse_path(path)?.to_owned();
    let sealed = media::parse(&descriptor.media_type).map_err(|refusal| refusal.within(&path))?;
    let (part, parts) = match descriptor.annotations.get(raw::PART) {
        Some(text) => parse_part(text).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            Refusal::new(Code::Malformed, format!("part of `{path}`")).got(text).want("<part>/<parts>")
        })?,
        None => (1, 1),
    };
    let plain_size = if sealed { seal::plain_len(descriptor.size)? } else { descriptor.size };
    // What a reader needs before it knows how sealing works; it may not say anything else than the length itself does.
    if let Some(said) = descriptor.annotations.get(raw::PLAIN_SIZE)
        && (!sealed || *said != plain_size.to_string())
    {
        let said: String = said.chars().take(40).collect();
        return Err(Refusal::new(Code::Malformed, format!("size of `{path}`")).got(said).want(plain_size));
    }
    let Blob { digest, size, media_type } = descriptor.blob(&path)?;
    Ok(Layer { digest, size, media_type, path, part, parts, plain_size, offset: 0, file_size: 0, sealed })
}

/// `<part>/<parts>` without signs or leading zeros, `1 <= part <= parts`.
fn parse_part(text: &str) -> Option<(u32, u32)> {
    let (part, parts) = text.split_once('/')?;
    let (part, parts): (u32, u32) = (part.parse().ok()?, parts.parse().ok()?);
    let good = 1 <= part && part <= parts && parts <= limits::PARTS && format!("{part}/{parts}") == text;
    good.then_some((part, parts))
}

/// Refuses files with missing, doubled or misplaced parts, clashing paths and models over the limit; then says of each
/// part where it is in its file.
fn place_parts(layers: &mut [Layer]) -> Result<()> {
    let same_file = |a: &Layer, b: &Layer| a.path == b.path && b.part > 1;
    let mut total = 0_u64;
    for file in layers.chunk_by_mut(same_file) {
        let mut end = 0_u64;
        let count = u32::try_from(file.len()).unwrap_or(u32::MAX);
        for (want, layer) in (1..).zip(file.iter_mut()) {
            let whole = layer.parts == 1 || layer.plain_size > 0;
            if (layer.part, layer.parts) != (want, count) || !whole {
                return Err(Refusal::malformed(
                    format!("parts of `{}`", layer.path),
                    "missing, doubled, misplaced or empty",
                )
                .got(format!("{}/{}", layer.part, layer.parts))
                .want(format!("{want}/{count}")));
            }
            layer.offset = end;
            end = end.saturating_add(layer.plain_size);
        }
        file.iter_mut().for_each(|layer| layer.file_size = end);
        total = total.saturating_add(end);
    }
    if total > limits::MODEL {
        return Err(Refusal::too_large("model", format!("{total} bytes"), limits::MODEL));
    }
    verify_distinct(layers.iter().filter(|layer| layer.part == 1).map(|layer| layer.path.as_str()))
}

/// All layers are sealed and the manifest says how, or none is and it does not.
fn parse_sealing(annotations: &raw::Annotations, layers: &[Layer]) -> Result<Option<Sealing>> {
    let names = [raw::SCHEME, raw::ARTIFACT_ID, raw::KEY_COMMITMENT, raw::KEY_ID];
    let [Some(scheme), Some(id), Some(commitment), Some(key)] = names.map(|name| annotations.get(name)) else {
        return match (names.into_iter().find(|name| annotations.contains_key(*name)), layers.iter().find(|l| l.sealed))
        {
            (None, None) => Ok(None),
            (Some(name), _) => Err(Refusal::malformed("manifest", "says in part how the model is sealed").got(name)),
            (None, Some(layer)) => {
                Err(Refusal::malformed("manifest", "does not say how the model is sealed").got(&layer.path))
            }
        };
    };
    if let Some(layer) = layers.iter().find(|layer| !layer.sealed) {
        return Err(Refusal::malformed("manifest", "a sealed model has a layer that is not").got(&layer.path));
    }
    if scheme != seal::SCHEME {
        let scheme: String = scheme.chars().take(100).collect();
        return Err(Refusal::new(Code::ModelUnsupported, "sealing").got(scheme).want(seal::SCHEME));
    }
    Ok(Some(Sealing {
        id: ArtifactId::from_hex(id)?,
        commitment: bytes::hex_array(commitment, "key commitment")?,
        key: ResourcePath::from_uri(key)?,
    }))
}

#[cfg(test)]
mod tests;
