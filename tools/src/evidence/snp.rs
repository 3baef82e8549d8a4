//! SNP reports.

use super::Terms;
use super::answer::{Answer, Fields};
use serde::Serialize;
use strongroom_appraisal::{Verdict, appraise, authenticate_traced};
use strongroom_wire::Result;
use strongroom_wire::snp::{Report, SigningKey, Tcb};

/// What only an SNP report says.
#[derive(Serialize)]
pub(super) struct SnpFields {
    signing_key: &'static str,
    vmpl: u32,
    host_data: String,
    chip_id: String,
    guest_policy: String,
    platform_info: String,
    tcb: Tcb,
    committed_tcb: Tcb,
    current_tcb: Tcb,
    launch_tcb: Tcb,
}

pub(super) fn describe(evidence: &[u8]) -> Result<Answer> {
    let report = Report::parse(evidence)?;
    let tcb = |raw| report.tcb_layout().read(raw);
    let fields = SnpFields {
        signing_key: match report.key_info.signing_key() {
            SigningKey::Vcek => "VCEK",
            SigningKey::Vlek => "VLEK",
            SigningKey::None => "none",
            SigningKey::Other(_) => "unknown",
        },
        vmpl: report.vmpl,
        host_data: hex::encode(report.host_data),
        chip_id: hex::encode(report.chip_id),
        guest_policy: format!("{:#x}", report.policy.0),
        platform_info: format!("{:#x}", report.platform_info.0),
        tcb: tcb(report.reported_tcb),
        committed_tcb: tcb(report.committed_tcb),
        current_tcb: tcb(report.current_tcb),
        launch_tcb: tcb(report.launch_tcb),
    };
    Ok(Answer {
        verdict: Verdict::Refused.as_str(),
        code: None,
        platform: "snp",
        root: None,
        product: None,
        report_version: report.version,
        debug: report.policy.debug(),
        measurement: hex::encode(report.measurement),
        report_data: hex::encode(report.report_data),
        tcb_status: None,
        advisories: Vec::new(),
        fields: Fields::Snp(Box::new(fields)),
        checks: Vec::new(),
    })
}

pub(super) fn judge(evidence: &[u8], terms: &Terms<'_>, answer: &mut Answer) -> Result<Verdict> {
    let authentic = authenticate_traced(evidence, terms.endorsements, terms.roots, terms.now, &mut answer.checks)?;
    answer.root = Some(authentic.root());
    answer.product = Some(authentic.product().to_owned());
    terms.appraise(&authentic, appraise, answer)
}

impl SnpFields {
    pub(super) fn rows(&self, answer: &Answer) -> Vec<(&'static str, String)> {
        let debug = if answer.debug { " (debugging allowed)" } else { "" };
        vec![
            ("platform", format!("snp report version {}, signed with a {}", answer.report_version, self.signing_key)),
            ("MEASUREMENT", answer.measurement.clone()),
            ("HOST_DATA", self.host_data.clone()),
            ("REPORT_DATA", answer.report_data.clone()),
            ("CHIP_ID", self.chip_id.clone()),
            ("POLICY", format!("{}{debug}", self.guest_policy)),
            ("PLATFORM_INFO", self.platform_info.clone()),
            ("VMPL", self.vmpl.to_string()),
            ("REPORTED_TCB", self.tcb.to_string()),
            ("COMMITTED_TCB", self.committed_tcb.to_string()),
            ("CURRENT_TCB", self.current_tcb.to_string()),
            ("LAUNCH_TCB", self.launch_tcb.to_string()),
        ]
    }
}
