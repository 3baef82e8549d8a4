//! Each demand on a promotion, accepted and refused; long because each pair differs in one thing and stands beside its twin.

use super::*;
use crate::cosign;
use crate::dsse::Envelope;
use crate::keys::SigningKey;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::time::rfc3339;
use strongroom_wire::trust::{Environment, PromotionRule, Rule, Signer, TrustFile};
use strongroom_wire::{Code, Result, limits};

const REPOSITORY: &str = "registry.example/models/m";
const MODEL: Sha256 = Sha256([7; 32]);
const OTHER: Sha256 = Sha256([8; 32]);
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

fn production() -> Environment {
    Environment::parse("production").unwrap()
}

/// A promotion of [`MODEL`], made now, for a day.
fn promotion(sequence: u64) -> Statement {
    Statement {
        manifest: MODEL,
        repository: REPOSITORY.into(),
        environment: production(),
        sequence,
        issued: NOW,
        action: Action::Promote { expires: NOW + DAY, policy: None },
    }
}

fn of(manifest: Sha256, sequence: u64) -> Statement {
    Statement { manifest, ..promotion(sequence) }
}

fn until(expires: u64, sequence: u64) -> Statement {
    Statement { action: Action::Promote { expires, policy: None }, ..promotion(sequence) }
}

fn under(policy: Option<Sha256>, sequence: u64) -> Statement {
    Statement { action: Action::Promote { expires: NOW + DAY, policy }, ..promotion(sequence) }
}

fn demotion(sequence: u64) -> Statement {
    Statement { action: Action::Demote { reason: "it leaks".into() }, ..promotion(sequence) }
}

/// Two promoters and somebody else.
struct People {
    anna: SigningKey,
    ben: SigningKey,
    stranger: SigningKey,
}

impl People {
    fn new() -> Self {
        let key = || SigningKey::generate().unwrap();
        Self { anna: key(), ben: key(), stranger: key() }
    }

    fn statements(&self, change: impl FnOnce(&mut PromotionRule)) -> Statements {
        let promoter = |name, key: &SigningKey| Signer::with_key(name, key.public().pem());
        let mut demand =
            PromotionRule::new(production(), vec![promoter("anna", &self.anna), promoter("ben", &self.ben)]);
        change(&mut demand);
        let signer = Signer::with_key("release", self.stranger.public().pem());
        let rule = Rule { promotion: Some(demand), ..Rule::new(REPOSITORY, vec![signer]) };
        Statements::demanded(&TrustFile::new(vec![rule]), REPOSITORY).unwrap().unwrap()
    }

    /// What is said of [`MODEL`] by those, in either order.
    fn judge(&self, change: impl Fn(&mut PromotionRule), said: &[(&SigningKey, Statement)]) -> Result<Promotion> {
        let judged = |said: &[&(&SigningKey, Statement)]| {
            let mut statements = self.statements(&change);
            for (key, statement) in said {
                let _ = statements.add(&statement.sign(*key).unwrap());
            }
            statements.judge(&MODEL, NOW)
        };
        let there = judged(&said.iter().collect::<Vec<_>>());
        let back = judged(&said.iter().rev().collect::<Vec<_>>());
        assert_eq!(there.clone().map_err(|refusal| refusal.code), back.map_err(|refusal| refusal.code));
        there
    }
}

fn sequence(judged: Result<Promotion>) -> core::result::Result<u64, Code> {
    judged.map(|promotion| promotion.sequence()).map_err(|refusal| refusal.code)
}

fn one(_: &mut PromotionRule) {}

fn two(rule: &mut PromotionRule) {
    rule.threshold = 2;
}

#[test]
fn promotion_by_a_promoter_accepted_and_by_a_stranger_or_nobody_refused() {
    let people = People::new();
    let promoted = people.judge(one, &[(&people.anna, promotion(3))]).unwrap();
    assert_eq!((promoted.sequence(), promoted.expires(), promoted.policy()), (3, NOW + DAY, None));
    assert_eq!((promoted.environment(), promoted.promoters()[0].0.as_str()), (&production(), "anna"));
    let refusal = people.judge(one, &[(&people.stranger, promotion(3))]).unwrap_err();
    assert_eq!(refusal.code, Code::PromotionMissing);
    assert!(refusal.got.unwrap().starts_with("signer-untrusted"), "and why it was passed over");
    assert_eq!(sequence(people.judge(one, &[])), Err(Code::PromotionMissing));
}

