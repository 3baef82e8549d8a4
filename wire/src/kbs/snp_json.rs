//! SNP evidence as the KBS protocol carries it (its notes, section 7): not the raw report but the `sev` crate's serde form,
//! out of which the raw bytes are rebuilt. The signature is over the raw bytes, so a report is carried only where the
//! round trip gives back every byte.

use crate::snp::{REPORT_LEN, Report, TcbLayout};
use crate::{Code, Refusal, Result};
use serde::{Deserialize, Serialize};

/// `primary_evidence` of tee `snp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnpEvidence {
    attestation_report: ReportJson,
    /// Endorsements that the guest staples.
    #[serde(default)]
    pub cert_chain: Option<Vec<CertificateEntry>>,
}

/// One stapled endorsement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// `ARK ASK VCEK VLEK CRL Empty`, or an object `{"OTHER": uuid}`.
    pub cert_type: serde_json::Value,
    /// DER (or PEM) as an array of numbers.
    pub data: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReportJson {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Vec<u8>,
    image_id: Vec<u8>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: TcbJson,
    plat_info: u64,
    key_info: u32,
    report_data: Vec<u8>,
    measurement: Vec<u8>,
    host_data: Vec<u8>,
    id_key_digest: Vec<u8>,
    author_key_digest: Vec<u8>,
    report_id: Vec<u8>,
    report_id_ma: Vec<u8>,
    reported_tcb: TcbJson,
    #[serde(default)]
    cpuid_fam_id: Option<u8>,
    #[serde(default)]
    cpuid_mod_id: Option<u8>,
    #[serde(default)]
    cpuid_step: Option<u8>,
    chip_id: Vec<u8>,
    committed_tcb: TcbJson,
    current: VersionJson,
    committed: VersionJson,
    launch_tcb: TcbJson,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    signature: SignatureJson,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TcbJson {
    #[serde(default)]
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct VersionJson {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignatureJson {
    r: Vec<u8>,
    s: Vec<u8>,
}

impl SnpEvidence {
    /// The JSON form of a report, refused where that form cannot carry it (a reserved byte that is not zero).
    pub fn from_report(report: &Report, cert_chain: Option<Vec<CertificateEntry>>) -> Result<Self> {
        let evidence = Self { attestation_report: ReportJson::from_report(report)?, cert_chain };
        let rebuilt = evidence.report()?;
        if rebuilt.raw() == report.raw() {
            return Ok(evidence);
        }
        Err(Refusal::new(Code::ReservedNotZero, "report that the KBS protocol's JSON form cannot carry"))
    }

    /// Rebuilds and parses the raw report.
    pub fn report(&self) -> Result<Report> {
        Report::parse(&self.attestation_report.to_raw()?)
    }
}

impl ReportJson {
    fn from_report(report: &Report) -> Result<Self> {
        let tcb = |raw: [u8; 8]| {
            let tcb = report.tcb_layout().read(raw);
            TcbJson { fmc: tcb.fmc, bootloader: tcb.bootloader, tee: tcb.tee, snp: tcb.snp, microcode: tcb.microcode }
        };
        let version = |v: [u8; 3]| {
            let [build, minor, major] = v;
            VersionJson { major, minor, build }
        };
        let v3 = report.version >= 3;
        let v5 = report.version >= 5;
        let [family, model, stepping] = report.cpuid;
        Ok(Self {
            version: report.version,
            guest_svn: report.guest_svn,
            policy: report.policy.0,
            family_id: report.family_id.to_vec(),
            image_id: report.image_id.to_vec(),
            vmpl: report.vmpl,
            sig_algo: report.signature_algo,
            current_tcb: tcb(report.current_tcb),
            plat_info: report.platform_info.0,
            key_info: report.key_info.0,
            report_data: report.report_data.to_vec(),
            measurement: report.measurement.to_vec(),
            host_data: report.host_data.to_vec(),
            id_key_digest: report.id_key_digest.to_vec(),
            author_key_digest: report.author_key_digest.to_vec(),
            report_id: report.report_id.to_vec(),
            report_id_ma: report.report_id_ma.to_vec(),
            reported_tcb: tcb(report.reported_tcb),
            cpuid_fam_id: v3.then_some(family),
            cpuid_mod_id: v3.then_some(model),
            cpuid_step: v3.then_some(stepping),
            chip_id: report.chip_id.to_vec(),
            committed_tcb: tcb(report.committed_tcb),
            current: version(report.current_version),
            committed: version(report.committed_version),
            launch_tcb: tcb(report.launch_tcb),
            launch_mit_vector: v5.then_some(report.launch_mit_vector),
            current_mit_vector: v5.then_some(report.current_mit_vector),
            signature: SignatureJson { r: report.signature_r.to_vec(), s: report.signature_s.to_vec() },
        })
    }

    /// The raw report, every reserved byte zero.
    fn to_raw(&self) -> Result<[u8; REPORT_LEN]> {
        let layout = TcbLayout::of(self.version, self.cpuid_fam_id.unwrap_or(0), self.cpuid_mod_id.unwrap_or(0));
        let tcb = |tcb: &TcbJson| {
            layout.write(&crate::snp::Tcb {
                fmc: tcb.fmc,
                bootloader: tcb.bootloader,
                tee: tcb.tee,
                snp: tcb.snp,
                microcode: tcb.microcode,
            })
        };
        let mut out = Writer { bytes: [0; REPORT_LEN] };
        out.put(0x000, &self.version.to_le_bytes())?;
        out.put(0x004, &self.guest_svn.to_le_bytes())?;
        out.put(0x008, &self.policy.to_le_bytes())?;
        out.field::<16>(0x010, &self.family_id, "family_id")?;
        out.field::<16>(0x020, &self.image_id, "image_id")?;
        out.put(0x030, &self.vmpl.to_le_bytes())?;
        out.put(0x034, &self.sig_algo.to_le_bytes())?;
        out.put(0x038, &tcb(&self.current_tcb))?;
        out.put(0x040, &self.plat_info.to_le_bytes())?;
        out.put(0x048, &self.key_info.to_le_bytes())?;
        out.field::<64>(0x050, &self.report_data, "report_data")?;
        out.field::<48>(0x090, &self.measurement, "measurement")?;
        out.field::<32>(0x0c0, &self.host_data, "host_data")?;
        out.field::<48>(0x0e0, &self.id_key_digest, "id_key_digest")?;
        out.field::<48>(0x110, &self.author_key_digest, "author_key_digest")?;
        out.field::<32>(0x140, &self.report_id, "report_id")?;
        out.field::<32>(0x160, &self.report_id_ma, "report_id_ma")?;
        out.put(0x180, &tcb(&self.reported_tcb))?;
        out.put(0x188, &[self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step].map(Option::unwrap_or_default))?;
        out.field::<64>(0x1a0, &self.chip_id, "chip_id")?;
        out.put(0x1e0, &tcb(&self.committed_tcb))?;
        out.put(0x1e8, &[self.current.build, self.current.minor, self.current.major])?;
        out.put(0x1ec, &[self.committed.build, self.committed.minor, self.committed.major])?;
        out.put(0x1f0, &tcb(&self.launch_tcb))?;
        out.put(0x1f8, &self.launch_mit_vector.unwrap_or(0).to_le_bytes())?;
        out.put(0x200, &self.current_mit_vector.unwrap_or(0).to_le_bytes())?;
        out.field::<72>(0x2a0, &self.signature.r, "signature r")?;
        out.field::<72>(0x2e8, &self.signature.s, "signature s")?;
        Ok(out.bytes)
    }
}

struct Writer {
    bytes: [u8; REPORT_LEN],
}

impl Writer {
    fn put(&mut self, offset: usize, value: &[u8]) -> Result<()> {
        let place = self.bytes.get_mut(offset..offset.saturating_add(value.len()));
        let place = place.ok_or_else(|| Refusal::new(Code::Internal, "report offset"))?;
        place.copy_from_slice(value);
        Ok(())
    }

    fn field<const N: usize>(&mut self, offset: usize, value: &[u8], name: &str) -> Result<()> {
        let value: &[u8; N] = value.try_into().map_err(|_| {
            Refusal::new(Code::Malformed, format!("attestation_report.{name}"))
                .got(format!("{} bytes", value.len()))
                .want(format!("{N} bytes"))
        })?;
        self.put(offset, value)
    }
}
