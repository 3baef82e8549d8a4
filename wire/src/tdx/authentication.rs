//! Quote Signature Data of versions 4 and 5: the quote's signature, the key that made it, and the quoting enclave's report
//! (certification data type 6) that vouches for that key under the platform's certificate (type 5 inside).

use super::length;
use super::qe_report::{QE_REPORT_LEN, QeReport};
use crate::bytes::Cursor;
use crate::{Code, Refusal, Result, limits};

/// Certification data type of a QE report with its own certification data.
const QE_REPORT_CERTIFICATION: u16 = 6;
/// Certification data type of a PCK certificate chain in PEM.
const PCK_CHAIN_CERTIFICATION: u16 = 5;

/// Who vouches for a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// ECDSA P-256 over [`super::Quote::signed`]: R and S, big-endian.
    pub signature: [u8; 64],
    /// The attestation key: X and Y of a P-256 point, big-endian.
    pub attestation_key: [u8; 64],
    /// QE Report.
    pub qe_report: QeReport,
    /// ECDSA P-256 of the PCK over the QE report: R and S, big-endian.
    pub qe_report_signature: [u8; 64],
    /// QE Authentication Data, hashed with the attestation key into the QE report's report data.
    pub qe_auth_data: Vec<u8>,
    /// QE Certification Data.
    pub certification: Certification,
}

/// How the platform's certificate is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certification {
    /// Type 5: PCK leaf, intermediate and root in PEM, with zero bytes behind it where the C string came along.
    PckChain(Vec<u8>),
    /// A platform id from which a certificate would have to be fetched (types 1 to 4), or an unknown type.
    Other(u16),
}

impl Authentication {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut at = Cursor::new(bytes, "TDX quote signature data");
        let signature = at.array()?;
        let attestation_key = at.array()?;
        let kind = at.u16_le()?;
        if kind != QE_REPORT_CERTIFICATION {
            return Err(Refusal::new(Code::Malformed, "certification data type")
                .got(kind)
                .want(format!("{QE_REPORT_CERTIFICATION}, QE report certification data")));
        }
        let size = length(at.u32_le()?);
        let mut inner = Cursor::new(at.take(size)?, "QE report certification data");
        at.finish()?;
        let qe_report = QeReport::parse(inner.array::<QE_REPORT_LEN>()?)?;
        let qe_report_signature = inner.array()?;
        let size = usize::from(inner.u16_le()?);
        if size > limits::QE_AUTH_DATA {
            return Err(Refusal::too_large("QE authentication data", size, limits::QE_AUTH_DATA));
        }
        let qe_auth_data = inner.take(size)?.to_vec();
        let kind = inner.u16_le()?;
        let size = length(inner.u32_le()?);
        if size > limits::PCK_CHAIN {
            return Err(Refusal::too_large("PCK certificate chain", size, limits::PCK_CHAIN));
        }
        let data = inner.take(size)?;
        inner.finish()?;
        let certification = match kind {
            PCK_CHAIN_CERTIFICATION => Certification::PckChain(data.to_vec()),
            other => Certification::Other(other),
        };
        Ok(Self { signature, attestation_key, qe_report, qe_report_signature, qe_auth_data, certification })
    }
}
