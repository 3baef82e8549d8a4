//! TDX quotes as a quoting enclave would make them. Every field that a check reads can be changed alone, before signing.

use crate::intel::{Key, Pck};
use aws_lc_rs::digest::{SHA256, digest};
use strongroom_wire::tdx::{INTEL_QE_VENDOR, Quote};
use strongroom_wire::{Code, Refusal, Result};

/// What a quote shall say. Defaults are those of a sound TD 1.0 on the platform of [`crate::intel::PckSpec::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSpec {
    /// Version: 4, or 5, which names its body's type.
    pub version: u16,
    /// Body type: 2, 3 or 4.
    pub body_type: u16,
    /// The header's reserved bytes.
    pub header_reserved: [u8; 4],
    /// QE Vendor ID.
    pub qe_vendor_id: [u8; 16],
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mrseam: [u8; 48],
    /// MRSIGNERSEAM.
    pub mrsignerseam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES; bit 28 is SEPT_VE_DISABLE.
    pub td_attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mrtd: [u8; 48],
    /// MRCONFIGID.
    pub mrconfigid: [u8; 48],
    /// MROWNER.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG.
    pub mrownerconfig: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// TEE_TCB_SVN_2, from body type 3 on; `None` takes TEE_TCB_SVN.
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// MRSERVICETD, from body type 3 on.
    pub mrservicetd: [u8; 48],
    /// VMID; body type 4 only.
    pub vmid: u8,
    /// SERVTD_HASH at launch; body type 4 only.
    pub init_servtd_hash: [u8; 48],
    /// Attributes of the service TD at launch; body type 4 only.
    pub init_servtd_attributes: [u8; 8],
    /// Attributes of the service TD now; body type 4 only.
    pub cur_servtd_attributes: [u8; 8],
    /// SERVTD_HASH of now, in body type 4.
    pub cur_servtd_hash: [u8; 48],
    /// MISCSELECT of the quoting enclave.
    pub qe_miscselect: [u8; 4],
    /// ATTRIBUTES of the quoting enclave.
    pub qe_attributes: [u8; 16],
    /// MRSIGNER of the quoting enclave.
    pub qe_mrsigner: [u8; 32],
    /// ISVPRODID of the quoting enclave.
    pub qe_isv_prod_id: u16,
    /// ISVSVN of the quoting enclave.
    pub qe_isv_svn: u16,
    /// REPORTDATA of the quoting enclave; `None` commits to the attestation key.
    pub qe_report_data: Option<[u8; 64]>,
    /// Certification data type of the chain.
    pub certification: u16,
}

