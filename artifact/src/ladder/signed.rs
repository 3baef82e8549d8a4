//! From the bytes of a manifest to a model that enough trusted signers signed.

use super::TrustedModel;
use super::judged::{self, Judged};
use crate::manifest::Manifest;
use crate::promotion::Statements;
use crate::signers::{Credential, Signers};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{SignatureForm, StatementDemand, TrustFile};
use strongroom_wire::{Code, Refusal, Result, limits};

/// A signature over a manifest as a registry gives it. Nothing about it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestSignature {
    /// A Sigstore bundle, of cosign 3.
    Bundle(Vec<u8>),
    /// A payload and the signature over it, of cosign 1 and 2.
    Simple {
        /// The layer's bytes.
        payload: Vec<u8>,
        /// The layer's annotation `dev.cosignproject.cosign/signature`, out of base64.
        signature: Vec<u8>,
    },
}

impl From<Vec<u8>> for ManifestSignature {
    fn from(bundle: Vec<u8>) -> Self {
        Self::Bundle(bundle)
    }
}

/// A manifest that as many distinct signers signed as the trust file demands for its repository.
#[derive(Debug, Clone)]
pub struct SignedModel {
    pub(super) manifest: Manifest,
    pub(super) repository: String,
    pub(super) signed_by: Vec<(String, Credential)>,
    pub(super) statement_signers: Signers,
    pub(super) demand: StatementDemand,
    promotions: Option<Statements>,
}

/// Verifies the manifest `raw`, which must have the digest `want`, for `repository` (`host[:port]/repo`), in this order:
///
/// 1. its digest: `manifest-digest-mismatch`;
/// 2. its shape ([`Manifest::parse`]);
/// 3. the rule of the trust file for its repository: `repository-untrusted`;
/// 4. that there is any signature: `model-unsigned`; in a form that the rule allows: `signature-form-refused`; and not more than
///    are looked at: `too-large`;
/// 5. the signatures, counting distinct signers of the rule, each by a key or identity of its own. Where too few hold: what is
///    wrong with one that comes close (`signature-invalid` where it says to be by a trusted key and is not or states something
///    else; the codes of keyless signatures), else `signer-untrusted`.
///
/// Signatures beyond those that are needed decide nothing, valid or not: a registry can add any.
pub fn verify_manifest(
    raw: &[u8],
    want: &Sha256,
    repository: &str,
    signatures: &[ManifestSignature],
    trust: &TrustFile,
) -> Result<SignedModel> {
    // 1.
    let digest = Sha256::of(raw);
    if digest != *want {
        return Err(Refusal::new(Code::ManifestDigestMismatch, "digest of the manifest")
            .got(digest.oci())
            .want(want.oci()));
    }
    // 2.
    let manifest = Manifest::parse(raw)?;
    // 3.
    let rule = trust.rule_for(repository)?;
    let root = trust.trusted_root.as_deref();
    let signers = Signers::parse(&rule.signers, root)?;
    let statement_signers = Signers::parse(rule.statement_signers(), root)?;
    let promotions = Statements::of_rule(rule, root, repository)?;
    // 4.
    if signatures.is_empty() {
        return Err(Refusal::new(Code::ModelUnsigned, "signatures of the manifest").got("none").want(rule.threshold));
    }
    // As many of each form.
    if signatures.len() > 2 * limits::SIGNATURES {
        return Err(Refusal::too_large("signatures of the manifest", signatures.len(), 2 * limits::SIGNATURES));
    }
    let allowed: Vec<_> = signatures.iter().filter(|signature| rule.allows(signature.form())).collect();
    if allowed.is_empty() {
        let refusal = Refusal::new(Code::SignatureFormRefused, "signatures of the manifest");
        return Err(refusal.got("another form").want(format!("{:?}", rule.forms).to_lowercase()));
    }
    // 5.
    let mut judged = Judged::new(&signers);
    allowed.into_iter().for_each(|signature| judged.add(signature, want));
    let signed_by = judged.distinct(rule.threshold.max(1))?;
    let demand = rule.statement;
    let repository = repository.to_owned();
    Ok(SignedModel { manifest, repository, signed_by, statement_signers, demand, promotions })
}

/// Whether a refusal of [`verify_manifest`] is about the signatures that it was given, so that others could change it.
pub const fn is_about_signatures(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::ModelUnsigned | Code::SignatureFormRefused | Code::SignerUntrusted)
        || judged::closeness(refusal.code) > 0
}

impl ManifestSignature {
    const fn form(&self) -> SignatureForm {
        match self {
            Self::Bundle(_) => SignatureForm::Bundle,
            Self::Simple { .. } => SignatureForm::Sig,
        }
    }
}

impl SignedModel {
    /// What was signed.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is known of its promotion, to be added to; `None` where its rule demands none.
    pub const fn promotions(&mut self) -> Option<&mut Statements> {
        self.promotions.as_mut()
    }

    /// Goes on where the model is promoted at `now`, in seconds of Unix time, or need not be.
    ///
    /// # Errors
    /// As [`Statements::judge`].
    pub fn promoted(self, now: u64) -> Result<TrustedModel> {
        let judge = |promotions: &Statements| promotions.judge(&self.manifest.digest(), now);
        let promotion = self.promotions.as_ref().map(judge).transpose()?;
        Ok(TrustedModel::new(self, promotion))
    }
}
