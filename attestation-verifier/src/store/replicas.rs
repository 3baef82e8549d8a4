//! Tests of the store on a PostgreSQL server, with one verifier and with several.

use super::schema::tests::policy_and_key;
use super::*;
use crate::audit::{Event, Kind};
use crate::clock::Clock;
use crate::private_file;
use crate::revocation::{Mark, Revocation, State, What};
use crate::store::policies::tests::policy_text;
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use std::collections::BTreeSet;
use strongroom_appraisal::{Allowance, Seen, SeenKind};
use strongroom_devkit::postgres::Postgres;
use strongroom_tlog::Trust;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;

/// A server with an empty database, and a folder for master keys.
struct Server {
    postgres: Postgres,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        let postgres = Postgres::of_test().unwrap()?;
        postgres.sql("postgres", &["CREATE DATABASE strongroom"]).unwrap();
        Some(Self { postgres, folder: tempfile::tempdir().unwrap() })
    }

    fn database(&self) -> Database {
        Database::postgres(&self.postgres.url("strongroom"), None).unwrap()
    }

    async fn open_in(&self, realm: Realm) -> Result<Store> {
        Store::open(self.database(), &self.folder.path().join("master"), realm).await
    }

    async fn open(&self) -> Store {
        self.open_in(Realm::Vendor).await.unwrap()
    }

    /// What somebody who administers the database does to it.
    fn execute(&self, statements: &[&str]) {
        let statements: Vec<_> = ["SET search_path TO strongroom"].iter().chain(statements).copied().collect();
        self.postgres.sql("strongroom", &statements).unwrap();
    }
}

fn id(text: &str) -> ResourcePath {
    ResourcePath::parse(text).unwrap()
}

fn event(n: u64) -> Event {
    Event { kind: Kind::Admin, subject: format!("call {n}"), code: None, detail: json!({ "n": n }) }
}

async fn record(store: &Store, n: u64) -> Result<Recorded> {
    store.record(&Clock::of(move || n), &event(n)).await
}

