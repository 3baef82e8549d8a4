//! What becomes of keys: their states, how often they may be released, and stores from before there was either.

use crate::guest::Guest;
use crate::revocations::put;
use crate::world::{KEY, KEY_VALUE, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_wire::digest::Sha256;

/// A call about [`KEY`]: its status, and its code or what it answers of the key.
async fn call(world: &World, what: &str) -> (u16, String) {
    let answer = world.admin(Method::POST, &format!("keys/{KEY}/{what}"), vec![]).await;
    let said = if answer.status == 200 { answer.json()["state"].as_str().unwrap().to_owned() } else { answer.code() };
    (answer.status.as_u16(), said)
}

async fn show(world: &World) -> Value {
    world.admin(Method::GET, &format!("keys/{KEY}"), vec![]).await.json()
}

/// What a guest's question for the key comes to.
async fn code(guest: &Guest<'_>) -> String {
    let answer = guest.fetch(KEY).await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

/// A guest that was accepted.
async fn attested<'a>(world: &'a World, document: &[u8]) -> Guest<'a> {
    let guest = Guest::launch(world, document).await;
    guest.attest().await;
    guest
}

/// The release policy of the world, with this of how often the key may be released.
async fn allow(world: &World, document: &[u8], allowance: &str) {
    let rules = format!("[release]\n{allowance}\n[[release.trust.rule]]");
    world.put_policy(KEY, &world.policy(document).replacen("[[release.trust.rule]]", &rules, 1)).await;
}

#[tokio::test]
async fn disabled_key_is_released_once_it_is_enabled_again_and_a_destroyed_one_never() {
    let (mut world, document) = World::ready().await;
    let guest = attested(&world, &document).await;
    assert_eq!(call(&world, "disable").await, (200, "disabled".into()));
    assert_eq!(code(&guest).await, "key-disabled");
    assert_eq!(call(&world, "enable").await, (200, "enabled".into()));
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(call(&world, "destroy").await, (200, "destroyed".into()));
    assert_eq!(code(&guest).await, "key-destroyed");
    for what in ["enable", "disable", "rotate", "label?owner=o"] {
        assert_eq!(call(&world, what).await, (400, "key-destroyed".into()), "{what}");
    }
    assert_eq!(call(&world, "destroy").await, (200, "destroyed".into()), "again");
    let put = world.admin(Method::PUT, &format!("keys/{KEY}"), KEY_VALUE.to_vec()).await;
    assert_eq!((put.status.as_u16(), put.code().as_str()), (400, "key-destroyed"));
    let rows = world.audit().await;
    let of = |what: &str| {
        let subject = format!("POST /admin/v1/keys/{KEY}/{what}");
        rows.iter().find(|row| row["subject"] == subject).unwrap()["detail"]["key"]["state"].clone()
    };
    assert_eq!([of("disable"), of("enable"), of("destroy")], [json!("disabled"), json!("enabled"), json!("destroyed")]);
    drop(guest);

    world.restart().await;
    let guest = attested(&world, &document).await;
    assert_eq!(code(&guest).await, "key-destroyed");
    assert_eq!(show(&world).await["state"], "destroyed");
}

#[tokio::test]
async fn key_is_released_as_often_as_its_policy_allows_within_a_time() {
    let (mut world, document) = World::ready().await;
    allow(&world, &document, "rate = '2/minute'").await;
    let guest = attested(&world, &document).await;
    assert_eq!([code(&guest).await, code(&guest).await, code(&guest).await], ["", "", "rate-exceeded"]);
    drop(guest);
    world.restart().await;
    let guest = attested(&world, &document).await;
    world.pass(59);
    assert_eq!(code(&guest).await, "rate-exceeded", "a restart forgets nothing");
    world.pass(1);
    assert_eq!(code(&guest).await, "");
    assert_eq!(world.decisions("release").await, ["", "", "rate-exceeded", "rate-exceeded", ""]);
    assert_eq!(
        (&show(&world).await["releases"], &show(&world).await["last_release"]),
        (&json!(3), &json!(world.now()))
    );
}

#[tokio::test]
async fn of_many_guests_that_ask_at_once_for_the_last_releases_as_many_get_it_as_there_are() {
    let (world, document) = World::ready().await;
    allow(&world, &document, "max-releases = 3").await;
    let guests = futures_util::future::join_all((0..8).map(|_| attested(&world, &document))).await;
    let mut codes = futures_util::future::join_all(guests.iter().map(code)).await;
    codes.sort();
    assert_eq!(codes, [vec![""; 3], vec!["releases-exhausted"; 5]].concat());
    assert_eq!(show(&world).await["releases"], 3);
    // Refusals are not counted, and another policy may allow more.
    allow(&world, &document, "max-releases = 4").await;
    let guest = attested(&world, &document).await;
    assert_eq!([code(&guest).await, code(&guest).await], ["", "releases-exhausted"]);
}

#[tokio::test]
async fn guest_that_came_too_late_for_a_key_was_not_given_it_when_that_is_revoked() {
    let (world, document) = World::ready().await;
    let late = [&document[..], b"# another\n"].concat();
    let [one, other] = [&document, &late].map(|document| Sha256::of(document).to_string());
    let both = world.policy(&document).replace(
        &format!("deployment = {{ exactly = \"{one}\" }}"),
        &format!("deployment = {{ one-of = [\"{one}\", \"{other}\"] }}"),
    );
    let once = "[release]\nmax-releases = 1\n[[release.trust.rule]]";
    world.put_policy(KEY, &both.replacen("[[release.trust.rule]]", once, 1)).await;
    let guest = attested(&world, &document).await;
    let late = attested(&world, &late).await;
    assert_eq!([code(&guest).await, code(&late).await], ["", "releases-exhausted"]);
    assert_eq!(put(&world, "revoked", "key", KEY).await.status, 200);
    for (document, refused) in [(&guest.document, "revoked"), (&late.document, "")] {
        let again = Guest::launch(&world, document).await;
        let answer = again.post(&again.attestation()).await;
        assert_eq!(if answer.status == 200 { String::new() } else { answer.code() }, refused);
    }
}

#[tokio::test]
async fn release_that_is_refused_or_cannot_be_recorded_is_not_counted() {
    let (world, document) = World::ready().await;
    let guest = attested(&world, &document).await;
    let store = world.open_store().await;
    let writing = store.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_eq!(code(&guest).await, "store-failed");
    drop(writing);
    call(&world, "disable").await;
    assert_eq!(code(&guest).await, "key-disabled");
    assert_eq!(show(&world).await["releases"], 0);
    assert_eq!(show(&world).await.get("last_release"), None);
}

#[tokio::test]
async fn key_is_wrapped_anew_and_what_it_was_before_is_in_no_file() {
    let (world, document) = World::ready().await;
    let store = world.open_store().await;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM keys").fetch_one(&store).await.unwrap();
    store.close().await;
    let is_in_a_file = || {
        let mut files = std::fs::read_dir(world.folder.path().join("state")).unwrap();
        files.any(|file| std::fs::read(file.unwrap().path()).unwrap().windows(16).any(|window| window == &sealed[..16]))
    };
    assert!(is_in_a_file());
    assert_eq!(call(&world, "rotate").await, (200, "enabled".into()));
    assert!(!is_in_a_file());
    assert_eq!(show(&world).await["wrappings"], 2);
    let guest = attested(&world, &document).await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}
