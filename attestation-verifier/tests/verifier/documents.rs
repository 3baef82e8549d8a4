//! Signed documents that release policies take something from, and the newest revocation lists that were seen.

use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, START, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_appraisal::{ReferenceValues, SignedDocument as _};
use strongroom_artifact::SigningKey;
use strongroom_devkit::vendors::Answer as Sent;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::inventory::Inventory;
use strongroom_wire::limits;

/// What the admin API said: its status and code.
pub(crate) type Said = (u16, String);

fn done() -> Said {
    (200, String::new())
}

fn refused(code: &str) -> Said {
    (400, code.to_owned())
}

/// Whoever publishes values and keeps the inventory.
pub(crate) struct Publisher {
    key: SigningKey,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::generate().unwrap() }
    }

    fn signed(&self, kind: &str, document: &Value) -> Vec<u8> {
        let payload = document.to_string().into_bytes();
        let mut envelope = Envelope { payload_type: kind.to_owned(), payload, signatures: Vec::new() };
        envelope.signatures.push(self.key.sign(&envelope.signed_bytes()).unwrap());
        envelope.to_json().unwrap()
    }

    /// Reference values of one measurement, by its byte.
    pub(crate) fn values(&self, version: u64, measurement: &str) -> Vec<u8> {
        let guest = json!({"label": {"image": "guest", "version": "1"}, "measurement": measurement.repeat(48)});
        let values = json!({
            "format": 1, "name": "image", "version": version, "issued": START - 10, "expires": START + 200,
            "snp": {"guests": [guest]},
        });
        self.signed(ReferenceValues::PAYLOAD_TYPE, &values)
    }

    fn inventory(&self, version: u64, chip: &str) -> Vec<u8> {
        self.machine(version, &json!({"chip": chip}))
    }

    /// An inventory of one machine.
    pub(crate) fn machine(&self, version: u64, machine: &Value) -> Vec<u8> {
        let inventory = json!({
            "v": 1, "name": "fleet", "version": version, "issued": START - 10, "expires": START + 200,
            "machines": [machine],
        });
        self.signed(Inventory::PAYLOAD_TYPE, &inventory)
    }

    /// The world's policy that takes measurement and chips from this publisher.
    pub(crate) fn policy(&self, world: &World, document: &[u8]) -> String {
        let signers = format!("signers = {{ keys = [\"\"\"{}\"\"\"] }}\n", self.key.public().pem());
        let sources = format!(
            "version = 1\n[[reference-values]]\nname = \"image\"\n{signers}[[inventory]]\nname = \"fleet\"\n{signers}"
        );
        let policy = world.policy(document);
        let measurement = format!("{{ one-of = [\"{}\"] }}", "4d".repeat(48));
        let taking = policy.replace("version = 1\n", &sources);
        let taking = taking.replace(&measurement, "{ reference-values = \"image\" }");
        taking.replace("{ any = { because = \"any test chip\" } }", "{ inventory = \"fleet\" }")
    }
}

