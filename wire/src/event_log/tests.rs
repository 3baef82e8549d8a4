use super::*;
use proptest::prelude::*;

fn event_old(kind: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    [&[0; 4], &kind.to_le_bytes()[..], &[0; 20], &len.to_le_bytes(), data].concat()
}

fn spec_id(major: u8, algorithms: &[Algorithm]) -> Vec<u8> {
    let mut data = [&SPEC_ID[..], &[0; 4], &[0, major, 0, 2]].concat();
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (id, len) in algorithms {
        data.extend([id.to_le_bytes(), len.to_le_bytes()].concat());
    }
    data.push(3);
    data.extend(b"abc");
    event_old(3, &data)
}

fn event(index: u32, kind: u32, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut bytes = [index.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
    for (id, digest) in digests {
        bytes.extend(id.to_le_bytes());
        bytes.extend(*digest);
    }
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn log(events: &[Vec<u8>]) -> Vec<u8> {
    [spec_id(2, &[(SHA384, 48)]), events.concat()].concat()
}

fn one(index: u32, kind: u32, digest: u8) -> Vec<u8> {
    event(index, kind, &[(SHA384, &[digest; 48])], b"data")
}

fn code(bytes: &[u8]) -> Code {
    EventLog::parse(bytes).expect_err("parsed").code
}

#[test]
fn events_are_read_and_replayed_in_order_into_their_registers() {
    let parsed = EventLog::parse(&log(&[one(1, 4, 7), one(3, 13, 8), one(1, 4, 9)])).unwrap();
    let second = Event { index: 3, kind: EventType(13), digest: [8; 48], data: b"data".to_vec() };
    assert_eq!(parsed.events[1], second);
    let step = |register: [u8; 48], digest: u8| sha384(&[register, [digest; 48]].concat());
    let want = [step(step([0; 48], 7), 9), [0; 48], step([0; 48], 8), [0; 48]];
    assert_eq!(parsed.replay(), want);
    let swapped = EventLog::parse(&log(&[one(1, 4, 9), one(3, 13, 8), one(1, 4, 7)])).unwrap();
    assert_ne!(swapped.replay()[0], want[0]);
}

#[test]
fn event_without_action_extends_nothing_and_any_other_does() {
    let replayed = |kind| EventLog::parse(&log(&[one(2, kind, 7)])).unwrap().replay()[1];
    assert_eq!(replayed(3), [0; 48]);
    assert_ne!(replayed(4), [0; 48]);
}

#[test]
fn register_outside_rtmr0_to_3_refused_unless_nothing_is_extended() {
    for index in [0, 5, u32::MAX] {
        assert_eq!(code(&log(&[one(index, 4, 7)])), Code::Malformed, "{index}");
        assert!(EventLog::parse(&log(&[one(index, 3, 7)])).is_ok(), "{index}");
    }
    for index in 1..=4u8 {
        let parsed = EventLog::parse(&log(&[one(u32::from(index), 4, 7)])).unwrap();
        assert_eq!(parsed.events[0].rtmr(), Some(index - 1));
        let extended = sha384(&[[0; 48], [7; 48]].concat());
        let want: [[u8; 48]; 4] =
            core::array::from_fn(|at| if at + 1 == usize::from(index) { extended } else { [0; 48] });
        assert_eq!(parsed.replay(), want, "{index}");
    }
}

#[test]
fn padding_of_one_value_accepted_and_of_two_refused() {
    for fill in [0, 0xff] {
        let mut bytes = log(&[one(1, 4, 7)]);
        bytes.extend([fill; 100]);
        assert_eq!(EventLog::parse(&bytes).unwrap().events.len(), 1);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(code(&bytes), Code::Malformed);
    }
}

#[test]
fn log_cut_anywhere_is_refused_or_ends_with_an_event() {
    let bytes = log(&[one(1, 4, 7), one(2, 4, 8)]);
    let first = log(&[one(1, 4, 7)]).len();
    let ends = [log(&[]).len(), first, bytes.len()];
    for end in 0..=bytes.len() {
        // A tail of zeros alone is padding: an index begins with its low byte, which is not zero here.
        assert_eq!(EventLog::parse(&bytes[..end]).is_ok(), ends.contains(&end), "{end}");
    }
}

#[test]
fn first_event_other_than_a_spec_id_event_refused() {
    assert!(EventLog::parse(&spec_id(2, &[(SHA384, 48)])).is_ok());
    let mut another = spec_id(2, &[(SHA384, 48)]);
    another[32] ^= 1;
    assert_eq!(code(&another), Code::Malformed);
    let mut typed = spec_id(2, &[(SHA384, 48)]);
    typed[4] = 4;
    assert_eq!(code(&typed), Code::Malformed);
    let mut digested = spec_id(2, &[(SHA384, 48)]);
    digested[8] = 1;
    assert_eq!(code(&digested), Code::Malformed);
    assert_eq!(code(&spec_id(1, &[(SHA384, 48)])), Code::VersionUnsupported);
}

#[test]
fn log_without_sha384_or_with_another_length_for_it_refused() {
    assert_eq!(code(&spec_id(2, &[(0x000b, 32)])), Code::Malformed);
    assert_eq!(code(&spec_id(2, &[(SHA384, 32)])), Code::Malformed);
    assert!(EventLog::parse(&spec_id(2, &[(0x000b, 32), (SHA384, 48)])).is_ok());
}

#[test]
fn digests_must_be_those_of_the_spec_id_event() {
    let head = spec_id(2, &[(0x000b, 32), (SHA384, 48)]);
    let parse = |digests: &[(u16, &[u8])]| EventLog::parse(&[head.clone(), event(1, 4, digests, b"")].concat());
    let (short, long) = ([1; 32], [2; 48]);
    for digests in [[(0x000b, &short[..]), (SHA384, &long[..])], [(SHA384, &long), (0x000b, &short)]] {
        assert_eq!(parse(&digests).unwrap().events[0].digest, long);
    }
    for digests in [
        &[(SHA384, &long[..])][..],
        &[(SHA384, &long), (SHA384, &long)],
        &[(0x000b, &short), (0x000b, &short)],
        &[(SHA384, &long), (0x000d, &short)],
    ] {
        assert_eq!(parse(digests).expect_err("parsed").code, Code::Malformed);
    }
}

#[test]
fn log_at_its_limits_accepted_and_above_them_refused() {
    let mut bytes = log(&[]);
    bytes.resize(limits::EVENT_LOG, 0xff);
    assert!(EventLog::parse(&bytes).is_ok());
    bytes.push(0xff);
    assert_eq!(code(&bytes), Code::TooLarge);
    let small = |n| log(&vec![event(1, 4, &[(SHA384, &[1; 48])], b""); n]);
    assert_eq!(EventLog::parse(&small(limits::EVENTS)).unwrap().events.len(), limits::EVENTS);
    assert_eq!(code(&small(limits::EVENTS + 1)), Code::TooLarge);
    let algorithms = |n: u16| (0..n).map(|id| (id + SHA384, 48)).collect::<Vec<_>>();
    assert!(EventLog::parse(&spec_id(2, &algorithms(8))).is_ok());
    assert_eq!(code(&spec_id(2, &algorithms(9))), Code::TooLarge);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = EventLog::parse(&bytes);
    }

    /// Damage behind a sound beginning reaches every length field.
    #[test]
    fn damaged_logs_never_panic(at in 0usize..300, value: u8) {
        let mut bytes = log(&[one(1, 4, 7), one(2, 4, 8), one(3, 4, 9)]);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = EventLog::parse(&bytes).map(|log| log.replay());
    }

    #[test]
    fn written_events_are_read_back(
        written in proptest::collection::vec((1u32..=4, 4u32..20, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20)
    ) {
        let events: Vec<_> =
            written.iter().map(|(index, kind, digest, data)| event(*index, *kind, &[(SHA384, &[*digest; 48])], data)).collect();
        let read = EventLog::parse(&log(&events)).unwrap().events;
        let want: Vec<_> = written
            .into_iter()
            .map(|(index, kind, digest, data)| Event { index, kind: EventType(kind), digest: [digest; 48], data })
            .collect();
        prop_assert_eq!(read, want);
    }
}
