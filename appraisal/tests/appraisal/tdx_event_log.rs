//! Event logs against the registers of authentic quotes, and policies that name single events.

use super::tdx_case::with_quote;
use strongroom_appraisal::tdx::{AuthenticQuote, appraise};
use strongroom_appraisal::{Expected, Policy};
use strongroom_devkit::event_log::{event, write};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::vectors::folder;
use strongroom_wire::event_log::{Event, EventLog};
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Code, Refusal};

const LOADER: u32 = 0x8000_0003;

fn boot() -> Vec<Event> {
    vec![event(0, 4, 1), event(1, LOADER, 2), event(2, 13, 3), event(1, LOADER, 4)]
}

/// An authentic quote after those events.
fn booted(events: &[Event]) -> AuthenticQuote {
    let rtmr = EventLog { events: events.to_vec() }.replay();
    with_quote(QuoteSpec { rtmr, ..QuoteSpec::default() }).run().unwrap()
}

fn refused(quote: AuthenticQuote, log: &[u8]) -> Refusal {
    quote.with_event_log(log).map(drop).expect_err("replayed")
}

#[test]
fn log_of_the_same_boot_is_kept_with_its_quote() {
    let quote = booted(&boot());
    assert!(quote.event_log().is_none());
    let quote = quote.with_event_log(&write(&boot())).unwrap();
    assert_eq!(quote.event_log().unwrap().events(), boot());
}

#[test]
fn log_that_differs_in_one_digest_refused_with_the_register() {
    for (at, register) in [(0, "RTMR0"), (1, "RTMR1"), (2, "RTMR2")] {
        let mut other = boot();
        other[at].digest[47] ^= 1;
        let refusal = refused(booted(&boot()), &write(&other));
        assert_eq!((refusal.code, refusal.what.as_str()), (Code::EventLogMismatch, register));
        let (got, want) = (EventLog { events: other }.replay(), EventLog { events: boot() }.replay());
        assert_eq!(refusal.got, Some(hex::encode(got[at])));
        assert_eq!(refusal.want, Some(hex::encode(want[at])));
    }
}

#[test]
fn log_with_events_missing_added_or_swapped_refused() {
    let mut swapped = boot();
    swapped.swap(1, 3);
    let changes = [boot()[..3].to_vec(), [boot(), vec![event(2, 13, 9)]].concat(), swapped, vec![]];
    for events in changes {
        assert_eq!(refused(booted(&boot()), &write(&events)).code, Code::EventLogMismatch, "{events:?}");
    }
    assert_eq!(refused(booted(&boot()), b"no log").code, Code::Malformed);
}

#[test]
fn event_of_another_type_or_data_replays_the_same() {
    let mut relabelled = boot();
    relabelled[1].data.clear();
    relabelled[2].kind.0 = 5;
    assert!(booted(&boot()).with_event_log(&write(&relabelled)).is_ok());
    relabelled[2].kind.0 = 3;
    assert_eq!(refused(booted(&boot()), &write(&relabelled)).code, Code::EventLogMismatch);
}

#[test]
fn rtmr3_is_held_against_the_log_where_the_log_speaks_of_it() {
    let extended = [boot(), vec![event(3, 5, 7)]].concat();
    assert!(booted(&extended).with_event_log(&write(&extended)).is_ok());
    assert!(booted(&extended).with_event_log(&write(&boot())).is_ok());
    let other = [boot(), vec![event(3, 5, 8)]].concat();
    assert_eq!(refused(booted(&extended), &write(&other)).what, "RTMR3");
}

fn policy_text(rtmr: u8, kind: &str, digest: &str) -> String {
    let any = "{ any = { because = \"test\" } }";
    format!(
        "version = 1\n[tdx]\nmrtd = {any}\nrtmr0 = {any}\nrtmr1 = {any}\nrtmr2 = {any}\ndeployment = {any}\n\
         ppid = {any}\n[[tdx.event]]\nrtmr = {rtmr}\ntype = {kind}\ndigest = {digest}\n"
    )
}

