//! TD Quote Body: what the TDX module reported of a trust domain (TDREPORT_STRUCT of the TDX module specification, as the
//! quoting enclave copies it).

use crate::Result;
use crate::bytes::Cursor;

/// Body type of TD 1.0.
pub(super) const TD_10: u16 = 2;
const TD_15: u16 = 3;
const TD_15_EXTENDED: u16 = 4;

/// What a trust domain is. Field names are the specification's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    /// TEE_TCB_SVN: module SVN, module version, microcode SVN and zeros, as of the TD's launch.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM: measurement of the TDX module.
    pub mrseam: [u8; 48],
    /// MRSIGNERSEAM: zero for Intel's module.
    pub mrsignerseam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES.
    pub td_attributes: TdAttributes,
    /// XFAM: the extended features that the TD may use.
    pub xfam: Xfam,
    /// MRTD: measurement of the initial contents.
    pub mrtd: [u8; 48],
    /// MRCONFIGID: chosen by the host at launch, unchangeable afterwards.
    pub mrconfigid: [u8; 48],
    /// MROWNER.
    pub mrowner: [u8; 48],
    /// MROWNERCONFIG.
    pub mrownerconfig: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// TEE_TCB_SVN_2: the TCB that runs now; TD 1.5 only.
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// MRSERVICETD: the service TDs bound to this one; TD 1.5 only. A TD with one gets no TD 1.0 body.
    pub mrservicetd: Option<[u8; 48]>,
    /// What TD 1.5 extended adds.
    pub extended: Option<Extended>,
}

/// The fields that body type 4 adds (`sgx_report2_body_v1_5_ex_t` of `sgx_quote_5.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// VM that asked: 0 is the TD itself or its L1.
    pub vmid: u8,
    /// Statistically unique id of this launch.
    pub td_id: [u8; 32],
    /// Hash of the device information.
    pub dev_info: [u8; 48],
    /// SERVTD_HASH at launch.
    pub init_servtd_hash: [u8; 48],
    /// Attributes of the service TD at launch.
    pub init_servtd_attributes: [u8; 8],
    /// CPUSVN at launch.
    pub init_cpu_svn: [u8; 16],
    /// TEE_TCB_SVN at launch.
    pub init_tee_tcb_svn: [u8; 16],
    /// Platform model at launch.
    pub init_tee_fmspc: [u8; 12],
    /// SERVTD_HASH now.
    pub cur_servtd_hash: [u8; 48],
    /// Attributes of the service TD now.
    pub cur_servtd_attributes: [u8; 8],
}

/// TDATTRIBUTES (TDX module base architecture specification, "ATTRIBUTES").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(pub u64);

/// XFAM (same, "XFAM"): laid out as XCR0 and IA32_XSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xfam(pub u64);

impl TdAttributes {
    /// The bits that have a name here: DEBUG, ICSSD, SERVTD_EXT, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, PERFMON.
    /// The profiling bits of the TD-under-debug group and TPA are not among them on purpose.
    pub const NAMED: u64 = 1 | 1 << 16 | 1 << 17 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 30 | 1 << 31 | 1 << 63;

    /// DEBUG: the host may read and write the TD's memory and state.
    pub const fn debug(self) -> bool {
        self.0 & 1 != 0
    }
    /// SERVTD_EXT: the body of type 4 says which service TDs are bound.
    pub const fn servtd_ext(self) -> bool {
        self.0 & (1 << 17) != 0
    }
    /// SEPT_VE_DISABLE: an access to a page that the host took away is fatal instead of an exception in the TD.
    pub const fn sept_ve_disable(self) -> bool {
        self.0 & (1 << 28) != 0
    }
    /// MIGRATABLE: a migration TD may move the TD.
    pub const fn migratable(self) -> bool {
        self.0 & (1 << 29) != 0
    }
    /// PKS: supervisor protection keys.
    pub const fn pks(self) -> bool {
        self.0 & (1 << 30) != 0
    }
    /// KL: Key Locker.
    pub const fn key_locker(self) -> bool {
        self.0 & (1 << 31) != 0
    }
    /// PERFMON: performance monitoring.
    pub const fn perfmon(self) -> bool {
        self.0 & (1 << 63) != 0
    }
    /// The bits that are set and have no name here.
    pub const fn unnamed(self) -> u64 {
        self.0 & !Self::NAMED
    }
}

impl Xfam {
    /// XFAM_FIXED1: x87 and SSE must be on.
    pub const FIXED1: u64 = 0x3;
    /// XFAM_FIXED0: what may be on, with APX (bit 19).
    pub const FIXED0: u64 = 0x0006_dbe7 | 1 << 19;

    /// Whether the fixed bits are as the architecture fixes them.
    pub const fn fixed_bits_hold(self) -> bool {
        self.0 & Self::FIXED1 == Self::FIXED1 && self.0 & !Self::FIXED0 == 0
    }
}

/// The length of a body of that type, or `None` for another type.
pub(super) const fn length_of(body_type: u16) -> Option<usize> {
    match body_type {
        TD_10 => Some(584),
        TD_15 => Some(648),
        TD_15_EXTENDED => Some(885),
        _ => None,
    }
}

impl TdReport {
    pub(super) fn parse(bytes: &[u8], body_type: u16) -> Result<Self> {
        let mut at = Cursor::new(bytes, "TD quote body");
        let later = |held: bool| held.then_some(());
        let body = Self {
            tee_tcb_svn: at.array()?,
            mrseam: at.array()?,
            mrsignerseam: at.array()?,
            seam_attributes: at.array()?,
            td_attributes: TdAttributes(at.u64_le()?),
            xfam: Xfam(at.u64_le()?),
            mrtd: at.array()?,
            mrconfigid: at.array()?,
            mrowner: at.array()?,
            mrownerconfig: at.array()?,
            rtmr: [at.array()?, at.array()?, at.array()?, at.array()?],
            report_data: at.array()?,
            tee_tcb_svn2: later(body_type >= TD_15).map(|()| at.array()).transpose()?,
            mrservicetd: later(body_type >= TD_15).map(|()| at.array()).transpose()?,
            extended: later(body_type >= TD_15_EXTENDED).map(|()| Extended::read(&mut at)).transpose()?,
        };
        at.finish()?;
        Ok(body)
    }
}

impl Extended {
    fn read(at: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self {
            vmid: at.u8()?,
            td_id: at.array()?,
            dev_info: at.array()?,
            init_servtd_hash: at.array()?,
            init_servtd_attributes: at.array()?,
            init_cpu_svn: at.array()?,
            init_tee_tcb_svn: at.array()?,
            init_tee_fmspc: at.array()?,
            cur_servtd_hash: at.array()?,
            cur_servtd_attributes: at.array()?,
        })
    }
}
