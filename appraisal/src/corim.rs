//! Reference values as CoRIM (draft-ietf-rats-corim), written and read: unsigned (`#6.501`) or signed (`#6.18`), one CoMID for
//! each guest, the values in its reference triples. What is imported is signed anew as a bundle.
//!
//! SNP: draft-deeglaze-amd-sev-snp-corim-profile (editor's copy). Class `1.3.6.1.4.1.3704.3.1` or `.2`; mkey 641 MEASUREMENT
//! (digests), 642 HOST_DATA (raw value), 647 REPORTED_TCB (least SVN). TDX: draft-cds-rats-intel-corim-profile, which leaves
//! registers to the base's integrity registers: `tee.mrtee` (-83) MRTD, integrity registers 0 to 3 the RTMRs,
//! `tee.tcb-eval-num` (-86).

mod cbor;
mod read;
mod signed;
mod write;

pub use signed::CorimSigner;

use crate::UnixTime;
use strongroom_wire::snp::TcbLayout;

/// What a CoRIM does not say of itself, for [`crate::ReferenceValues::from_corim`].
#[derive(Debug, Clone)]
pub struct CorimImport<'a> {
    /// The bundle's name.
    pub name: &'a str,
    /// The bundle's version.
    pub version: u64,
    /// First and last second of validity; where it is absent the CoRIM must state both.
    pub validity: Option<(UnixTime, UnixTime)>,
    /// The SNP product, by which a TCB is read. The profile has no place for it.
    pub product: Option<&'a str>,
    /// What is left out: `instance` or `group` of an environment, the key of a measurement as a number, or another member of
    /// one of the maps as `corim-2`, `comid-3`, `environment-3`. Everything else that a bundle cannot say is refused, because a
    /// triple is met by all of its measurements or not at all; so is a name that leaves nothing out.
    pub leave_out: &'a [String],
}

/// Whose guests to write: a CoRIM has one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorimPlatform {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

const COSE_SIGN1: u64 = 18;
const CORIM: u64 = 501;
const COMID: u64 = 506;
const URI: u64 = 32;
const OID: u64 = 111;
const EPOCH: u64 = 1;
const MIN_SVN: u64 = 553;
const BYTES: u64 = 560;
/// Intel's numeric expressions; `[2, n]` is at least `n`.
const NUMERIC: u64 = 60_010;
const AT_LEAST: i128 = 2;
/// SHA-384 in IANA's Named Information registry.
const SHA384: i128 = 7;

/// The editor's copy's identifier, and before it those of revision 02.
const SNP_PROFILES: [&str; 3] = [
    "tag:amd.com,2025:snp-corim-profile",
    "tag:amd.com,2024:snp-corim-profile",
    "http://amd.com/2024/snp-corim-profile",
];
/// 2.16.840.1.113741.1.16.1, the content of its BER.
const INTEL_PROFILE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x4d, 0x01, 0x10, 0x01];
/// 1.3.6.1.4.1.3704.3.1 (by chip), and .2 (by cloud provider).
const SNP_CLASSES: [&[u8]; 2] =
    [&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x03, 0x01], &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x03, 0x02]];
/// Intel assigned no class to trust domains: vendor and model name it.
const TD_CLASS: [&str; 2] = ["Intel Corporation", "TDX TD"];

const MEASUREMENT: i128 = 641;
const HOST_DATA: i128 = 642;
const REPORTED_TCB: i128 = 647;
const DIGESTS: i128 = 2;
const SVN: i128 = 1;
const RAW_VALUE: i128 = 4;
const MRTEE: i128 = -83;
const EVALUATION: i128 = -86;
const REGISTERS: i128 = 14;

/// How the product lays its TCB_VERSION out.
fn layout(product: &str) -> TcbLayout {
    if product == "Turin" { TcbLayout::Turin } else { TcbLayout::MilanGenoa }
}
