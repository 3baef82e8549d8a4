//! From the bytes of a manifest to a model that enough trusted signers signed.

use super::OpenableModel;
use crate::bundle::Bundle;
use crate::cosign;
use crate::data_key::DataKey;
use crate::keys::PublicKey;
use crate::manifest::Manifest;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Signer, TrustFile};
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
pub struct TrustedModel {
    manifest: Manifest,
    repository: String,
    signers: Vec<String>,
    signer_keys: Vec<Sha256>,
    statement_signers: Vec<PublicKey>,
}

/// Verifies the manifest `raw`, which must have the digest `want`, for `repository` (`host[:port]/repo`), in this order:
///
/// 1. its digest: `manifest-digest-mismatch`;
/// 2. its shape ([`Manifest::parse`]);
/// 3. the rule of the trust file for its repository: `repository-untrusted`;
/// 4. that there is any signature: `model-unsigned`; and not more than are looked at: `too-large`;
/// 5. the signatures, counting distinct keys of the rule's signers: `signature-invalid` where too few hold and one says to
///    be by a trusted key and is not or states something else, else `signer-untrusted`.
///
/// Signatures beyond those that are needed decide nothing, valid or not: a registry can add any.
pub fn verify_manifest(
    raw: &[u8],
    want: &Sha256,
    repository: &str,
    signatures: &[ManifestSignature],
    trust: &TrustFile,
) -> Result<TrustedModel> {
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
    let statement_signers = parse_keys(rule.statement_signers())?;
    // 4.
    if signatures.is_empty() {
        return Err(Refusal::new(Code::ModelUnsigned, "signatures of the manifest").got("none").want(rule.threshold));
    }
    // As many of each form.
    if signatures.len() > 2 * limits::SIGNATURES {
        return Err(Refusal::too_large("signatures of the manifest", signatures.len(), 2 * limits::SIGNATURES));
    }
    // 5. What cannot be read is nobody's signature.
    let readable: Vec<_> = signatures.iter().filter_map(Readable::of).collect();
    let mut invalid = None;
    let mut counted: Vec<(&Signer, PublicKey)> = Vec::new();
    for (signer, key) in rule.signers.iter().zip(parse_keys(&rule.signers)?) {
        if counted.iter().any(|(_, known)| *known == key) {
            continue;
        }
        for signature in &readable {
            match signature.verify(want, &key) {
                Ok(()) => {
                    counted.push((signer, key));
                    break;
                }
                Err(refusal) if refusal.code == Code::SignatureInvalid => invalid = Some(refusal.within(&signer.name)),
                // By somebody else.
                Err(_) => {}
            }
        }
    }
    if counted.len() < rule.threshold.max(1) {
        let names = counted.iter().map(|(signer, _)| signer.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(invalid.unwrap_or_else(|| {
            Refusal::new(Code::SignerUntrusted, "distinct trusted signers of the manifest")
                .got(format!("{} ({names})", counted.len()))
                .want(rule.threshold)
        }));
    }
    let signer_keys = counted.iter().map(|(_, key)| key.fingerprint()).collect();
    let signers = counted.into_iter().map(|(signer, _)| signer.name.clone()).collect();
    Ok(TrustedModel { manifest, repository: repository.to_owned(), signers, signer_keys, statement_signers })
}

/// A signature, read once for all the keys that it is tried with.
enum Readable<'a> {
    Bundle(Bundle),
    Simple { payload: &'a [u8], signature: &'a [u8] },
}

impl<'a> Readable<'a> {
    fn of(signature: &'a ManifestSignature) -> Option<Self> {
        match signature {
            ManifestSignature::Bundle(bundle) => Bundle::parse(bundle).ok().map(Self::Bundle),
            ManifestSignature::Simple { payload, signature } => Some(Self::Simple { payload, signature }),
        }
    }

    fn verify(&self, manifest: &Sha256, key: &PublicKey) -> Result<()> {
        match self {
            Self::Bundle(bundle) => cosign::verify_parsed(bundle, manifest, key),
            Self::Simple { payload, signature } => cosign::verify_simple(payload, signature, manifest, key),
        }
    }
}

fn parse_keys(signers: &[Signer]) -> Result<Vec<PublicKey>> {
    let parse = |signer: &Signer| {
        PublicKey::from_pem(signer.key.as_bytes())
            .map_err(|refusal| refusal.within(format!("key of signer `{}`", signer.name)))
    };
    signers.iter().map(parse).collect()
}

impl TrustedModel {
    /// What was signed.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest that was signed.
    pub const fn manifest_digest(&self) -> Sha256 {
        self.manifest.digest()
    }

    /// The repository whose rule it satisfied, `host[:port]/repo`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The names, in the trust file, of those who signed.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// [`PublicKey::fingerprint`] of those who signed, in the order of [`Self::signers`].
    pub fn signer_keys(&self) -> &[Sha256] {
        &self.signer_keys
    }

    /// Those who may have signed the statement over the files.
    pub fn statement_signers(&self) -> &[PublicKey] {
        &self.statement_signers
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
