use super::*;
use crate::private_file;
use strongroom_wire::digest::Sha256;

async fn open(folder: &Path, realm: Realm) -> Result<Store> {
    Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), realm).await
}

impl Transaction<'_> {
    /// Waits until what was changed is durable, with an entry that says nothing.
    pub(super) async fn commit_in_test(self) -> Result<()> {
        let (subject, detail) = ("-".to_owned(), serde_json::Value::Null);
        let event = crate::audit::Event { kind: crate::audit::Kind::Admin, subject, code: None, detail };
        self.commit(5, &event).await.map(drop)
    }
}

#[tokio::test]
async fn store_opens_again_in_its_realm_and_in_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let test = Realm::Test(Sha256([1; 32]));
    open(folder.path(), test).await.unwrap().ping().await.unwrap();
    assert!(open(folder.path(), test).await.is_ok());
    for other in [Realm::Vendor, Realm::Test(Sha256([2; 32]))] {
        assert_eq!(open(folder.path(), other).await.unwrap_err().code, Code::RealmMismatch);
    }
}

#[tokio::test]
async fn stamp_that_was_changed_or_taken_from_another_store_refused() {
    let [own, other] = [Realm::Test(Sha256([1; 32])), Realm::Vendor].map(|realm| (tempfile::tempdir().unwrap(), realm));
    let mut stamps = Vec::new();
    for (folder, realm) in [&own, &other] {
        let store = open(folder.path(), *realm).await.unwrap();
        stamps.push(store.begin().await.unwrap().meta(STAMP).await.unwrap().unwrap());
    }
    let sound = stamps.remove(0);
    let flipped = sound.iter().enumerate().map(|(at, byte)| if at == 20 { byte ^ 1 } else { *byte }).collect();
    let plain = other.1.to_string().into_bytes();
    for (stamp, code) in [
        (sound, None),
        (flipped, Some(Code::KeyInvalid)),
        (stamps.remove(0), Some(Code::KeyInvalid)),
        (plain, Some(Code::KeyInvalid)),
        (vec![], Some(Code::KeyInvalid)),
    ] {
        let pool = Database::sqlite(&own.0.path().join("verifier.sqlite")).pool(true).unwrap();
        let update = sqlx::query("UPDATE meta SET value = $1 WHERE name = $2").bind(stamp).bind(STAMP);
        assert_eq!(update.execute(&pool).await.unwrap().rows_affected(), 1);
        pool.close().await;
        assert_eq!(open(own.0.path(), own.1).await.err().map(|refusal| refusal.code), code);
        // Nor does it let the store into the other realm.
        assert!(open(own.0.path(), other.1).await.is_err());
    }
}

#[tokio::test]
async fn store_opens_with_its_own_master_key_only() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), Realm::Vendor).await.unwrap();
    let key = folder.path().join("master");
    std::fs::remove_file(&key).unwrap();
    assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::KeyMissing);
    private_file::create(&key, &[1; 32]).unwrap();
    assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::KeyInvalid);
}

#[tokio::test]
async fn store_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Realm::Vendor).await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.set_meta("name", b"value").await.unwrap();
    transaction.commit_unrecorded().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn file_that_is_no_database_refused() {
    let folder = tempfile::tempdir().unwrap();
    private_file::create(&folder.path().join("verifier.sqlite"), &[7; 8192]).unwrap();
    private_file::create(&folder.path().join("master"), &[1; 32]).unwrap();
    assert_eq!(open(folder.path(), Realm::Vendor).await.unwrap_err().code, Code::StoreFailed);
}
