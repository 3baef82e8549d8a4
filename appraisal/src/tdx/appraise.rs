//! Is this trust domain what was approved: every check of a policy, all made and all reported.

use super::event_log::event_checks;
use super::{AuthenticQuote, Configuration, TcbStatus};
use crate::policy::TdxPolicy;
use crate::{Appraisal, Expected, Hex, Policy, Rule};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::tdx::{TdAttributes, TdReport, Xfam};
use strongroom_wire::{Check, Code};

/// Judges an authentic quote by `policy`. Makes every check, whatever the others said.
pub fn appraise(authentic: &AuthenticQuote, policy: &Policy, expected: &Expected) -> Appraisal<AuthenticQuote> {
    let Some(section) = policy.tdx() else {
        return Appraisal::new(
            vec![policy.platform_not_named("tdx")],
            authentic.clone(),
            authentic.at(),
            policy,
            false,
            false,
        );
    };
    let body = &authentic.quote().body;
    let mut checks = hardware_checks(authentic, section);
    checks.push(deployment_check(body, section));
    checks.extend(binding_checks(body, expected));
    Appraisal::new(
        checks,
        authentic.clone(),
        authentic.at(),
        policy,
        section.fixes_software().is_ok(),
        expected.is_bound(),
    )
}

/// Every check of the section but those of MRCONFIGID and report data, which under a paravisor are not the guest's.
pub(crate) fn hardware_checks(authentic: &AuthenticQuote, section: &TdxPolicy) -> Vec<Check> {
    let mut checks = attribute_checks(authentic, section);
    checks.extend(platform_checks(authentic, section));
    checks.extend(collateral_checks(authentic, section));
    checks.extend(software_checks(&authentic.quote().body, section));
    checks.extend(event_checks(authentic, section));
    checks.extend(guest_as_a_whole(&authentic.quote().body, section));
    checks
}

/// That the fields which were taken from one bundle are of one guest of it. Under a paravisor `deployment` is never taken.
fn guest_as_a_whole(body: &TdReport, policy: &TdxPolicy) -> Vec<Check> {
    let ([rtmr0, rtmr1, rtmr2, rtmr3], (document, _)) = (&body.rtmr, mrconfigid(body));
    let fields: [(&str, &[u8]); 6] = [
        ("mrtd", &body.mrtd),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
        ("deployment", &document),
    ];
    let measured = BTreeMap::from(fields);
    policy.guests.iter().map(|guests| guests.check(&measured)).collect()
}

fn attribute_checks(authentic: &AuthenticQuote, policy: &TdxPolicy) -> Vec<Check> {
    let (header, body) = (&authentic.quote().header, &authentic.quote().body);
    let attributes = body.td_attributes;
    let state = Code::PlatformStateMismatch;
    // SERVTD_EXT is no secret where the body says what is bound, and unaccountable where it does not.
    let hidden = attributes.servtd_ext() && body.extended.is_none();
    let unnamed = attributes.unnamed() | if hidden { 1 << 17 } else { 0 };
    vec![
        policy.debug.check("debug", Code::DebugEnabled, &attributes.debug(), bool::to_string),
        policy.migratable.check("migratable", Code::MigrationAgentEnabled, &attributes.migratable(), bool::to_string),
        policy.service_td.check("service-td", Code::MigrationAgentEnabled, &service_td(body, policy), Hex::to_string),
        Check::new(
            "service-td-attributes",
            !attributes_without_service_td(body),
            Code::MigrationAgentEnabled,
            if attributes_without_service_td(body) { "attributes without a hash" } else { "none without a hash" },
            "none without a hash",
        ),
        policy.vmid.check("vmid", Code::VmplMismatch, &body.extended.map_or(0, |more| more.vmid), u8::to_string),
        policy.sept_ve_disable.check("sept-ve-disable", state, &attributes.sept_ve_disable(), bool::to_string),
        policy.perfmon.check("perfmon", state, &attributes.perfmon(), bool::to_string),
        policy.key_locker.check("key-locker", state, &attributes.key_locker(), bool::to_string),
        policy.pks.check("pks", state, &attributes.pks(), bool::to_string),
        Check::new(
            "td-attributes",
            unnamed == 0,
            Code::ReservedNotZero,
            format!("{:#018x}", attributes.0),
            format!("no bit outside {:#018x}", TdAttributes::NAMED),
        ),
        Check::new(
            "xfam-fixed-bits",
            body.xfam.fixed_bits_hold(),
            state,
            format!("{:#x}", body.xfam.0),
            format!("{:#x} and no bit outside {:#x}", Xfam::FIXED1, Xfam::FIXED0),
        ),
        policy.xfam.check("xfam", state, &Hex(body.xfam.0.to_le_bytes()), Hex::to_string),
        Check::new("reserved-zero", header.reserved_zero, Code::ReservedNotZero, header.reserved_zero, true),
    ]
}

/// A TD 1.0 body stands for no service TD: the quoting enclave writes another body where there is one. Of MRSERVICETD and the
/// bindings at launch and now, the first that the policy does not allow is shown.
fn service_td(body: &TdReport, policy: &TdxPolicy) -> Hex<48> {
    let bound = Hex(body.mrservicetd.unwrap_or([0; 48]));
    let more = body.extended.iter().flat_map(|more| [Hex(more.init_servtd_hash), Hex(more.cur_servtd_hash)]);
    more.chain([bound]).find(|hash| !policy.service_td.allows(hash)).unwrap_or(bound)
}

/// Attributes of a service TD that is not there: one side of the binding was hidden.
fn attributes_without_service_td(body: &TdReport) -> bool {
    body.extended.is_some_and(|more| {
        let launched = (more.init_servtd_hash, more.init_servtd_attributes);
        [launched, (more.cur_servtd_hash, more.cur_servtd_attributes)]
            .iter()
            .any(|(hash, attributes)| *hash == [0; 48] && *attributes != [0; 8])
    })
}

