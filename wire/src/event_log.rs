//! Event logs of confidential guests: what the firmware, boot loader and kernel of a trust domain say they extended into
//! RTMR0 to RTMR3. The crypto-agile form of the TCG PC Client Platform Firmware Profile (revision 1.05, §10.2 "Event
//! Logging"), as the ACPI table CCEL hands it out (UEFI 2.10 §38.4.1 names the measurement registers).
//!
//! Parsing verifies nothing, and nobody signs a log. Once a replay gives the registers of a signed quote, the registers,
//! the digests and their order are the hardware's word. An event's type and data stay the log's own: only where the
//! digest is one of the data does the data follow from it.

mod event_type;

use crate::bytes::Cursor;
use crate::digest::sha384;
use crate::{Code, Refusal, Result, limits};
pub use event_type::EventType;

/// TPM_ALG_SHA384 (TCG Algorithm Registry).
const SHA384: u16 = 0x000c;
/// Signature of the Spec ID event.
const SPEC_ID: [u8; 16] = *b"Spec ID Event03\0";
const FORMAT: &str = "event log";

/// A parsed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// Its events in order, without the Spec ID event.
    pub events: Vec<Event>,
}

/// TCG_PCR_EVENT2 with its SHA-384 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Measurement register: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    pub index: u32,
    /// Type. Not measured.
    pub kind: EventType,
    /// What the register was extended with.
    pub digest: [u8; 48],
    /// Data. Not measured by itself.
    pub data: Vec<u8>,
}

impl Event {
    /// The number of the RTMR that this event extended, or `None` where it extended nothing.
    pub const fn rtmr(&self) -> Option<u8> {
        match (self.kind, self.index) {
            (EventType::NO_ACTION, _) => None,
            (_, 1) => Some(0),
            (_, 2) => Some(1),
            (_, 3) => Some(2),
            (_, 4) => Some(3),
            _ => None,
        }
    }
}

impl EventLog {
    /// Parses a log. Behind its events only the rest of the firmware's buffer may stand: all `0xff`, or all zero.
    ///
    /// # Errors
    /// `malformed`: also where an event extends a register other than RTMR0 to RTMR3; `too-large`; `version-unsupported`:
    /// not of specification version 2.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::EVENT_LOG {
            return Err(Refusal::too_large(FORMAT, bytes.len(), limits::EVENT_LOG));
        }
        let mut at = Cursor::new(bytes, FORMAT);
        let algorithms = read_spec_id(&mut at)?;
        let mut events = Vec::new();
        while !is_padding(at.rest()) {
            if events.len() == limits::EVENTS {
                return Err(Refusal::too_large("events of an event log", "more", limits::EVENTS));
            }
            events.push(Event::read(&mut at, &algorithms)?);
        }
        Ok(Self { events })
    }

    /// RTMR0 to RTMR3 after these events: each begins as zeros and becomes `SHA-384(register ‖ digest)` (TDX module ABI,
    /// `TDG.MR.RTMR.EXTEND`).
    pub fn replay(&self) -> [[u8; 48]; 4] {
        let mut registers = [[0; 48]; 4];
        for event in &self.events {
            if let Some(register) = event.rtmr().and_then(|rtmr| registers.get_mut(usize::from(rtmr))) {
                *register = sha384(&[*register, event.digest].concat());
            }
        }
        registers
    }
}

/// An algorithm of the log and the length of its digests.
type Algorithm = (u16, u16);

/// The first event is one of the older form, TCG_PCClientPCREvent with a SHA-1 digest of zeros; its data names the
/// algorithms of all others (TCG_EfiSpecIDEvent).
fn read_spec_id(at: &mut Cursor<'_>) -> Result<Vec<Algorithm>> {
    let _index = at.u32_le()?;
    let kind = EventType(at.u32_le()?);
    let digest: [u8; 20] = at.array()?;
    let len = at.u32_le()?;
    let mut data = Cursor::new(at.take(length(len))?, "Spec ID event");
    if kind != EventType::NO_ACTION || digest != [0; 20] || data.array::<16>()? != SPEC_ID {
        return Err(Refusal::new(Code::Malformed, FORMAT).got("another first event").want("a Spec ID event"));
    }
    data.take(4)?; // platformClass
    let [_minor, major, _errata, _uintn_size] = data.array()?;
    if major != 2 {
        return Err(Refusal::new(Code::VersionUnsupported, "event log version").got(major).want(2));
    }
    let count = length(data.u32_le()?);
    if count > limits::EVENT_LOG_ALGORITHMS {
        return Err(Refusal::too_large("algorithms of an event log", count, limits::EVENT_LOG_ALGORITHMS));
    }
    let algorithms = (0..count).map(|_| Ok((data.u16_le()?, data.u16_le()?))).collect::<Result<Vec<Algorithm>>>()?;
    let vendor = data.u8()?;
    data.take(usize::from(vendor))?;
    data.finish()?;
    if !algorithms.contains(&(SHA384, 48)) {
        return Err(Refusal::new(Code::Malformed, FORMAT)
            .got("no SHA-384 digests")
            .want("what RTMRs are extended with"));
    }
    Ok(algorithms)
}

fn is_padding(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == 0xff) || rest.iter().all(|byte| *byte == 0)
}

impl Event {
    fn read(at: &mut Cursor<'_>, algorithms: &[Algorithm]) -> Result<Self> {
        let (index, kind) = (at.u32_le()?, EventType(at.u32_le()?));
        if kind != EventType::NO_ACTION && !(1..=4).contains(&index) {
            return Err(Refusal::new(Code::Malformed, "measurement register of an event")
                .got(index)
                .want("1 to 4, RTMR0 to RTMR3"));
        }
        let digest = read_digests(at, algorithms)?;
        let len = at.u32_le()?;
        Ok(Self { index, kind, digest, data: at.take(length(len))?.to_vec() })
    }
}

/// TPML_DIGEST_VALUES: a digest of each algorithm, in any order, of which the one that counts is kept.
fn read_digests(at: &mut Cursor<'_>, algorithms: &[Algorithm]) -> Result<[u8; 48]> {
    let count = length(at.u32_le()?);
    if count != algorithms.len() {
        return Err(Refusal::new(Code::Malformed, "digests of an event").got(count).want(algorithms.len()));
    }
    let mut found = None;
    for _ in 0..count {
        let id = at.u16_le()?;
        match algorithms.iter().find(|(known, _)| *known == id) {
            Some((SHA384, _)) if found.is_none() => found = Some(at.array()?),
            Some((id, len)) if *id != SHA384 => {
                at.take(usize::from(*len))?;
            }
            _ => return Err(Refusal::new(Code::Malformed, "digest algorithm of an event").got(format!("{id:#06x}"))),
        }
    }
    found.ok_or_else(|| Refusal::new(Code::Malformed, "digests of an event").got("none").want("a SHA-384 digest"))
}

/// A length field; one that no address space holds is longer than any input.
fn length(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
