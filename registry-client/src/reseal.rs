//! The recipe: from a model in a registry to the same model under another data key.

use crate::client::RegistryClient;
use crate::destination::{Destination, Ready, ScratchSealer};
use crate::publish::{SignBy, Signature, publish, verify_target};
use crate::pull::{fetch, open_layer, panicked};
use crate::push::{FILES, Progress, ProgressListener, Pushed};
use crate::reference::Reference;
use crate::sink::FileSink;
use core::fmt;
use core::num::NonZero;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_artifact::DataKey;
use strongroom_artifact::ladder::{LayerOpener, OpenableModel, Run};
use strongroom_artifact::manifest::{Layer, ManifestBuilder, NewLayer, Sealing};
use strongroom_artifact::path::STATEMENT;
use strongroom_artifact::seal::{Sealer, associated_data};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use tokio::task::JoinSet;

/// How a model is resealed.
pub struct ResealOptions<'a> {
    /// The new key, which no other artifact has, and where it is kept.
    pub seal: (ResourcePath, DataKey),
    /// Signs the new manifest.
    pub sign: SignBy<'a>,
    /// As [`crate::PushOptions::sign_simple`].
    pub sign_simple: bool,
    /// When the signature says that it was made, in seconds of Unix time.
    pub created: u64,
    /// Where resealed layers wait to be sent, two at a time; nothing plain is written there.
    pub scratch: PathBuf,
    /// Told what was done.
    pub progress: Option<ProgressListener>,
}

impl fmt::Debug for ResealOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResealOptions").field("sign", &self.sign).finish_non_exhaustive()
    }
}

/// Pushes `model`, which is fetched from `from`, to the repository of `reference` under another data key and artifact id, and
/// gives it its tag, if it has one. A model that is not sealed is sealed.
///
/// 1. Refuse the key, or the id of the key, that the model has: an id never gets another value.
/// 2. Fetch the signed statement, and verify who signed it. It is sealed as it is.
/// 3. Each other layer, once: fetch → SHA-256 → open → seal into a scratch file → push, as soon as it was found to be the one that
///    the manifest names.
/// 4. Compare all files with the statement.
/// 5. Push the config and the manifest; sign; set the tag.
///
/// Where the client has a cache, layers come by way of it, and an interrupted one is not fetched again either.
///
/// The same model and key give the same layers, so that after an interruption those that are there are not sent again.
/// Signatures over the old manifest are not over the new one.
///
/// # Errors
/// `key-exists`, `key-invalid`: the key's id, or the key, is the one that the model has; `reference-invalid` the reference has a
/// digest; those of [`crate::open_model`] and [`crate::push_model`].
pub async fn reseal_model(
    from: &RegistryClient,
    model: OpenableModel,
    client: &RegistryClient,
    reference: &Reference,
    options: ResealOptions<'_>,
) -> Result<Pushed> {
    let source = Reference::parse(model.trusted().repository())?;
    from.serves(&source)?;
    verify_target(client, reference)?;
    // 1.
    let (key_id, key) = options.seal;
    if let Some(old) = model.manifest().sealing() {
        verify_new(old, &key_id, &key)?;
    }
    let id = key.resealed_id(&model.manifest().digest());
    let sealing = Sealing { id, commitment: key.commitment(&id), key: key_id };
    // 2.
    let report = options.progress.unwrap_or_else(|| Arc::new(|_| {}));
    let (files, bytes) =
        (model.manifest().layers().iter().filter(|layer| layer.part == 1).count(), model.manifest().plain_size());
    report(Progress::Listed { files, bytes });
    let mut builder = ManifestBuilder::new(Some(sealing.clone()), model.manifest().statement_hash());
    let mut blobs = Vec::new();
    for layer in model.statement_layers()? {
        blobs.push(fetch(from, &source, layer).await?);
    }
    let mut model = model.with_statement(&blobs)?;
    let resealing = Arc::new(Resealing {
        from: from.clone(),
        repository: source.repository().to_owned(),
        key,
        sealing: sealing.clone(),
        to: Destination {
            client: client.clone(),
            repository: reference.repository().to_owned(),
            mount_from: None,
            scratch: options.scratch,
            report,
        },
    });
    if !blobs.is_empty() {
        builder.push(resealing.reseal_statement(model.bundle()).await?);
    }
    // 3.
    let mut runs = model.take_runs().into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < FILES
            && let Some(run) = runs.next()
        {
            running.spawn(Arc::clone(&resealing).reseal_run(run));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.map_err(|e| panicked(&e)).flatten() {
            Ok(layers) => layers.into_iter().for_each(|layer| builder.push(layer)),
            Err(refusal) => {
                running.shutdown().await;
                return Err(refusal);
            }
        }
    }
    // 4.
    model.finish()?;
    // 5.
    let signature = Signature { by: options.sign, simple: options.sign_simple, created: options.created };
    publish(client, reference, builder, Some(sealing), signature).await
}

