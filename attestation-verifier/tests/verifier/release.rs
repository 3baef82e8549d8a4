//! `GET /resource`: who gets a key, and when it is on record.

use crate::guest::Guest;
use crate::world::{AUTHORIZATION, KEY, KEY_VALUE, World};
use http::Method;
use std::time::Duration;
use strongroom_artifact::SigningKey;
use strongroom_attestation_verifier::LIFETIME;
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_tlog::{EntryProof, NoteVerifier, Trust};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{CertificateEntry, Jwe};

/// The code of a refused fetch and the kind that other clients print.
async fn refused(guest: &Guest<'_>, id: &str) -> (String, String) {
    let answer = guest.fetch(id).await;
    assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&answer.body));
    let kind = answer.json()["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (answer.code(), kind)
}

fn pair(code: &str, kind: &str) -> (String, String) {
    (code.to_owned(), kind.to_owned())
}

#[tokio::test]
async fn sound_guest_gets_its_key_by_cookie_and_by_token() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let token = guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);

    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{KEY}");
    let answer = world.kbs(Method::GET, &path, &[("authorization", &bearer)], vec![]).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(guest.key.decrypt(&jwe).unwrap().as_slice(), KEY_VALUE);
    let stranger = strongroom_jose::TeeKey::generate_p256().unwrap();
    assert!(stranger.decrypt(&jwe).is_err());
    assert_eq!(world.decisions("release").await, ["", "", ""]);
}

#[tokio::test]
async fn guest_with_a_key_on_p521_gets_its_key() {
    let (world, document) = World::ready().await;
    let mut guest = Guest::launch(&world, &document).await;
    guest.key = strongroom_jose::TeeKey::generate_p521().unwrap();
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn release_is_on_record_with_what_it_was_decided_on() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    guest.key(KEY).await;
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["kind"] == "release").unwrap();
    assert_eq!((row["subject"].as_str(), row["code"].as_str()), (Some(KEY), Some("")));
    assert_eq!(row["detail"]["deployment"], Sha256::of(&document).oci());
    assert_eq!(row["detail"]["policy"], Sha256::of(world.policy(&document).as_bytes()).oci());
    assert_eq!(row["detail"]["signers"], serde_json::json!(["release"]));
    let attestation = rows.iter().find(|row| row["kind"] == "attestation").unwrap();
    assert_eq!(row["detail"]["attestation"], attestation["seq"]);
    let log = serde_json::to_string(&rows).unwrap();
    assert!(!log.contains(&hex::encode(KEY_VALUE)) && !log.contains(&guest.cookie), "no secret is in the log");
}

#[tokio::test]
async fn answer_with_a_key_proves_its_release_to_be_in_the_log() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let answer = guest.fetch(KEY).await;
    let header = answer.headers[strongroom_wire::kbs::LOG_PROOF].to_str().unwrap();
    let proof = EntryProof::parse(&strongroom_wire::bytes::from_base64(header, "proof").unwrap()).unwrap();
    let leaf = proof.extra.clone().unwrap();
    let log = NoteVerifier::parse(&world.identity.log_key).unwrap();
    let checkpoint = proof.verify(&leaf, &Trust::new(log, Vec::new(), 0).unwrap()).unwrap();
    assert!(checkpoint.origin().starts_with("strongroom-verifier.test/"), "{}", checkpoint.origin());
    let entry: serde_json::Value = serde_json::from_slice(&leaf).unwrap();
    assert_eq!((entry["seq"].as_u64(), entry["subject"].as_str()), (Some(proof.index), Some(KEY)));
    assert_eq!(world.audit().await.iter().filter(|row| **row == entry).count(), 1);
}

#[tokio::test]
async fn nothing_is_released_where_the_log_takes_no_row() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let store = world.open_store().await;
    let writing = store.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_eq!(refused(&guest, KEY).await, pair("store-failed", "PluginInternalError"));
    drop(writing);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn session_that_was_not_accepted_gets_nothing() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(refused(&guest, KEY).await, pair("session-unknown", "TokenNotFound"));
    let mut attestation = guest.attestation();
    attestation["init-data"] = serde_json::Value::Null;
    guest.refused(&attestation).await;
    assert_eq!(refused(&guest, KEY).await, pair("session-unknown", "TokenNotFound"));
}

#[tokio::test]
async fn session_gets_its_key_until_it_expires() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let token = format!("Bearer {}", guest.attest().await);
    world.pass(LIFETIME - 1);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.pass(1);
    assert_eq!(refused(&guest, KEY).await, pair("session-expired", "TokenNotFound"));
    let path = format!("/kbs/v0/resource/{KEY}");
    let answer = world.kbs(Method::GET, &path, &[("authorization", &token)], vec![]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token-invalid"));
}

#[tokio::test]
async fn session_that_expired_before_its_attestation_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    world.pass(LIFETIME);
    assert_eq!(guest.refused(&guest.attestation()).await, "session-expired");
}