/// The chip of a default report.
pub(crate) fn chip() -> String {
    (0..64).map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn put(world: &World, envelope: Vec<u8>) -> Said {
    let answer = world.admin(Method::PUT, "documents", envelope).await;
    let status = answer.status.as_u16();
    (status, if status == 200 { String::new() } else { answer.code() })
}

/// What a fresh guest's attestation comes to.
async fn attest(world: &World, document: &[u8]) -> String {
    let guest = Guest::launch(world, document).await;
    let answer = guest.post(&guest.attestation()).await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

#[tokio::test]
async fn guest_of_given_values_and_machines_gets_its_key_and_without_them_or_with_others_it_does_not() {
    let (world, document) = World::ready().await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    assert_eq!(attest(&world, &document).await, "inventory-missing");
    assert_eq!(put(&world, publisher.inventory(7, &chip())).await, done());
    assert_eq!(attest(&world, &document).await, "reference-values-missing");
    assert_eq!(put(&world, publisher.values(7, "4d")).await, done());
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);

    // What replaces them counts at once, for a session that was accepted before too.
    assert_eq!(put(&world, publisher.values(8, "4e")).await, done());
    assert_eq!(guest.fetch(KEY).await.code(), "measurement-not-approved");
    assert_eq!(attest(&world, &document).await, "measurement-not-approved");
    assert_eq!(put(&world, publisher.values(9, "4d")).await, done());
    assert_eq!(put(&world, publisher.inventory(8, &"0a".repeat(64))).await, done());
    assert_eq!(guest.fetch(KEY).await.code(), "platform-not-approved");
    assert_eq!(attest(&world, &document).await, "platform-not-approved");
    assert_eq!(put(&world, publisher.inventory(9, &chip())).await, done());
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    // And they end.
    world.pass(201);
    assert_eq!(guest.fetch(KEY).await.code(), "inventory-expired");
    assert_eq!(attest(&world, &document).await, "inventory-expired");
}

#[tokio::test]
async fn older_document_or_another_of_a_version_takes_the_place_of_none_also_after_a_restart() {
    let (mut world, document) = World::ready().await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    for (version, measurement, said) in [
        (7, "4d", done()),
        (7, "4d", done()),
        (7, "4e", refused("reference-values-rolled-back")),
        (6, "4d", refused("reference-values-rolled-back")),
        (8, "4d", done()),
        (7, "4d", refused("reference-values-rolled-back")),
    ] {
        assert_eq!(put(&world, publisher.values(version, measurement)).await, said, "{version} {measurement}");
    }
    assert_eq!(put(&world, publisher.inventory(3, &chip())).await, done(), "versions of another kind");
    world.restart().await;
    assert_eq!(put(&world, publisher.values(7, "4d")).await, refused("reference-values-rolled-back"));
    assert_eq!(put(&world, publisher.inventory(2, &chip())).await, refused("inventory-rolled-back"));
    assert_eq!(attest(&world, &document).await, "");
    let kept = world.admin(Method::GET, "documents", vec![]).await.json();
    let kept: Vec<_> =
        kept.as_array().unwrap().iter().map(|one| (&one["kind"], &one["name"], &one["version"])).collect();
    let want = [(json!("inventory"), json!("fleet"), json!(3)), (json!("reference-values"), json!("image"), json!(8))];
    assert_eq!(kept, want.iter().map(|(kind, name, version)| (kind, name, version)).collect::<Vec<_>>());
}

#[tokio::test]
async fn document_that_no_policy_names_or_its_signers_did_not_sign_is_not_kept() {
    let (world, document) = World::ready().await;
    let (publisher, stranger) = (Publisher::new(), Publisher::new());
    assert_eq!(put(&world, publisher.values(7, "4d")).await, refused("reference-values-invalid"));
    assert_eq!(put(&world, publisher.inventory(7, &chip())).await, refused("inventory-invalid"));
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    assert_eq!(put(&world, stranger.values(7, "4d")).await, refused("signature-invalid"));
    assert_eq!(put(&world, stranger.inventory(7, &chip())).await, refused("signature-invalid"));
    let unknown = publisher.signed("text/plain", &json!({}));
    assert_eq!(put(&world, unknown).await, refused("malformed"));
    assert_eq!(put(&world, b"{}".to_vec()).await, refused("malformed"));
    let long = vec![b' '; limits::STORED_DOCUMENT + 1];
    assert_eq!(put(&world, long).await, (413, "too-large".to_owned()));
    assert_eq!(world.admin(Method::GET, "documents", vec![]).await.json(), json!([]));
    assert_eq!(put(&world, publisher.values(7, "4d")).await, done());
}

#[tokio::test]
async fn policy_that_lacks_its_document_holds_up_no_other() {
    let (world, document) = World::ready().await;
    world.put_policy("a/b/c", &Publisher::new().policy(&world, &document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(world.admin(Method::GET, "policies", vec![]).await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn policy_that_names_a_document_from_which_nothing_is_taken_accepts_nobody_without_it() {
    let (world, document) = World::ready().await;
    let publisher = Publisher::new();
    let signers = format!("signers = {{ keys = [\"\"\"{}\"\"\"] }}\n", publisher.key.public().pem());
    let sources = format!("version = 1\n[[reference-values]]\nname = \"image\"\n{signers}");
    world.put_policy(KEY, &world.policy(&document).replace("version = 1\n", &sources)).await;
    assert_eq!(attest(&world, &document).await, "reference-values-missing");
    assert_eq!(put(&world, publisher.values(1, "4e")).await, done());
    assert_eq!(attest(&world, &document).await, "");
}

#[tokio::test]
async fn changed_document_in_the_store_is_noticed() {
    let (mut world, document) = World::ready().await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    assert_eq!(put(&world, publisher.inventory(7, &chip())).await, done());
    assert_eq!(put(&world, publisher.values(7, "4d")).await, done());
    world.stop().await;
    let pool = world.open_store().await;
    let update = sqlx::query("UPDATE documents SET created = 1 WHERE kind = 'inventory'");
    assert_eq!(update.execute(&pool).await.unwrap().rows_affected(), 1);
    assert!(sqlx::query("UPDATE documents SET version = 6").execute(&pool).await.is_err(), "never back");
    pool.close().await;
    world.start_again().await;
    assert_eq!(attest(&world, &document).await, "store-tampered");
}

/// The attestation with this revocation list in the place of its own.
fn with_list(attestation: &Value, list: &[u8]) -> Value {
    let mut attestation = attestation.clone();
    let chain = attestation["tee-evidence"]["primary_evidence"]["cert_chain"].as_array_mut().unwrap();
    let entry = chain.iter_mut().find(|entry| entry["cert_type"] == "CRL").unwrap();
    entry["data"] = json!(list);
    attestation
}

#[tokio::test]
async fn revocation_list_older_than_one_seen_refused_also_after_a_restart() {
    let (mut world, document) = World::ready().await;
    let list = |number| world.hierarchy.ark.numbered_crl(&[], START - 10..START + 10_000, Some(number)).unwrap();
    let [old, new] = [1, 2].map(list);
    let bring = async |world: &World, list: &[u8]| {
        let guest = Guest::launch(world, &document).await;
        let answer = guest.post(&with_list(&guest.attestation(), list)).await;
        if answer.status == 200 { String::new() } else { answer.code() }
    };
    assert_eq!([bring(&world, &old).await, bring(&world, &new).await, bring(&world, &new).await], [""; 3]);
    assert_eq!(bring(&world, &old).await, "collateral-rolled-back");
    world.restart().await;
    assert_eq!(bring(&world, &old).await, "collateral-rolled-back");
    assert_eq!(bring(&world, &new).await, "");
}

#[tokio::test]
async fn session_whose_list_is_older_than_one_seen_since_gets_nothing() {
    let (world, document) = World::ready().await;
    let list = |number| world.hierarchy.ark.numbered_crl(&[], START - 10..START + 10_000, Some(number)).unwrap();
    let [older, newer] = [Guest::launch(&world, &document).await, Guest::launch(&world, &document).await];
    assert_eq!(older.post(&with_list(&older.attestation(), &list(8))).await.status, 200);
    assert_eq!(older.key(KEY).await, KEY_VALUE);
    assert_eq!(newer.post(&with_list(&newer.attestation(), &list(9))).await.status, 200);
    assert_eq!(older.fetch(KEY).await.code(), "collateral-rolled-back");
    assert_eq!(newer.key(KEY).await, KEY_VALUE);
}

#[tokio::test]
async fn document_that_was_put_is_on_record_with_kind_name_version_and_digest() {
    let (world, document) = World::ready().await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    assert_eq!(put(&world, publisher.inventory(7, &chip())).await, done());
    let kept = world.admin(Method::GET, "documents", vec![]).await.json();
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["subject"] == "PUT /admin/v1/documents").unwrap();
    assert_eq!(row["detail"]["documents"], kept);
    let one = &kept[0];
    assert_eq!((&one["kind"], &one["name"], &one["version"]), (&json!("inventory"), &json!("fleet"), &json!(7)));
    assert!(one["digest"].is_string());
}

#[tokio::test]
async fn list_that_revokes_is_remembered_though_its_guest_was_refused() {
    let (world, document) = World::ready().await;
    let window = START - 10..START + 10_000;
    let revoking = world.hierarchy.ark.numbered_crl(&[0x01_00_01], window.clone(), Some(9)).unwrap();
    let before = world.hierarchy.ark.numbered_crl(&[], window, Some(8)).unwrap();
    let bring = async |list: &[u8]| {
        let guest = Guest::launch(&world, &document).await;
        guest.refused(&with_list(&guest.attestation(), list)).await
    };
    assert_eq!(bring(&revoking).await, "certificate-revoked");
    assert_eq!(bring(&before).await, "collateral-rolled-back");
}

#[tokio::test]
async fn chip_is_asked_for_only_where_a_policy_has_what_it_takes() {
    let (world, document) = World::ready_with_vendors(START + 10_000).await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    assert_eq!(world.attest_bare(&document).await.code(), "inventory-missing");
    assert_eq!(put(&world, publisher.inventory(1, &chip())).await, done());
    assert_eq!(put(&world, publisher.values(1, "4e")).await, done());
    assert_eq!(world.attest_bare(&document).await.code(), "measurement-not-approved");
    assert_eq!(world.vceks_asked(), 0);
    assert_eq!(put(&world, publisher.values(2, "4d")).await, done());
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.vceks_asked(), 1);
}

#[tokio::test]
async fn guest_without_a_list_is_judged_by_the_newest_though_an_older_one_is_kept() {
    let (world, document) = World::ready_with_vendors(START + 10_000).await;
    let list = |number| world.hierarchy.ark.numbered_crl(&[], START - 10..START + 10_000, Some(number)).unwrap();
    assert_eq!(world.attest_bare(&document).await.status, 200);
    // A guest's host has a newer one than is kept, which takes its place.
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.post(&with_list(&guest.attestation(), &list(9))).await.status, 200);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.asked("/crl"), 1, "the guest's is kept");
    // One by which its guest is refused counts, and is not kept: AMD's service has the next.
    let revoking = world.hierarchy.ark.numbered_crl(&[0x01_00_01], START - 10..START + 10_000, Some(11)).unwrap();
    let guest = Guest::launch(&world, &document).await;
    let refused = guest.refused(&with_list(&guest.attestation(), &revoking)).await;
    assert_eq!(refused, "certificate-revoked");
    world.vendors().answer("/vcek/v1/Milan/crl", Sent::of(&list(12)));
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.asked("/crl"), 2, "renewed once");
}

#[tokio::test]
async fn documents_of_one_name_are_kept_for_each_policy_s_signers() {
    let (world, document) = World::ready().await;
    let (one, other) = (Publisher::new(), Publisher::new());
    world.put_policy(KEY, &one.policy(&world, &document)).await;
    world.put_policy("a/b/c", &other.policy(&world, &document)).await;
    assert_eq!(put(&world, one.values(7, "4d")).await, done());
    assert_eq!(put(&world, one.inventory(7, &chip())).await, done());
    // Neither takes the other's place, nor raises its versions.
    assert_eq!(put(&world, other.values(9, "4e")).await, done());
    assert_eq!(put(&world, other.inventory(1, &chip())).await, done());
    assert_eq!(put(&world, one.values(8, "4d")).await, done());
    assert_eq!(world.admin(Method::GET, "documents", vec![]).await.json().as_array().unwrap().len(), 4);
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}
