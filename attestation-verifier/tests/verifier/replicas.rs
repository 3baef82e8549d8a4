//! Several verifiers that share a PostgreSQL database: to guests and administrators they are one.

use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, World};
use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use strongroom_attestation_verifier::LIFETIME;
use strongroom_tlog::{EntryProof, NoteVerifier, SignedNote, Trust};
use strongroom_wire::audit::Entry;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::kbs::{Jwe, LOG_PROOF};

fn said(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

async fn fetch_by(world: &World, header: (&str, &str)) -> Answer {
    world.kbs(Method::GET, &format!("/kbs/v0/resource/{KEY}"), &[header], vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn challenge_of_one_is_attested_at_the_next_and_its_key_fetched_from_a_third_by_cookie_and_token() {
    let Some((world, document)) = World::ready_on_postgres(3).await else { return };
    let guest = Guest::launch(&world, &document).await;
    world.ask(1);
    let bearer = format!("Bearer {}", guest.attest().await);
    for verifier in [2, 0, 1] {
        world.ask(verifier);
        for header in [("cookie", guest.cookie.as_str()), ("authorization", bearer.as_str())] {
            let answer = fetch_by(&world, header).await;
            assert_eq!(answer.status, 200, "{verifier}: {}", String::from_utf8_lossy(&answer.body));
            let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(&**guest.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
            // The proof is of the one log that all of them write.
            let log = NoteVerifier::parse(&world.identity.log_key).unwrap();
            let proof = from_base64(answer.headers[LOG_PROOF].to_str().unwrap(), "proof").unwrap();
            let proof = EntryProof::parse(&proof).unwrap();
            let leaf = proof.extra.clone().unwrap();
            proof.verify(&leaf, &Trust::new(log, vec![], 0).unwrap()).unwrap();
            assert_eq!(Entry::parse(&leaf).unwrap().kind, "release");
        }
    }
    world.pass(LIFETIME);
    for verifier in [2, 1, 0] {
        world.ask(verifier);
        assert_eq!(said(&guest.fetch(KEY).await), (401, "session-expired".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_goes_on_though_every_verifier_that_knew_of_it_was_restarted() {
    let Some((mut world, document)) = World::ready_on_postgres(1).await else { return };
    let cookie = {
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        guest.cookie
    };
    world.restart().await;
    assert_eq!(fetch_by(&world, ("cookie", &cookie)).await.status, 200);
    world.database.as_ref().unwrap().sql("strongroom", &["DELETE FROM strongroom.sessions"]).unwrap();
    world.restart().await;
    assert_eq!(said(&fetch_by(&world, ("cookie", &cookie)).await), (401, "session-unknown".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonce_is_used_once_however_many_verifiers_are_asked_at_once() {
    let Some((world, document)) = World::ready_on_postgres(3).await else { return };
    let guest = Guest::launch(&world, &document).await;
    let attestation = guest.attestation();
    let asked = (0..60).map(async |n| {
        world.ask(n % 3);
        guest.post(&attestation).await
    });
    let answers = join_all(asked).await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    let used = answers.iter().filter(|answer| said(answer) == (401, "nonce-used".into())).count();
    assert_eq!((accepted, used), (1, 59));
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let accepted = world.decisions("attestation").await.into_iter().filter(String::is_empty).count();
    assert_eq!(accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_at_one_counts_at_the_others_at_once_for_sessions_that_they_know() {
    let Some((world, document)) = World::ready_on_postgres(2).await else { return };
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    for verifier in [1, 0] {
        world.ask(verifier);
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
    }
    world.ask(1);
    world.put_policy(KEY, &world.policy(&document).replace("4d4d", "5d5d")).await;
    world.ask(0);
    assert_eq!(said(&guest.fetch(KEY).await), (401, "measurement-not-approved".into()));
    world.put_policy(KEY, &world.policy(&document)).await;
    world.ask(1);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.authorize("@id(\"none\") forbid (principal, action, resource);").await;
    world.ask(0);
    assert_eq!(guest.fetch(KEY).await.status, 401);
    world.authorize(crate::world::AUTHORIZATION).await;
    let disabled = world.admin(Method::POST, &format!("keys/{KEY}/disable"), vec![]).await;
    assert!(disabled.status.is_success(), "{}", String::from_utf8_lossy(&disabled.body));
    world.ask(1);
    assert_eq!(said(&guest.fetch(KEY).await), (401, "key-disabled".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_key_that_one_changed_is_known_to_the_others_before_they_judge_a_token_of_it() {
    let Some((mut world, document)) = World::ready_on_postgres(2).await else { return };
    let kids = async |world: &World| {
        let set = world.kbs(Method::GET, "/.well-known/jwks.json", &[], vec![]).await.json();
        let keys: Vec<Value> = set["keys"].as_array().unwrap().clone();
        keys.into_iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    world.pass(1);
    let before = kids(&world).await;
    let changed = world.admin(Method::POST, "token-key", vec![]).await;
    assert_eq!(changed.status, 201, "{}", String::from_utf8_lossy(&changed.body));
    // A document that pins the new key makes it sign at once; the other verifier is shown its token first of all.
    let token_key = changed.json()["token_key"].as_str().unwrap().to_owned();
    let pinned = core::mem::replace(&mut world.identity.token_key, token_key);
    let reference =
        strongroom_wire::deployment::Deployment::parse(&document).unwrap().settings().models[0].reference.clone();
    let document = world.document(&[reference]);
    world.identity.token_key = pinned;
    world.put_policy(KEY, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    let bearer = format!("Bearer {}", guest.attest().await);
    world.ask(1);
    assert_eq!(fetch_by(&world, ("authorization", &bearer)).await.status, 200);
    let after = kids(&world).await;
    assert!(after.is_superset(&before) && after.contains(changed.json()["kid"].as_str().unwrap()));
    assert_eq!(
        said(&fetch_by(&world, ("authorization", &bearer.replace('.', ".e"))).await),
        (401, "token-invalid".into())
    );
    // One after the other is no conflict, whoever makes it.
    assert_eq!(said(&world.admin(Method::POST, "token-key", vec![]).await).0, 429);
    world.pass(1);
    assert_eq!(world.admin(Method::POST, "token-key", vec![]).await.status, 201);
    world.stop_last().await;
    world.ask(0);
    assert_eq!(fetch_by(&world, ("authorization", &bearer)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_is_one_whoever_is_asked_for_it() {
    let Some((world, document)) = World::ready_on_postgres(2).await else { return };
    for verifier in [0, 1, 1, 0] {
        world.ask(verifier);
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        guest.key(KEY).await;
    }
    let log = NoteVerifier::parse(&world.identity.log_key).unwrap();
    let trust = Trust::new(log, vec![], 0).unwrap();
    let mut seen = Vec::new();
    // The first time that somebody reads it at a verifier is an entry of it.
    for verifier in [0, 1, 0, 1] {
        world.ask(verifier);
        let note = world.admin(Method::GET, "log/checkpoint", vec![]).await.body;
        seen.push(trust.verify(&SignedNote::parse(&note).unwrap()).unwrap());
        assert_eq!(world.decisions("release").await, [""; 4]);
    }
    assert_eq!((seen[2].size(), seen[2].root()), (seen[3].size(), seen[3].root()));
}
