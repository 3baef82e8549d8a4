//! Evidence of Azure's confidential guests: a paravisor (the "HCL") holds the hardware report, and gives the guest a virtual
//! TPM whose attestation key that report commits to. The layout is that of Microsoft's "Azure confidential VM guest
//! attestation" pages and of OpenHCL's `igvm_attest` definitions; multi-byte integers are little-endian.
//!
//! Parsing verifies nothing.

mod hcl;

use crate::bytes::hex_array;
use crate::{Code, Refusal, Result, limits, tpm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
pub use hcl::{AttestationKey, HclReport, Platform, RuntimeData};
use serde::{Deserialize, Serialize};

/// All that an Azure guest shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The paravisor's report, from the virtual TPM's NV index 0x01400001.
    pub hcl_report: Vec<u8>,
    /// `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// Signature over it: RSASSA-PKCS1-v1_5 with SHA-256.
    pub signature: Vec<u8>,
    /// PCR 0 to 23 of the SHA-256 bank.
    pub pcrs: [[u8; 32]; tpm::PCRS],
    /// The TDX quote over the paravisor's TDREPORT; on SNP none.
    pub td_quote: Option<Vec<u8>>,
    /// The VCEK in DER that the host gave; on TDX none. To be verified like one from anywhere else.
    pub vcek: Option<Vec<u8>>,
}

/// As Confidential Containers' attesters `az-snp-vtpm` and `az-tdx-vtpm` write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    hcl_report: String,
    tpm_quote: TpmQuote,
    td_quote: Option<String>,
    vcek: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmQuote {
    signature: String,
    message: String,
    pcrs: Vec<String>,
}

impl Evidence {
    /// Parses versions 1 and 2 of the JSON document of the attesters `az-snp-vtpm` and `az-tdx-vtpm`.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `version-unsupported`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > limits::AZURE_EVIDENCE {
            return Err(Refusal::too_large("Azure evidence", json.len(), limits::AZURE_EVIDENCE));
        }
        let document: Document = serde_json::from_slice(json).map_err(|e| Refusal::malformed("Azure evidence", e))?;
        if !(1..=2).contains(&document.version) {
            return Err(Refusal::new(Code::VersionUnsupported, "Azure evidence").got(document.version).want("1 or 2"));
        }
        let quote = document.tpm_quote;
        let hex = |text: &str, what: &str| hex::decode(text).map_err(|e| Refusal::malformed(what, e));
        let pcrs = quote.pcrs.iter().map(|pcr| hex_array(pcr, "PCR")).collect::<Result<Vec<_>>>()?;
        let pcrs = pcrs.try_into().map_err(|pcrs: Vec<_>| {
            Refusal::new(Code::Malformed, "PCRs of Azure evidence").got(pcrs.len()).want(tpm::PCRS)
        })?;
        let optional = |text: Option<String>, what: &str| text.map(|text| padded_base64url(&text, what)).transpose();
        Ok(Self {
            hcl_report: padded_base64url(&document.hcl_report, "HCL report")?,
            message: hex(&quote.message, "TPM quote")?,
            signature: hex(&quote.signature, "signature of a TPM quote")?,
            pcrs,
            td_quote: optional(document.td_quote, "TDX quote")?,
            vcek: optional(document.vcek, "VCEK")?,
        })
    }

    /// Version 2 of the document that [`Self::parse`] makes the same of.
    ///
    /// # Errors
    /// `internal`: it has no such form, which does not happen.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let document = Document {
            version: 2,
            hcl_report: URL_SAFE.encode(&self.hcl_report),
            tpm_quote: TpmQuote {
                signature: hex::encode(&self.signature),
                message: hex::encode(&self.message),
                pcrs: self.pcrs.iter().map(hex::encode).collect(),
            },
            td_quote: self.td_quote.as_ref().map(|quote| URL_SAFE.encode(quote)),
            vcek: self.vcek.as_ref().map(|vcek| URL_SAFE.encode(vcek)),
        };
        serde_json::to_vec(&document).map_err(|e| Refusal::new(Code::Internal, "Azure evidence").because(e))
    }
}

/// Base64url of RFC 4648 §5 with padding, as these attesters write it.
fn padded_base64url(text: &str, what: &str) -> Result<Vec<u8>> {
    URL_SAFE.decode(text).map_err(|e| Refusal::malformed(format!("{what}: base64url"), e))
}

#[cfg(test)]
mod tests;