#[test]
fn statement_about_another_manifest_repository_or_environment_counts_for_nothing() {
    let people = People::new();
    let said = |statement| sequence(people.judge(one, &[(&people.anna, statement)]));
    assert_eq!(said(promotion(1)), Ok(1));
    assert_eq!(said(of(OTHER, 1)), Err(Code::PromotionMissing));
    assert_eq!(
        said(Statement { repository: "registry.example/models/n".into(), ..promotion(1) }),
        Err(Code::PromotionMissing)
    );
    let staging = Environment::parse("staging").unwrap();
    assert_eq!(said(Statement { environment: staging.clone(), ..promotion(1) }), Err(Code::PromotionMissing));
    let elsewhere = Statement { environment: staging, ..demotion(9) };
    assert_eq!(sequence(people.judge(one, &[(&people.anna, promotion(1)), (&people.anna, elsewhere)])), Ok(1));
}

#[test]
fn as_many_distinct_promoters_as_demanded_accepted_and_one_twice_refused() {
    let people = People::new();
    let (anna, ben) = (&people.anna, &people.ben);
    assert_eq!(sequence(people.judge(two, &[(anna, promotion(1)), (ben, promotion(1))])), Ok(1));
    let later = until(NOW + 2 * DAY, 1);
    let twice = people.judge(two, &[(anna, promotion(1)), (anna, later)]).unwrap_err();
    assert_eq!((twice.code, twice.got.as_deref()), (Code::PromotionMissing, Some("1 (anna) with sequence 1")));
    for other in [promotion(2), of(OTHER, 1), under(Some(OTHER), 1)] {
        let apart = people.judge(two, &[(anna, promotion(1)), (ben, other)]);
        assert_eq!(sequence(apart), Err(Code::PromotionMissing), "they must say the same");
    }
}

#[test]
fn promotion_holds_until_the_last_second_that_enough_promoters_stand_by_it() {
    let people = People::new();
    let (anna, ben) = (&people.anna, &people.ben);
    let mut statements = people.statements(two);
    for (key, expires) in [(anna, NOW + DAY), (ben, NOW + 2 * DAY), (ben, NOW + DAY / 2)] {
        statements.add(&until(expires, 1).sign(key).unwrap()).unwrap();
    }
    let judge =
        |now| statements.judge(&MODEL, now).map(|promotion| promotion.expires()).map_err(|refusal| refusal.code);
    assert_eq!(judge(NOW + DAY), Ok(NOW + DAY));
    assert_eq!(judge(NOW + DAY + 1), Err(Code::PromotionExpired));
    let mut statements = people.statements(one);
    statements.add(&until(NOW + DAY, 1).sign(anna).unwrap()).unwrap();
    statements.add(&until(NOW + 2 * DAY, 1).sign(ben).unwrap()).unwrap();
    let promoted = statements.judge(&MODEL, NOW + DAY + 1).unwrap();
    assert_eq!(promoted.promoters().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["ben"]);
}

#[test]
fn promotion_of_the_present_accepted_and_of_the_future_refused() {
    let people = People::new();
    let issued = |issued: u64| {
        let action = Action::Promote { expires: issued + DAY, policy: None };
        sequence(people.judge(one, &[(&people.anna, Statement { issued, action, ..promotion(1) })]))
    };
    assert_eq!(issued(NOW + limits::PROMOTION_SKEW), Ok(1));
    assert_eq!(issued(NOW + limits::PROMOTION_SKEW + 1), Err(Code::PromotionNotYetValid));
}

