//! One layer on its way from a registry to a file: counted, hashed, opened, and hashed again.

use crate::hash::{FileDigest, HashAlgorithm, Hasher};
use crate::manifest::Layer;
use crate::seal::OpenStream;
use aws_lc_rs::digest;
use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Opens one layer. What it gives out is provisional until [`super::OpenableModel::finish`] has returned the model.
pub struct LayerOpener {
    layer: Layer,
    hash: digest::Context,
    received: u64,
    stream: Option<OpenStream>,
    /// Why the stream did not open. Kept until the end, since a blob that is not the one the manifest names says more.
    failure: Option<Refusal>,
    content: Content,
    files: Arc<Mutex<OpenedFiles>>,
}

/// What becomes of the plaintext besides being given out.
enum Content {
    File(Hasher),
    /// The bundle with the signed statement, which is read as a whole.
    Statement(Vec<u8>),
}

impl LayerOpener {
    pub(super) fn start(layer: Layer, stream: Option<OpenStream>, files: Arc<Mutex<OpenedFiles>>) -> Result<Self> {
        let content = lock(&files).begin(&layer)?;
        let hash = digest::Context::new(&digest::SHA256);
        Ok(Self { layer, hash, received: 0, stream, failure: None, content, files })
    }

    /// The layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Takes the next bytes of the blob and hands the plaintext that they complete to `sink`, in order.
    ///
    /// Refuses a blob that is longer than its descriptor says with `layer-size-mismatch`, and with what `sink` refuses.
    /// A sealed stream that does not authenticate gives out no more, and is refused at [`Self::finish`].
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let received = u64::try_from(chunk.len()).ok().and_then(|length| self.received.checked_add(length));
        self.received = received
            .filter(|received| *received <= self.layer.size)
            .ok_or_else(|| self.size_mismatch(format!("more than {} bytes", self.layer.size)))?;
        self.hash.update(chunk);
        let content = &mut self.content;
        let mut give = |plain: &[u8]| {
            match content {
                Content::File(hasher) => hasher.update(plain),
                Content::Statement(bundle) => bundle.extend_from_slice(plain),
            }
            sink(plain)
        };
        let Some(stream) = &mut self.stream else {
            return give(chunk);
        };
        if self.failure.is_some() {
            return Ok(());
        }
        match stream.push(chunk, &mut give) {
            Err(refusal) if refusal.code == Code::SealInvalid => self.failure = Some(refusal.within(&self.layer.path)),
            other => other?,
        }
        Ok(())
    }

    /// Succeeds where the blob was the one that the manifest names and opened to its end.
    ///
    /// Refuses, in this order, with `layer-size-mismatch`, `layer-digest-mismatch` and `seal-invalid`.
    pub fn finish(self) -> Result<()> {
        if self.received != self.layer.size {
            return Err(self.size_mismatch(format!("{} bytes", self.received)));
        }
        let digest = Sha256::from_finished(&self.hash.finish());
        if digest != self.layer.digest {
            return Err(Refusal::new(Code::LayerDigestMismatch, format!("layer of `{}`", self.layer.path))
                .got(digest.oci())
                .want(self.layer.digest.oci()));
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(stream) = self.stream {
            stream.finish().map_err(|refusal| refusal.within(&self.layer.path))?;
        }
        lock(&self.files).end(&self.layer, self.content);
        Ok(())
    }

    fn size_mismatch(&self, got: String) -> Refusal {
        Refusal::new(Code::LayerSizeMismatch, format!("layer of `{}`", self.layer.path))
            .got(got)
            .want(format!("{} bytes", self.layer.size))
    }
}

impl fmt::Debug for LayerOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerOpener")
            .field("layer", &self.layer)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// The files of a model as far as they were opened.
pub(super) struct OpenedFiles {
    algorithm: HashAlgorithm,
    layers: usize,
    files: BTreeMap<String, Progress>,
}

struct Progress {
    /// The part that comes next.
    next: u32,
    /// Absent while a part is being opened.
    content: Option<Content>,
}

impl OpenedFiles {
    pub(super) const fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, layers: 0, files: BTreeMap::new() }
    }

    /// How many layers were opened to their end.
    pub(super) const fn layers(&self) -> usize {
        self.layers
    }

    fn begin(&mut self, layer: &Layer) -> Result<Content> {
        if layer.is_statement() && layer.file_size > u64::try_from(limits::BUNDLE).unwrap_or(u64::MAX) {
            return Err(Refusal::too_large("signed statement", format!("{} bytes", layer.file_size), limits::BUNDLE));
        }
        let fresh = || {
            let content = if layer.is_statement() {
                Content::Statement(Vec::new())
            } else {
                Content::File(self.algorithm.hasher())
            };
            Progress { next: 1, content: Some(content) }
        };
        let progress = self.files.entry(layer.path.clone()).or_insert_with(fresh);
        let content = if progress.next == layer.part { progress.content.take() } else { None };
        content.ok_or_else(|| {
            Refusal::new(Code::Internal, format!("parts of `{}` are opened out of order or twice", layer.path))
                .got(layer.part)
                .want(progress.next)
        })
    }

    fn end(&mut self, layer: &Layer, content: Content) {
        self.layers += 1;
        let progress = Progress { next: layer.part.saturating_add(1), content: Some(content) };
        self.files.insert(layer.path.clone(), progress);
    }

    /// The bundle with the signed statement, and the digests of all other files.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<FileDigest>) {
        let mut bundle = Vec::new();
        let mut digests = Vec::new();
        for (path, progress) in self.files {
            match progress.content {
                Some(Content::Statement(bytes)) => bundle = bytes,
                Some(Content::File(hasher)) => {
                    digests.push(FileDigest { path, algorithm: self.algorithm, digest: hasher.finish() });
                }
                None => {}
            }
        }
        (bundle, digests)
    }
}

impl fmt::Debug for OpenedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedFiles").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// A poisoned lock is taken all the same: its holder cannot panic half-way through a change.
pub(super) fn lock(files: &Mutex<OpenedFiles>) -> MutexGuard<'_, OpenedFiles> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
