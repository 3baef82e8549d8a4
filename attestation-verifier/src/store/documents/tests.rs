use super::*;
use crate::clock::Clock;
use crate::private_file;
use crate::store::policies::tests::policy_text;
use crate::store::{Database, Store};
use std::path::Path;
use strongroom_appraisal::{Seen, SeenKind};
use strongroom_artifact::SigningKey;
use strongroom_wire::{Code, Realm};

async fn open(folder: &Path) -> Store {
    Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await.unwrap()
}

/// An inventory of no machines that is valid from 0 to 9.
fn inventory(publisher: &SigningKey, version: u64) -> Vec<u8> {
    let payload = format!(r#"{{"v":1,"name":"fleet","version":{version},"issued":0,"expires":9,"machines":[]}}"#);
    let payload_type = Inventory::PAYLOAD_TYPE.to_owned();
    let mut envelope = Envelope { payload_type, payload: payload.into_bytes(), signatures: Vec::new() };
    envelope.signatures.push(publisher.sign(&envelope.signed_bytes()).unwrap());
    envelope.to_json().unwrap()
}

/// A policy that takes that inventory, of some version.
fn policy_of(publisher: &SigningKey, version: u64) -> String {
    let (pem, at_least) = (publisher.public().pem(), format!("version = {{ at-least = {version} }}"));
    let source = format!("[[inventory]]\nname = \"fleet\"\n{at_least}\nsigners = {{ keys = [\"\"\"{pem}\"\"\"] }}\n");
    policy_text(1).replace("version = 1\n", &format!("version = 1\n{source}"))
}

#[tokio::test]
async fn document_is_read_and_verified_once_and_judged_each_time_for_each_policy() {
    let folder = tempfile::tempdir().unwrap();
    let (store, publisher) = (open(folder.path()).await, SigningKey::generate().unwrap());
    let put = async |store: &Store, envelope: &[u8]| {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_document(envelope, 5).await.unwrap();
        transaction.commit_in_test().await.unwrap();
    };
    let mut transaction = store.begin().await.unwrap();
    for (id, version) in [("a/b/any", 1), ("a/b/newer", 8)] {
        let id = ResourcePath::parse(id).unwrap();
        transaction.put_policy(&id, policy_of(&publisher, version).as_bytes(), 5).await.unwrap();
    }
    transaction.commit_in_test().await.unwrap();
    let lacks = async |store: &Store, now| {
        let in_force = store.begin_reading().await.unwrap().policies_in_force(now).await?;
        Ok::<_, Refusal>(in_force.into_iter().map(|one| one.lacks.map(|lack| lack.code)).collect::<Vec<_>>())
    };
    let (missing, old, late) = (Code::InventoryMissing, Code::InventoryRolledBack, Code::InventoryExpired);
    assert_eq!(lacks(&store, 5).await.unwrap(), [Some(missing); 2]);
    put(&store, &inventory(&publisher, 7)).await;
    assert_eq!(lacks(&store, 5).await.unwrap(), [None, Some(old)]);

    // What is not read again is not noticed: there is one copy in memory, which was authenticated.
    let tamper = sqlx::query("UPDATE documents SET envelope = x'00'").execute(&store.pool).await.unwrap();
    assert_eq!(tamper.rows_affected(), 1);
    assert_eq!(lacks(&store, 9).await.unwrap(), [None, Some(old)]);
    assert_eq!(lacks(&store, 10).await.unwrap(), [Some(late); 2]);
    assert_eq!(lacks(&store, 9).await.unwrap(), [None, Some(old)]);
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(lacks(&store, 5).await.unwrap_err().code, Code::StoreTampered);
}

#[tokio::test]
async fn older_document_that_was_put_back_before_it_was_read_is_not_remembered_as_the_newer() {
    let folder = tempfile::tempdir().unwrap();
    let (store, publisher) = (open(folder.path()).await, SigningKey::generate().unwrap());
    let id = ResourcePath::parse("a/b/c").unwrap();
    let execute = async |statement| sqlx::query(statement).execute(&store.pool).await.map(drop).unwrap();
    for version in [7, 8] {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_policy(&id, policy_of(&publisher, 8).as_bytes(), 5).await.unwrap();
        if version == 7 {
            transaction.put_policy(&id, policy_of(&publisher, 7).as_bytes(), 5).await.unwrap();
        }
        transaction.put_document(&inventory(&publisher, version), 5).await.unwrap();
        transaction.commit_in_test().await.unwrap();
        if version == 7 {
            execute("CREATE TEMP TABLE old AS SELECT * FROM documents").await;
        }
    }
    execute("CREATE TEMP TABLE new AS SELECT * FROM documents").await;
    let lacks = async |now| {
        let in_force = store.begin_reading().await.unwrap().policies_in_force(now).await?;
        Ok::<_, Refusal>(in_force.into_iter().map(|one| one.lacks.map(|lack| lack.code)).collect::<Vec<_>>())
    };
    execute("DELETE FROM documents").await;
    execute("INSERT INTO documents SELECT * FROM old").await;
    assert_eq!(lacks(5).await.unwrap_err().code, Code::StoreTampered);
    execute("DELETE FROM documents").await;
    execute("INSERT INTO documents SELECT * FROM new").await;
    assert_eq!(lacks(5).await.unwrap(), [None]);
}

#[tokio::test]
async fn document_that_is_put_takes_the_place_of_the_one_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (store, publisher) = (open(folder.path()).await, SigningKey::generate().unwrap());
    let id = ResourcePath::parse("a/b/c").unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.put_policy(&id, policy_of(&publisher, 1).as_bytes(), 5).await.unwrap();
    transaction.commit_in_test().await.unwrap();
    let mut digests = Vec::new();
    for (version, keep) in [(7, true), (8, false), (8, true)] {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_document(&inventory(&publisher, version), 5).await.unwrap();
        digests.push(transaction.policy_in_force(&id, 5).await.unwrap().policy.digest());
        if keep {
            transaction.commit_in_test().await.unwrap();
        } else {
            drop(transaction);
        }
        let mut transaction = store.begin_reading().await.unwrap();
        digests.push(transaction.policy_in_force(&id, 5).await.unwrap().policy.digest());
    }
    let [seven, eight] = [digests[0], digests[2]];
    assert_ne!(seven, eight);
    assert_eq!(digests, [seven, seven, eight, seven, eight, eight]);
}

