//! The quoting enclave's own report: an SGX REPORTBODY (Intel SDM volume 3D, "REPORT"), of which the fields that identify
//! an enclave are kept by name.

use crate::Result;
use crate::bytes::Cursor;

/// Length of an SGX report body.
pub const QE_REPORT_LEN: usize = 384;

/// An SGX report body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeReport {
    raw: Box<[u8; QE_REPORT_LEN]>,
    /// MISCSELECT, as its bytes stand.
    pub miscselect: [u8; 4],
    /// ATTRIBUTES.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// MRSIGNER.
    pub mrsigner: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

impl QeReport {
    pub(super) fn parse(raw: [u8; QE_REPORT_LEN]) -> Result<Self> {
        let mut at = Cursor::new(&raw, "QE report");
        at.take(16)?; // CPUSVN: the platform's TCB is the PCK certificate's to say
        let miscselect = at.array()?;
        at.take(28)?;
        let attributes = at.array()?;
        let mrenclave = at.array()?;
        at.take(32)?;
        let mrsigner = at.array()?;
        at.take(96)?;
        let (isv_prod_id, isv_svn) = (at.u16_le()?, at.u16_le()?);
        at.take(60)?;
        let report_data = at.array()?;
        at.finish()?;
        Ok(Self { raw: Box::new(raw), miscselect, attributes, mrenclave, mrsigner, isv_prod_id, isv_svn, report_data })
    }

    /// The bytes as received, which the PCK signed.
    pub fn raw(&self) -> &[u8; QE_REPORT_LEN] {
        &self.raw
    }
}
