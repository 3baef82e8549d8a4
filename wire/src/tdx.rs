//! Intel TDX quotes, versions 4 and 5 (Intel TDX DCAP Quoting Library API, appendix "Quote format"), signed with ECDSA
//! P-256. Multi-byte integers are little-endian there.
//!
//! Parsing verifies nothing. A [`Quote`] says what its bytes say; who signed them is `appraisal`'s matter.

mod authentication;
mod body;
mod local;
mod qe_report;

use crate::bytes::Cursor;
use crate::{Code, Refusal, Result};
pub use authentication::{Authentication, Certification};
pub use body::{Extended, TdAttributes, TdReport, Xfam};
pub use local::{LocalReport, TD_REPORT_LEN};
pub use qe_report::{QE_REPORT_LEN, QeReport};

/// Length of a quote header.
pub const HEADER_LEN: usize = 48;
/// QE Vendor ID of Intel's quoting enclaves.
pub const INTEL_QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// Attestation Key Type 2: ECDSA-256-with-P-256.
const ECDSA_P256: u16 = 2;
/// TEE Type of TDX.
const TEE_TDX: u32 = 0x81;

/// A parsed quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    raw: Vec<u8>,
    signed_len: usize,
    /// Header.
    pub header: Header,
    /// Quote Body Type: 2 (TD 1.0), 3 (TD 1.5) or 4 (TD 1.5 extended). Version 4 knows TD 1.0 alone and does not write it.
    pub body_type: u16,
    /// TD Quote Body.
    pub body: TdReport,
    /// Quote Signature Data.
    pub authentication: Authentication,
}

/// The 48 bytes before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version: 4 or 5.
    pub version: u16,
    /// QE Vendor ID.
    pub qe_vendor_id: [u8; 16],
    /// User Data; Intel's quoting enclave writes its own id there.
    pub user_data: [u8; 20],
    /// Whether the four reserved bytes are zero.
    pub reserved_zero: bool,
}

/// Whether `evidence` begins as a TDX quote of some version and key does: what tells it from an SNP report, whose version
/// has four bytes, so that the third is zero.
pub fn looks_like_quote(evidence: &[u8]) -> bool {
    matches!(evidence.get(..8), Some([3..=6, 0, 1..=255, 0, 0x81, 0, 0, 0]))
}

impl Quote {
    /// Parses a quote. Behind it only zero bytes may stand, which are the rest of the buffer that a host filled.
    ///
    /// # Errors
    /// `malformed`; `too-large`; `version-unsupported`: neither 4 nor 5; `platform-unsupported`: not of TDX, or a body of
    /// an unknown type; `signing-key-unsupported`: not signed with ECDSA P-256.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > crate::limits::EVIDENCE {
            return Err(Refusal::too_large("TDX quote", bytes.len(), crate::limits::EVIDENCE));
        }
        let mut at = Cursor::new(bytes, "TDX quote");
        let header = Header::read(&mut at)?;
        let (body_type, body_len) =
            if header.version == 5 { (at.u16_le()?, Some(length(at.u32_le()?))) } else { (body::TD_10, None) };
        let want = body::length_of(body_type).ok_or_else(|| {
            Refusal::new(Code::PlatformUnsupported, "TDX quote body type").got(body_type).want("2, 3 or 4")
        })?;
        if let Some(got) = body_len.filter(|got| *got != want) {
            return Err(Refusal::new(Code::Malformed, "TDX quote body size").got(got).want(want));
        }
        let body = TdReport::parse(at.take(want)?, body_type)?;
        let signed_len = bytes.len().saturating_sub(at.rest().len());
        let authentication_len = length(at.u32_le()?);
        let authentication = Authentication::parse(at.take(authentication_len)?)?;
        if at.rest().iter().any(|byte| *byte != 0) {
            return Err(Refusal::malformed("TDX quote", "trailing bytes that are not zero"));
        }
        Ok(Self { raw: bytes.to_vec(), signed_len, header, body_type, body, authentication })
    }

    /// The bytes as received.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The bytes that the attestation key signed: header, body descriptor where there is one, and body.
    pub fn signed(&self) -> &[u8] {
        self.raw.get(..self.signed_len).unwrap_or_default()
    }
}

impl Header {
    fn read(at: &mut Cursor<'_>) -> Result<Self> {
        let version = at.u16_le()?;
        if !(4..=5).contains(&version) {
            return Err(Refusal::new(Code::VersionUnsupported, "TDX quote version").got(version).want("4 or 5"));
        }
        let key_type = at.u16_le()?;
        let tee = at.u32_le()?;
        if tee != TEE_TDX {
            return Err(Refusal::new(Code::PlatformUnsupported, "TEE type").got(format!("{tee:#x}")).want("0x81, TDX"));
        }
        if key_type != ECDSA_P256 {
            return Err(Refusal::new(Code::SigningKeyUnsupported, "attestation key type")
                .got(key_type)
                .want(format!("{ECDSA_P256}, ECDSA P-256")));
        }
        let reserved_zero = at.array::<4>()? == [0; 4];
        Ok(Self { version, qe_vendor_id: at.array()?, user_data: at.array()?, reserved_zero })
    }
}

/// A length field; one that no address space holds is longer than any input.
fn length(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
