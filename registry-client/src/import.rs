//! The recipe: from an artifact that another tool pushed to a directory. Nobody's signature is looked at.

use crate::client::RegistryClient;
use crate::reference::Reference;
use std::io::Write as _;
use strongroom_artifact::import::{ForeignLayer, Import, LayerContent, parse_foreign};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

/// Fetches what `reference` names into `import`, which gets its name only where its owner says so; gives the manifest's digest.
///
/// 1. Fetch the manifest. Without a digest in the reference, the registry alone says which it is.
/// 2. Fetch each layer, and hold it to its digest and length: a file into its place, an archive into a scratch file.
/// 3. Unpack an archive once all of it is the one that the manifest names.
///
/// # Errors
/// Those of [`parse_foreign`] and [`Import`]; `layer-digest-mismatch`, `layer-size-mismatch`; `registry-…`, `network`, `timeout`.
pub async fn import_model(
    client: &RegistryClient,
    reference: &Reference,
    mut import: Import,
) -> Result<(Import, Sha256)> {
    // 1.
    let fetched = client.manifest(reference).await?;
    for layer in parse_foreign(&fetched.bytes)? {
        // 2.
        match &layer.content {
            LayerContent::File(path) => {
                let file = import.create(path, layer.size)?;
                fetch(client, reference, &layer, &file).await.map_err(|refusal| refusal.within(path))?;
            }
            LayerContent::Archive => {
                let failed = |e: &std::io::Error| Refusal::io("archive of a model", e);
                let archive = NamedTempFile::new_in(import.folder()).map_err(|e| failed(&e))?;
                fetch(client, reference, &layer, archive.as_file()).await?;
                // 3.
                let archived = archive.reopen().map_err(|e| failed(&e))?;
                let unpacked =
                    spawn_blocking(move || import.unpack(std::io::BufReader::new(archived)).map(|()| import));
                import = unpacked.await.map_err(|e| Refusal::new(Code::Internal, "unpacking").because(e))??;
                archive.close().map_err(|e| failed(&e))?;
            }
        }
    }
    Ok((import, fetched.digest))
}

async fn fetch(
    client: &RegistryClient,
    reference: &Reference,
    layer: &ForeignLayer,
    mut to: &std::fs::File,
) -> Result<()> {
    let mut blob = client.blob_stream(reference.repository(), layer.digest, layer.size)?;
    while let Some(chunk) = blob.next().await? {
        to.write_all(&chunk).map_err(|e| Refusal::io("file of a model", &e))?;
    }
    Ok(())
}