#[tokio::test]
async fn endorsement_key_whose_certificate_ends_within_the_session_gets_nothing_after_it() {
    let (mut world, document) = World::ready().await;
    let validity = world.now() - 100..world.now() + 100;
    world.vek = world.hierarchy.issue(VekSpec { validity, ..VekSpec::default() }).unwrap();
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    world.pass(100);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.pass(1);
    assert_eq!(refused(&guest, KEY).await, pair("certificate-expired", "PolicyDeny"));
    assert_eq!(world.decisions("release").await, ["", "certificate-expired"]);
}

#[tokio::test]
async fn guest_whose_revocation_list_ends_within_the_session_gets_nothing_after_it() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let mut attestation = guest.attestation();
    let list = world.hierarchy.ark.crl(&[], world.now() - 100..world.now() + 100).unwrap();
    let chain = attestation["tee-evidence"]["primary_evidence"]["cert_chain"].as_array_mut().unwrap();
    let entry = chain.iter_mut().find(|entry| entry["cert_type"] == "CRL").unwrap();
    *entry = serde_json::json!(CertificateEntry { cert_type: "CRL".into(), data: list });
    assert_eq!(guest.post(&attestation).await.status, 200);
    world.pass(100);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.pass(1);
    assert_eq!(refused(&guest, KEY).await, pair("certificate-expired", "PolicyDeny"));
}

#[tokio::test]
async fn disabled_key_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.admin(Method::POST, &format!("keys/{KEY}/disable"), vec![]).await;
    assert_eq!(refused(&guest, KEY).await, pair("key-disabled", "PolicyDeny"));
    assert_eq!(world.decisions("release").await, ["", "key-disabled"]);
}

/// What a release comes to that waits for the registry while `meanwhile` happens.
async fn stalled_release(meanwhile: impl AsyncFnOnce(&World, &[u8])) -> (String, World) {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let gate = Gate::closed();
    world.registry.faults().set(Target::Any, Times::Always, Fault::Stall(gate.clone()));
    let asked = world.registry.requests().all().len();
    let during = async {
        while world.registry.requests().all().len() == asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        meanwhile(&world, &document).await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(guest.fetch(KEY), during);
    let code = if answer.status == 200 { String::new() } else { answer.code() };
    assert_eq!(world.decisions("release").await, [code.as_str()]);
    drop(guest);
    (code, world)
}

#[tokio::test]
async fn what_changes_while_a_release_waits_for_the_registry_decides() {
    assert_eq!(stalled_release(async |world, _| world.pass(LIFETIME - 1)).await.0, "");
    assert_eq!(stalled_release(async |world, _| world.pass(LIFETIME)).await.0, "session-expired");
    let changed = async |world: &World, document: &[u8]| {
        world.put_policy(KEY, &world.policy(document).replace("4d4d", "4e4e")).await;
    };
    assert_eq!(stalled_release(changed).await.0, "busy");
    // Cedar policies are asked once nothing is waited for any more: those in force by then.
    let forbidden = async |world: &World, _: &[u8]| {
        let forbid = "@id(\"f\") forbid (principal, action, resource);";
        world.authorize(&format!("{AUTHORIZATION}\n{forbid}")).await;
    };
    assert_eq!(stalled_release(forbidden).await.0, "policy-denied");
    let labelled = async |world: &World, _: &[u8]| {
        let answer = world.admin(Method::POST, &format!("keys/{KEY}/label?label=on-hold"), vec![]).await;
        assert_eq!(answer.status, 200);
    };
    assert_eq!(stalled_release(labelled).await.0, "policy-denied");
}

#[tokio::test]
async fn key_disabled_while_its_release_waits_is_kept_and_rows_are_in_the_order_of_time() {
    let disable = async |world: &World, _: &[u8]| {
        world.pass(7);
        let answer = world.admin(Method::POST, &format!("keys/{KEY}/disable"), vec![]).await;
        assert_eq!(answer.status, 200);
        world.pass(7);
    };
    let (code, world) = stalled_release(disable).await;
    assert_eq!(code, "key-disabled");
    let rows = world.audit().await;
    let times: Vec<u64> = rows.iter().map(|row| row["time"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let release = rows.iter().find(|row| row["kind"] == "release").unwrap();
    assert_eq!(release["time"], world.now());
}

#[tokio::test]
async fn row_that_was_changed_without_the_master_key_releases_nothing() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    world.admin(Method::POST, &format!("keys/{KEY}/disable"), vec![]).await;
    assert_eq!(refused(&guest, KEY).await, pair("key-disabled", "PolicyDeny"));
    let store = world.open_store().await;
    sqlx::query("UPDATE keys SET state = 'enabled'").execute(&store).await.unwrap();
    assert_eq!(refused(&guest, KEY).await, pair("store-tampered", "PolicyDeny"));
}

#[tokio::test]
async fn key_of_no_model_of_the_deployment_refused() {
    let (world, document) = World::ready().await;
    let other = "models/tiny/v2";
    world.put_key(other, b"another secret").await;
    world.put_policy(other, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, other).await, pair("key-not-in-deployment", "PolicyDeny"));
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn unknown_key_and_key_without_policy_refused() {
    let (world, document) = World::ready().await;
    world.put_key("a/b/c", b"a secret without policy").await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, "a/b/d").await, pair("key-unknown", "PluginInternalError"));
    assert_eq!(refused(&guest, "a/b/c").await, pair("no-policy", "PolicyDeny"));
}

