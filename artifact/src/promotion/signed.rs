//! A statement whose signature holds.

use super::Statement;
use crate::bundle::{Bundle, Hint};
use crate::signers::{Credential, Signers};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

/// A statement that one of some promoters signed. [`Self::verify`] alone makes one.
///
/// ```compile_fail,E0451
/// use strongroom_artifact::promotion::SignedStatement;
/// let (statement, credential, promoters, payload, bundle) = todo!();
/// let forged = SignedStatement { statement, credential, promoters, payload, bundle };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    statement: Statement,
    credential: Credential,
    /// Those of the rule whom the credential satisfies: a pattern may be of many, and one identity of many patterns.
    promoters: Vec<String>,
    payload: Sha256,
    bundle: Vec<u8>,
}

impl SignedStatement {
    /// Verifies that one of `promoters` signed the statement in `bundle`. Of what it speaks is not looked at.
    ///
    /// # Errors
    /// As a signature over a manifest: `malformed`, `signer-untrusted`, `signature-invalid`, the codes of keyless signatures;
    /// `promotion-invalid`: what is signed is no such statement.
    pub fn verify(bundle: &[u8], promoters: &Signers) -> Result<Self> {
        let (payload, credential, names) = promoters.verify_named(&Bundle::parse(bundle)?, Hint::Cosign)?;
        let statement = Statement::parse(&payload)?;
        let promoters = names.into_iter().map(str::to_owned).collect();
        Ok(Self { statement, credential, promoters, payload: Sha256::of(&payload), bundle: bundle.to_vec() })
    }

    /// What is stated.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who signed it, as the signature proves.
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Who signed it, as the rule calls them.
    pub fn promoters(&self) -> &[String] {
        &self.promoters
    }

    /// SHA-256 of what was signed. Two signatures of one promoter over one payload are one statement.
    pub const fn payload(&self) -> Sha256 {
        self.payload
    }

    /// The bundle that it was read from.
    pub fn bundle(&self) -> &[u8] {
        &self.bundle
    }

    /// Whether the other one says the same by the same promoter.
    pub fn is(&self, other: &Self) -> bool {
        self.payload == other.payload && self.credential == other.credential
    }
}
