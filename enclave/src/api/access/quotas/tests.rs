use super::*;
use strongroom_wire::deployment::IdentityKind;

const NONE: Limits = Limits { requests_per_minute: None, tokens_per_minute: None, concurrent: None };

fn somebody(name: &str) -> Identity {
    Identity::new(IdentityKind::Subject, name)
}

fn quotas(common: Limits) -> (Quotas, Instant) {
    (Quotas::new(common, &[]), Instant::now())
}

fn later(start: Instant, milliseconds: u64) -> Instant {
    start.checked_add(Duration::from_millis(milliseconds)).unwrap()
}

fn code(outcome: Result<Place, Over>) -> Result<(), (Code, u64)> {
    outcome.map(drop).map_err(|over| (over.refusal.code, over.wait))
}

#[test]
fn requests_come_back_bit_by_bit_and_no_more_than_of_a_minute_at_once() {
    let (quotas, start) = quotas(Limits { requests_per_minute: Some(6), ..NONE });
    let take = |milliseconds: u64| code(quotas.take(&somebody("a"), later(start, milliseconds)));
    for _ in 0..6 {
        assert_eq!(take(0), Ok(()));
    }
    assert_eq!(take(0), Err((Code::LimitExceeded, 11)));
    assert_eq!(take(9_900), Err((Code::LimitExceeded, 1)));
    assert_eq!(take(10_100), Ok(()));
    assert_eq!(take(10_200), Err((Code::LimitExceeded, 10)));
    for _ in 0..6 {
        assert_eq!(take(600_000), Ok(()), "ten minutes of rest make one minute's");
    }
    assert!(take(600_000).is_err());
}

#[test]
fn tokens_beyond_what_was_left_are_made_up_for() {
    let (quotas, start) = quotas(Limits { tokens_per_minute: Some(60), ..NONE });
    let take = |milliseconds: u64| quotas.take(&somebody("a"), later(start, milliseconds));
    let place = take(0).unwrap_or_else(|over| panic!("{over:?}"));
    place.spend(90, start);
    assert_eq!(code(take(0)), Err((Code::LimitExceeded, 32)), "30 are owed, and one is asked for");
    assert_eq!(code(take(29_000)), Err((Code::LimitExceeded, 3)));
    assert_eq!(code(take(31_000)), Ok(()));
}

#[test]
fn place_is_free_again_once_it_is_dropped() {
    let (quotas, start) = quotas(Limits { concurrent: Some(2), ..NONE });
    let take = || quotas.take(&somebody("a"), start);
    let (one, _two) = (take(), take());
    assert_eq!(code(take()), Err((Code::LimitExceeded, 1)));
    assert_eq!(code(quotas.take(&somebody("b"), start)), Ok(()));
    drop(one);
    assert_eq!(code(take()), Ok(()));
}

#[test]
fn nothing_is_kept_of_who_has_no_limits() {
    let (quotas, start) = quotas(NONE);
    let place = quotas.take(&somebody("a"), start).unwrap_or_else(|over| panic!("{over:?}"));
    place.spend(1_000_000, start);
    assert_eq!(quotas.counted(), 0);
}

#[test]
fn who_rested_for_a_minute_is_forgotten_and_who_did_not_is_not() {
    let (quotas, start) = quotas(Limits { requests_per_minute: Some(1), concurrent: Some(9), ..NONE });
    let kept = quotas.take(&somebody("kept"), start).unwrap_or_else(|over| panic!("{over:?}"));
    for n in 1..FEW {
        assert_eq!(code(quotas.take(&somebody(&n.to_string()), start)), Ok(()));
    }
    assert_eq!(quotas.counted(), FEW);
    let minute = later(start, 60_000);
    assert_eq!(code(quotas.take(&somebody("new"), minute)), Ok(()));
    assert_eq!(quotas.counted(), 2, "one whose request is under way, and the new one");
    drop(kept);
    assert_eq!(code(quotas.take(&somebody("1"), minute)), Ok(()), "as if never seen");
    assert!(quotas.take(&somebody("1"), minute).is_err());
}

#[test]
fn identities_beyond_what_is_counted_are_busy_until_others_rested() {
    let (quotas, start) = quotas(Limits { requests_per_minute: Some(1), ..NONE });
    for n in 0..limits::IDENTITIES {
        assert_eq!(code(quotas.take(&somebody(&n.to_string()), start)), Ok(()));
    }
    let one_more = |milliseconds: u64| code(quotas.take(&somebody("more"), later(start, milliseconds)));
    assert_eq!(one_more(0), Err((Code::Busy, 1)));
    assert_eq!(
        code(quotas.take(&somebody("1"), start)),
        Err((Code::LimitExceeded, 61)),
        "who is counted is not kept out"
    );
    assert_eq!(one_more(30_000), Err((Code::Busy, 1)));
    assert_eq!(one_more(60_001), Ok(()));
    assert_eq!(quotas.counted(), 1);
}