#[tokio::test]
async fn model_that_a_stranger_signed_refused() {
    let (world, _) = World::ready().await;
    let stranger = SigningKey::generate().unwrap();
    let reference = world.push("models/strange", "models/strange/v1", &stranger).await;
    let document = world.document(&[reference]);
    world.put_key("models/strange/v1", &KEY_VALUE).await;
    world.put_policy("models/strange/v1", &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, "models/strange/v1").await, pair("signer-untrusted", "PolicyDeny"));
}

#[tokio::test]
async fn model_whose_signatures_the_registry_does_not_show_refused() {
    let world = World::start().await;
    let reference = world.push("models/tiny", KEY, &world.signer).await;
    let digest = Sha256::from_oci(reference.split('@').nth(1).unwrap()).unwrap();
    world.registry.faults().set(Target::Referrers(digest), Times::Always, Fault::HideReferrers);
    let document = world.document(&[reference]);
    world.put_key(KEY, &KEY_VALUE).await;
    world.put_policy(KEY, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, KEY).await, pair("model-unsigned", "PolicyDeny"));
}

#[tokio::test]
async fn model_in_a_repository_or_registry_that_is_not_trusted_refused() {
    let world = World::start().await;
    let reference = world.push("models/tiny", KEY, &world.signer).await;
    world.put_key(KEY, &KEY_VALUE).await;
    let digest = reference.split('@').nth(1).unwrap();
    let host = world.registry.addr();
    for (elsewhere, code) in [
        (format!("{host}/others/tiny@{digest}"), "repository-untrusted"),
        (format!("registry.example/models/tiny@{digest}"), "registry-not-allowed"),
    ] {
        let document = world.document(&[elsewhere]);
        world.put_policy(KEY, &world.policy(&document)).await;
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        assert_eq!(refused(&guest, KEY).await, pair(code, "PolicyDeny"));
    }
}

#[tokio::test]
async fn registry_that_fails_is_never_taken_for_an_unsigned_model() {
    let world = World::start().await;
    let reference = world.push("models/tiny", KEY, &world.signer).await;
    let failure = Fault::Status { status: http::StatusCode::FORBIDDEN, retry_after: None };
    world.registry.faults().set(Target::Any, Times::Always, failure);
    let document = world.document(&[reference]);
    world.put_key(KEY, &KEY_VALUE).await;
    world.put_policy(KEY, &world.policy(&document)).await;
    world.authorize(AUTHORIZATION).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, KEY).await, pair("registry-unauthorized", "PluginInternalError"));
    // What was not found out is not remembered either.
    world.registry.faults().clear();
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn manifest_is_fetched_once_per_policy() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    guest.key(KEY).await;
    let asked = world.registry.requests().all().len();
    guest.key(KEY).await;
    assert_eq!(world.registry.requests().all().len(), asked);
    world.put_policy(KEY, &format!("{}\n# another version\n", world.policy(&document))).await;
    guest.key(KEY).await;
    assert!(world.registry.requests().all().len() > asked);
}

#[tokio::test]
async fn model_that_cannot_be_judged_does_not_stand_in_the_way_of_another() {
    let (world, _) = World::ready().await;
    let broken = format!("{}/models/none@{}", world.registry.addr(), Sha256([7; 32]).oci());
    let sound = world.push("models/tiny", KEY, &world.signer).await;
    let document = world.document(&[broken, sound]);
    world.put_policy(KEY, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn policy_changed_after_the_attestation_decides() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let policy = world.policy(&document);
    world.put_policy(KEY, &policy.replace("4d4d", "4e4e")).await;
    assert_eq!(refused(&guest, KEY).await, pair("measurement-not-approved", "PolicyDeny"));
    world.put_policy(KEY, &policy).await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn key_of_another_policy_than_the_one_that_accepted_refused() {
    let (world, document) = World::ready().await;
    world.put_key("a/b/c", b"for another image").await;
    world.put_policy("a/b/c", &world.policy(&document).replace("4d4d", "4e4e")).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(refused(&guest, "a/b/c").await, pair("measurement-not-approved", "PolicyDeny"));
}

#[tokio::test]
async fn names_that_climb_or_are_encoded_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    for path in
        ["models/../tiny", "models/tiny/..", "models%2ftiny/v1", "models/tiny/v1/x", "models/tiny", "a//b", ".a/b/c"]
    {
        assert_eq!(refused(&guest, path).await.0, "malformed", "{path}");
    }
}

#[tokio::test]
async fn keys_log_and_sessions_outlive_a_restart() {
    let (mut world, document) = World::ready().await;
    let cookie = {
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        guest.cookie
    };
    let before = world.decisions("attestation").await;
    world.restart().await;
    let path = format!("/kbs/v0/resource/{KEY}");
    let answer = world.kbs(Method::GET, &path, &[("cookie", &cookie)], vec![]).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(world.decisions("attestation").await, before);
    assert_eq!(world.second().await.unwrap_err().code, strongroom_wire::Code::ConfigurationInvalid);
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}
