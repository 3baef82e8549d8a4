//! Signatures by an identity ("keyless"): a certificate of Fulcio's that lives for minutes, proof that a transparency log holds the
//! signature, and a time that somebody else vouches for. `sigstore-verify` verifies them; what they mean is judged elsewhere.

mod sign;

use core::fmt;
use serde::Deserialize;
use sigstore_verify::bundle::Error as BundleError;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot as Authorities};
use sigstore_verify::types::{Bundle, LogKeyId, Sha256Hash, SignatureContent};
use sigstore_verify::{
    CertificateError, Error, TimestampError, TransparencyLogError, VerificationPolicy, VerificationResult, Verifier,
};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Identity;
use strongroom_wire::{Code, Refusal, Result, limits};

pub use sign::{CertificateRequest, Unlogged};

/// Who vouches for identities, logs and times: Sigstore's `trusted_root.json`.
pub struct TrustedRoot {
    verifier: Verifier,
    /// The ids of the logs.
    logs: Vec<LogKeyId>,
}

/// A payload, and whom a certificate vouches for having signed it.
#[derive(Debug)]
pub(crate) struct Vouched {
    pub(crate) payload: Vec<u8>,
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

impl TrustedRoot {
    /// Reads a trusted root (`dev.sigstore.trustroot.v1`, JSON form). Refuses one that cannot be used with `trusted-root-invalid`.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > limits::POLICY {
            return Err(Refusal::too_large("trusted root", format!("{} bytes", json.len()), limits::POLICY));
        }
        let invalid = |e: &dyn fmt::Display| Refusal::new(Code::TrustedRootInvalid, "trusted root").because(e);
        let authorities = Authorities::from_json(json).map_err(|e| invalid(&e))?;
        let kind = authorities.media_type.starts_with("application/vnd.dev.sigstore.trustedroot");
        let empty = authorities.certificate_authorities.is_empty()
            || authorities.ctlogs.is_empty()
            || authorities.tlogs.is_empty();
        if !kind || empty {
            return Err(invalid(&"no trusted root, or one without an authority, a certificate log or a log"));
        }
        let verifier = Verifier::new(&authorities).map_err(|e| invalid(&e))?;
        let logs = authorities.tlogs.into_iter().map(|log| log.log_id.key_id).collect();
        Ok(Self { verifier, logs })
    }

    /// The root of Sigstore's public instance, as it was when `sigstore-verify` was released.
    pub fn public() -> Result<Self> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Verifies a bundle that was just made, whoever signed it: what a service answered is then worth keeping.
    ///
    /// # Errors
    /// Those of a bundle that somebody else gives.
    pub fn verify_made(&self, bundle: &[u8]) -> Result<()> {
        self.verify(bundle).map(|_| ())
    }

    /// Verifies a bundle with one certificate: that Fulcio issued it for signing, and a trusted log holds it (SCT); that a trusted
    /// log holds the signature (inclusion proof under a signed checkpoint); that the certificate was valid at every time that log
    /// and timestamp authorities (RFC 3161) vouch for, of which there must be one; and that its key signed the payload.
    ///
    /// The system's clock is looked at for one thing: a log entry of the future is refused.
    ///
    /// # Errors
    /// `signer-certificate-invalid`, `signer-certificate-expired`, `sct-invalid`, `log-untrusted`, `log-entry-invalid`,
    /// `log-proof-invalid`, `timestamp-invalid`, `timestamp-outside-validity`, `signing-time-missing`, `signature-invalid`;
    /// `malformed`.
    pub(crate) fn verify(&self, bundle: &[u8]) -> Result<Vouched> {
        let text = core::str::from_utf8(bundle).map_err(|e| Refusal::malformed("signature bundle", e))?;
        let bundle = Bundle::from_json(text).map_err(|e| Refusal::malformed("signature bundle", e))?;
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err(Refusal::malformed("signature bundle", "no DSSE envelope"));
        };
        // What the statement says that it is about; whoever asked compares that with what it should be.
        let payload = envelope.payload.as_bytes().to_vec();
        let about = Sha256Hash::from_hex(&subject_of(&payload)?.to_string())
            .map_err(|e| Refusal::new(Code::Internal, "digest").because(e))?;
        let verified = self.verifier.verify(about, &bundle, &VerificationPolicy::any_identity());
        let verified = verified.map_err(|error| self.refusal(&error, about, &bundle))?;
        // What no policy of ours leaves out, and so holds; a change in `sigstore-verify` must not pass unseen.
        if !(verified.certificate_verified() && verified.sct_verified() && verified.tlog_verified()) {
            return Err(Refusal::new(Code::Internal, "keyless signature").got("a check that did not run"));
        }
        let (Some(subject), Some(issuer)) = (verified.identity(), verified.issuer()) else {
            let refusal = Refusal::new(Code::SignerCertificateInvalid, "certificate of a signer");
            return Err(refusal.got("no identity or no issuer"));
        };
        Ok(Vouched { payload, issuer: issuer.to_owned(), subject: subject.as_str().to_owned() })
    }

    fn refusal(&self, error: &Error, about: Sha256Hash, bundle: &Bundle) -> Refusal {
        let code = match error {
            // The path is looked for at the time of signing, so one that ended looks like one that leads nowhere.
            Error::Certificate(CertificateError::ChainInvalid(_)) if self.had_expired(about, bundle) => {
                Code::SignerCertificateExpired
            }
            // The second version's entries name their log by their checkpoint alone.
            Error::TransparencyLog(TransparencyLogError::Checkpoint(_)) if !self.knows_a_log_of(bundle) => {
                Code::LogUntrusted
            }
            other => code(other),
        };
        Refusal::new(code, "keyless signature").because(error)
    }

    /// Whether a trusted log's key, by its hint, is among those that a checkpoint of the bundle says to be signed with (C2SP
    /// signed-note). Nothing is verified.
    fn knows_a_log_of(&self, bundle: &Bundle) -> bool {
        let proofs =
            bundle.verification_material.tlog_entries.iter().filter_map(|entry| entry.inclusion_proof.as_ref());
        let mut signed = proofs.filter_map(|proof| proof.checkpoint.checkpoint()).flat_map(|one| one.signatures());
        signed.any(|signature| self.logs.iter().any(|log| log.as_bytes().starts_with(signature.key_id.as_ref())))
    }

    /// Whether the certificate was out of its time at a time of signing, all else being well.
    fn had_expired(&self, about: Sha256Hash, bundle: &Bundle) -> bool {
        let unchained = VerificationPolicy::any_identity().skip_certificate_chain().skip_tlog_unsafe();
        let outside = |verified: VerificationResult| {
            verified.certificate().is_some_and(|certificate| {
                let valid = certificate.not_before..=certificate.not_after;
                verified.verified_timestamps().iter().any(|time| !valid.contains(time))
            })
        };
        self.verifier.verify(about, bundle, &unchained).is_ok_and(outside)
    }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustedRoot")
    }
}