fn verify_new(old: &Sealing, key_id: &ResourcePath, key: &DataKey) -> Result<()> {
    if old.key == *key_id {
        let refusal = Refusal::new(Code::KeyExists, "id of the new data key").got(key_id);
        return Err(refusal.want("another than the old key's: an id never gets another value"));
    }
    if key.commitment(&old.id) == old.commitment {
        let refusal = Refusal::new(Code::KeyInvalid, "new data key").got("the one that the model is sealed with");
        return Err(refusal.want("another"));
    }
    Ok(())
}

/// One model on its way from one key to another.
struct Resealing {
    from: RegistryClient,
    /// Where it comes from.
    repository: String,
    key: DataKey,
    sealing: Sealing,
    to: Destination,
}

impl Resealing {
    /// The layers of a run one after the other, as they are to be opened.
    async fn reseal_run(self: Arc<Self>, run: Run) -> Result<Vec<NewLayer>> {
        let mut resealed = Vec::new();
        for opener in run.into_openers() {
            let ready = self.reseal_layer(opener).await?;
            resealed.push(self.to.send(ready).await?);
        }
        Ok(resealed)
    }

    async fn reseal_layer(&self, opener: LayerOpener) -> Result<Ready> {
        let Layer { digest: source, path, part, parts, plain_size, offset, .. } = opener.layer().clone();
        let (sealer, scratch) = self.to.scratch(|out| self.sealer(&path, part, parts, &source, out))?;
        let files = Arc::new(BTreeMap::from([(path.clone(), Resealer(Mutex::new((sealer, offset))))]));
        // On one thread, which gives the plaintext in its order. It returns once the blob is the one that the manifest names.
        open_layer(&self.from, &self.repository, opener, &files, NonZero::<usize>::MIN).await?;
        let resealer = Arc::into_inner(files).and_then(|mut files| files.remove(&path));
        let Resealer(sealer) = resealer.ok_or_else(|| Refusal::new(Code::Internal, "layer is still being opened"))?;
        let (sealer, _) = sealer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (blob, scratch) = self.to.sealed(sealer, scratch)?;
        let layer = NewLayer { path, part, parts, plain_size, digest: blob.digest(), size: blob.size() };
        Ok(Ready { layer, blob, scratch: Some(scratch) })
    }

    async fn reseal_statement(&self, bundle: &[u8]) -> Result<NewLayer> {
        let start = |out| self.sealer(STATEMENT, 1, 1, &Sha256::of(bundle), out);
        let (mut sealer, scratch) = self.to.scratch(start)?;
        sealer.write(bundle)?;
        let (blob, scratch) = self.to.sealed(sealer, scratch)?;
        let plain_size = u64::try_from(bundle.len()).map_err(|e| Refusal::malformed("statement", e))?;
        let (digest, size) = (blob.digest(), blob.size());
        let layer = NewLayer { path: STATEMENT.to_owned(), part: 1, parts: 1, plain_size, digest, size };
        self.to.send(Ready { layer, blob, scratch: Some(scratch) }).await
    }

    fn sealer<W: Write>(&self, path: &str, part: u32, parts: u32, source: &Sha256, out: W) -> Result<Sealer<W>> {
        Sealer::resealing(&self.key, &associated_data(&self.sealing.id, path, part, parts), source, out)
    }
}

/// Seals a part again as it is opened: from its first byte to its last.
struct Resealer(Mutex<(ScratchSealer, u64)>);

impl FileSink for Resealer {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (sealer, next) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offset != *next {
            return Err(Refusal::new(Code::Internal, "layer was opened out of order").got(offset).want(*next));
        }
        *next = next.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        sealer.write(bytes)
    }
}
