//! From the hardware's report data to the PCRs, whatever the hardware is.

use crate::trace::traced;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use strongroom_wire::azure::{AttestationKey, Evidence, HclReport, Platform, RuntimeData};
use strongroom_wire::digest::Sha256;
use strongroom_wire::tpm::{PCRS, Quote};
use strongroom_wire::{Check, Code, Refusal, Result};

/// A virtual TPM's PCRs, rooted in authentic hardware evidence `E` and quoted for a given nonce. Whether paravisor and PCRs
/// are what anybody wants has not been judged.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `azure::authenticate_snp` and `azure::authenticate_tdx`.
/// let forged = strongroom_appraisal::azure::AuthenticVtpm { hardware: (), hcl: todo!(), quote: todo!(), pcrs: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct AuthenticVtpm<E> {
    hardware: E,
    hcl: HclReport,
    quote: Quote,
    pcrs: [[u8; 32]; PCRS],
}

/// Steps 4 to 7 of [`super::authenticate_snp`]; `report_data` is what `hardware` says.
pub(super) fn verify_vtpm<E>(
    hardware: E,
    report_data: &[u8; 64],
    hcl: HclReport,
    evidence: &Evidence,
    nonce: &[u8],
    trace: &mut Vec<Check>,
) -> Result<AuthenticVtpm<E>> {
    traced(trace, "runtime-data", verify_runtime_data(report_data, &hcl))?;
    let quote = traced(trace, "tpm-quote", Quote::parse(&evidence.message))?;
    let key = &hcl.runtime.attestation_key;
    traced(trace, "tpm-signature", verify_signature(key, &quote, &evidence.signature))?;
    traced(trace, "nonce", verify_nonce(&quote, nonce))?;
    traced(trace, "pcrs", verify_pcrs(&quote, &evidence.pcrs))?;
    Ok(AuthenticVtpm { hardware, hcl, quote, pcrs: evidence.pcrs })
}

fn verify_runtime_data(got: &[u8; 64], hcl: &HclReport) -> Result<()> {
    let want = hcl.report_data();
    if *got == want {
        return Ok(());
    }
    Err(Refusal::new(Code::ReportDataMismatch, "runtime data of the HCL report")
        .got(hex::encode(got))
        .want(hex::encode(want)))
}

/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2), the one scheme that Azure makes the attestation key for.
fn verify_signature(key: &AttestationKey, quote: &Quote, signature: &[u8]) -> Result<()> {
    let public = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
    public.verify(&RSA_PKCS1_2048_8192_SHA256, quote.raw(), signature).map_err(|_| {
        Refusal::new(Code::EvidenceSignatureInvalid, "TPM quote")
            .got("does not verify")
            .want("a signature by HCLAkPub of the runtime data")
    })
}

fn verify_nonce(quote: &Quote, want: &[u8]) -> Result<()> {
    if !want.is_empty() && quote.extra_data == want {
        return Ok(());
    }
    let want = if want.is_empty() { "a nonce that is not empty".to_owned() } else { hex::encode(want) };
    Err(Refusal::new(Code::NonceMismatch, "extra data of the TPM quote").got(hex::encode(&quote.extra_data)).want(want))
}

fn verify_pcrs(quote: &Quote, pcrs: &[[u8; 32]; PCRS]) -> Result<()> {
    let got = Sha256::of(pcrs.as_flattened());
    if got.0 == quote.pcr_digest {
        return Ok(());
    }
    Err(Refusal::new(Code::PcrMismatch, "digest of the PCRs").got(got).want(hex::encode(quote.pcr_digest)))
}

impl<E> AuthenticVtpm<E> {
    /// The authentic evidence of the hardware, which measures the paravisor.
    pub const fn hardware(&self) -> &E {
        &self.hardware
    }

    /// The platform.
    pub const fn platform(&self) -> Platform {
        self.hcl.platform
    }

    /// What the paravisor states of itself and of the guest.
    pub const fn runtime(&self) -> &RuntimeData {
        &self.hcl.runtime
    }

    /// The TPM's quote.
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// PCR 0 to 23 of the SHA-256 bank, all of them quoted.
    pub const fn pcrs(&self) -> &[[u8; 32]; PCRS] {
        &self.pcrs
    }
}
