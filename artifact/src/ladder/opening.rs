//! From files that are known by their signed statement to files that were opened and are those.

use super::{LayerOpener, TrustedModel, VerifiedModel};
use crate::data_key::DataKey;
use crate::hash::FileHash;
use crate::manifest::{Layer, Manifest, Sealing};
use crate::oms::SignedStatement;
use crate::shard;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use strongroom_wire::binding::statement_commitment;
use strongroom_wire::{Code, Refusal, Result};

/// A model whose layers are being opened, and are hashed as its statement does. Made by
/// [`super::OpenableModel::with_statement`].
#[derive(Debug)]
pub struct OpeningModel {
    trusted: TrustedModel,
    statement: Option<SignedStatement>,
    bundle: Vec<u8>,
    runs: Vec<Run>,
    layers: usize,
    shared: Arc<Shared>,
}

/// Layers of one file, in the order in which they are to be opened: one after the other, since what they are hashed with has no
/// other order. Runs are opened at the same time.
#[derive(Debug)]
pub struct Run {
    openers: Vec<LayerOpener>,
    length: u64,
}

/// What all layers of a model share.
pub(super) struct Shared {
    key: Option<(DataKey, Sealing)>,
    /// One a file. Empty where no statement says what they should be.
    hashes: Vec<FileHash>,
    opened: AtomicUsize,
}

impl OpeningModel {
    pub(super) fn new(
        trusted: TrustedModel,
        key: Option<(DataKey, Sealing)>,
        statement: Option<(SignedStatement, Vec<u8>)>,
    ) -> Result<Self> {
        let (statement, bundle) = statement.unzip();
        let layers: Vec<&Layer> = trusted.manifest().layers().iter().filter(|layer| !layer.is_statement()).collect();
        let files = || layers.chunk_by(|a, b| a.path == b.path);
        let hashes = match &statement {
            Some(statement) => {
                verify_count(statement, &layers)?;
                files().map(|layers| hash_of(layers, statement)).collect()
            }
            None => Vec::new(),
        };
        let shared = Arc::new(Shared { key, hashes, opened: AtomicUsize::new(0) });
        let runs = files().enumerate().flat_map(|(file, layers)| runs_of(layers, file, &shared)).collect();
        let count = layers.len();
        Ok(Self { trusted, statement, bundle: bundle.unwrap_or_default(), runs, layers: count, shared })
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        self.trusted.manifest()
    }

    /// The bundle with the signed statement, as it was signed. Empty where there is none.
    pub fn bundle(&self) -> &[u8] {
        &self.bundle
    }

    /// The openers of all layers but the statement's, the longest run first. None the second time.
    pub fn take_runs(&mut self) -> Vec<Run> {
        let mut runs = core::mem::take(&mut self.runs);
        runs.sort_by_key(|run| core::cmp::Reverse(run.length));
        runs
    }

    /// Compares the files that were opened with the statement. A model without one got here only where the trust file demands
    /// none.
    ///
    /// Refuses with `statement-mismatch` where a layer was not opened to its end or a file is not the one that was signed.
    pub fn finish(self) -> Result<VerifiedModel> {
        let opened = self.shared.opened.load(Ordering::Acquire);
        if opened != self.layers {
            return Err(Refusal::new(Code::StatementMismatch, "layers that were opened to their end")
                .got(opened)
                .want(self.layers));
        }
        drop(self.runs);
        let Some(Shared { key, hashes, .. }) = Arc::into_inner(self.shared) else {
            return Err(Refusal::new(Code::Internal, "model is still being opened"));
        };
        if let Some(statement) = &self.statement {
            let digests = hashes.into_iter().map(FileHash::finish).collect::<Result<Vec<_>>>()?.concat();
            statement.compare(&digests)?;
        }
        let blind = key.as_ref().map_or([0; 32], |(key, sealing)| key.statement_blind(&sealing.id));
        let commitment = statement_commitment(&blind, self.statement.as_ref().map_or(&[], SignedStatement::payload));
        Ok(VerifiedModel::new(self.trusted, self.statement, commitment))
    }
}

impl Run {
    /// The layers' openers, in their order.
    pub fn into_openers(self) -> impl Iterator<Item = LayerOpener> + Send {
        self.openers.into_iter()
    }
}

impl Shared {
    pub(super) const fn key(&self) -> Option<&(DataKey, Sealing)> {
        self.key.as_ref()
    }

    pub(super) fn hash_of(&self, file: usize) -> Option<&FileHash> {
        self.hashes.get(file)
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("opened", &self.opened).finish_non_exhaustive()
    }
}

/// Refuses a statement over other numbers of files or shards than the manifest has: before there is a lane for each of them.
fn verify_count(statement: &SignedStatement, layers: &[&Layer]) -> Result<()> {
    // Ranges say nothing of a file that has none: whoever signs the manifest could add it, or leave it out.
    let unstated = layers.iter().find(|layer| statement.shard_len().is_some() && layer.file_size == 0);
    if let Some(layer) = unstated {
        let refusal = Refusal::new(Code::StatementMismatch, format!("empty file `{}`", layer.path));
        return Err(refusal.got("a statement over shards, which has no word of it").want("one over files"));
    }
    let first_parts = layers.iter().filter(|layer| layer.part == 1);
    let count = |layer: &&Layer| statement.shard_len().map_or(1, |length| shard::count(layer.file_size, length));
    let count = first_parts.map(count).fold(0, u64::saturating_add);
    let signed = statement.files().len();
    if u64::try_from(signed).ok() != Some(count) {
        return Err(Refusal::new(Code::StatementMismatch, "files of the manifest, or shards of them")
            .got(count)
            .want(signed));
    }
    Ok(())
}

fn hash_of(layers: &[&Layer], statement: &SignedStatement) -> FileHash {
    let parts: Vec<u64> = layers.iter().map(|layer| layer.plain_size).collect();
    let path = layers.first().map_or("", |layer| layer.path.as_str());
    FileHash::new(path, &parts, statement.hash_type(), statement.shard_len())
}

/// The runs of file number `file`: a layer begins one where it can be hashed apart from what is before it.
fn runs_of(layers: &[&Layer], file: usize, shared: &Arc<Shared>) -> Vec<Run> {
    let hash = shared.hash_of(file);
    let together = layers.chunk_by(|_, next| hash.is_some_and(|hash| !hash.is_cut_at(next.offset)));
    let run = |layers: &[&Layer]| Run {
        length: layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add),
        openers: layers.iter().map(|layer| LayerOpener::new((*layer).clone(), file, Arc::clone(shared))).collect(),
    };
    together.map(run).collect()
}
