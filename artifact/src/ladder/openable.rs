//! From a trusted manifest and its key to files that are known by their signed statement.

use super::{OpeningModel, TrustedModel};
use crate::data_key::DataKey;
use crate::manifest::{Layer, Manifest, Sealing};
use crate::oms::{SignedStatement, verify_statement_by};
use crate::seal::{OpenStream, associated_data};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::StatementDemand;
use strongroom_wire::{Code, Refusal, Result, limits};

/// A trusted model with its data key, if it has one, until it is finished or dropped.
#[derive(Debug)]
pub struct OpenableModel {
    trusted: TrustedModel,
    key: Option<(DataKey, Sealing)>,
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
        Ok(Self { trusted, key })
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        self.trusted.manifest()
    }

    /// What the model was trusted for.
    pub const fn trusted(&self) -> &TrustedModel {
        &self.trusted
    }

    /// The layers of the signed statement over the files, in their order; none where the model has no statement. They are opened
    /// before all others: how the files are hashed is said there.
    ///
    /// Refuses a statement over [`limits::BUNDLE`] with `too-large`.
    pub fn statement_layers(&self) -> Result<Vec<&Layer>> {
        let layers: Vec<_> = self.manifest().layers().iter().filter(|layer| layer.is_statement()).collect();
        let length = layers.first().map_or(0, |layer| layer.file_size);
        if usize::try_from(length).is_ok_and(|length| length <= limits::BUNDLE) {
            return Ok(layers);
        }
        Err(Refusal::too_large("signed statement", format!("{length} bytes"), limits::BUNDLE))
    }

    /// Opens and verifies the signed statement, of whose [layers](Self::statement_layers) `blobs` are the blobs. A statement
    /// signer of the trust file must have signed it.
    ///
    /// Refuses with `layer-size-mismatch`, `layer-digest-mismatch` and `seal-invalid` other blobs, with the codes of
    /// [`verify_statement_by`], and with `statement-mismatch` a statement over other hashes than the manifest says, or over another
    /// number of files or shards than there are.
    pub fn with_statement(self, blobs: &[impl AsRef<[u8]>]) -> Result<OpeningModel> {
        let layers = self.statement_layers()?;
        if layers.len() != blobs.len() {
            return Err(Refusal::new(Code::Internal, "blobs of the statement").got(blobs.len()).want(layers.len()));
        }
        let mut bundle = Vec::new();
        for (layer, blob) in layers.iter().zip(blobs) {
            self.open_part(layer, blob.as_ref(), &mut bundle)?;
        }
        let statement = match layers.is_empty() {
            true => None,
            false => Some((self.verify_statement(&bundle)?, bundle)),
        };
        OpeningModel::new(self.trusted, self.key, statement)
    }

    fn verify_statement(&self, bundle: &[u8]) -> Result<SignedStatement> {
        let statement = verify_statement_by(bundle, self.trusted.statement_signers())?;
        let (got, want) = (statement.hash_type(), self.manifest().statement_hash());
        if got != want {
            return Err(Refusal::new(Code::StatementMismatch, "hash of the statement").got(got).want(want));
        }
        Ok(statement)
    }

    fn open_part(&self, layer: &Layer, blob: &[u8], bundle: &mut Vec<u8>) -> Result<()> {
        let what = || format!("layer of `{}`", layer.path);
        if u64::try_from(blob.len()).ok() != Some(layer.size) {
            return Err(Refusal::new(Code::LayerSizeMismatch, what()).got(blob.len()).want(layer.size));
        }
        let digest = Sha256::of(blob);
        if digest != layer.digest {
            return Err(Refusal::new(Code::LayerDigestMismatch, what()).got(digest.oci()).want(layer.digest.oci()));
        }
        let Some((key, sealing)) = &self.key else {
            bundle.extend_from_slice(blob);
            return Ok(());
        };
        let bound_to = associated_data(&sealing.id, &layer.path, layer.part, layer.parts);
        let mut stream = OpenStream::new(key, &bound_to, layer.size)?;
        let opened = stream.push(blob, &mut |plain| {
            bundle.extend_from_slice(plain);
            Ok(())
        });
        opened.and_then(|()| stream.finish()).map_err(|refusal| refusal.within(&layer.path))
    }
}
