//! From a file of a model to blobs of a registry: hashed, sealed where the model is, and never whole in memory.

use crate::destination::{Destination, Ready};
use crate::uploads::Blob;
use aws_lc_rs::digest;
use core::ops::Range;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_artifact::directory::{ModelFile, open_file};
use strongroom_artifact::manifest::{NewLayer, Sealing};
use strongroom_artifact::path::STATEMENT;
use strongroom_artifact::seal::{Sealer, associated_data, part_lengths};
use strongroom_artifact::{ArtifactId, DataKey, FileDigest, FileHash, HashAlgorithm};
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
    /// How long the parts of a file of so many bytes are.
    pub(crate) part_len: fn(u64) -> u64,
    pub(crate) seal: Option<Seal>,
}

/// Parts of a file that are hashed one after the other; other runs of it at the same time.
pub(crate) struct Run {
    source: Arc<Source>,
    parts: Vec<Part>,
}

/// A part of a file: its number, and its bytes.
#[derive(Clone)]
struct Part {
    number: u32,
    bytes: Range<u64>,
}

impl Store {
    /// Opens one file, and says in which runs it is to be pushed.
    pub(crate) fn plan(&self, file: ModelFile) -> Result<(Arc<Source>, Vec<Run>)> {
        let lengths: Vec<u64> = part_lengths(file.size, (self.part_len)(file.size)).collect();
        if u32::try_from(lengths.len()).ok().filter(|parts| *parts <= limits::PARTS).is_none() {
            return Err(Refusal::too_large(&file.path, lengths.len(), limits::PARTS));
        }
        let parts: Vec<Part> = (1..)
            .zip(&lengths)
            .scan(0_u64, |at, (number, length)| {
                let start = core::mem::replace(at, at.saturating_add(*length));
                Some(Part { number, bytes: start..*at })
            })
            .collect();
        let source = Arc::new(Source::open(self, file, &lengths)?);
        let runs = parts.chunk_by(|_, next| !source.hash.is_cut_at(next.bytes.start));
        let runs = runs.map(|parts| Run { source: Arc::clone(&source), parts: parts.to_vec() }).collect();
        Ok((source, runs))
    }

    /// Pushes one run, part by part.
    pub(crate) async fn push_run(self: Arc<Self>, run: Run) -> Result<Vec<NewLayer>> {
        let mut layers = Vec::new();
        for part in run.parts {
            let (store, source) = (Arc::clone(&self), Arc::clone(&run.source));
            let prepared = spawn_blocking(move || store.prepare(&source, &part)).await;
            let ready = prepared.map_err(|e| Refusal::new(Code::Internal, "sealing").because(e))??;
            layers.push(self.to.send(ready).await?);
        }
        Ok(layers)
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

    /// Makes the blob of a part. A plain one is the file's own bytes.
    fn prepare(&self, source: &Source, part: &Part) -> Result<Ready> {
        let (path, length) = (&source.path, part.bytes.end.saturating_sub(part.bytes.start));
        let (number, parts) = (part.number, source.parts);
        let layer =
            |digest, size| NewLayer { path: path.clone(), part: number, parts, plain_size: length, digest, size };
        let Some(seal) = &self.seal else {
            let mut hash = digest::Context::new(&digest::SHA256);
            source.read(&part.bytes, |chunk| {
                hash.update(chunk);
                Ok(())
            })?;
            let digest = Sha256::from_finished(&hash.finish());
            let blob = Blob::file(self.directory.join(path), part.bytes.start, length, digest);
            return Ok(Ready { layer: layer(digest, length), blob, scratch: None });
        };
        let (mut sealer, scratch) = self.to.scratch(|out| seal.sealer(path, number, parts, out))?;
        source.read(&part.bytes, |chunk| sealer.write(chunk))?;
        let (blob, scratch) = self.to.sealed(sealer, scratch)?;
        Ok(Ready { layer: layer(blob.digest(), blob.size()), blob, scratch: Some(scratch) })
    }
}

/// A file of the model, each byte of which is read once and hashed as the statement does.
pub(crate) struct Source {
    path: String,
    file: File,
    size: u64,
    parts: u32,
    hash: FileHash,
}

impl Source {
    fn open(store: &Store, file: ModelFile, lengths: &[u64]) -> Result<Self> {
        let ModelFile { path, size } = file;
        let file = open_file(&store.directory, &path)?;
        let parts = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
        let hash = FileHash::new(&path, lengths, store.hash, None);
        Ok(Self { path, file, size, parts, hash })
    }

    /// Gives those bytes to `take`, in their order.
    fn read(&self, bytes: &Range<u64>, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        // Zeroised: a model's files may be secret.
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let mut at = bytes.start;
        while at < bytes.end {
            let wanted = usize::try_from(bytes.end - at).unwrap_or(CHUNK).min(CHUNK);
            match self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) {
                Ok(0) => return Err(self.changed(at)),
                Ok(read) => {
                    let chunk = buffer.get(..read).unwrap_or_default();
                    self.hash.add(at, chunk);
                    take(chunk)?;
                    at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::io(&self.path, &error)),
            }
        }
        Ok(())
    }

    /// The file's digest. A file that grew is not the one that was listed.
    pub(crate) fn finish(self) -> Result<Vec<FileDigest>> {
        let length = self.file.metadata().map_err(|e| Refusal::io(&self.path, &e))?.len();
        if length != self.size {
            return Err(self.changed(length));
        }
        self.hash.finish()
    }

    fn changed(&self, got: u64) -> Refusal {
        Refusal::new(Code::Io, format!("`{}` changed while it was pushed", self.path)).got(got).want(self.size)
    }
}