#[tokio::test]
async fn documents_and_memory_are_the_same_under_another_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verifier.sqlite");
    private_file::create(&folder.path().join("master"), &[1; 32]).unwrap();
    private_file::create(&path, b"").unwrap();
    let key = |byte| MasterKey::from_file_bytes(&[byte; 32]).unwrap();
    let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();

    let publisher = SigningKey::generate().unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction
        .put_policy(&ResourcePath::parse("a/b/c").unwrap(), policy_of(&publisher, 1).as_bytes(), 5)
        .await
        .unwrap();
    let kept = transaction.put_document(&inventory(&publisher, 7), 5).await.unwrap();
    transaction.commit_in_test().await.unwrap();
    let raise = |number| move |seen: &mut Seen| seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", number);
    store.compare(&Clock::of(|| 6), raise(7)).await.unwrap();

    store.rewrap(&key(2), &Clock::of(|| 6)).await.unwrap();
    let store = Store::open_under(Database::sqlite(&path), key(2), Realm::Vendor).await.unwrap();
    assert_eq!(store.begin().await.unwrap().documents().await.unwrap(), kept);
    assert!(store.begin().await.unwrap().policies_in_force(5).await.unwrap()[0].lacks.is_none());
    let back = store.compare(&Clock::of(|| 6), raise(6)).await;
    assert_eq!(back.unwrap_err().code, Code::CollateralRolledBack);
}
