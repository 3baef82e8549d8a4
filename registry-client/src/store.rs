//! From a file of a model to blobs of a registry: hashed, sealed where the model is, and never whole in memory.

use crate::destination::{Destination, Ready};
use crate::uploads::Blob;
use aws_lc_rs::digest;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_artifact::directory::{ModelFile, open_file};
use strongroom_artifact::manifest::{NewLayer, Sealing};
use strongroom_artifact::path::STATEMENT;
use strongroom_artifact::seal::{Sealer, associated_data, part_lengths};
use strongroom_artifact::{ArtifactId, DataKey, FileDigest, HashAlgorithm, Hasher};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// How much plaintext is read at once.
const CHUNK: usize = 256 * 1024;

/// What a model is sealed with. Used for one artifact, whose id it drew.
#[derive(Debug)]
pub(crate) struct Seal {
    key: DataKey,
    sealing: Sealing,
}

impl Seal {
    pub(crate) fn new(key_id: ResourcePath, key: DataKey) -> Result<Self> {
        let id = ArtifactId::generate()?;
        let sealing = Sealing { id, commitment: key.commitment(&id), key: key_id };
        Ok(Self { key, sealing })
    }

    /// What the manifest says of it.
    pub(crate) const fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    fn sealer<W: Write>(&self, path: &str, part: u32, parts: u32, out: W) -> Result<Sealer<W>> {
        Sealer::new(&self.key, &associated_data(&self.sealing.id, path, part, parts), out)
    }
}

/// Where the files of one model go, and how.
pub(crate) struct Store {
    pub(crate) to: Destination,
    pub(crate) directory: PathBuf,
    pub(crate) hash: HashAlgorithm,
    /// The longest part of a file.
    pub(crate) part_len: u64,
    pub(crate) seal: Option<Seal>,
}

impl Store {
    /// Pushes one file, part by part.
    pub(crate) async fn push_file(self: Arc<Self>, file: ModelFile) -> Result<(FileDigest, Vec<NewLayer>)> {
        let lengths: Vec<u64> = part_lengths(file.size, self.part_len).collect();
        let parts = u32::try_from(lengths.len()).ok().filter(|parts| *parts <= limits::PARTS);
        let parts = parts.ok_or_else(|| Refusal::too_large(&file.path, lengths.len(), limits::PARTS))?;
        let mut source = Source::open(&self, file)?;
        let mut layers = Vec::new();
        for (part, length) in (1..).zip(lengths) {
            let store = Arc::clone(&self);
            let prepared = spawn_blocking(move || {
                let ready = store.prepare(&mut source, part, parts, length)?;
                Ok((source, ready))
            });
            let (read, ready) = prepared.await.map_err(|e| Refusal::new(Code::Internal, "sealing").because(e))??;
            source = read;
            layers.push(self.to.send(ready).await?);
        }
        Ok((source.finish()?, layers))
    }

    /// Pushes the bundle with the signed statement.
    pub(crate) async fn push_statement(&self, bundle: Vec<u8>) -> Result<NewLayer> {
        let plain_size = u64::try_from(bundle.len()).map_err(|e| Refusal::malformed("statement", e))?;
        let blob = match &self.seal {
            Some(seal) => {
                let mut sealer = seal.sealer(STATEMENT, 1, 1, Vec::new())?;
                sealer.write(&bundle)?;
                Blob::bytes(sealer.finish()?.out)
            }
            None => Blob::bytes(bundle),
        };
        let layer = NewLayer {
            path: STATEMENT.to_owned(),
            part: 1,
            parts: 1,
            plain_size,
            digest: blob.digest(),
            size: blob.size(),
        };
        self.to.send(Ready { layer, blob, scratch: None }).await
    }

    /// Makes the blob of the next `length` bytes of a file. A plain one is the file's own bytes.
    fn prepare(&self, source: &mut Source, part: u32, parts: u32, length: u64) -> Result<Ready> {
        let path = source.path.clone();
        let layer = |digest, size| NewLayer { path: path.clone(), part, parts, plain_size: length, digest, size };
        let Some(seal) = &self.seal else {
            let offset = source.offset;
            let mut hash = digest::Context::new(&digest::SHA256);
            source.read(length, |chunk| {
                hash.update(chunk);
                Ok(())
            })?;
            let digest = Sha256::from_finished(&hash.finish());
            let blob = Blob::file(self.directory.join(&path), offset, length, digest);
            return Ok(Ready { layer: layer(digest, length), blob, scratch: None });
        };
        let (mut sealer, scratch) = self.to.scratch(|out| seal.sealer(&path, part, parts, out))?;
        source.read(length, |chunk| sealer.write(chunk))?;
        let (blob, scratch) = self.to.sealed(sealer, scratch)?;
        Ok(Ready { layer: layer(blob.digest(), blob.size()), blob, scratch: Some(scratch) })
    }
}

/// A file of the model, read once from its start to its end and hashed as the statement does.
struct Source {
    path: String,
    file: File,
    size: u64,
    offset: u64,
    algorithm: HashAlgorithm,
    hasher: Hasher,
}

impl Source {
    fn open(store: &Store, file: ModelFile) -> Result<Self> {
        let ModelFile { path, size } = file;
        let file = open_file(&store.directory, &path)?;
        Ok(Self { path, file, size, offset: 0, algorithm: store.hash, hasher: store.hash.hasher() })
    }

    /// Gives the next `length` bytes to `take`.
    fn read(&mut self, length: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        // Zeroised: a model's files may be secret.
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let end = self.offset.saturating_add(length);
        while self.offset < end {
            let wanted = usize::try_from(end - self.offset).unwrap_or(CHUNK).min(CHUNK);
            match self.file.read(buffer.get_mut(..wanted).unwrap_or_default()) {
                Ok(0) => return Err(self.changed(self.offset)),
                Ok(read) => {
                    let chunk = buffer.get(..read).unwrap_or_default();
                    self.hasher.update(chunk);
                    take(chunk)?;
                    self.offset = self.offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::io(&self.path, &error)),
            }
        }
        Ok(())
    }

    /// The file's digest. A file that grew is not the one that was listed.
    fn finish(self) -> Result<FileDigest> {
        let length = self.file.metadata().map_err(|e| Refusal::io(&self.path, &e))?.len();
        if length != self.size {
            return Err(self.changed(length));
        }
        Ok(FileDigest { path: self.path, algorithm: self.algorithm, digest: self.hasher.finish() })
    }

    fn changed(&self, got: u64) -> Refusal {
        Refusal::new(Code::Io, format!("`{}` changed while it was pushed", self.path)).got(got).want(self.size)
    }
}
