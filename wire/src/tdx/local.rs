//! TDREPORT: what the TDX module tells a guest of itself, by a call that its host has no part in (TDREPORT_STRUCT of the TDX module
//! ABI specification).

use crate::bytes::Cursor;
use crate::{Code, Refusal, Result};

/// Length of TDREPORT_STRUCT.
pub const TD_REPORT_LEN: usize = 1024;

/// What of a TDREPORT a guest asks about itself. Its MAC is for the processor that made it: who has the report from there needs none,
/// and nobody else believes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalReport {
    /// REPORTDATA: what was asked with.
    pub report_data: [u8; 64],
    /// MRCONFIGID: chosen by the host at launch, unchangeable afterwards.
    pub mrconfigid: [u8; 48],
}

impl LocalReport {
    /// Parses REPORTMACSTRUCT (256 bytes), TEE_TCB_INFO and what is reserved behind it (256), and TDINFO_STRUCT (512), of which
    /// MRCONFIGID follows ATTRIBUTES, XFAM and MRTD.
    ///
    /// # Errors
    /// `malformed`: of another length; `platform-unsupported`: REPORTTYPE is not that of a trust domain.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut at = Cursor::new(bytes, "TDREPORT");
        let kind = at.u8()?;
        if kind != TRUST_DOMAIN {
            let got = format!("{kind:#x}");
            return Err(Refusal::new(Code::PlatformUnsupported, "REPORTTYPE").got(got).want("0x81, TDX"));
        }
        // The rest of REPORTTYPE, reserved bytes, CPUSVN, TEE_TCB_INFO_HASH, TEE_INFO_HASH.
        at.take(127)?;
        let report_data = at.array()?;
        // Reserved bytes, MAC; TEE_TCB_INFO and reserved bytes; ATTRIBUTES, XFAM, MRTD.
        at.take(64)?;
        at.take(256)?;
        at.take(64)?;
        let mrconfigid = at.array()?;
        // MROWNER, MROWNERCONFIG, RTMR0 to RTMR3, SERVTD_HASH, reserved bytes.
        at.take(400)?;
        at.finish()?;
        Ok(Self { report_data, mrconfigid })
    }
}

/// REPORTTYPE's TYPE of a trust domain.
const TRUST_DOMAIN: u8 = 0x81;

#[cfg(test)]
mod tests {
    use super::*;

    /// A report whose bytes tell where they stand, but for the type.
    fn report() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..TD_REPORT_LEN).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        bytes[0] = 0x81;
        bytes
    }

    #[test]
    fn report_data_and_mrconfigid_stand_where_the_specification_puts_them() {
        let bytes = report();
        let parsed = LocalReport::parse(&bytes).unwrap();
        assert_eq!(parsed.report_data, bytes[128..192]);
        assert_eq!(parsed.mrconfigid, bytes[576..624]);
    }

    #[test]
    fn report_of_a_trust_domain_accepted_and_of_an_enclave_refused() {
        let mut bytes = report();
        assert!(LocalReport::parse(&bytes).is_ok());
        bytes[0] = 0;
        assert_eq!(LocalReport::parse(&bytes).unwrap_err().code, Code::PlatformUnsupported);
    }

    #[test]
    fn report_of_another_length_refused() {
        let mut bytes = report();
        for length in 1..TD_REPORT_LEN {
            assert_eq!(LocalReport::parse(&bytes[..length]).unwrap_err().code, Code::Malformed, "{length}");
        }
        bytes.push(0);
        assert_eq!(LocalReport::parse(&bytes).unwrap_err().code, Code::Malformed);
    }
}