fn exactly(byte: u8) -> String {
    format!("{{ exactly = \"{}\" }}", hex::encode([byte; 48]))
}

/// The code with which the check of the event fails.
fn judged(quote: &AuthenticQuote, rtmr: u8, kind: &str, digest: &str) -> Option<Code> {
    let policy = Policy::parse(policy_text(rtmr, kind, digest).as_bytes()).unwrap();
    let appraisal = appraise(quote, &policy, &Expected::UNBOUND);
    let events: Vec<_> = appraisal.checks().iter().filter(|check| check.name.starts_with("event-rtmr")).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(appraisal.refusal().map(|refusal| refusal.code), events[0].code);
    events[0].code
}

const NAMED: &str = "\"EV_EFI_BOOT_SERVICES_APPLICATION\"";

#[test]
fn named_event_in_the_log_accepted_and_any_other_refused() {
    let quote = booted(&boot()).with_event_log(&write(&boot())).unwrap();
    let one_of = format!("{{ one-of = [\"{}\", \"{}\"] }}", hex::encode([9; 48]), hex::encode([4; 48]));
    for (kind, digest) in [(NAMED, exactly(2)), (NAMED, exactly(4)), ("0x80000003", exactly(2)), (NAMED, one_of)] {
        assert_eq!(judged(&quote, 1, kind, &digest), None, "{kind} {digest}");
    }
    for (rtmr, kind, digest) in [(1, NAMED, exactly(3)), (2, NAMED, exactly(2)), (1, "\"EV_IPL\"", exactly(2))] {
        assert_eq!(judged(&quote, rtmr, kind, &digest), Some(Code::MeasurementNotApproved), "{rtmr} {kind} {digest}");
    }
}

#[test]
fn event_that_was_not_measured_does_not_count() {
    let unmeasured = event(1, 3, 9);
    let log = [boot(), vec![unmeasured]].concat();
    let quote = booted(&boot()).with_event_log(&write(&log)).unwrap();
    assert_eq!(judged(&quote, 1, NAMED, &exactly(9)), Some(Code::MeasurementNotApproved));
    let text = policy_text(1, "\"EV_NO_ACTION\"", &exactly(9));
    assert_eq!(Policy::parse(text.as_bytes()).unwrap_err().code, Code::PolicyInvalid);
}

#[test]
fn named_event_without_a_log_refused() {
    assert_eq!(judged(&booted(&boot()), 1, NAMED, &exactly(2)), Some(Code::EventLogMissing));
}

#[test]
fn event_of_no_register_of_any_digest_or_of_an_unknown_type_is_no_policy() {
    assert!(Policy::parse(policy_text(3, NAMED, &exactly(2)).as_bytes()).is_ok());
    for (rtmr, kind, digest) in [
        (4, NAMED, exactly(2)),
        (1, NAMED, "{ any = { because = \"test\" } }".to_owned()),
        (1, NAMED, "{ one-of = [] }".to_owned()),
        (1, "\"EV_X\"", exactly(2)),
        (1, "-1", exactly(2)),
    ] {
        let refusal = Policy::parse(policy_text(rtmr, kind, &digest).as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::PolicyInvalid, "{rtmr} {kind} {digest}");
    }
}

#[test]
fn captured_logs_replay_to_their_quote_and_to_no_other_boot() {
    let Some(folder) = folder() else { return };
    let read = |name: &str| std::fs::read(folder.join("tdx-event-logs").join(name)).unwrap();
    for (log, quote, events, differs) in [
        ("cos-113.ccel.bin", "cos-113.quote.bin", 43, None),
        ("live.ccel.bin", "live.quote.bin", 20, None),
        ("other-boot.ccel.bin", "live.quote.bin", 20, Some(2)),
    ] {
        let log = EventLog::parse(&read(log)).unwrap();
        let quote = Quote::parse(&read(quote)).unwrap();
        let replayed = log.replay();
        let found: Vec<usize> = (0..4).filter(|number| replayed[*number] != quote.body.rtmr[*number]).collect();
        assert_eq!((log.events.len(), found), (events, differs.into_iter().collect()));
    }
}
