//! The evidence in the names that the profile uses. What is a name of nobody's before is the vendor's field name.

use crate::platform::Authentic;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_appraisal::AuthenticReport;
use strongroom_appraisal::tdx::AuthenticQuote;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::TeeClaims;
use strongroom_wire::tpm::PCRS;

type Claims = BTreeMap<String, Value>;

/// The field that nonce and key are compared with.
pub(super) fn report_data(authentic: &Authentic) -> String {
    match authentic {
        Authentic::Snp(report) => hex::encode(report.report().report_data),
        Authentic::Tdx(quote) => hex::encode(quote.quote().body.report_data),
        Authentic::AzureSnp(vtpm) => hex::encode(&vtpm.quote().extra_data),
        Authentic::AzureTdx(vtpm) => hex::encode(&vtpm.quote().extra_data),
    }
}

/// The field that names the document. Which PCR does is the policy's to say.
pub(super) fn init_data(authentic: &Authentic, document: Sha256) -> String {
    match authentic {
        Authentic::Snp(report) => hex::encode(report.report().host_data),
        Authentic::Tdx(quote) => hex::encode(quote.quote().body.mrconfigid),
        Authentic::AzureSnp(_) | Authentic::AzureTdx(_) => document.to_string(),
    }
}

/// What the evidence says, by name.
pub(super) fn claims(authentic: &Authentic) -> TeeClaims {
    match authentic {
        Authentic::Snp(report) => TeeClaims::Snp(of_report(report)),
        Authentic::Tdx(quote) => TeeClaims::Tdx(of_quote(quote)),
        Authentic::AzureSnp(vtpm) => TeeClaims::AzSnpVtpm(with_pcrs(of_report(vtpm.hardware()), vtpm.pcrs())),
        Authentic::AzureTdx(vtpm) => TeeClaims::AzTdxVtpm(with_pcrs(of_quote(vtpm.hardware()), vtpm.pcrs())),
    }
}

fn of_report(authentic: &AuthenticReport) -> Claims {
    let (report, tcb) = (authentic.report(), authentic.tcb());
    let [abi_major, abi_minor] = report.policy.abi();
    [
        ("product", json!(authentic.product())),
        ("measurement", json!(hex::encode(report.measurement))),
        ("chip_id", json!(hex::encode(report.chip_id))),
        ("vmpl", json!(report.vmpl)),
        ("guest_svn", json!(report.guest_svn)),
        ("reported_tcb_bootloader", json!(tcb.bootloader)),
        ("reported_tcb_tee", json!(tcb.tee)),
        ("reported_tcb_snp", json!(tcb.snp)),
        ("reported_tcb_microcode", json!(tcb.microcode)),
        ("policy_abi_major", json!(abi_major)),
        ("policy_abi_minor", json!(abi_minor)),
        ("policy_smt_allowed", json!(report.policy.smt())),
        ("policy_migrate_ma", json!(report.policy.migration_agent())),
        ("policy_debug_allowed", json!(report.policy.debug())),
        ("policy_single_socket", json!(report.policy.single_socket())),
        ("platform_smt_enabled", json!(report.platform_info.smt())),
        ("platform_tsme_enabled", json!(report.platform_info.tsme())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn of_quote(authentic: &AuthenticQuote) -> Claims {
    let (quote, facts) = (authentic.quote(), authentic.platform().facts());
    let body = &quote.body;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr.map(hex::encode);
    let fields = json!({
        "mr_td": hex::encode(body.mrtd),
        "mr_seam": hex::encode(body.mrseam),
        "mrsigner_seam": hex::encode(body.mrsignerseam),
        "mr_config_id": hex::encode(body.mrconfigid),
        "mr_owner": hex::encode(body.mrowner),
        "mr_owner_config": hex::encode(body.mrownerconfig),
        "rtmr_0": rtmr0,
        "rtmr_1": rtmr1,
        "rtmr_2": rtmr2,
        "rtmr_3": rtmr3,
        "tcb_svn": hex::encode(body.tee_tcb_svn),
        "td_attributes": hex::encode(body.td_attributes.0.to_le_bytes()),
        "xfam": hex::encode(body.xfam.0.to_le_bytes()),
        "report_data": hex::encode(body.report_data),
    });
    [
        ("quote", json!({ "body": fields })),
        ("td_attributes", json!({ "debug": body.td_attributes.debug() })),
        ("tcb_status", json!(authentic.tcb_status().as_str())),
        ("advisory_ids", authentic.advisories().collect()),
        ("fmspc", json!(hex::encode(facts.fmspc))),
        ("platform_instance_id", json!(facts.platform_instance.map(hex::encode))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn with_pcrs(mut claims: Claims, pcrs: &[[u8; 32]; PCRS]) -> Claims {
    let pcrs = pcrs.iter().enumerate().map(|(number, pcr)| (format!("pcr{number:02}"), json!(hex::encode(pcr))));
    claims.insert("tpm".to_owned(), Value::Object(pcrs.collect()));
    claims
}
