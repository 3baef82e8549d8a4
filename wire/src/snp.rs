//! AMD SEV-SNP attestation report, versions 2 to 5 (SEV-SNP Firmware ABI, publication 56860, "ATTESTATION_REPORT"), and
//! the GHCB certificate table (publication 56421).
//!
//! Parsing verifies nothing. A [`Report`] says what its bytes say; who signed them is `appraisal`'s matter.

mod bits;
mod certificates;
mod tcb;

use crate::bytes::Cursor;
use crate::{Code, Refusal, Result};
pub use bits::{GuestPolicy, KeyInfo, PlatformInfo, SigningKey};
pub use certificates::{CertificateKind, CertificateTable, TableEntry};
pub use tcb::{Tcb, TcbLayout};

/// Length of a report of every version.
pub const REPORT_LEN: usize = 0x4a0;
/// Length of the part that is signed.
pub const SIGNED_LEN: usize = 0x2a0;

/// A parsed report. Field names follow the specification; multi-byte integers are little-endian there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    raw: Box<[u8; REPORT_LEN]>,
    /// VERSION.
    pub version: u32,
    /// GUEST_SVN, from the ID block.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicy,
    /// FAMILY_ID, from the ID block.
    pub family_id: [u8; 16],
    /// IMAGE_ID, from the ID block.
    pub image_id: [u8; 16],
    /// VMPL that asked for the report.
    pub vmpl: u32,
    /// SIGNATURE_ALGO; 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// CURRENT_TCB, raw.
    pub current_tcb: [u8; 8],
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// The word at 0x48: AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY.
    pub key_info: KeyInfo,
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
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: the migration agent's report, all ones where there is none.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB, raw.
    pub reported_tcb: [u8; 8],
    /// CPUID family (base + extended), model and stepping; zero before version 3.
    pub cpuid: [u8; 3],
    /// CHIP_ID; zero where MASK_CHIP_KEY is set. Turin uses the first 8 bytes.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB, raw.
    pub committed_tcb: [u8; 8],
    /// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR.
    pub current_version: [u8; 3],
    /// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR.
    pub committed_version: [u8; 3],
    /// LAUNCH_TCB, raw.
    pub launch_tcb: [u8; 8],
    /// LAUNCH_MIT_VECTOR; zero before version 5.
    pub launch_mit_vector: u64,
    /// CURRENT_MIT_VECTOR; zero before version 5.
    pub current_mit_vector: u64,
    /// SIGNATURE, R: little-endian, zero-extended to 72 bytes.
    pub signature_r: [u8; 72],
    /// SIGNATURE, S: little-endian, zero-extended to 72 bytes.
    pub signature_s: [u8; 72],
    /// Offsets of bytes that this version reserves and that are not zero. Reported; judged by `appraisal`.
    pub reserved_not_zero: Vec<usize>,
}

impl Report {
    /// Parses exactly [`REPORT_LEN`] bytes of version 2, 3, 4 or 5.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let raw: &[u8; REPORT_LEN] = bytes.try_into().map_err(|_| {
            Refusal::new(Code::Malformed, "SNP report").got(format!("{} bytes", bytes.len())).want(REPORT_LEN)
        })?;
        let mut at = Cursor::new(raw, "SNP report");
        let version = at.u32_le()?;
        if !(2..=5).contains(&version) {
            return Err(Refusal::new(Code::VersionUnsupported, "SNP report version").got(version).want("2 to 5"));
        }
        let mut reserved = Reserved { total: REPORT_LEN, found: Vec::new() };
        let report = Self {
            raw: Box::new(*raw),
            version,
            guest_svn: at.u32_le()?,
            policy: GuestPolicy(at.u64_le()?),
            family_id: at.array()?,
            image_id: at.array()?,
            vmpl: at.u32_le()?,
            signature_algo: at.u32_le()?,
            current_tcb: at.array()?,
            platform_info: PlatformInfo(at.u64_le()?),
            key_info: KeyInfo(at.u32_le()?),
            report_data: {
                reserved.take(&mut at, 4)?;
                at.array()?
            },
            measurement: at.array()?,
            host_data: at.array()?,
            id_key_digest: at.array()?,
            author_key_digest: at.array()?,
            report_id: at.array()?,
            report_id_ma: at.array()?,
            reported_tcb: at.array()?,
            cpuid: if version >= 3 {
                at.array()?
            } else {
                reserved.take(&mut at, 3)?;
                [0; 3]
            },
            chip_id: {
                reserved.take(&mut at, 21)?;
                at.array()?
            },
            committed_tcb: at.array()?,
            current_version: at.array()?,
            committed_version: {
                reserved.take(&mut at, 1)?;
                at.array()?
            },
            launch_tcb: {
                reserved.take(&mut at, 1)?;
                at.array()?
            },
            launch_mit_vector: mitigation_vector(version, &mut at, &mut reserved)?,
            current_mit_vector: mitigation_vector(version, &mut at, &mut reserved)?,
            signature_r: {
                reserved.take(&mut at, 152)?;
                at.array()?
            },
            signature_s: at.array()?,
            reserved_not_zero: {
                reserved.take(&mut at, 368)?;
                reserved.found
            },
        };
        at.finish()?;
        Ok(report)
    }

    /// The bytes as received.
    pub fn raw(&self) -> &[u8; REPORT_LEN] {
        &self.raw
    }

    /// The bytes that the signature is over.
    pub fn signed(&self) -> &[u8] {
        self.raw.first_chunk::<SIGNED_LEN>().map_or(&[], <[u8; SIGNED_LEN]>::as_slice)
    }

    /// How TCB versions of this report are laid out.
    pub const fn tcb_layout(&self) -> TcbLayout {
        let [family, model, _] = self.cpuid;
        TcbLayout::of(self.version, family, model)
    }
}