#[test]
fn only_the_highest_sequence_that_was_reached_counts() {
    let people = People::new();
    let (anna, ben) = (&people.anna, &people.ben);
    assert_eq!(sequence(people.judge(one, &[(anna, promotion(2)), (anna, of(OTHER, 1))])), Ok(2));
    assert_eq!(
        sequence(people.judge(one, &[(anna, promotion(1)), (anna, of(OTHER, 2))])),
        Err(Code::PromotionSuperseded),
        "an older promotion was replayed"
    );
    let both = people.judge(one, &[(anna, promotion(1)), (ben, of(OTHER, 1))]);
    assert_eq!(sequence(both), Err(Code::PromotionSuperseded), "neither of two with one sequence");
    let expired = Statement { manifest: OTHER, issued: NOW - 9 * DAY, ..until(NOW - DAY, 2) };
    assert_eq!(
        sequence(people.judge(one, &[(anna, promotion(1)), (anna, expired)])),
        Err(Code::PromotionSuperseded),
        "what ended does not bring back what was before"
    );
    // One of two has begun to promote another: nothing is reached yet.
    let pending = [(anna, promotion(1)), (ben, promotion(1)), (anna, of(OTHER, 2))];
    assert_eq!(sequence(people.judge(two, &pending)), Ok(1));
}

#[test]
fn sequence_at_the_minimum_or_floor_accepted_and_below_refused() {
    let people = People::new();
    let said = [(&people.anna, promotion(5))];
    assert_eq!(sequence(people.judge(|rule| rule.minimum_sequence = 5, &said)), Ok(5));
    assert_eq!(sequence(people.judge(|rule| rule.minimum_sequence = 6, &said)), Err(Code::PromotionSuperseded));
    for (floor, want) in [(5, Ok(5)), (6, Err(Code::PromotionSuperseded))] {
        let mut statements = people.statements(one);
        statements.add(&promotion(5).sign(&people.anna).unwrap()).unwrap();
        statements.raise_floor(floor);
        assert_eq!(sequence(statements.judge(&MODEL, NOW)), want);
    }
}

#[test]
fn demotion_by_one_promoter_since_refused_and_earlier_by_a_stranger_or_of_another_accepted() {
    let people = People::new();
    let (anna, ben) = (&people.anna, &people.ben);
    let with = |key: &SigningKey, statement| {
        sequence(people.judge(two, &[(anna, promotion(5)), (ben, promotion(5)), (key, statement)]))
    };
    assert_eq!(with(ben, demotion(4)), Ok(5), "it was promoted again");
    assert_eq!(with(ben, demotion(5)), Err(Code::PromotionDemoted));
    assert_eq!(with(anna, demotion(6)), Err(Code::PromotionDemoted));
    assert_eq!(with(&people.stranger, demotion(6)), Ok(5));
    assert_eq!(with(ben, Statement { manifest: OTHER, ..demotion(6) }), Ok(5));
    let future = Statement { issued: NOW + 99 * DAY, ..demotion(6) };
    assert_eq!(with(ben, future), Err(Code::PromotionDemoted), "nobody waits for a demotion");
    let refusal = people.judge(one, &[(anna, promotion(5)), (ben, demotion(6))]).unwrap_err();
    assert_eq!(refusal.got.unwrap(), format!("demoted with sequence 6 at {} by ben: it leaks", rfc3339(NOW)));
}

#[test]
fn policy_that_must_be_named_accepted_and_another_or_none_refused() {
    let people = People::new();
    let [ours, theirs] = [Sha256([1; 32]), Sha256([2; 32])];
    let judge = |wanted: Option<Sha256>, asked: Option<Sha256>, named: Option<Sha256>| {
        let mut statements = people.statements(|rule| rule.policy = wanted);
        asked.into_iter().for_each(|asked| statements.ask_for(asked));
        statements.add(&under(named, 1).sign(&people.anna).unwrap()).unwrap();
        sequence(statements.judge(&MODEL, NOW))
    };
    let mismatch = Err(Code::PromotionPolicyMismatch);
    for (named, wanted, asked) in
        [(None, mismatch, Ok(1)), (Some(ours), Ok(1), Ok(1)), (Some(theirs), mismatch, mismatch)]
    {
        assert_eq!(judge(None, None, named), Ok(1));
        assert_eq!(judge(Some(ours), None, named), wanted);
        assert_eq!(judge(None, Some(ours), named), asked);
    }
    // Of one sequence, what names the policy counts, whatever else was promoted with it.
    let mut statements = people.statements(|rule| rule.policy = Some(ours));
    for named in [theirs, ours] {
        statements.add(&under(Some(named), 1).sign(&people.anna).unwrap()).unwrap();
    }
    assert_eq!(statements.judge(&MODEL, NOW).unwrap().policy(), Some(ours));
}

