//! SNP reports as a chip would make them. Every field that a check reads can be changed alone, before signing.

use crate::amd::{Vek, crypto};
use aws_lc_rs::rand::SystemRandom;
use strongroom_wire::snp::{REPORT_LEN, Report, SIGNED_LEN, TcbLayout};
use strongroom_wire::{Code, Refusal, Result};

/// What a report shall say. Defaults are those of a sound guest on the chip of [`crate::amd::VekSpec::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSpec {
    /// VERSION.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY; bit 17 must be one, bit 19 is DEBUG, bit 18 MIGRATE_MA.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: u32,
    /// SIGNATURE_ALGO.
    pub signature_algo: u32,
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// The word at 0x48; bit 0 is AUTHOR_KEY_EN, bits 2–4 are SIGNING_KEY (0 VCEK, 1 VLEK).
    pub key_info: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID_MA.
    pub report_id_ma: [u8; 32],
    /// CPUID family, model, stepping.
    pub cpuid: [u8; 3],
    /// CHIP_ID; `None` takes the endorsement key's.
    pub chip_id: Option<[u8; 64]>,
    /// REPORTED_TCB, raw; `None` takes the endorsement key's.
    pub tcb: Option<[u8; 8]>,
    /// CURRENT_TCB, raw; `None` takes the reported one.
    pub current_tcb: Option<[u8; 8]>,
    /// COMMITTED_TCB, raw; `None` takes the reported one.
    pub committed_tcb: Option<[u8; 8]>,
    /// LAUNCH_TCB, raw; `None` takes the reported one.
    pub launch_tcb: Option<[u8; 8]>,
    /// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR.
    pub current_version: [u8; 3],
    /// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR.
    pub committed_version: [u8; 3],
    /// LAUNCH_MIT_VECTOR; written from version 5.
    pub launch_mit_vector: u64,
    /// CURRENT_MIT_VECTOR; written from version 5.
    pub current_mit_vector: u64,
    /// Bytes put at offsets after everything else and before signing.
    pub raw: Vec<(usize, u8)>,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self {
            version: 3,
            guest_svn: 0,
            policy: 0x3_0000,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            platform_info: 0x25,
            key_info: 0,
            report_data: [0; 64],
            measurement: [0x4d; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id_ma: [0xff; 32],
            cpuid: [0x19, 0x01, 0x01],
            chip_id: None,
            tcb: None,
            current_tcb: None,
            committed_tcb: None,
            launch_tcb: None,
            current_version: [12, 55, 1],
            committed_version: [12, 55, 1],
            launch_mit_vector: 0,
            current_mit_vector: 0,
            raw: Vec::new(),
        }
    }
}

impl ReportSpec {
    /// The raw report, signed by `vek`: ECDSA P-384 with SHA-384 over its first 0x2a0 bytes.
    pub fn sign(&self, vek: &Vek) -> Result<Vec<u8>> {
        let [family, model, _] = self.cpuid;
        let tcb = self.tcb.unwrap_or_else(|| TcbLayout::of(self.version, family, model).write(&vek.spec.tcb));
        let mut chip_id = [0; 64];
        for (to, from) in chip_id.iter_mut().zip(vek.spec.hwid.iter().flatten()) {
            *to = *from;
        }
        let mut report = vec![0; REPORT_LEN];
        put(&mut report, 0x000, &self.version.to_le_bytes())?;
        put(&mut report, 0x004, &self.guest_svn.to_le_bytes())?;
        put(&mut report, 0x008, &self.policy.to_le_bytes())?;
        put(&mut report, 0x010, &self.family_id)?;
        put(&mut report, 0x020, &self.image_id)?;
        put(&mut report, 0x030, &self.vmpl.to_le_bytes())?;
        put(&mut report, 0x034, &self.signature_algo.to_le_bytes())?;
        put(&mut report, 0x040, &self.platform_info.to_le_bytes())?;
        put(&mut report, 0x048, &self.key_info.to_le_bytes())?;
        put(&mut report, 0x050, &self.report_data)?;
        put(&mut report, 0x090, &self.measurement)?;
        put(&mut report, 0x0c0, &self.host_data)?;
        put(&mut report, 0x0e0, &self.id_key_digest)?;
        put(&mut report, 0x110, &self.author_key_digest)?;
        put(&mut report, 0x160, &self.report_id_ma)?;
        put(&mut report, 0x180, &tcb)?;
        for (offset, own) in [(0x038, self.current_tcb), (0x1e0, self.committed_tcb), (0x1f0, self.launch_tcb)] {
            put(&mut report, offset, &own.unwrap_or(tcb))?;
        }
        put(&mut report, 0x1e8, &self.current_version)?;
        put(&mut report, 0x1ec, &self.committed_version)?;
        if self.version >= 5 {
            put(&mut report, 0x1f8, &self.launch_mit_vector.to_le_bytes())?;
            put(&mut report, 0x200, &self.current_mit_vector.to_le_bytes())?;
        }
        if self.version >= 3 {
            put(&mut report, 0x188, &self.cpuid)?;
        }
        put(&mut report, 0x1a0, &self.chip_id.unwrap_or(chip_id))?;
        for (offset, byte) in &self.raw {
            put(&mut report, *offset, &[*byte])?;
        }
        let signed = report.get(..SIGNED_LEN).unwrap_or_default();
        let der = vek.key.sign(&SystemRandom::new(), signed).map_err(crypto)?;
        let [r, s] = components(der.as_ref())?;
        put(&mut report, 0x2a0, &r)?;
        put(&mut report, 0x2e8, &s)?;
        Ok(report)
    }

    /// [`Self::sign`], parsed.
    pub fn report(&self, vek: &Vek) -> Result<Report> {
        Report::parse(&self.sign(vek)?)
    }
}

/// R and S of a DER ECDSA signature, little-endian, as the report carries them.
fn components(signature: &[u8]) -> Result<[[u8; 48]; 2]> {
    use der::{Decode, asn1::UintRef};
    let malformed = |e: der::Error| Refusal::new(Code::Internal, "devkit signature").because(e);
    let parts = <[UintRef<'_>; 2]>::from_der(signature).map_err(malformed)?;
    Ok(parts.map(|part| {
        let mut little = [0; 48];
        for (to, from) in little.iter_mut().zip(part.as_bytes().iter().rev()) {
            *to = *from;
        }
        little
    }))
}

fn put(report: &mut [u8], offset: usize, value: &[u8]) -> Result<()> {
    let place = report.get_mut(offset..offset.saturating_add(value.len()));
    place.ok_or_else(|| Refusal::new(Code::Internal, "devkit report offset"))?.copy_from_slice(value);
    Ok(())
}
