//! TDX quotes.

use super::answer::{Answer, Fields};
use super::{Terms, remember, sighted};
use crate::output;
use serde::Serialize;
use strongroom_appraisal::tdx::{AuthenticQuote, appraise, authenticate_recording};
use strongroom_appraisal::{Seen, Sightings, UnixTime, Verdict};
use strongroom_wire::Result;
use strongroom_wire::event_log::Event;
use strongroom_wire::tdx::Quote;

/// What only a TDX quote says, and what Intel says of its platform.
#[derive(Serialize)]
pub(super) struct TdxFields {
    body_type: u16,
    rtmr: Vec<String>,
    mrconfigid: String,
    mrowner: String,
    mrownerconfig: String,
    mrseam: String,
    mrsignerseam: String,
    mrservicetd: Option<String>,
    td_attributes: String,
    xfam: String,
    tcb: TdxTcb,
    /// From here on: Intel's word, after its signatures held.
    fmspc: Option<String>,
    ppid: Option<String>,
    platform_instance: Option<String>,
    tcb_evaluation: Option<u32>,
    valid_from: Option<UnixTime>,
    valid_until: Option<UnixTime>,
    /// What was measured, where an event log was given and held.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<LoggedEvent>>,
}

/// An event of a log that was replayed. Its type is not measured.
#[derive(Serialize)]
struct LoggedEvent {
    rtmr: Option<u8>,
    #[serde(rename = "type")]
    kind: String,
    digest: String,
}

impl LoggedEvent {
    fn of(event: &Event) -> Self {
        Self { rtmr: event.rtmr(), kind: event.kind.to_string(), digest: hex::encode(event.digest) }
    }
}

/// The SVNs that a TCB level is found by.
#[derive(Serialize)]
struct TdxTcb {
    tee_tcb_svn: String,
    tee_tcb_svn2: Option<String>,
    sgx_components: Option<String>,
    pce_svn: Option<u16>,
}

pub(super) fn describe(evidence: &[u8]) -> Result<Answer> {
    let quote = Quote::parse(evidence)?;
    let body = &quote.body;
    let fields = TdxFields {
        body_type: quote.body_type,
        rtmr: body.rtmr.iter().map(hex::encode).collect(),
        mrconfigid: hex::encode(body.mrconfigid),
        mrowner: hex::encode(body.mrowner),
        mrownerconfig: hex::encode(body.mrownerconfig),
        mrseam: hex::encode(body.mrseam),
        mrsignerseam: hex::encode(body.mrsignerseam),
        mrservicetd: body.mrservicetd.map(hex::encode),
        td_attributes: hex::encode(body.td_attributes.0.to_le_bytes()),
        xfam: hex::encode(body.xfam.0.to_le_bytes()),
        tcb: TdxTcb {
            tee_tcb_svn: hex::encode(body.tee_tcb_svn),
            tee_tcb_svn2: body.tee_tcb_svn2.map(hex::encode),
            sgx_components: None,
            pce_svn: None,
        },
        fmspc: None,
        ppid: None,
        platform_instance: None,
        tcb_evaluation: None,
        valid_from: None,
        valid_until: None,
        events: None,
    };
    Ok(Answer {
        verdict: Verdict::Refused.as_str(),
        code: None,
        platform: "tdx",
        root: None,
        product: None,
        report_version: u32::from(quote.header.version),
        debug: body.td_attributes.debug(),
        measurement: hex::encode(body.mrtd),
        report_data: hex::encode(body.report_data),
        tcb_status: None,
        advisories: Vec::new(),
        fields: Fields::Tdx(Box::new(fields)),
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
    answer.tcb_status = Some(authentic.tcb_status().as_str());
    answer.advisories = authentic.advisories().map(str::to_owned).collect();
    if let Fields::Tdx(fields) = &mut answer.fields {
        fields.learn(&authentic);
    }
    remember(seen, |seen| authentic.verify_newest(seen), answer)?;
    let authentic = match terms.event_log {
        Some(log) => authentic.with_event_log_traced(log, &mut answer.checks)?,
        None => authentic,
    };
    if let (Fields::Tdx(fields), Some(log)) = (&mut answer.fields, authentic.event_log()) {
        fields.events = Some(log.events().iter().map(LoggedEvent::of).collect());
    }
    terms.appraise(&authentic, appraise, answer)
}

impl TdxFields {
    fn learn(&mut self, authentic: &AuthenticQuote) {
        let (platform, facts) = (authentic.platform(), authentic.platform().facts());
        self.tcb.sgx_components = Some(hex::encode(facts.sgx_components));
        self.tcb.pce_svn = Some(facts.pce_svn);
        self.fmspc = Some(hex::encode(facts.fmspc));
        self.ppid = Some(hex::encode(facts.ppid));
        self.platform_instance = facts.platform_instance.map(hex::encode);
        self.tcb_evaluation = Some(platform.collateral().evaluation());
        self.valid_from = Some(*platform.valid().start());
        self.valid_until = Some(*platform.valid().end());
    }

    pub(super) fn rows(&self, answer: &Answer) -> Vec<(&'static str, String)> {
        let debug = if answer.debug { " (debugging allowed)" } else { "" };
        let mut rows = vec![
            ("platform", format!("tdx quote version {}, body type {}", answer.report_version, self.body_type)),
            ("MRTD", answer.measurement.clone()),
        ];
        rows.extend(["RTMR0", "RTMR1", "RTMR2", "RTMR3"].into_iter().zip(self.rtmr.iter().cloned()));
        rows.extend([
            ("MRCONFIGID", self.mrconfigid.clone()),
            ("REPORTDATA", answer.report_data.clone()),
            ("TDATTRIBUTES", format!("{}{debug}", self.td_attributes)),
            ("XFAM", self.xfam.clone()),
            ("MRSEAM", self.mrseam.clone()),
            ("TEE_TCB_SVN", self.tcb.tee_tcb_svn.clone()),
        ]);
        let learnt = [
            ("FMSPC", self.fmspc.clone()),
            ("PPID", self.ppid.clone()),
            ("TCB status", answer.tcb_status.map(str::to_owned)),
            ("advisories", (!answer.advisories.is_empty()).then(|| answer.advisories.join(" "))),
            ("valid until", self.valid_until.map(output::utc)),
        ];
        let events = self.events.iter().flatten().filter_map(|event| event.rtmr.map(|rtmr| (rtmr, event)));
        rows.extend(events.map(|(rtmr, event)| ("event", format!("RTMR{rtmr} {} {}", event.digest, event.kind))));
        rows.extend(learnt.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
        rows
    }
}
