//! SNP reports.

use super::answer::{Answer, Fields};
use super::{Terms, remember, sighted};
use serde::Serialize;
use strongroom_appraisal::{Seen, Sightings, Verdict, appraise, authenticate_recording};
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
    guest_policy_bits: Vec<String>,
    platform_info: String,
    platform_info_bits: Vec<String>,
    cpuid: String,
    guest_svn: u32,
    family_id: String,
    image_id: String,
    id_key_digest: String,
    /// `None` where AUTHOR_KEY_EN is not set.
    author_key_digest: Option<String>,
    /// Major, minor, build.
    current_version: [u8; 3],
    committed_version: [u8; 3],
    /// `None` before version 5.
    launch_mit_vector: Option<String>,
    current_mit_vector: Option<String>,
    tcb: Tcb,
    committed_tcb: Tcb,
    current_tcb: Tcb,
    launch_tcb: Tcb,
}

pub(super) fn describe(evidence: &[u8]) -> Result<Answer> {
    let report = Report::parse(evidence)?;
    let tcb = |raw| report.tcb_layout().read(raw);
    let version = |[build, minor, major]: [u8; 3]| [major, minor, build];
    let mitigations = |vector: u64| (report.version >= 5).then(|| format!("{vector:#x}"));
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
        guest_policy_bits: report.policy.names(),
        platform_info: format!("{:#x}", report.platform_info.0),
        platform_info_bits: report.platform_info.names(),
        cpuid: hex::encode(report.cpuid),
        guest_svn: report.guest_svn,
        family_id: hex::encode(report.family_id),
        image_id: hex::encode(report.image_id),
        id_key_digest: hex::encode(report.id_key_digest),
        author_key_digest: report.key_info.author_key().then(|| hex::encode(report.author_key_digest)),
        current_version: version(report.current_version),
        committed_version: version(report.committed_version),
        launch_mit_vector: mitigations(report.launch_mit_vector),
        current_mit_vector: mitigations(report.current_mit_vector),
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
        vtpm: None,
        checks: Vec::new(),
    })
}

pub(super) fn judge(
    evidence: &[u8],
    terms: &Terms<'_>,
    mut seen: Option<&mut Seen>,
    answer: &mut Answer,
) -> Result<Verdict> {
    let mut sightings = Sightings::default();
    let authentic = authenticate_recording(
        evidence,
        terms.endorsements,
        terms.roots,
        terms.now,
        &mut answer.checks,
        &mut sightings,
    );
    let authentic = authentic.inspect_err(|_| sighted(seen.as_deref_mut(), &sightings))?;
    answer.root = Some(authentic.root());
    answer.product = Some(authentic.product().to_owned());
    remember(seen, |seen| authentic.verify_newest(seen), answer)?;
    terms.appraise(&authentic, appraise, answer)
}

impl SnpFields {
    pub(super) fn rows(&self, answer: &Answer) -> Vec<(&'static str, String)> {
        let dotted = |[major, minor, build]: [u8; 3]| format!("{major}.{minor}.{build}");
        let bits = |word: &str, bits: &[String]| match bits.is_empty() {
            true => word.to_owned(),
            false => format!("{word} ({})", bits.join(", ")),
        };
        let stated = |value: &Option<String>, otherwise: &str| value.clone().unwrap_or_else(|| otherwise.to_owned());
        let older = "not in this report version";
        vec![
            ("platform", format!("snp report version {}, signed with a {}", answer.report_version, self.signing_key)),
            ("MEASUREMENT", answer.measurement.clone()),
            ("HOST_DATA", self.host_data.clone()),
            ("REPORT_DATA", answer.report_data.clone()),
            ("CHIP_ID", self.chip_id.clone()),
            ("CPUID", self.cpuid.clone()),
            ("POLICY", bits(&self.guest_policy, &self.guest_policy_bits)),
            ("PLATFORM_INFO", bits(&self.platform_info, &self.platform_info_bits)),
            ("VMPL", self.vmpl.to_string()),
            ("GUEST_SVN", self.guest_svn.to_string()),
            ("FAMILY_ID", self.family_id.clone()),
            ("IMAGE_ID", self.image_id.clone()),
            ("ID_KEY", self.id_key_digest.clone()),
            ("AUTHOR_KEY", stated(&self.author_key_digest, "none")),
            ("REPORTED_TCB", self.tcb.to_string()),
            ("COMMITTED_TCB", self.committed_tcb.to_string()),
            ("CURRENT_TCB", self.current_tcb.to_string()),
            ("LAUNCH_TCB", self.launch_tcb.to_string()),
            ("CURRENT", dotted(self.current_version)),
            ("COMMITTED", dotted(self.committed_version)),
            ("LAUNCH_MIT", stated(&self.launch_mit_vector, older)),
            ("CURRENT_MIT", stated(&self.current_mit_vector, older)),
        ]
    }
}
