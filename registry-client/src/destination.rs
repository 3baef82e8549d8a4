//! Where the blobs of one model go: to a repository, by way of a scratch file where they are sealed.

use crate::client::RegistryClient;
use crate::push::{Progress, ProgressListener};
use crate::uploads::Blob;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use strongroom_artifact::manifest::NewLayer;
use strongroom_artifact::seal::{Sealed, Sealer};
use strongroom_wire::{Refusal, Result};
use tempfile::{NamedTempFile, TempPath};

/// How much is written at once.
const CHUNK: usize = 256 * 1024;

/// The repository, and the folder where sealed blobs wait to be sent.
pub(crate) struct Destination {
    pub(crate) client: RegistryClient,
    pub(crate) repository: String,
    /// Another repository of the registry, in which blobs may be already.
    pub(crate) mount_from: Option<String>,
    pub(crate) scratch: PathBuf,
    pub(crate) report: ProgressListener,
}

/// A blob that is ready to be sent.
pub(crate) struct Ready {
    pub(crate) layer: NewLayer,
    pub(crate) blob: Blob,
    /// Removed when dropped.
    pub(crate) scratch: Option<TempPath>,
}

/// What seals into a scratch file.
pub(crate) type ScratchSealer = Sealer<BufWriter<File>>;

impl Destination {
    /// A scratch file, removed when dropped, and what seals into it, made by `start`.
    pub(crate) fn scratch(
        &self,
        start: impl FnOnce(BufWriter<File>) -> Result<ScratchSealer>,
    ) -> Result<(ScratchSealer, TempPath)> {
        let (file, scratch) = NamedTempFile::new_in(&self.scratch).map_err(|e| self.failed(&e))?.into_parts();
        Ok((start(BufWriter::with_capacity(CHUNK, file))?, scratch))
    }

    /// The blob that was sealed into a scratch file.
    pub(crate) fn sealed(&self, sealer: ScratchSealer, scratch: TempPath) -> Result<(Blob, TempPath)> {
        let Sealed { digest, size, mut out } = sealer.finish()?;
        out.flush().map_err(|e| self.failed(&e))?;
        Ok((Blob::file(scratch.to_path_buf(), 0, size, digest), scratch))
    }

    fn failed(&self, error: &std::io::Error) -> Refusal {
        Refusal::io(self.scratch.display(), error)
    }

    /// Makes the registry hold the blob.
    pub(crate) async fn send(&self, ready: Ready) -> Result<NewLayer> {
        let Ready { layer, blob, scratch } = ready;
        let blob = match &self.mount_from {
            Some(source) => blob.mountable_from(source),
            None => blob,
        };
        let sent = self.client.push_blob(&self.repository, &blob).await?;
        // Until then it was needed.
        drop(scratch);
        (self.report)(Progress::Stored { path: layer.path.clone(), bytes: layer.plain_size, sent });
        Ok(layer)
    }
}
