//! Which TCB level a platform meets ("Get TDX TCB Info" of the PCS specification, the algorithm at its end), and whether
//! its TDX module and quoting enclave are Intel's.

use super::documents::{Module, ModuleIdentity, QeIdentity, SvnLevel, TcbInfo, TcbLevel};
use super::pck::PlatformFacts;
use super::status::TcbStatus;
use std::collections::BTreeSet;
use strongroom_wire::tdx::{QeReport, TdReport};
use strongroom_wire::{Code, Refusal, Result};

/// A status and the advisories that explain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) status: TcbStatus,
    pub(super) advisories: BTreeSet<String>,
}

impl Level {
    fn new(status: TcbStatus, advisories: &[String]) -> Self {
        Self { status, advisories: advisories.iter().cloned().collect() }
    }

    fn with_part(mut self, part: Self) -> Self {
        self.advisories.extend(part.advisories);
        Self { status: self.status.with_part(part.status), ..self }
    }

    fn running_on(mut self, now: Self) -> Self {
        self.advisories.extend(now.advisories);
        Self { status: self.status.running_on(now.status), ..self }
    }
}

/// The level of a TD on a platform with a quoting enclave of level `qe`.
pub(super) fn level(info: &TcbInfo, facts: &PlatformFacts, body: &TdReport, qe: Level) -> Result<Level> {
    let launched = platform_level(info, facts, &body.tee_tcb_svn)?.with_part(qe.clone());
    match &body.tee_tcb_svn2 {
        None => Ok(launched),
        Some(now) => Ok(launched.running_on(platform_level(info, facts, now)?.with_part(qe))),
    }
}

/// The first level all of whose SVNs are met, with the module's own level where the module has a version.
fn platform_level(info: &TcbInfo, facts: &PlatformFacts, tee_tcb_svn: &[u8; 16]) -> Result<Level> {
    let found = info.tcb_levels.iter().find(|level| meets(level, facts, tee_tcb_svn)).ok_or_else(|| {
        Refusal::new(Code::TcbNotSupported, "TCB")
            .got(format!(
                "SGX components {} PCESVN {} TEE_TCB_SVN {}",
                hex::encode(facts.sgx_components),
                facts.pce_svn,
                hex::encode(tee_tcb_svn)
            ))
            .want("at least the lowest level of the TCB info")
    })?;
    let level = Level::new(found.tcb_status, &found.advisory_ids);
    match module_identity(info, tee_tcb_svn)? {
        None => Ok(level),
        Some(identity) => {
            let [isv_svn, ..] = tee_tcb_svn;
            Ok(level.with_part(svn_level(&identity.tcb_levels, u16::from(*isv_svn), &identity.id)?))
        }
    }
}

/// From version 1 of the module on, its SVN and version (the first two) are judged by the module's identity instead.
fn meets(level: &TcbLevel, facts: &PlatformFacts, tee_tcb_svn: &[u8; 16]) -> bool {
    let sgx = facts.sgx_components.iter().zip(&level.tcb.sgx).all(|(got, want)| *got >= want.svn);
    let skipped = if version(tee_tcb_svn) == 0 { 0 } else { 2 };
    let tdx = tee_tcb_svn.iter().zip(&level.tcb.tdx).skip(skipped).all(|(got, want)| *got >= want.svn);
    sgx && tdx && facts.pce_svn >= level.tcb.pcesvn
}

const fn version(tee_tcb_svn: &[u8; 16]) -> u8 {
    let [_, version, ..] = tee_tcb_svn;
    *version
}

/// `TDX_` and the module's version in two hex digits; before version 1 a module has no identity of its own.
fn module_identity<'a>(info: &'a TcbInfo, tee_tcb_svn: &[u8; 16]) -> Result<Option<&'a ModuleIdentity>> {
    let version = version(tee_tcb_svn);
    if version == 0 {
        return Ok(None);
    }
    let id = format!("TDX_{version:02X}");
    let found = info.tdx_module_identities.iter().find(|identity| identity.id.eq_ignore_ascii_case(&id));
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = info.tdx_module_identities.iter().map(|identity| identity.id.as_str()).collect();
        Refusal::new(Code::TdxModuleMismatch, "TDX module version").got(id).want(known.join(" or "))
    })
}

fn svn_level(levels: &[SvnLevel], isv_svn: u16, what: &str) -> Result<Level> {
    let found = levels.iter().find(|level| level.tcb.isvsvn <= isv_svn).ok_or_else(|| {
        let lowest = levels.iter().map(|level| level.tcb.isvsvn).min();
        Refusal::new(Code::TcbNotSupported, format!("ISVSVN of {what}"))
            .got(isv_svn)
            .want(format!("at least {}", lowest.map_or_else(|| "a level".to_owned(), |svn| svn.to_string())))
    })?;
    Ok(Level::new(found.tcb_status, &found.advisory_ids))
}

/// Refuses a TDX module that another party signed, or with attributes that Intel's has not.
pub(super) fn verify_module(info: &TcbInfo, body: &TdReport) -> Result<()> {
    let module: &Module =
        module_identity(info, &body.tee_tcb_svn)?.map_or(&info.tdx_module, |identity| &identity.module);
    let refused = |field: &str, got: &[u8], want: &[u8]| {
        Err(Refusal::new(Code::TdxModuleMismatch, field).got(hex::encode(got)).want(hex::encode(want)))
    };
    if body.mrsignerseam != module.mrsigner.0 {
        return refused("MRSIGNERSEAM", &body.mrsignerseam, &module.mrsigner.0);
    }
    if masked(&body.seam_attributes, &module.attributes_mask.0) != module.attributes.0 {
        return refused("SEAMATTRIBUTES", &body.seam_attributes, &module.attributes.0);
    }
    Ok(())
}

/// The level of the quoting enclave; refuses one that is not Intel's ("Get Quoting Enclave Identity", the steps there).
pub(super) fn verify_qe(identity: &QeIdentity, report: &QeReport) -> Result<Level> {
    let refused = |field: &str, got: String, want: String| {
        Err(Refusal::new(Code::QeIdentityMismatch, format!("{field} of the quoting enclave")).got(got).want(want))
    };
    if masked(&report.miscselect, &identity.miscselect_mask.0) != identity.miscselect.0 {
        return refused("MISCSELECT", hex::encode(report.miscselect), hex::encode(identity.miscselect.0));
    }
    if masked(&report.attributes, &identity.attributes_mask.0) != identity.attributes.0 {
        return refused("ATTRIBUTES", hex::encode(report.attributes), hex::encode(identity.attributes.0));
    }
    if report.mrsigner != identity.mrsigner.0 {
        return refused("MRSIGNER", hex::encode(report.mrsigner), hex::encode(identity.mrsigner.0));
    }
    if report.isv_prod_id != identity.isvprodid {
        return refused("ISVPRODID", report.isv_prod_id.to_string(), identity.isvprodid.to_string());
    }
    svn_level(&identity.tcb_levels, report.isv_svn, &identity.id)
}

fn masked<const N: usize>(value: &[u8; N], mask: &[u8; N]) -> [u8; N] {
    let mut out = *value;
    out.iter_mut().zip(mask).for_each(|(byte, mask)| *byte &= mask);
    out
}