impl Vouched {
    /// Refuses another identity than `wanted` with `signer-issuer-mismatch` or `signer-identity-mismatch`.
    pub(crate) fn verify_identity(&self, wanted: &Identity) -> Result<()> {
        let mismatch = |code, what: &str, got: &str, want: &str| {
            let got: String = got.chars().take(200).collect();
            Err(Refusal::new(code, format!("{what} of a signer")).got(got).want(want))
        };
        if !wanted.has_subject(&self.subject) {
            return mismatch(Code::SignerIdentityMismatch, "identity", &self.subject, wanted.subject_text());
        }
        if !wanted.is(&self.issuer, &self.subject) {
            return mismatch(Code::SignerIssuerMismatch, "issuer", &self.issuer, &wanted.issuer);
        }
        Ok(())
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::Certificate(CertificateError::Sct(_)) => Code::SctInvalid,
        Error::Certificate(CertificateError::Expired { .. } | CertificateError::NotYetValid { .. })
        | Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)) => Code::SignerCertificateExpired,
        Error::Certificate(_) => Code::SignerCertificateInvalid,
        Error::TransparencyLog(TransparencyLogError::UnknownLog { .. }) => Code::LogUntrusted,
        Error::TransparencyLog(TransparencyLogError::InclusionProof(_) | TransparencyLogError::Checkpoint(_))
        | Error::Bundle(
            BundleError::MissingInclusionProof(_)
            | BundleError::MissingCheckpoint
            | BundleError::LogIndexOutOfRange { .. }
            | BundleError::CheckpointRootMismatch,
        ) => Code::LogProofInvalid,
        Error::TransparencyLog(_)
        | Error::Bundle(BundleError::MissingInclusionPromise(_) | BundleError::MissingSigningTimeEvidence) => {
            Code::LogEntryInvalid
        }
        Error::Timestamp(TimestampError::OutsideAuthorityValidity { .. }) => Code::TimestampOutsideValidity,
        Error::Timestamp(TimestampError::NoVerifiedTimestamp(_)) => Code::SigningTimeMissing,
        Error::Timestamp(_) => Code::TimestampInvalid,
        Error::SignatureInvalid(_) | Error::ArtifactMismatch(_) => Code::SignatureInvalid,
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => Code::TrustedRootInvalid,
        // What cannot be read, in one of many ways.
        _ => Code::Malformed,
    }
}

/// The digest of the first subject of an in-toto statement.
fn subject_of(payload: &[u8]) -> Result<Sha256> {
    #[derive(Deserialize)]
    struct Statement {
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digest,
    }
    #[derive(Deserialize)]
    struct Digest {
        sha256: Sha256,
    }
    let statement: Statement =
        strongroom_wire::document::parse_json(payload, "statement", limits::BUNDLE, Code::SignatureInvalid)?;
    let first = statement.subject.first();
    first.map(|subject| subject.digest.sha256).ok_or_else(|| {
        Refusal::new(Code::SignatureInvalid, "statement").got("no subject").want("the digest that was signed")
    })
}
