//! The recipe: from a trusted manifest and its key to verified files.

use crate::blobs::BlobStream;
use crate::cache::{CachedBlob, READ};
use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::sink::{FileSink, Filled, ModelSink};
use bytes::Bytes;
use core::num::NonZero;
use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use strongroom_artifact::ladder::{LayerOpener, OpenableModel, VerifiedModel};
use strongroom_artifact::manifest::Layer;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};

/// Chunks between the connection and the thread that opens them: enough that neither waits for the other's hiccups. A chunk
/// is at most what the transport buffers of a response, 400 KiB.
const CHUNKS: usize = 8;
/// The most files that are opened at a time: eight cores open more than a network brings, and what is on its way takes
/// memory that the model itself needs.
const FILES: usize = 8;

/// Fetches every layer of `model` once and gives the files to `sink`; gives the proof, and what the sink became.
///
/// 1. Make room for every file.
/// 2. For each file, as many at a time as there are cores (at most eight), layer by layer: bytes → SHA-256 → open → sink, hashed on the way
///    as the statement does. Connection and opening run side by side.
/// 3. Verify that every layer was the manifest's and the files are those of the signed statement.
/// 4. Let the sink keep them.
///
/// Where the client has a cache, each layer comes by way of it: hashed on its way to the disk, and again as it is opened. A
/// mirror that gives other bytes is then passed over. Without one, the layer was opened before its digest could be compared, so
/// that it ends the pull: the model, its key and the sink are used up, and it is for the caller to begin anew without mirrors.
///
/// Sealed bytes reach the sink authenticated in their place, plain bytes as the registry gave them; that all of it is the model is
/// known when the sink is told to keep it. After an error it is dropped.
///
/// # Errors
/// `layer-size-mismatch`, `layer-digest-mismatch`, `seal-invalid`; `statement-mismatch` and what else
/// [`OpenableModel::finish`] refuses; `registry-…`, `network`, `timeout`; what the sink refuses. `internal`: the model is of
/// another registry than the client.
pub async fn open_model<S: ModelSink>(
    client: &RegistryClient,
    model: OpenableModel,
    mut sink: S,
) -> Result<(VerifiedModel, S::Kept)> {
    let reference = Reference::parse(model.trusted().repository())?;
    client.serves(&reference)?;
    let model = Arc::new(model);
    // 1.
    let mut files = files_of(&model, &mut sink)?;
    // 2. The longest first, so that no core is left with one at the end.
    files.sort_by_key(|file| file.layers.first().map(|layer| layer.file_size));
    let abreast = std::thread::available_parallelism().map_or(1, NonZero::get).min(FILES);
    let mut running = JoinSet::new();
    loop {
        while running.len() < abreast
            && let Some(file) = files.pop()
        {
            running.spawn(open_file(client.clone(), reference.clone(), Arc::clone(&model), file));
        }
        let Some(ended) = running.join_next().await else { break };
        if let Err(refusal) = ended.map_err(|e| panicked(&e)).flatten() {
            running.shutdown().await;
            return Err(refusal);
        }
    }
    // 3.
    let model = Arc::try_unwrap(model).map_err(|_| Refusal::new(Code::Internal, "model is still being opened"))?;
    let verified = model.finish()?;
    // 4.
    let kept = sink.keep(Filled::with(&verified))?;
    Ok((verified, kept))
}

/// A file to open: its layers in their order, and where they go.
struct OpenFile<F> {
    layers: Vec<Layer>,
    sink: Option<Arc<F>>,
}

fn files_of<S: ModelSink>(model: &OpenableModel, sink: &mut S) -> Result<Vec<OpenFile<S::File>>> {
    let parts = model.manifest().layers().chunk_by(|a, b| a.path == b.path);
    let files = parts.map(|layers| {
        let wanted = layers.first().filter(|layer| !layer.is_statement() || sink.takes_statement());
        let file = wanted.map(|layer| sink.create(&layer.path, layer.file_size)).transpose()?;
        Ok(OpenFile { layers: layers.to_vec(), sink: file.map(Arc::new) })
    });
    files.collect()
}

async fn open_file<F: FileSink>(
    client: RegistryClient,
    reference: Reference,
    model: Arc<OpenableModel>,
    file: OpenFile<F>,
) -> Result<()> {
    // One part after the other: the digest in the statement is over the whole file.
    for layer in &file.layers {
        let (repository, sink) = (reference.repository(), file.sink.clone());
        if let Some(cache) = client.cache().filter(|_| layer.size > 0) {
            match client.cached_blob(cache, repository, layer.digest, layer.size).await {
                Ok(blob) => {
                    open_cached(blob, model.layer_opener(layer)?, sink).await?;
                    continue;
                }
                // A cache is a convenience; the model may well have room.
                Err(refusal) if refusal.code == Code::Io => tracing::warn!(%refusal, "pulled without the cache"),
                Err(refusal) => return Err(refusal),
            }
        }
        let blob = client.unhashed_blob_stream(repository, layer.digest, layer.size, 0)?;
        open_layer(blob, model.layer_opener(layer)?, sink).await?;
    }
    Ok(())
}

async fn open_cached<F: FileSink>(mut blob: CachedBlob, opener: LayerOpener, sink: Option<Arc<F>>) -> Result<()> {
    let opening = spawn_blocking(move || {
        let mut opening = Opening::new(opener, sink.as_deref());
        let mut buffer = vec![0; READ];
        loop {
            match blob.file().read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => opening.push(buffer.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::io("cached blob", &error)),
            }
        }
        opening.finish()?;
        blob.release();
        Ok(())
    });
    opening.await.map_err(|e| panicked(&e))?
}

async fn open_layer<F: FileSink>(mut blob: BlobStream, opener: LayerOpener, sink: Option<Arc<F>>) -> Result<()> {
    let (chunks, received) = mpsc::channel(CHUNKS);
    let opening = spawn_blocking(move || open_chunks(opener, received, sink.as_deref()));
    while let Some(chunk) = blob.next().await? {
        if chunks.send(chunk).await.is_err() {
            // It ended before its time, and says why.
            break;
        }
    }
    drop(chunks);
    opening.await.map_err(|e| panicked(&e))?
}

/// Opens what comes until no more does.
fn open_chunks<F: FileSink>(opener: LayerOpener, mut chunks: mpsc::Receiver<Bytes>, sink: Option<&F>) -> Result<()> {
    let mut opening = Opening::new(opener, sink);
    while let Some(chunk) = chunks.blocking_recv() {
        opening.push(&chunk)?;
    }
    opening.finish()
}

/// A layer on its way through the opener, which counts and hashes, into the sink.
struct Opening<'a, F> {
    opener: LayerOpener,
    offset: u64,
    sink: Option<&'a F>,
}

impl<'a, F: FileSink> Opening<'a, F> {
    fn new(opener: LayerOpener, sink: Option<&'a F>) -> Self {
        Self { offset: opener.layer().offset, opener, sink }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<()> {
        let Self { opener, offset, sink } = self;
        opener.push(chunk, &mut |plain: &[u8]| {
            if let Some(sink) = sink {
                sink.write_at(*offset, plain)?;
            }
            *offset = offset.saturating_add(u64::try_from(plain.len()).unwrap_or(u64::MAX));
            Ok(())
        })
    }

    /// Refuses what was cut short.
    fn finish(self) -> Result<()> {
        self.opener.finish()
    }
}

fn panicked(error: &JoinError) -> Refusal {
    Refusal::new(Code::Internal, "opening of a layer").because(error)
}