fn code<T>(outcome: Result<T>) -> Option<Code> {
    outcome.err().map(|refusal| refusal.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn store_opens_again_in_its_realm_under_its_master_key_and_under_nothing_else() {
    let Some(server) = Server::start() else { return };
    let store = server.open().await;
    assert_eq!(record(&store, 1).await.unwrap().seq(), 1);
    let log = store.log().verifier().clone();
    drop(store);
    assert_eq!(
        Store::log_key(&server.database(), &server.folder.path().join("master"), Realm::Vendor).await,
        Some(log)
    );
    assert_eq!(record(&server.open().await, 2).await.unwrap().seq(), 2);
    assert_eq!(code(server.open_in(Realm::Test(Sha256([1; 32]))).await), Some(Code::RealmMismatch));
    let key = server.folder.path().join("master");
    std::fs::rename(&key, server.folder.path().join("kept")).unwrap();
    assert_eq!(code(server.open_in(Realm::Vendor).await), Some(Code::KeyMissing), "none is made beside a store");
    private_file::create(&key, &[1; 32]).unwrap();
    assert_eq!(code(server.open_in(Realm::Vendor).await), Some(Code::KeyInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_verifiers_that_start_and_decide_at_once_are_one_log() {
    let Some(server) = Server::start() else { return };
    private_file::create(&server.folder.path().join("master"), &[1; 32]).unwrap();
    let stores = try_join_all([0, 1, 2].map(|_| server.open_in(Realm::Vendor))).await.unwrap();
    let trust = Trust::new(stores[0].log().verifier().clone(), Vec::new(), 0).unwrap();
    let recorded = join_all((0..300).map(|n| record(&stores[n % 3], u64::try_from(n).unwrap()))).await;
    let mut numbers = BTreeSet::new();
    for recorded in recorded {
        let recorded = recorded.unwrap();
        let proof = recorded.proof().unwrap();
        proof.verify(proof.extra.as_ref().unwrap(), &trust).unwrap();
        numbers.insert(recorded.seq());
    }
    assert!(numbers.into_iter().eq(1..=300));
    for store in &stores {
        store.begin().await.unwrap().verify_audit().await.unwrap();
        assert_eq!(store.begin_reading().await.unwrap().audit(0, 1000, None).await.unwrap().len(), 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_verifier_puts_is_in_force_at_once_for_the_other() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (server.open().await, server.open().await);
    for version in 1..=3 {
        let mut transaction = one.begin().await.unwrap();
        transaction.put_policy(&id("a/b/c"), policy_text(version).as_bytes(), 5).await.unwrap();
        let cedar = format!("@id(\"v{version}\") permit (principal, action, resource);");
        transaction.put_policy_set(cedar.as_bytes(), "", 5).await.unwrap();
        transaction.commit(6, &event(1)).await.unwrap();
        let mut reading = other.begin_reading().await.unwrap();
        assert_eq!(reading.policy(&id("a/b/c")).await.unwrap().metadata.version, u64::from(version));
        assert_eq!(reading.policy_set_in_force().await.unwrap().policies.ids(), [format!("v{version}")]);
    }
    let mut transaction = other.begin().await.unwrap();
    transaction.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
    transaction.commit(6, &event(2)).await.unwrap();
    assert_eq!(code(one.begin().await.unwrap().put_key(&id("a/b/c"), b"two", 5).await), Some(Code::KeyExists));
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_that_is_given_up_or_interrupted_holds_up_no_other_verifier() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (server.open().await, server.open().await);
    let mut given_up = one.begin().await.unwrap();
    given_up.put_key(&id("a/b/c"), b"one", 5).await.unwrap();
    drop(given_up);
    assert_eq!(record(&other, 1).await.unwrap().seq(), 1);
    one.ping().await.unwrap();
    assert_eq!(record(&other, 2).await.unwrap().seq(), 2);

    // One that waits for another verifier and is interrupted, and one that is interrupted where it was about to commit.
    let held = other.begin().await.unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(core::time::Duration::from_millis(100), one.begin()).await.is_err());
    }
    held.commit(6, &event(3)).await.unwrap();
    assert_eq!(record(&other, 4).await.unwrap().seq(), 4);
    for polls in 1..40 {
        let recording = record(&one, 5);
        let interrupted = core::pin::pin!(recording);
        let mut polls_left = polls;
        let mut interrupted = interrupted;
        core::future::poll_fn(|context| {
            polls_left -= 1;
            let ready = interrupted.as_mut().poll(context).is_ready();
            if ready || polls_left == 0 { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
        })
        .await;
    }
    let (before, after) = (record(&other, 6).await.unwrap().seq(), record(&one, 7).await.unwrap().seq());
    assert_eq!(after, before + 1);
    one.begin().await.unwrap().verify_audit().await.unwrap();
    assert!(other.begin().await.unwrap().keys().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_was_killed_loses_nothing_and_the_next_decision_after_it_is_back_needs_no_help() {
    let Some(mut server) = Server::start() else { return };
    let store = server.open().await;
    for n in 1..=20 {
        record(&store, n).await.unwrap();
    }
    let pending = store.begin().await.unwrap();
    server.postgres.kill();
    assert_eq!(code(pending.commit(6, &event(21)).await), Some(Code::StoreFailed));
    assert_eq!(code(store.ping().await), Some(Code::StoreFailed));
    assert_eq!(code(store.begin_reading().await), Some(Code::StoreFailed));
    server.postgres.restart().unwrap();
    assert_eq!(record(&store, 21).await.unwrap().seq(), 21);
    assert_eq!(store.begin_reading().await.unwrap().audit(0, 100, None).await.unwrap().len(), 21);
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn table_function_or_trigger_that_was_changed_works_in_no_transaction() {
    let Some(server) = Server::start() else { return };
    let store = server.open().await;
    policy_and_key(&store).await;
    let planted =
        "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM policies; RETURN new; END'";
    let refuse =
        |body: &str| format!("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS '{body}'");
    let (weak, kept) =
        (refuse("BEGIN RETURN new; END"), refuse("\nBEGIN\n    RAISE EXCEPTION ''%'', TG_ARGV[0];\nEND\n"));
    let trigger = "CREATE TRIGGER planted AFTER INSERT ON keys FOR EACH ROW EXECUTE FUNCTION planted()";
    for (done, undone) in [
        (vec!["SELECT 1"], vec![]),
        (vec![planted, trigger], vec!["DROP TRIGGER planted ON keys", "DROP FUNCTION planted"]),
        (vec![weak.as_str()], vec![kept.as_str()]),
        (
            vec!["ALTER TABLE leaves DISABLE TRIGGER leaves_are_append_only_update"],
            vec!["ALTER TABLE leaves ENABLE TRIGGER ALL"],
        ),
        (
            vec!["CREATE RULE planted AS ON INSERT TO keys DO ALSO DELETE FROM policies"],
            vec!["DROP RULE planted ON keys"],
        ),
        (vec!["CREATE VIEW planted AS SELECT 1"], vec!["DROP VIEW planted"]),
        (vec!["CREATE INDEX planted ON keys (created)"], vec!["DROP INDEX planted"]),
        (vec!["CREATE TABLE planted () INHERITS (keys)"], vec!["DROP TABLE planted"]),
        (vec!["ALTER TABLE keys ADD COLUMN planted TEXT"], vec!["ALTER TABLE keys DROP COLUMN planted"]),
        (vec!["ALTER TABLE keys ENABLE ROW LEVEL SECURITY"], vec!["ALTER TABLE keys DISABLE ROW LEVEL SECURITY"]),
        (vec!["ALTER TABLE keys ALTER labels SET DEFAULT 'x'"], vec!["ALTER TABLE keys ALTER labels SET DEFAULT ''"]),
        (vec!["ALTER TABLE keys DROP CONSTRAINT keys_state_check"], vec![]),
    ] {
        server.execute(&done);
        let want = (done != ["SELECT 1"]).then_some(Code::StoreTampered);
        assert_eq!([code(store.begin().await), code(store.begin_reading().await)], [want; 2], "{done:?}");
        assert_eq!(code(server.open_in(Realm::Vendor).await), want, "{done:?}");
        if !undone.is_empty() {
            server.execute(&undone);
            assert_eq!(code(record(&store, 9).await), None, "{undone:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_was_changed_put_in_or_taken_out_is_noticed_and_triggers_forbid_it() {
    let Some(server) = Server::start() else { return };
    let store = server.open().await;
    policy_and_key(&store).await;
    record(&store, 1).await.unwrap();
    drop(store);
    for (statement, forbidden) in [
        ("UPDATE keys SET created = 1", true),
        ("UPDATE keys SET sealed = '\\x00'", false),
        ("UPDATE keys SET owner = 'bob'", false),
        ("DELETE FROM keys", true),
        ("UPDATE policies SET version = 9 WHERE version = 1", false),
        ("INSERT INTO policies SELECT 'a/b/d', version, toml, created, mac FROM policies", false),
        ("UPDATE leaves SET leaf = '\\x00' WHERE seq = 1", true),
        ("DELETE FROM leaves WHERE seq = 1", true),
        ("TRUNCATE leaves", true),
        ("UPDATE tiles SET hashes = substr(hashes, 1, 32)", true),
        ("TRUNCATE tiles", true),
        ("DELETE FROM meta WHERE name = 'rows'", false),
        ("DELETE FROM meta", false),
    ] {
        server.postgres.sql("postgres", &["CREATE DATABASE copy TEMPLATE strongroom"]).unwrap();
        let statements = |first| vec!["SET search_path TO strongroom", first, statement];
        let done = server.postgres.sql("copy", &statements("SELECT 1"));
        assert_eq!(done.is_err(), forbidden, "{statement}");
        if forbidden {
            server.postgres.sql("copy", &statements("SET session_replication_role TO replica")).unwrap();
        }
        let copy = Database::postgres(&server.postgres.url("copy"), None).unwrap();
        let opened = Store::open(copy, &server.folder.path().join("master"), Realm::Vendor).await;
        let opened = match opened {
            // Rows are verified when they are read.
            Ok(store) => code(store.begin().await.unwrap().keys().await),
            Err(refusal) => Some(refusal.code),
        };
        assert_eq!(opened, Some(Code::StoreTampered), "{statement}");
        server.postgres.sql("postgres", &["DROP DATABASE copy WITH (FORCE)"]).unwrap();
    }
    assert_eq!(code(server.open_in(Realm::Vendor).await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_was_changed_behind_a_running_verifier_is_noticed_at_its_next_decision_and_one_by_another_verifier_counts()
 {
    let Some(server) = Server::start() else { return };
    let (one, other) = (server.open().await, server.open().await);
    policy_and_key(&one).await;
    let decide = async |store: &Store| -> Result<u64> {
        let mut transaction = store.begin().await?;
        let key = transaction.key(&id("a/b/c")).await?;
        let releases = transaction.count_release(key, &Allowance::default(), 6).await?.uses.releases;
        transaction.policies().await?;
        transaction.commit(6, &event(1)).await.map(|_| releases)
    };
    // In turn, each by what the other left.
    for releases in 1..=3 {
        assert_eq!(decide(&one).await.unwrap(), 2 * releases - 1);
        assert_eq!(decide(&other).await.unwrap(), 2 * releases);
    }
    let before = "CREATE TABLE public.old AS SELECT * FROM keys";
    server.execute(&[before]);
    assert_eq!(decide(&one).await.unwrap(), 7);
    for (done, undone) in [
        ("UPDATE keys SET owner = 'bob'", "UPDATE keys SET owner = ''"),
        ("UPDATE policies SET version = 9 WHERE version = 2", "UPDATE policies SET version = 2 WHERE version = 9"),
        (
            "INSERT INTO policies SELECT 'a/b/d', version, toml, created, mac FROM policies WHERE version = 1",
            "DELETE FROM policies WHERE id = 'a/b/d'",
        ),
        // What once authenticated, and lets a key be released once more.
        ("DELETE FROM keys; INSERT INTO keys SELECT * FROM public.old", "SELECT 1"),
    ] {
        let replica = "SET session_replication_role TO replica";
        assert_eq!(code(one.begin().await.unwrap().keys().await), None, "{done}");
        server.execute(&[replica, done]);
        for store in [&one, &other] {
            assert_eq!(code(decide(store).await), Some(Code::StoreTampered), "{done}");
        }
        server.execute(&[replica, undone]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_is_taken_out_between_decisions_that_share_a_commit_is_noticed_and_not_authenticated() {
    let Some(server) = Server::start() else { return };
    let store = server.open().await;
    let chip = |byte: &str| Revocation {
        mark: Mark::new(What::Chip, byte.repeat(64)).unwrap(),
        state: State::Revoked,
        because: "test".into(),
        by: "anna".into(),
        created: 5,
    };
    let mut transaction = store.begin().await.unwrap();
    transaction.put_revocation(&chip("0a")).await.unwrap();
    transaction.commit(6, &event(1)).await.unwrap();
    let turn = store.begin().await.unwrap();
    let first = async {
        let mut transaction = store.begin().await.unwrap();
        assert_eq!(transaction.revocations().await.unwrap().len(), 1);
        transaction.commit(6, &event(2)).await
    };
    let second = async {
        let mut transaction = store.begin().await.unwrap();
        server.execute(&["SET session_replication_role TO replica", "DELETE FROM revocations"]);
        transaction.put_revocation(&chip("0b")).await
    };
    let (first, second, ()) = futures_util::future::join3(first, second, async { drop(turn) }).await;
    assert_eq!((code(first), code(second)), (None, Some(Code::StoreTampered)));
    assert_eq!(code(store.begin().await.unwrap().revocations().await), Some(Code::StoreTampered));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_is_put_back_behind_a_verifier_is_noticed_and_one_that_went_on_is_not() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (server.open().await, server.open().await);
    for n in 1..=300 {
        record(&one, n).await.unwrap();
    }
    let tables = ["leaves", "tiles", "meta"];
    let keep = tables.map(|table| format!("CREATE TABLE public.old_{table} AS SELECT * FROM {table}"));
    server.execute(&keep.each_ref().map(String::as_str));
    for n in 301..=600 {
        record(&other, n).await.unwrap();
    }
    assert_eq!(record(&one, 601).await.unwrap().seq(), 601);
    let back = tables.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM public.old_{table}"));
    let replica = "SET session_replication_role TO replica";
    server.execute(&[&[replica], back.each_ref().map(String::as_str).as_slice()].concat());
    for store in [&one, &other] {
        assert_eq!(code(record(store, 602).await), Some(Code::StoreTampered));
    }
    // Nor where others have gone on from there meanwhile.
    let fresh = server.open().await;
    for n in 301..=700 {
        record(&fresh, 1000 + n).await.unwrap();
    }
    for store in [&one, &other] {
        assert_eq!(code(record(store, 701).await), Some(Code::StoreTampered));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_list_that_is_put_back_behind_a_verifier_is_noticed_and_one_that_another_saw_counts() {
    let Some(server) = Server::start() else { return };
    let (one, other) = (server.open().await, server.open().await);
    let raise = async |store: &Store, number| {
        let raise = |seen: &mut Seen| seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", number);
        code(store.compare(&Clock::of(|| 6), raise).await)
    };
    assert_eq!(raise(&one, 7).await, None);
    let tables = ["seen", "leaves", "tiles", "meta"];
    let keep = tables.map(|table| format!("CREATE TABLE public.old_{table} AS SELECT * FROM {table}"));
    server.execute(&keep.each_ref().map(String::as_str));
    assert_eq!(raise(&other, 8).await, None);
    assert_eq!(raise(&one, 7).await, Some(Code::CollateralRolledBack));
    let back = tables.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM public.old_{table}"));
    let replica = "SET session_replication_role TO replica";
    server.execute(&[&[replica], back.each_ref().map(String::as_str).as_slice()].concat());
    for store in [&one, &other] {
        assert_eq!(raise(store, 7).await, Some(Code::StoreTampered), "who reads alone");
        assert_eq!(code(store.begin().await.unwrap().seen().await), Some(Code::StoreTampered));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_put_under_another_master_key_while_no_verifier_has_it_open() {
    let Some(server) = Server::start() else { return };
    let key = |byte| MasterKey::from_file_bytes(&[byte; 32]).unwrap();
    private_file::create(&server.folder.path().join("master"), &[1; 32]).unwrap();
    let store = server.open().await;
    policy_and_key(&store).await;
    let open_under = |byte| Store::open_under(server.database(), key(byte), Realm::Vendor);
    assert_eq!(code(open_under(1).await), Some(Code::ConfigurationInvalid), "a verifier has it open");
    drop(store);
    assert_eq!(code(open_under(2).await), Some(Code::KeyInvalid));
    let alone = open_under(1).await.unwrap();
    assert_eq!(code(server.open_in(Realm::Vendor).await), Some(Code::ConfigurationInvalid), "it is being rewrapped");
    alone.rewrap(&key(2), &Clock::of(|| 6)).await.unwrap();
    assert_eq!(code(server.open_in(Realm::Vendor).await), Some(Code::KeyInvalid));
    let store = open_under(2).await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    let stored = transaction.key(&id("a/b/c")).await.unwrap();
    assert_eq!(store.open_key(&stored).unwrap().as_slice(), b"one");
    assert_eq!(transaction.policy(&id("a/b/c")).await.unwrap().metadata.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dump_opens_on_another_server_with_the_master_key_and_with_no_other() {
    let Some(server) = Server::start() else { return };
    let Some(mut other) = Server::start() else { return };
    let store = server.open().await;
    policy_and_key(&store).await;
    let dumped = record(&store, 1).await.unwrap().seq();
    let dump = server.postgres.folder().join("dump").display().to_string();
    server.postgres.client("pg_dump", &["-Fc", "-n", "strongroom", "-f", &dump, "strongroom"]).unwrap();
    record(&store, 2).await.unwrap();
    other.postgres.client("pg_restore", &["-d", "strongroom", &dump]).unwrap();
    assert_eq!(code(other.open_in(Realm::Vendor).await), Some(Code::KeyMissing));
    std::fs::copy(server.folder.path().join("master"), other.folder.path().join("master")).unwrap();
    let restored = other.open().await;
    assert_eq!(record(&restored, 3).await.unwrap().seq(), dumped + 1);
    let mut transaction = restored.begin().await.unwrap();
    let stored = transaction.key(&id("a/b/c")).await.unwrap();
    assert_eq!(restored.open_key(&stored).unwrap().as_slice(), b"one");
    drop(transaction);
    drop(restored);
    other.folder = tempfile::tempdir().unwrap();
    private_file::create(&other.folder.path().join("master"), &[1; 32]).unwrap();
    assert_eq!(code(other.open_in(Realm::Vendor).await), Some(Code::KeyInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_does_not_keep_what_was_committed_refused() {
    let Some(mut server) = Server::start() else { return };
    assert_eq!(code(server.open_in(Realm::Vendor).await), None);
    server.postgres.set("fsync=off");
    server.postgres.restart().unwrap();
    assert_eq!(code(server.open_in(Realm::Vendor).await), Some(Code::ConfigurationInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_columns_and_triggers_are_those_of_a_file() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("store"), folder.path().join("key"));
    let file = Store::open(Database::sqlite(&path), &key, Realm::Vendor).await.unwrap();
    let shared = server.open().await;
    let of = async |store: &Store, select: &'static str| {
        let names: Vec<String> = sqlx::query_scalar(select).fetch_all(&store.pool).await.unwrap();
        names
            .into_iter()
            .filter(|name| !name.ends_with("_truncate") && !name.contains("_sqlx_"))
            .collect::<BTreeSet<_>>()
    };
    let columns = of(
        &file,
        "SELECT t.name || '.' || c.name || ' ' || c.pk FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'",
    );
    let in_postgres = "SELECT table_name || '.' || column_name || ' ' || COALESCE((SELECT k.ordinal_position
            FROM information_schema.key_column_usage AS k WHERE (k.table_schema, k.table_name, k.column_name)
                = (c.table_schema, c.table_name, c.column_name)), 0)
        FROM information_schema.columns AS c WHERE table_schema = current_schema()";
    let columns = columns.await;
    assert!(columns.contains("keys.id 1") && columns.contains("policies.version 2"), "{columns:?}");
    assert_eq!(of(&shared, in_postgres).await, columns);
    let triggers = of(&file, "SELECT name FROM sqlite_schema WHERE type = 'trigger'").await;
    assert!(triggers.contains("keys_are_immutable"), "{triggers:?}");
    let in_postgres = "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(of(&shared, in_postgres).await, triggers);
}
