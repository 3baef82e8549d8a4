use super::*;
use crate::master_key;
use crate::store::{Database, Store};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use strongroom_wire::Realm;
use zeroize::Zeroizing;

impl Store {
    /// The value of a key that the master key wrapped.
    pub(crate) fn open_key(&self, key: &StoredKey) -> Result<Zeroizing<Vec<u8>>> {
        self.master().open(&key.metadata.id, &key.wrapped.bytes)
    }
}

impl Transaction<'_> {
    /// Stores a value as the service does whose one custody is the master key.
    pub(crate) async fn put_key(&mut self, id: &ResourcePath, value: &[u8], now: UnixTime) -> Result<Put> {
        self.put_labelled_key(id, value, Tags::default(), now).await
    }

    async fn put_labelled_key(&mut self, id: &ResourcePath, value: &[u8], tags: Tags, now: UnixTime) -> Result<Put> {
        let new = match self.find_key(id).await? {
            None => NewKey::Wrapped(Wrapped::by(master_key::NAME, self.master.seal(id.as_str(), value)?)),
            Some(key) => {
                let key = key.not_destroyed()?;
                let kept = self.master.open(&key.metadata.id, &key.wrapped.bytes)?;
                let same = verify_slices_are_equal(&kept, value);
                same.map_err(|_| Refusal::new(Code::KeyExists, "key").got(id))?;
                NewKey::Same
            }
        };
        self.store_key(id, new, tags, now).await
    }
}

fn id(text: &str) -> ResourcePath {
    ResourcePath::parse(text).unwrap()
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verifier.sqlite");
    let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn key_is_immutable_at_its_id() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    let first = rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
    let metadata = KeyMetadata {
        id: "a/b/c".into(),
        created: 5,
        state: KeyState::Enabled,
        custody: "master-key".into(),
        wrappings: 1,
        uses: Uses::default(),
        tags: Tags::default(),
    };
    assert_eq!(first, Put::Created(metadata.clone()));
    assert_eq!(rows.put_key(&id("a/b/c"), b"one", 9).await.unwrap(), Put::Unchanged(metadata));
    assert_eq!(rows.put_key(&id("a/b/c"), b"two", 9).await.unwrap_err().code, Code::KeyExists);
    let stored = rows.key(&id("a/b/c")).await.unwrap();
    assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
}

#[tokio::test]
async fn key_at_another_id_than_it_was_stored_at_does_not_open() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
    let mut stored = rows.key(&id("a/b/c")).await.unwrap();
    stored.metadata.id = "a/b/d".into();
    assert_eq!(store.open_key(&stored).unwrap_err().code, Code::StoreFailed);
}

#[tokio::test]
async fn each_call_has_its_outcome_in_each_state() {
    let destroyed = Some(Code::KeyDestroyed);
    for (state, put, enable, disable, label, rotate, release) in [
        (KeyState::Enabled, None, None, None, None, None, None),
        (KeyState::Disabled, None, None, None, None, None, Some(Code::KeyDisabled)),
        (KeyState::Destroyed, destroyed, destroyed, destroyed, destroyed, destroyed, destroyed),
    ] {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        match state {
            KeyState::Enabled => rows.enable_key(&id("a/b/c")).await,
            KeyState::Disabled => rows.disable_key(&id("a/b/c")).await,
            KeyState::Destroyed => rows.destroy_key(&id("a/b/c")).await,
        }
        .unwrap();
        let before = rows.key(&id("a/b/c")).await.unwrap();
        assert_eq!(before.metadata.state, state);
        let after = Wrapped::by("other", b"wrapped".to_vec());
        let codes = [
            before.clone().enabled().err(),
            rows.put_key(&id("a/b/c"), b"one", 6).await.err(),
            rows.label_key(&id("a/b/c"), tags("owner=alice")).await.err(),
            rows.rotate_key(&id("a/b/c"), &before.wrapped, after).await.err(),
            rows.disable_key(&id("a/b/c")).await.err(),
            rows.enable_key(&id("a/b/c")).await.err(),
            rows.destroy_key(&id("a/b/c")).await.err(),
        ];
        let codes = codes.map(|refusal| refusal.map(|refusal| refusal.code));
        assert_eq!(codes, [release, put, label, rotate, disable, enable, None], "{state:?}");
        assert_eq!(rows.keys().await.unwrap()[0].state, KeyState::Destroyed);
    }
}

#[tokio::test]
async fn calls_about_a_key_that_is_none_refused() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    let (none, wrapped) = (id("a/b/d"), Wrapped::by("other", vec![1]));
    let codes = [
        rows.enable_key(&none).await.unwrap_err().code,
        rows.disable_key(&none).await.unwrap_err().code,
        rows.destroy_key(&none).await.unwrap_err().code,
        rows.rotate_key(&none, &wrapped, wrapped.clone()).await.unwrap_err().code,
        rows.key(&none).await.unwrap_err().code,
    ];
    assert_eq!(codes, [Code::KeyUnknown; 5]);
}