#[test]
fn statement_told_again_is_one_and_two_signatures_over_it_too() {
    let people = People::new();
    let mut statements = people.statements(one);
    for _ in 0..3 {
        statements.add(&promotion(1).sign(&people.anna).unwrap()).unwrap();
    }
    assert_eq!(statements.all().len(), 1);
    statements.add(&promotion(1).sign(&people.ben).unwrap()).unwrap();
    assert_eq!(statements.all().len(), 2);
}

#[test]
fn rule_without_promotion_demands_none_and_a_repository_without_a_rule_is_refused() {
    let rule = Rule::new(REPOSITORY, vec![Signer::with_key("a", SigningKey::generate().unwrap().public().pem())]);
    let trust = TrustFile::new(vec![rule]);
    assert!(Statements::demanded(&trust, REPOSITORY).unwrap().is_none());
    assert_eq!(Statements::demanded(&trust, "r/other").unwrap_err().code, Code::RepositoryUntrusted);
}

#[test]
fn statement_reads_back_and_is_told_from_a_signature() {
    let key = SigningKey::generate().unwrap();
    for statement in [under(Some(OTHER), limits::PROMOTION_SEQUENCE), demotion(1), until(NOW, 1)] {
        assert_eq!(Statement::parse(&statement.render().unwrap()).unwrap(), statement);
        assert_eq!(parse_attached(&statement.sign(&key).unwrap()), Some(Ok(statement)));
    }
    let signature = cosign::sign_manifest(&MODEL, &key, &BTreeMap::new()).unwrap();
    assert_eq!(parse_attached(&signature), None);
    assert_eq!(parse_attached(b"{}"), None);
    // Nor is a promotion a signature.
    let bundle = promotion(1).sign(&key).unwrap();
    let refusal = cosign::verify_bundle(&bundle, &MODEL, &key.public()).unwrap_err();
    assert_eq!(refusal.code, Code::SignatureInvalid);
}

fn changed(statement: &Statement, change: impl FnOnce(&mut Value)) -> Result<Statement> {
    let mut document: Value = serde_json::from_slice(&statement.render().unwrap()).unwrap();
    change(&mut document);
    Statement::parse(&serde_json::to_vec(&document).unwrap())
}

#[test]
fn statement_as_other_tools_write_it_accepted_and_each_departure_refused() {
    let good = under(Some(OTHER), 7);
    let cosign = changed(&good, |document| {
        document["_type"] = json!("https://in-toto.io/Statement/v0.1");
        document["subject"][0]["name"] = json!(REPOSITORY);
        document["extra"] = json!(1);
    });
    assert_eq!(cosign.unwrap(), good);
    for (pointer, value) in [
        ("/_type", json!("x")),
        ("/predicateType", json!("https://strongroom.org/promotion/v2")),
        ("/subject", json!([])),
        ("/subject", json!([{"digest": {"sha256": OTHER}}, {"digest": {"sha256": MODEL}}])),
        ("/subject/0/digest", json!({"sha512": "00"})),
        ("/predicate/action", json!("remove")),
        ("/predicate/repository", json!("")),
        ("/predicate/repository", json!("a b")),
        ("/predicate/repository", json!("r/".to_owned() + &"a".repeat(limits::REFERENCE))),
        ("/predicate/environment", json!("Production")),
        ("/predicate/sequence", json!(0)),
        ("/predicate/sequence", json!(limits::PROMOTION_SEQUENCE + 1)),
        ("/predicate/sequence", json!(1.5)),
        ("/predicate/issued", json!(NOW)),
        ("/predicate/issued", json!("2026-01-31 12:00:00Z")),
        ("/predicate/expires", json!("2020-01-01T00:00:00Z")),
        ("/predicate/policy", json!(OTHER)),
        ("/predicate/reason", json!("because")),
        ("/predicate/note", json!("x")),
    ] {
        let refusal = changed(&good, |document| {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[member] = value.clone();
        });
        assert_eq!(refusal.unwrap_err().code, Code::PromotionInvalid, "{pointer} {value}");
    }
    for member in ["action", "repository", "environment", "sequence", "issued", "expires"] {
        let refusal = changed(&good, |document| drop(document["predicate"].as_object_mut().unwrap().remove(member)));
        assert_eq!(refusal.unwrap_err().code, Code::PromotionInvalid, "{member}");
    }
    assert_eq!(Statement::parse(b"{}").unwrap_err().code, Code::PromotionInvalid);
    let long = vec![b' '; limits::SIGNATURE + 1];
    assert_eq!(Statement::parse(&long).unwrap_err().code, Code::PromotionInvalid);
}

