//! An event log, held against the registers of an authentic quote; and what a policy says of single events.

use super::AuthenticQuote;
use crate::policy::{TdxEvent, TdxPolicy};
use crate::trace::traced;
use std::sync::Arc;
use strongroom_wire::event_log::{Event, EventLog};
use strongroom_wire::{Check, Code, Refusal, Result};

/// A log whose replay gives the RTMRs of the quote that holds it. The registers, digests and order of its events are the
/// hardware's word from here on. Types and data are not measured and stay the log's.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `AuthenticQuote::with_event_log`.
/// let forged = strongroom_appraisal::tdx::ReplayedLog { log: todo!() };
/// ```
#[derive(Debug)]
pub struct ReplayedLog {
    log: EventLog,
}

impl ReplayedLog {
    /// The events, in order, of which those of [`Event::rtmr`] were measured.
    pub fn events(&self) -> &[Event] {
        &self.log.events
    }

    /// Parses `log` and replays it to `registers`, RTMR0 to RTMR3. A log without an event for RTMR3 says nothing of that
    /// register, which a guest extends after its firmware finished the log: the policy's `rtmr3` judges it alone.
    fn verify(log: &[u8], registers: &[[u8; 48]; 4]) -> Result<Self> {
        let log = EventLog::parse(log)?;
        let replayed = log.replay();
        let speaks_of_rtmr3 = log.events.iter().any(|event| event.rtmr() == Some(3));
        let judged = if speaks_of_rtmr3 { 4 } else { 3 };
        let pairs = replayed.iter().zip(registers).enumerate().take(judged);
        match pairs.into_iter().find(|(_, (got, want))| got != want) {
            None => Ok(Self { log }),
            Some((number, (got, want))) => Err(Refusal::new(Code::EventLogMismatch, format!("RTMR{number}"))
                .got(hex::encode(got))
                .want(hex::encode(want))),
        }
    }
}

impl AuthenticQuote {
    /// This quote with the event log of the same boot, an ACPI CCEL table's memory.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `version-unsupported`: of [`EventLog::parse`]. `event-log-mismatch`: replayed, it does not
    /// give the quote's registers; the refusal says which.
    pub fn with_event_log(self, log: &[u8]) -> Result<Self> {
        self.with_event_log_traced(log, &mut Vec::new())
    }

    /// [`AuthenticQuote::with_event_log`], with the check appended to `trace`.
    pub fn with_event_log_traced(mut self, log: &[u8], trace: &mut Vec<Check>) -> Result<Self> {
        let replayed = traced(trace, "event-log", ReplayedLog::verify(log, &self.quote().body.rtmr))?;
        self.event_log = Some(Arc::new(replayed));
        Ok(self)
    }

    /// The event log that was replayed to this quote.
    pub fn event_log(&self) -> Option<&ReplayedLog> {
        self.event_log.as_deref()
    }
}

/// One check for each event that the policy names.
pub(super) fn event_checks(authentic: &AuthenticQuote, section: &TdxPolicy) -> Vec<Check> {
    section.event.iter().map(|event| event_check(authentic.event_log(), event)).collect()
}

fn event_check(log: Option<&ReplayedLog>, named: &TdxEvent) -> Check {
    let name = format!("event-rtmr{}-{}", named.rtmr, named.kind).to_ascii_lowercase().replace('_', "-");
    let want = named.digest.describe(ToString::to_string);
    let Some(log) = log else {
        return Check::new(&name, false, Code::EventLogMissing, "no event log", want);
    };
    let digests: Vec<&[u8; 48]> = log
        .events()
        .iter()
        .filter(|event| event.rtmr() == Some(named.rtmr) && event.kind == named.kind)
        .map(|event| &event.digest)
        .collect();
    match digests.iter().find(|digest| named.digest.allows(&crate::Hex(***digest))) {
        Some(digest) => Check::new(&name, true, Code::MeasurementNotApproved, hex::encode(digest), want),
        None => {
            let got = digests.iter().map(hex::encode).collect::<Vec<_>>();
            let got = if got.is_empty() { "no such event".to_owned() } else { got.join(", ") };
            Check::new(&name, false, Code::MeasurementNotApproved, got, want)
        }
    }
}