#[tokio::test]
async fn destroyed_key_leaves_a_row_that_says_so_and_no_value_in_any_file() {
    let (folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    rows.put_labelled_key(&id("a/b/c"), b"one", tags("owner=alice"), 5).await.unwrap();
    let sealed = rows.key(&id("a/b/c")).await.unwrap().wrapped.bytes;
    rows.commit_in_test().await.unwrap();
    let is_in_a_file = || {
        let mut files = std::fs::read_dir(folder.path()).unwrap();
        files.any(|file| std::fs::read(file.unwrap().path()).unwrap().windows(12).any(|w| w == &sealed[..12]))
    };
    assert!(is_in_a_file());
    let mut rows = store.begin().await.unwrap();
    rows.destroy_key(&id("a/b/c")).await.unwrap();
    rows.commit_in_test().await.unwrap();
    store.forget_erased().await;
    assert!(!is_in_a_file());
    let mut rows = store.begin().await.unwrap();
    let key = rows.key(&id("a/b/c")).await.unwrap();
    assert_eq!((key.metadata.tags, key.wrapped.bytes), (tags("owner=alice"), vec![]));
    for statement in [
        "UPDATE keys SET state = 'enabled'",
        "UPDATE keys SET sealed = x'00'",
        "DELETE FROM keys",
        "UPDATE keys SET id = 'a'",
    ] {
        assert!(sqlx::query(statement).execute(&mut *rows.sql).await.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn key_is_wrapped_anew_where_it_is_wrapped_as_it_was_and_is_otherwise_left_alone() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
    let before = rows.key(&id("a/b/c")).await.unwrap().wrapped;
    let after = Wrapped::by("other@2", b"wrapped".to_vec());
    let key = rows.rotate_key(&id("a/b/c"), &before, after.clone()).await.unwrap();
    assert_eq!((key.custody.as_str(), key.wrappings, key.created), ("other@2", 2, 5));
    assert_eq!(rows.key(&id("a/b/c")).await.unwrap().wrapped, after);
    let late = rows.rotate_key(&id("a/b/c"), &before, after).await;
    assert_eq!(late.unwrap_err().code, Code::Busy);
}

#[tokio::test]
async fn key_that_another_call_stored_meanwhile_is_not_stored_over() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    let new = || NewKey::Wrapped(Wrapped::by("other", vec![1]));
    let early = rows.store_key(&id("a/b/c"), NewKey::Same, Tags::default(), 5).await;
    assert_eq!(early.unwrap_err().code, Code::Busy);
    rows.store_key(&id("a/b/c"), new(), Tags::default(), 5).await.unwrap();
    let late = rows.store_key(&id("a/b/c"), new(), Tags::default(), 5).await;
    assert_eq!(late.unwrap_err().code, Code::Busy);
}

#[tokio::test]
async fn releases_are_counted_and_what_counts_them_cannot_be_put_back_unnoticed() {
    let allowed = Allowance { most: Some(2), ..Allowance::default() };
    for (statement, expected) in [
        ("SELECT 1", None),
        ("UPDATE keys SET last_release = 6", Some(Code::StoreTampered)),
        ("UPDATE keys SET counted = 0", Some(Code::StoreTampered)),
        ("UPDATE keys SET counted_from = 0", Some(Code::StoreTampered)),
        ("UPDATE keys SET releases = 9", Some(Code::StoreTampered)),
        ("UPDATE keys SET wrappings = 2", Some(Code::StoreTampered)),
        ("UPDATE keys SET custody = 'other'", Some(Code::StoreTampered)),
    ] {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
        for releases in [1, 2] {
            let key = rows.key(&id("a/b/c")).await.unwrap();
            let counted = rows.count_release(key, &allowed, 7).await.unwrap();
            assert_eq!((counted.uses.releases, counted.uses.last_release), (releases, 7));
        }
        let key = rows.key(&id("a/b/c")).await.unwrap();
        let more = rows.count_release(key, &allowed, 7).await;
        assert_eq!(more.unwrap_err().code, Code::ReleasesExhausted);
        sqlx::query(statement).execute(&mut *rows.sql).await.unwrap();
        assert_eq!(rows.key(&id("a/b/c")).await.err().map(|refusal| refusal.code), expected, "{statement}");
        let fewer = sqlx::query("UPDATE keys SET releases = 0").execute(&mut *rows.sql).await;
        assert!(fewer.unwrap_err().to_string().contains("not forgotten"));
    }
}

fn tags(query: &str) -> Tags {
    Tags::parse(query).unwrap()
}

#[tokio::test]
async fn owner_and_labels_change_and_the_value_and_the_state_stay() {
    let (_folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    let (first, second) = (tags("owner=alice&label=eu"), tags("label=us&label=gold"));
    let put = rows.put_labelled_key(&id("a/b/c"), b"one", first.clone(), 5).await.unwrap();
    assert!(matches!(put, Put::Created(key) if key.tags == first));
    for again in [first.clone(), Tags::default()] {
        let put = rows.put_labelled_key(&id("a/b/c"), b"one", again, 6).await.unwrap();
        assert!(matches!(put, Put::Unchanged(key) if key.tags == first));
    }
    let put = rows.put_labelled_key(&id("a/b/c"), b"one", second.clone(), 6).await;
    assert_eq!(put.unwrap_err().code, Code::KeyExists);
    rows.disable_key(&id("a/b/c")).await.unwrap();
    assert_eq!(rows.label_key(&id("a/b/c"), second.clone()).await.unwrap().tags, second);
    let stored = rows.key(&id("a/b/c")).await.unwrap();
    assert_eq!((stored.metadata.state, &stored.metadata.tags), (KeyState::Disabled, &second));
    assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
    assert!(rows.label_key(&id("a/b/c"), Tags::default()).await.unwrap().tags.is_empty());
    assert!(rows.keys().await.unwrap()[0].tags.is_empty());
    assert_eq!(rows.label_key(&id("a/b/d"), second).await.unwrap_err().code, Code::KeyUnknown);
}

#[tokio::test]
async fn owner_or_label_changed_without_the_master_key_is_noticed() {
    for (statement, expected) in [
        ("UPDATE keys SET owner = 'alice'", None),
        ("UPDATE keys SET owner = 'bob'", Some(Code::StoreTampered)),
        ("UPDATE keys SET owner = '', labels = 'alice' || char(10) || 'eu' || char(10)", Some(Code::StoreTampered)),
        ("UPDATE keys SET labels = labels || 'gold' || char(10)", Some(Code::StoreTampered)),
        ("UPDATE keys SET owner = '', labels = ''", Some(Code::StoreTampered)),
    ] {
        let (_folder, store) = store().await;
        let mut rows = store.begin().await.unwrap();
        rows.put_labelled_key(&id("a/b/c"), b"one", tags("owner=alice&label=eu"), 5).await.unwrap();
        sqlx::query(statement).execute(&mut *rows.sql).await.unwrap();
        let code = rows.key(&id("a/b/c")).await.err().map(|refusal| refusal.code);
        assert_eq!(code, expected, "{statement}");
    }
}

#[tokio::test]
async fn value_is_not_in_the_database_file() {
    let (folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    rows.put_key(&id("a/b/c"), b"a value that is looked for", 5).await.unwrap();
    rows.commit_in_test().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"a value that"));
    }
}

/// What a release of before the states left: its tables, with the rows of this store.
async fn as_before(folder: &std::path::Path) {
    let (new, old) = (folder.join("verifier.sqlite"), folder.join("old.sqlite"));
    let options = SqliteConnectOptions::new().filename(&old).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let before = Database::sqlite(&old).migrations().iter().take(5).cloned().collect();
    Migrator::with_migrations(before).run(&pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let attach = sqlx::query("ATTACH $1 AS new").bind(new.display().to_string());
    attach.execute(&mut *connection).await.unwrap();
    for statement in [
        "INSERT INTO keys (id, sealed, created, state, mac, owner, labels)
         SELECT id, sealed, created, state, mac, owner, labels FROM new.keys",
        "INSERT INTO meta SELECT * FROM new.meta",
        "INSERT INTO leaves SELECT * FROM new.leaves",
        "INSERT INTO tiles SELECT * FROM new.tiles",
        "DETACH new",
    ] {
        sqlx::query(statement).execute(&mut *connection).await.unwrap();
    }
    drop(connection);
    pool.close().await;
    for name in ["verifier.sqlite", "verifier.sqlite-wal", "verifier.sqlite-shm"] {
        drop(std::fs::remove_file(folder.join(name)));
    }
    std::fs::rename(old, new).unwrap();
}

#[tokio::test]
async fn store_of_before_the_states_opens_and_its_keys_are_what_they_were() {
    let (folder, store) = store().await;
    let mut rows = store.begin().await.unwrap();
    rows.put_key(&id("a/b/plain"), b"one", 5).await.unwrap();
    rows.put_labelled_key(&id("a/b/labelled"), b"two", tags("owner=alice&label=eu"), 5).await.unwrap();
    rows.put_key(&id("a/b/off"), b"three", 5).await.unwrap();
    rows.disable_key(&id("a/b/off")).await.unwrap();
    let before = rows.keys().await.unwrap();
    rows.commit_in_test().await.unwrap();
    drop(store);
    as_before(folder.path()).await;

    let path = folder.path().join("verifier.sqlite");
    let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
    let mut rows = store.begin().await.unwrap();
    assert_eq!(rows.keys().await.unwrap(), before);
    for (name, value) in [("a/b/plain", "one"), ("a/b/labelled", "two"), ("a/b/off", "three")] {
        let key = rows.key(&id(name)).await.unwrap();
        assert_eq!(store.open_key(&key).unwrap().as_slice(), value.as_bytes());
    }
    // And may become what they could not be before.
    rows.enable_key(&id("a/b/off")).await.unwrap();
    rows.destroy_key(&id("a/b/plain")).await.unwrap();
    rows.commit_in_test().await.unwrap();
    drop(store);
    let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
    let states = store.begin().await.unwrap().keys().await.unwrap();
    let states: Vec<_> = states.iter().map(|key| key.state.as_str()).collect();
    assert_eq!(states, ["enabled", "enabled", "destroyed"]);
}