fn mitigation_vector(version: u32, at: &mut Cursor<'_>, reserved: &mut Reserved) -> Result<u64> {
    if version >= 5 {
        return at.u64_le();
    }
    reserved.take(at, 8)?;
    Ok(0)
}

struct Reserved {
    total: usize,
    found: Vec<usize>,
}

impl Reserved {
    fn take(&mut self, at: &mut Cursor<'_>, n: usize) -> Result<()> {
        let start = self.total.saturating_sub(at.rest().len());
        let bytes = at.take(n)?;
        self.found.extend(bytes.iter().zip(start..).filter(|(byte, _)| **byte != 0).map(|(_, offset)| offset));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kbs::SnpEvidence;
    use proptest::prelude::*;

    fn raw(version: u8) -> Vec<u8> {
        let mut raw = vec![0; REPORT_LEN];
        raw[0] = version;
        raw
    }

    #[test]
    fn report_of_versions_2_to_5_parses_and_of_others_does_not() {
        for version in 2..=5 {
            assert_eq!(Report::parse(&raw(version)).unwrap().version, u32::from(version));
        }
        for version in [0, 1, 6, 255] {
            assert_eq!(Report::parse(&raw(version)).unwrap_err().code, Code::VersionUnsupported);
        }
    }

    #[test]
    fn report_one_byte_short_or_long_refused() {
        for length in [0, 1, SIGNED_LEN, REPORT_LEN - 1, REPORT_LEN + 1] {
            assert_eq!(Report::parse(&vec![2; length]).unwrap_err().code, Code::Malformed, "{length}");
        }
    }

    #[test]
    fn fields_stand_at_the_offsets_of_the_specification() {
        let mut bytes = raw(5);
        for (i, byte) in bytes.iter_mut().enumerate().skip(4) {
            *byte = (i * 7 % 251).to_le_bytes()[0];
        }
        let report = Report::parse(&bytes).unwrap();
        assert_eq!(report.policy.0.to_le_bytes(), bytes[0x08..0x10]);
        assert_eq!(report.vmpl.to_le_bytes(), bytes[0x30..0x34]);
        assert_eq!(report.report_data, bytes[0x50..0x90]);
        assert_eq!(report.measurement, bytes[0x90..0xc0]);
        assert_eq!(report.host_data, bytes[0xc0..0xe0]);
        assert_eq!(report.report_id_ma, bytes[0x160..0x180]);
        assert_eq!(report.reported_tcb, bytes[0x180..0x188]);
        assert_eq!(report.cpuid, bytes[0x188..0x18b]);
        assert_eq!(report.chip_id, bytes[0x1a0..0x1e0]);
        assert_eq!(report.committed_tcb, bytes[0x1e0..0x1e8]);
        assert_eq!(report.committed_version, bytes[0x1ec..0x1ef]);
        assert_eq!(report.launch_tcb, bytes[0x1f0..0x1f8]);
        assert_eq!(report.current_mit_vector.to_le_bytes(), bytes[0x200..0x208]);
        assert_eq!(report.signature_r, bytes[0x2a0..0x2e8]);
        assert_eq!(report.signature_s, bytes[0x2e8..0x330]);
        assert_eq!(report.signed(), &bytes[..SIGNED_LEN]);
    }

    #[test]
    fn reserved_bytes_are_reported_by_offset_and_by_version() {
        for (offset, versions) in
            [(0x4c, 2..=5), (0x188, 2..=2), (0x1eb, 2..=5), (0x1f8, 2..=4), (0x208, 2..=5), (0x49f, 2..=5)]
        {
            for version in 2..=5u8 {
                let mut bytes = raw(version);
                bytes[offset] = 1;
                let want: &[usize] = if versions.contains(&version) { &[offset] } else { &[] };
                assert_eq!(Report::parse(&bytes).unwrap().reserved_not_zero, want, "{offset:#x} v{version}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = Report::parse(&bytes);
        }

        /// The KBS protocol's JSON form gives back every byte, or refuses.
        #[test]
        fn json_form_round_trips_exactly_or_refuses(seed in proptest::collection::vec(any::<u8>(), REPORT_LEN), version in 2u8..=5, reserved in any::<bool>()) {
            let mut bytes = seed;
            bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
            if !reserved {
                for offset in Report::parse(&bytes).unwrap().reserved_not_zero {
                    bytes[offset] = 0;
                }
                let layout = Report::parse(&bytes).unwrap().tcb_layout();
                for at in [0x38, 0x180, 0x1e0, 0x1f0] {
                    let raw: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
                    bytes[at..at + 8].copy_from_slice(&layout.write(&layout.read(raw)));
                }
            }
            let report = Report::parse(&bytes).unwrap();
            match SnpEvidence::from_report(&report, None) {
                Ok(evidence) => {
                    let json = serde_json::to_vec(&evidence).unwrap();
                    let back: SnpEvidence = serde_json::from_slice(&json).unwrap();
                    let rebuilt = back.report().unwrap();
                    prop_assert_eq!(&rebuilt.raw()[..], &bytes[..]);
                }
                Err(refusal) => {
                    prop_assert!(reserved);
                    prop_assert_eq!(refusal.code, Code::ReservedNotZero);
                }
            }
        }
    }
}
