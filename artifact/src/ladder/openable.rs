//! From a trusted manifest and its key to files that are verified to be those that were signed.

use super::TrustedModel;
use super::layer::{LayerOpener, OpenedFiles};
use crate::data_key::DataKey;
use crate::manifest::{Layer, Manifest, Sealing};
use crate::oms::{SignedStatement, verify_statement_by};
use crate::seal::{OpenStream, associated_data};
use std::sync::{Arc, Mutex};
use strongroom_wire::binding::statement_commitment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::StatementDemand;
use strongroom_wire::{Code, Refusal, Result};

/// A trusted model whose layers can be opened. It owns the data key, if it has one, until it is finished or dropped.
#[derive(Debug)]
pub struct OpenableModel {
    trusted: TrustedModel,
    key: Option<(DataKey, Sealing)>,
    files: Arc<Mutex<OpenedFiles>>,
}

impl OpenableModel {
    pub(super) fn new(trusted: TrustedModel, key: Option<DataKey>) -> Result<Self> {
        if !trusted.manifest().has_statement() && trusted.statement_demand() == StatementDemand::Required {
            return Err(Refusal::new(Code::StatementMissing, "model").want(crate::path::STATEMENT));
        }
        let key = match (trusted.manifest().sealing(), key) {
            (Some(sealing), Some(key)) => {
                key.verify_commitment(&sealing.id, &sealing.commitment)?;
                Some((key, sealing.clone()))
            }
            (Some(sealing), None) => return Err(Refusal::new(Code::KeyMissing, "data key").want(sealing.key.uri())),
            (None, _) => None,
        };
        let files = Arc::new(Mutex::new(OpenedFiles::new(trusted.manifest().statement_hash())));
        Ok(Self { trusted, key, files })
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        self.trusted.manifest()
    }

    /// What the model was trusted for.
    pub const fn trusted(&self) -> &TrustedModel {
        &self.trusted
    }

    /// Starts one layer of this model. Layers may be opened in any order and at the same time, but those of one file one
    /// after the other: its digest is over all of them. Else, and for a layer that is not this model's, `internal`.
    pub fn layer_opener(&self, layer: &Layer) -> Result<LayerOpener> {
        if !self.manifest().layers().contains(layer) {
            return Err(Refusal::new(Code::Internal, format!("layer of `{}` is not of this model", layer.path)));
        }
        let stream = match &self.key {
            Some((key, sealing)) => {
                let bound_to = associated_data(&sealing.id, &layer.path, layer.part, layer.parts);
                Some(OpenStream::new(key, &bound_to, layer.size)?)
            }
            None => None,
        };
        LayerOpener::start(layer.clone(), stream, Arc::clone(&self.files))
    }

    /// Compares the files that were opened with the signed statement among them, which a statement signer of the trust file
    /// must have signed. A model without one got here only where the trust file demands none.
    ///
    /// Refuses with `statement-mismatch` where a layer was not opened to its end or a file is not the one that was signed,
    /// and with the codes of [`verify_statement_by`].
    pub fn finish(self) -> Result<VerifiedModel> {
        let files = core::mem::replace(
            &mut *super::layer::lock(&self.files),
            OpenedFiles::new(self.manifest().statement_hash()),
        );
        let opened = files.layers();
        if opened != self.manifest().layers().len() {
            return Err(Refusal::new(Code::StatementMismatch, "layers that were opened to their end")
                .got(opened)
                .want(self.manifest().layers().len()));
        }
        let (bundle, digests) = files.finish();
        let statement = match self.manifest().has_statement() {
            true => Some(verify_statement_by(&bundle, self.trusted.statement_signers())?),
            false => None,
        };
        if let Some(statement) = &statement {
            // Files are hashed while they arrive, as a whole.
            if statement.shard_len().is_some() {
                return Err(Refusal::new(Code::ModelUnsupported, "statement of a model").got("shards").want("files"));
            }
            statement.compare(&digests)?;
        }
        let blind = self.key.as_ref().map_or([0; 32], |(key, sealing)| key.statement_blind(&sealing.id));
        let commitment = statement_commitment(&blind, statement.as_ref().map_or(&[], SignedStatement::payload));
        Ok(VerifiedModel { trusted: self.trusted, statement, commitment })
    }
}

/// A model all of whose files were opened and are those that were signed.
#[derive(Debug, Clone)]
pub struct VerifiedModel {
    trusted: TrustedModel,
    statement: Option<SignedStatement>,
    commitment: Sha256,
}

impl VerifiedModel {
    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        self.trusted.manifest()
    }

    /// The digest of the manifest.
    pub const fn manifest_digest(&self) -> Sha256 {
        self.trusted.manifest_digest()
    }

    /// The repository, `host[:port]/repo`.
    pub fn repository(&self) -> &str {
        self.trusted.repository()
    }

    /// What the manifest was trusted for.
    pub const fn trusted(&self) -> &TrustedModel {
        &self.trusted
    }

    /// The statement over the files, if there is one.
    pub const fn statement(&self) -> Option<&SignedStatement> {
        self.statement.as_ref()
    }

    /// What evidence says of the statement ([`strongroom_wire::binding::statement_commitment`]). Where there is none it is over
    /// the empty payload, which no statement has.
    pub const fn statement_commitment(&self) -> Sha256 {
        self.commitment
    }
}