#[test]
fn longest_validity_and_reason_accepted_and_more_refused_before_it_is_signed() {
    let key = SigningKey::generate().unwrap();
    let code = |statement: Statement| statement.sign(&key).err().map(|refusal| refusal.code);
    let invalid = Some(Code::PromotionInvalid);
    assert_eq!(code(until(NOW + limits::PROMOTION_VALIDITY, 1)), None);
    assert_eq!(code(until(NOW + limits::PROMOTION_VALIDITY + 1, 1)), invalid);
    assert_eq!(code(until(NOW - 1, 1)), invalid);
    let reason = |reason: &str| code(Statement { action: Action::Demote { reason: reason.into() }, ..promotion(1) });
    assert_eq!(reason(&"ä".repeat(limits::PROMOTION_REASON)), None);
    for bad in ["", "  ", "two\nlines", &"a".repeat(limits::PROMOTION_REASON + 1)] {
        assert_eq!(reason(bad), invalid, "{bad}");
    }
    assert_eq!(code(promotion(0)), invalid);
    let demoted = changed(&demotion(1), |document| document["predicate"]["expires"] = json!("2027-01-31T12:00:00Z"));
    assert_eq!(demoted.unwrap_err().code, Code::PromotionInvalid, "a demotion has no end");
}

#[test]
fn signature_that_does_not_hold_refused_and_payload_of_another_kind_too() {
    let people = People::new();
    let mut statements = people.statements(one);
    let good: Value = serde_json::from_slice(&promotion(1).sign(&people.anna).unwrap()).unwrap();
    let other: Value = serde_json::from_slice(&promotion(2).sign(&people.anna).unwrap()).unwrap();
    let mut swapped = good.clone();
    swapped["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    let code = |statements: &mut Statements, bundle: &Value| {
        statements.add(&serde_json::to_vec(bundle).unwrap()).err().map(|refusal| refusal.code)
    };
    assert_eq!(code(&mut statements, &swapped), Some(Code::SignatureInvalid));
    assert_eq!(code(&mut statements, &good), None);
    let signature = cosign::sign_manifest(&MODEL, &people.anna, &BTreeMap::new()).unwrap();
    assert_eq!(statements.add(&signature).unwrap_err().code, Code::PromotionInvalid);
    let empty = Envelope::sign(b"{}", &people.anna).unwrap();
    let empty = crate::bundle::Bundle::render(&empty, &people.anna.public(), crate::bundle::Hint::Cosign).unwrap();
    assert_eq!(statements.add(&empty).unwrap_err().code, Code::PromotionInvalid);
    assert_eq!(statements.all().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The judgement is of a set: order and repetition change nothing, and what is added never brings back what was lost.
    #[test]
    fn judgement_depends_on_what_was_said_and_not_on_its_order(order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let people = People::new();
        let (anna, ben) = (&people.anna, &people.ben);
        let said = [
            (anna, promotion(1)), (ben, promotion(1)), (anna, of(OTHER, 2)), (ben, of(OTHER, 2)), (ben, demotion(3)),
            (anna, promotion(4)),
        ];
        let mut statements = people.statements(two);
        let mut superseded = false;
        for at in order.iter().chain(&order) {
            let (key, statement) = &said[*at];
            statements.add(&statement.sign(*key).unwrap()).unwrap();
            let judged = sequence(statements.judge(&MODEL, NOW));
            prop_assert!(!(superseded && judged.is_ok()));
            superseded |= judged == Err(Code::PromotionSuperseded);
        }
        prop_assert_eq!(statements.all().len(), said.len());
        prop_assert_eq!(sequence(statements.judge(&MODEL, NOW)), Err(Code::PromotionSuperseded));
        prop_assert_eq!(statements.judge(&OTHER, NOW).map(|promotion| promotion.sequence()), Ok(2));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Statement::parse(&bytes);
        let _ = parse_attached(&bytes);
    }
}