impl Default for QuoteSpec {
    fn default() -> Self {
        Self {
            version: 4,
            body_type: 2,
            header_reserved: [0; 4],
            qe_vendor_id: INTEL_QE_VENDOR,
            tee_tcb_svn: [5, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            mrseam: [0x5e; 48],
            mrsignerseam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: 1 << 28,
            xfam: 0x0006_02e7,
            mrtd: [0x4d; 48],
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            rtmr: [[0x70; 48], [0x71; 48], [0x72; 48], [0; 48]],
            report_data: [0; 64],
            tee_tcb_svn2: None,
            mrservicetd: [0; 48],
            vmid: 0,
            init_servtd_hash: [0; 48],
            init_servtd_attributes: [0; 8],
            cur_servtd_hash: [0; 48],
            cur_servtd_attributes: [0; 8],
            qe_miscselect: [0; 4],
            qe_attributes: [0x11, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
            qe_mrsigner: [0xdc; 32],
            qe_isv_prod_id: 2,
            qe_isv_svn: 4,
            qe_report_data: None,
            certification: 5,
        }
    }
}

impl QuoteSpec {
    /// The raw quote: signed by a fresh attestation key, for which a QE report signed by `pck` vouches.
    pub fn sign(&self, pck: &Pck) -> Result<Vec<u8>> {
        let attestation_key = Key::generate()?;
        let auth_data: Vec<u8> = (0..32).collect();
        let qe_report = self.qe_report(&attestation_key, &auth_data);
        let mut certification = qe_report.clone();
        certification.extend(pck.key.sign_fixed(&qe_report)?);
        certification.extend(u16_of(auth_data.len())?);
        certification.extend(auth_data);
        certification.extend(self.certification.to_le_bytes());
        certification.extend(u32_of(pck.chain.len())?);
        certification.extend(&pck.chain);

        let mut quote = self.header();
        let body = self.body();
        if self.version >= 5 {
            quote.extend(self.body_type.to_le_bytes());
            quote.extend(u32_of(body.len())?);
        }
        quote.extend(body);
        let mut authentication = attestation_key.sign_fixed(&quote)?;
        authentication.extend(attestation_key.point());
        authentication.extend(6u16.to_le_bytes());
        authentication.extend(u32_of(certification.len())?);
        authentication.extend(certification);
        quote.extend(u32_of(authentication.len())?);
        quote.extend(authentication);
        Ok(quote)
    }

    /// [`Self::sign`], parsed.
    pub fn quote(&self, pck: &Pck) -> Result<Quote> {
        Quote::parse(&self.sign(pck)?)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = self.version.to_le_bytes().to_vec();
        header.extend(2u16.to_le_bytes());
        header.extend(0x81u32.to_le_bytes());
        header.extend(self.header_reserved);
        header.extend(self.qe_vendor_id);
        header.extend([0; 20]);
        header
    }

    fn body(&self) -> Vec<u8> {
        let mut body = self.tee_tcb_svn.to_vec();
        body.extend(self.mrseam);
        body.extend(self.mrsignerseam);
        body.extend(self.seam_attributes);
        body.extend(self.td_attributes.to_le_bytes());
        body.extend(self.xfam.to_le_bytes());
        for register in [self.mrtd, self.mrconfigid, self.mrowner, self.mrownerconfig].iter().chain(&self.rtmr) {
            body.extend(register);
        }
        body.extend(self.report_data);
        if self.body_type >= 3 {
            body.extend(self.tee_tcb_svn2.unwrap_or(self.tee_tcb_svn));
            body.extend(self.mrservicetd);
        }
        if self.body_type >= 4 {
            body.push(self.vmid);
            body.extend([0; 80]);
            body.extend(self.init_servtd_hash);
            body.extend(self.init_servtd_attributes);
            body.extend([0; 44]);
            body.extend(self.cur_servtd_hash);
            body.extend(self.cur_servtd_attributes);
        }
        body
    }

    fn qe_report(&self, attestation_key: &Key, auth_data: &[u8]) -> Vec<u8> {
        let mut bound = attestation_key.point().to_vec();
        bound.extend(auth_data);
        let mut committed = digest(&SHA256, &bound).as_ref().to_vec();
        committed.resize(64, 0);
        let mut report = vec![0; 16];
        report.extend(self.qe_miscselect);
        report.extend([0; 28]);
        report.extend(self.qe_attributes);
        report.extend([0x3e; 32]);
        report.extend([0; 32]);
        report.extend(self.qe_mrsigner);
        report.extend([0; 96]);
        report.extend(self.qe_isv_prod_id.to_le_bytes());
        report.extend(self.qe_isv_svn.to_le_bytes());
        report.extend([0; 60]);
        report.extend(self.qe_report_data.map_or(committed, |chosen| chosen.to_vec()));
        report
    }
}

fn u16_of(length: usize) -> Result<[u8; 2]> {
    u16::try_from(length).map(u16::to_le_bytes).map_err(too_long)
}

fn u32_of(length: usize) -> Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(too_long)
}

fn too_long(error: core::num::TryFromIntError) -> Refusal {
    Refusal::new(Code::Internal, "devkit quote").because(error)
}
