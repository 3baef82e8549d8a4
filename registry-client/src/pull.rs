//! The recipe: from a trusted manifest and its key to verified files.

mod pieces;

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::sink::{FileSink, Filled, ModelSink};
use bytes::Bytes;
use core::num::NonZero;
use pieces::{Pieces, open_cached, open_streamed, open_two_streamed};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_artifact::ladder::{LayerOpener, OpenableModel, Run, VerifiedModel};
use strongroom_artifact::manifest::Layer;
use strongroom_artifact::path::STATEMENT;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::task::{JoinError, JoinSet};

/// The most runs of layers that are opened at a time: eight cores open more than a network brings, and what is on its way takes
/// memory that the model itself needs.
const RUNS: usize = 8;
/// The most threads that one layer is opened on: its digest, the file's, and opening and writing keep no more busy.
const THREADS: usize = 3;

/// Fetches every layer of `model` once and gives the files to `sink`; gives the proof, and what the sink became.
///
/// 1. Make room for every file.
/// 2. Fetch the signed statement, and verify who signed it.
/// 3. Open the layers, as many at a time as there are cores (at most eight) of those that can be hashed apart, on several
///    threads each where there are fewer, and two on each core where there are many: bytes → SHA-256 → open → sink, hashed on the
///    way as the statement does. Connection and opening run side by side.
/// 4. Verify that every layer was the manifest's and the files are those of the statement.
/// 5. Let the sink keep them.
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
/// [`OpenableModel::with_statement`] refuses; `registry-…`, `network`, `timeout`; what the sink refuses. `internal`: the model is
/// of another registry than the client.
pub async fn open_model<S: ModelSink>(
    client: &RegistryClient,
    model: OpenableModel,
    mut sink: S,
) -> Result<(VerifiedModel, S::Kept)> {
    let reference = Reference::parse(model.trusted().repository())?;
    client.serves(&reference)?;
    // 1.
    let files = Arc::new(files_of(&model, &mut sink)?);
    // 2.
    let mut blobs = Vec::new();
    for layer in model.statement_layers()? {
        blobs.push(fetch(client, &reference, layer).await?);
    }
    let mut model = model.with_statement(&blobs)?;
    if let Some(file) = files.get(STATEMENT) {
        file.write_at(0, model.bundle())?;
    }
    // 3. The longest first, so that no core is left with one at the end.
    let mut runs = model.take_runs().into_iter();
    let abreast = cores().min(RUNS).min(runs.len());
    let threads = if abreast < cores() { cores().min(THREADS) } else { 1 };
    let threads = NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN);
    // What comes out of a cache is no faster than its disk.
    let in_twos = cores() <= RUNS / 2 && runs.len() >= 2 * abreast && client.cache().is_none();
    let mut running = JoinSet::new();
    loop {
        while running.len() < abreast
            && let Some(run) = runs.next()
        {
            let (place, files) = ((client.clone(), reference.clone()), Arc::clone(&files));
            match if in_twos { runs.next() } else { None } {
                Some(beside) => running.spawn(open_two_runs(place, [run, beside], files)),
                None => running.spawn(open_run(place, run, files, threads)),
            };
        }
        let Some(ended) = running.join_next().await else { break };
        if let Err(refusal) = ended.map_err(|e| panicked(&e)).flatten() {
            running.shutdown().await;
            return Err(refusal);
        }
    }
    // 4. Nobody writes any more.
    drop(files);
    let verified = model.finish()?;
    // 5.
    let kept = sink.keep(Filled::with(&verified))?;
    Ok((verified, kept))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Where each file goes; the statement too, where the sink wants it.
fn files_of<S: ModelSink>(model: &OpenableModel, sink: &mut S) -> Result<BTreeMap<String, S::File>> {
    let first_parts = model.manifest().layers().iter().filter(|layer| layer.part == 1);
    let wanted: Vec<_> = first_parts.filter(|layer| !layer.is_statement() || sink.takes_statement()).collect();
    wanted.into_iter().map(|layer| Ok((layer.path.clone(), sink.create(&layer.path, layer.file_size)?))).collect()
}

/// A layer of the statement, whole.
pub(crate) async fn fetch(client: &RegistryClient, reference: &Reference, layer: &Layer) -> Result<Bytes> {
    let repository = reference.repository();
    if let Some(cache) = client.cache() {
        match client.cached_blob(cache, repository, layer.digest, layer.size).await {
            Ok(blob) => return pieces::read_cached(blob, layer).await,
            Err(refusal) if refusal.code == Code::Io => tracing::warn!(%refusal, "pulled without the cache"),
            Err(refusal) => return Err(refusal),
        }
    }
    // Sealed, a statement is longer by header and tags.
    client.blob(repository, layer.digest, layer.size, limits::BUNDLE.saturating_add(limits::BUNDLE / 16)).await
}

async fn open_run<F: FileSink + Send + Sync + 'static>(
    (client, reference): (RegistryClient, Reference),
    run: Run,
    files: Arc<BTreeMap<String, F>>,
    threads: NonZero<usize>,
) -> Result<()> {
    for opener in run.into_openers() {
        open_layer(&client, reference.repository(), opener, &files, threads).await?;
    }
    Ok(())
}

/// Opens two runs on one thread, a layer of each at a time, and what is left of the longer one after that.
async fn open_two_runs<F: FileSink + Send + Sync + 'static>(
    (client, reference): (RegistryClient, Reference),
    runs: [Run; 2],
    files: Arc<BTreeMap<String, F>>,
) -> Result<()> {
    let [mut a, mut b] = runs.map(Run::into_openers);
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => {
                let stream = |opener: &LayerOpener| {
                    let layer = opener.layer();
                    let blob = client.unhashed_blob_stream(reference.repository(), layer.digest, layer.size, 0);
                    blob.map(Pieces::of)
                };
                open_two_streamed([stream(&a)?, stream(&b)?], [a, b], Arc::clone(&files)).await?;
            }
            (Some(one), None) | (None, Some(one)) => {
                open_layer(&client, reference.repository(), one, &files, NonZero::<usize>::MIN).await?;
            }
            (None, None) => return Ok(()),
        }
    }
}

/// Opens a layer by way of the cache, where there is one, into the file of its path.
pub(crate) async fn open_layer<F: FileSink + Send + Sync + 'static>(
    client: &RegistryClient,
    repository: &str,
    opener: LayerOpener,
    files: &Arc<BTreeMap<String, F>>,
    threads: NonZero<usize>,
) -> Result<()> {
    let layer = opener.layer();
    if let Some(cache) = client.cache().filter(|_| layer.size > 0) {
        match client.cached_blob(cache, repository, layer.digest, layer.size).await {
            Ok(blob) => return open_cached(blob, opener, Arc::clone(files), threads).await,
            // A cache is a convenience; the model may well have room.
            Err(refusal) if refusal.code == Code::Io => tracing::warn!(%refusal, "pulled without the cache"),
            Err(refusal) => return Err(refusal),
        }
    }
    let blob = client.unhashed_blob_stream(repository, layer.digest, layer.size, 0)?;
    open_streamed(Pieces::of(blob), opener, Arc::clone(files), threads).await
}

pub(crate) fn panicked(error: &JoinError) -> Refusal {
    Refusal::new(Code::Internal, "opening of a layer").because(error)
}