fn platform_checks(authentic: &AuthenticQuote, policy: &TdxPolicy) -> Vec<Check> {
    let (quote, platform) = (authentic.quote(), authentic.platform());
    let facts = platform.facts();
    let not_approved = Code::PlatformNotApproved;
    let status = authentic.tcb_status();
    let revoked = status == TcbStatus::Revoked;
    let code = if revoked { Code::TcbRevoked } else { Code::TcbStatusNotAccepted };
    let accepted = !revoked && policy.tcb_status.allows(&status);
    let instance = facts.platform_instance.unwrap_or([0; 16]);
    let stated = |name: &str, rule: &Rule<bool>, switch: fn(Configuration) -> bool| match facts.configuration {
        Some(configuration) => rule.check(name, not_approved, &switch(configuration), bool::to_string),
        None => Check::new(name, !rule.is_fixed(), not_approved, "not stated", rule.describe(bool::to_string)),
    };
    vec![
        Check::new("tcb-status", accepted, code, status, policy.tcb_status.describe(TcbStatus::to_string)),
        policy.fmspc.check("fmspc", not_approved, &Hex(facts.fmspc), Hex::to_string),
        policy.ppid.check("ppid", facts.ppid, authentic.at()),
        policy.platform_instance.check("platform-instance", instance, authentic.at()),
        stated("dynamic-platform", &policy.dynamic_platform, |stated| stated.dynamic_platform),
        stated("cached-keys", &policy.cached_keys, |stated| stated.cached_keys),
        stated("smt", &policy.smt, |stated| stated.smt),
        policy.qe_vendor.check("qe-vendor", not_approved, &Hex(quote.header.qe_vendor_id), Hex::to_string),
        policy.mrseam.check("mrseam", not_approved, &Hex(quote.body.mrseam), Hex::to_string),
        policy.mrsignerseam.check("mrsignerseam", not_approved, &Hex(quote.body.mrsignerseam), Hex::to_string),
    ]
}

/// How old what Intel says may be, beside the dates that Intel itself gives it.
fn collateral_checks(authentic: &AuthenticQuote, policy: &TdxPolicy) -> Vec<Check> {
    let collateral = authentic.platform().collateral();
    let (root, pck) = (collateral.root_list(), collateral.pck_list());
    let since = |moment| Some(authentic.at().saturating_sub(moment));
    let (old, old_list) = (Code::CollateralTooOld, Code::CrlTooOld);
    vec![
        policy.tcb_evaluation.check("tcb-evaluation", old, Some(&collateral.evaluation()), u32::ge),
        policy.collateral_age.check("collateral-age", old, since(collateral.issued()).as_ref()),
        policy.crl_number.check("crl-number", old_list, pck.number.as_ref(), u64::ge),
        policy.crl_age.check("crl-age", old_list, since(pck.this_update).as_ref()),
        policy.root_crl_number.check("root-crl-number", old_list, root.number.as_ref(), u64::ge),
        policy.root_crl_age.check("root-crl-age", old_list, since(root.this_update).as_ref()),
    ]
}

fn software_checks(body: &TdReport, policy: &TdxPolicy) -> Vec<Check> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr;
    let measured = [
        ("mrtd", &policy.mrtd, body.mrtd),
        ("rtmr0", &policy.rtmr0, rtmr0),
        ("rtmr1", &policy.rtmr1, rtmr1),
        ("rtmr2", &policy.rtmr2, rtmr2),
        ("rtmr3", &policy.rtmr3, rtmr3),
        ("mrowner", &policy.mrowner, body.mrowner),
        ("mrownerconfig", &policy.mrownerconfig, body.mrownerconfig),
    ];
    let check = |(name, rule, got): (&str, &Rule<Hex<48>>, [u8; 48])| {
        rule.check(name, Code::MeasurementNotApproved, &Hex(got), Hex::to_string)
    };
    measured.into_iter().map(check).collect()
}

fn deployment_check(body: &TdReport, policy: &TdxPolicy) -> Check {
    let (document, rest) = mrconfigid(body);
    let allowed = !policy.deployment.is_fixed() || (policy.deployment.allows(&Hex(document)) && rest == [0; 16]);
    let missing = body.mrconfigid == [0; 48];
    Check::new(
        "deployment",
        allowed,
        if missing { Code::DeploymentMissing } else { Code::DeploymentNotApproved },
        hex::encode(body.mrconfigid),
        policy.deployment.describe(|digest| format!("{digest}{}", "00".repeat(16))),
    )
}

fn binding_checks(body: &TdReport, expected: &Expected) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(document) = expected.deployment {
        let (named, rest) = mrconfigid(body);
        let missing = body.mrconfigid == [0; 48];
        let code = if missing { Code::DeploymentMissing } else { Code::DeploymentMismatch };
        let held = Sha256(named) == document && rest == [0; 16] && !missing;
        let want = format!("{document}{}", "00".repeat(16));
        checks.push(Check::new("deployment-document", held, code, hex::encode(body.mrconfigid), want));
    }
    if let Some(want) = expected.report_data {
        let (got, want) = (hex::encode(body.report_data), hex::encode(want));
        checks.push(Check::new("report-data", got == want, Code::ReportDataMismatch, got, want));
    }
    checks
}

/// MRCONFIGID: the digest of the deployment document, and the rest, which must be zero.
fn mrconfigid(body: &TdReport) -> ([u8; 32], [u8; 16]) {
    let (mut document, mut rest) = ([0; 32], [0; 16]);
    document.iter_mut().chain(&mut rest).zip(body.mrconfigid).for_each(|(to, from)| *to = from);
    (document, rest)
}
