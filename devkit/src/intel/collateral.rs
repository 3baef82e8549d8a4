//! Collateral as Intel's PCS would give it for the platform of [`super::PckSpec::default`]. TCB info and QE identity are
//! plain JSON values, so that a test changes any member before they are signed.

use super::{Authority, Hierarchy, pem_chain};
use der::DateTime;
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;
use strongroom_wire::{Code, Refusal, Result};

/// What the collateral shall say. Each field can be changed alone.
#[derive(Debug, Clone, PartialEq)]
pub struct CollateralSpec {
    /// TCB info; [`tcb_info`] for the default.
    pub tcb_info: Value,
    /// QE identity; [`qe_identity`] for the default.
    pub qe_identity: Value,
    /// Serials on the root's list.
    pub revoked_by_root: Vec<u32>,
    /// Serials on the list of the PCK's authority.
    pub revoked_by_authority: Vec<u32>,
    /// Window of the root's list.
    pub root_crl_window: Range<u64>,
    /// Window of the authority's list.
    pub pck_crl_window: Range<u64>,
    /// cRLNumber of the root's list.
    pub root_crl_number: Option<u64>,
    /// cRLNumber of the authority's list.
    pub pck_crl_number: Option<u64>,
    /// Whether chain and list are the processor authority's instead of the platform authority's.
    pub processor: bool,
}

impl Default for CollateralSpec {
    /// Issued 2026-12-01, to be updated 2027-03-01; names nobody revoked.
    fn default() -> Self {
        let window = 1_796_083_200..1_803_859_200;
        Self {
            tcb_info: tcb_info(&window),
            qe_identity: qe_identity(&window),
            revoked_by_root: Vec::new(),
            revoked_by_authority: Vec::new(),
            root_crl_window: window.clone(),
            pck_crl_window: window,
            root_crl_number: Some(1),
            pck_crl_number: Some(1),
            processor: false,
        }
    }
}

/// TCB info issued at the start of `window`, to be updated at its end: an up-to-date, an outdated and a revoked level, and a
/// module of version 1 with such levels at SVN 5, 3 and 2.
pub fn tcb_info(window: &Range<u64>) -> Value {
    let zeros = "0".repeat(96);
    let module = |id: &str, levels: Value| {
        json!({
            "id": id, "mrsigner": zeros, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": levels,
        })
    };
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": date(window.start),
        "nextUpdate": date(window.end),
        "fmspc": "B0C06F000000",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 20,
        "tdxModule": {"mrsigner": zeros, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"},
        "tdxModuleIdentities": [
            module("TDX_03", json!([svn_level(5, "UpToDate", &[])])),
            module("TDX_01", json!([
                svn_level(5, "UpToDate", &[]),
                svn_level(3, "OutOfDate", &["INTEL-SA-00003"]),
                svn_level(2, "Revoked", &["INTEL-SA-00002"]),
            ])),
        ],
        "tcbLevels": [
            level([4, 4, 2, 2, 4, 1, 0, 5], [5, 0, 4], 11, "UpToDate", &[]),
            level([3, 3, 2, 2, 4, 1, 0, 5], [5, 0, 3], 11, "OutOfDate", &["INTEL-SA-00007"]),
            level([2, 2, 2, 2, 3, 1, 0, 5], [3, 0, 2], 5, "Revoked", &["INTEL-SA-00006", "INTEL-SA-00007"]),
        ],
    })
}

/// QE identity with an up-to-date, an outdated and a revoked level at SVN 4, 3 and 2.
pub fn qe_identity(window: &Range<u64>) -> Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": date(window.start),
        "nextUpdate": date(window.end),
        "tcbEvaluationDataNumber": 20,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "DC".repeat(32),
        "isvprodid": 2,
        "tcbLevels": [
            svn_level(4, "UpToDate", &[]),
            svn_level(3, "OutOfDate", &["INTEL-SA-00005"]),
            svn_level(2, "Revoked", &["INTEL-SA-00004"]),
        ],
    })
}

fn svn_level(svn: u16, status: &str, advisories: &[&str]) -> Value {
    json!({"tcb": {"isvsvn": svn}, "tcbDate": "2026-08-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories})
}

/// A level of the given first SVNs; the rest are zero.
fn level(sgx: [u8; 8], tdx: [u8; 3], pcesvn: u16, status: &str, advisories: &[&str]) -> Value {
    let sixteen = |first: &[u8]| -> Vec<Value> {
        first.iter().copied().chain([0; 16]).take(16).map(|svn| json!({"svn": svn})).collect()
    };
    json!({
        "tcb": {"sgxtcbcomponents": sixteen(&sgx), "pcesvn": pcesvn, "tdxtcbcomponents": sixteen(&tdx)},
        "tcbDate": "2026-08-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

/// `YYYY-MM-DDThh:mm:ssZ`; empty, which nobody takes for a date, beyond the year 9999.
fn date(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or_else(|_| String::new(), |date| date.to_string())
}

pub(super) fn encode(hierarchy: &Hierarchy, spec: &CollateralSpec) -> Result<Vec<u8>> {
    let root = hierarchy.root.certificate();
    let authority = if spec.processor { &hierarchy.processor_ca } else { &hierarchy.platform_ca };
    let signer = &hierarchy.tcb_signing;
    let signer_chain = pem_chain(&[signer.certificate(), root])?;
    let sign = |text: &str| signer.key.sign_fixed(text.as_bytes()).map(hex::encode);
    let (tcb_info, qe_identity) = (spec.tcb_info.to_string(), spec.qe_identity.to_string());
    let root_list = (&spec.revoked_by_root[..], spec.root_crl_window.clone(), spec.root_crl_number);
    let pck_list = (&spec.revoked_by_authority[..], spec.pck_crl_window.clone(), spec.pck_crl_number);
    let list = |by: &Authority, (serials, window, number): (&[u32], Range<u64>, _)| {
        by.numbered_crl(serials, window, number).map(hex::encode)
    };
    let document = json!({
        "pck_crl_issuer_chain": pem_chain(&[authority.certificate(), root])?,
        "root_ca_crl": list(&hierarchy.root, root_list)?,
        "pck_crl": list(authority, pck_list)?,
        "tcb_info_issuer_chain": signer_chain,
        "tcb_info_signature": sign(&tcb_info)?,
        "tcb_info": tcb_info,
        "qe_identity_issuer_chain": signer_chain,
        "qe_identity_signature": sign(&qe_identity)?,
        "qe_identity": qe_identity,
    });
    serde_json::to_vec(&document).map_err(|e| Refusal::new(Code::Internal, "devkit collateral").because(e))
}
