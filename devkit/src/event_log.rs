//! Event logs as firmware writes them: a Spec ID event, events with a SHA-384 digest, the rest of the buffer.

use strongroom_wire::event_log::{Event, EventType};

/// TPM_ALG_SHA384.
const SHA384: [u8; 2] = [0x0c, 0];

/// An event that extended that RTMR with `digest` repeated.
pub fn event(rtmr: u32, kind: u32, digest: u8) -> Event {
    Event { index: rtmr.saturating_add(1), kind: EventType(kind), digest: [digest; 48], data: b"event".to_vec() }
}

/// A log of these events in a buffer with 64 bytes to spare.
pub fn write(events: &[Event]) -> Vec<u8> {
    let mut log = [&[0; 4][..], &EventType::NO_ACTION.0.to_le_bytes(), &[0; 20], &33_u32.to_le_bytes()].concat();
    log.extend(b"Spec ID Event03\0");
    log.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0]);
    log.extend(SHA384);
    log.extend([48, 0, 0]);
    for event in events {
        log.extend([event.index.to_le_bytes(), event.kind.0.to_le_bytes(), 1_u32.to_le_bytes()].concat());
        log.extend(SHA384);
        log.extend(event.digest);
        log.extend(u32::try_from(event.data.len()).unwrap_or(u32::MAX).to_le_bytes());
        log.extend(&event.data);
    }
    log.extend([0xff; 64]);
    log
}
