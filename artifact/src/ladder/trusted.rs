//! From a signed manifest to a model that is trusted: promoted, where its rule demands that.

use super::{OpenableModel, SignedModel};
use crate::data_key::DataKey;
use crate::manifest::Manifest;
use crate::promotion::Promotion;
use crate::signers::{Credential, Signers};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::StatementDemand;

/// A manifest that as many distinct signers signed, and as many distinct promoters promoted, as the trust file demands for its
/// repository. [`SignedModel::promoted`] alone makes one.
#[derive(Debug, Clone)]
pub struct TrustedModel {
    signed: SignedModel,
    promotion: Option<Promotion>,
}

impl TrustedModel {
    pub(super) const fn new(signed: SignedModel, promotion: Option<Promotion>) -> Self {
        Self { signed, promotion }
    }

    /// What was signed.
    pub const fn manifest(&self) -> &Manifest {
        &self.signed.manifest
    }

    /// The digest that was signed.
    pub const fn manifest_digest(&self) -> Sha256 {
        self.signed.manifest.digest()
    }

    /// The repository whose rule it satisfied, `host[:port]/repo`.
    pub fn repository(&self) -> &str {
        &self.signed.repository
    }

    /// The names, in the trust file, of those who signed.
    pub fn signers(&self) -> Vec<String> {
        self.signed.signed_by.iter().map(|(name, _)| name.clone()).collect()
    }

    /// What those who signed were recognised by, in the order of [`Self::signers`]. No two are the same.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.signed.signed_by.iter().map(|(_, credential)| credential)
    }

    /// To what it is promoted, where its rule demands that it is.
    pub const fn promotion(&self) -> Option<&Promotion> {
        self.promotion.as_ref()
    }

    /// Those who may have signed the statement over the files.
    pub const fn statement_signers(&self) -> &Signers {
        &self.signed.statement_signers
    }

    /// Whether there must be such a statement.
    pub const fn statement_demand(&self) -> StatementDemand {
        self.signed.demand
    }

    /// Goes on to open the model with its data key, which is used for nothing else.
    ///
    /// Refuses a model without a signed statement with `statement-missing`, a sealed model without a key with
    /// `key-missing`, and another key than the one that the manifest commits to with `key-commitment-mismatch`. A plain
    /// model needs no key; one that is given is dropped.
    pub fn with_key(self, key: Option<DataKey>) -> Result<OpenableModel> {
        OpenableModel::new(self, key)
    }
}
