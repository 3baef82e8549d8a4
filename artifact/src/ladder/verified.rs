//! The top of the ladder.

use super::TrustedModel;
use crate::manifest::Manifest;
use crate::oms::SignedStatement;
use strongroom_wire::digest::Sha256;

/// A model all of whose files were opened and are those that were signed.
#[derive(Debug, Clone)]
pub struct VerifiedModel {
    trusted: TrustedModel,
    statement: Option<SignedStatement>,
    commitment: Sha256,
}

impl VerifiedModel {
    pub(super) const fn new(trusted: TrustedModel, statement: Option<SignedStatement>, commitment: Sha256) -> Self {
        Self { trusted, statement, commitment }
    }

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
