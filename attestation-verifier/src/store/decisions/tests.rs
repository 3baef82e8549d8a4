use super::*;
use crate::audit::Kind;
use crate::store::Database;
use crate::store::end::End;
use crate::store::schema::tests::{put_back, take_triggers};
use std::path::Path;
use strongroom_appraisal::Allowance;
use strongroom_tlog::Trust;

async fn open(folder: &Path) -> Result<Store> {
    Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
}

fn at(now: u64) -> Clock {
    Clock::of(move || now)
}

async fn entries_of(store: &Store, after: u64, most: u64) -> Vec<Entry> {
    store.begin_reading().await.unwrap().audit(after, most, None).await.unwrap()
}

fn event(n: u64) -> Event {
    Event { kind: Kind::Admin, subject: format!("call {n}"), code: None, detail: json!({ "n": n }) }
}

fn trust(store: &Store) -> Trust {
    Trust::new(store.log().verifier().clone(), Vec::new(), 0).unwrap()
}

#[tokio::test]
async fn decisions_are_numbered_proved_and_kept_after_the_entry_that_names_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for n in 1..=600 {
        let recorded = store.record(&at(100 + n), &event(n)).await.unwrap();
        assert_eq!(recorded.seq(), n);
        let proof = recorded.proof().unwrap();
        let leaf = proof.extra.clone().unwrap();
        assert_eq!(Entry::parse(&leaf).unwrap().subject, format!("call {n}"));
        assert_eq!(proof.verify(&leaf, &trust(&store)).unwrap().size(), n + 1);
    }
    let page = entries_of(&store, 5, 3).await;
    assert_eq!(page.iter().map(|entry| (entry.seq, entry.time)).collect::<Vec<_>>(), [(6, 106), (7, 107), (8, 108)]);
    let first = log::leaves(&mut store.begin_reading().await.unwrap().sql, 0, 1, None).await.unwrap();
    let first = Entry::parse(&first[0].2).unwrap();
    assert_eq!((first.kind.as_str(), first.subject.as_str()), (ORIGIN, store.log().verifier().name()));
    assert_eq!(first.detail["key"], store.log().verifier().to_string());
    let key = store.log().verifier().clone();
    drop(store);
    let store = open(folder.path()).await.unwrap();
    assert_eq!((entries_of(&store, 0, 1000).await.len(), store.log().verifier()), (600, &key));
    assert_eq!(store.record(&at(1), &event(601)).await.unwrap().seq(), 601);
}

#[tokio::test]
async fn decisions_of_one_kind_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for (n, kind) in [(1, Kind::Admin), (2, Kind::Release), (3, Kind::Admin)] {
        store.record(&at(n), &Event { kind, ..event(n) }).await.unwrap();
    }
    let found = store.begin_reading().await.unwrap().audit(1, 10, Some("admin")).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn concurrent_decisions_share_a_checkpoint_and_each_is_proved() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let (one, clock) = (event(1), at(5));
    let recorded = futures_util::future::try_join_all((0..64).map(|_| store.record(&clock, &one))).await.unwrap();
    let mut sizes: Vec<_> = recorded.iter().map(|recorded| recorded.committed.size).collect();
    let mut numbers: Vec<_> = recorded.iter().map(Recorded::seq).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    sizes.dedup();
    assert!(sizes.len() < 8, "{sizes:?}");
    for recorded in &recorded {
        let proof = recorded.proof().unwrap();
        proof.verify(proof.extra.as_ref().unwrap(), &trust(&store)).unwrap();
    }
}

#[tokio::test]
async fn decision_that_is_given_up_takes_nothing_of_those_beside_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let id = |n: u64| strongroom_wire::kbs::ResourcePath::parse(&format!("a/b/{n}")).unwrap();
    let decide = async |n: u64| {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_key(&id(n), b"value", 5).await.unwrap();
        // Every third is dropped after it wrote.
        if n.is_multiple_of(3) { None } else { Some(transaction.commit(6, &event(n)).await.unwrap().seq()) }
    };
    let numbers: Vec<_> = futures_util::future::join_all((0..60).map(decide)).await.into_iter().flatten().collect();
    assert_eq!(numbers.len(), 40);
    let mut transaction = store.begin().await.unwrap();
    let mut kept: Vec<_> = transaction.keys().await.unwrap().into_iter().map(|key| key.id).collect();
    let mut recorded: Vec<_> = transaction
        .audit(0, 100, None)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.subject.replace("call ", "a/b/"))
        .collect();
    kept.sort();
    recorded.sort();
    assert_eq!((kept.len(), &kept), (40, &recorded));
}

#[tokio::test]
async fn release_that_is_given_up_is_not_counted_and_those_beside_it_are_authenticated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let id = strongroom_wire::kbs::ResourcePath::parse("a/b/c").unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.put_key(&id, b"value", 5).await.unwrap();
    transaction.commit(5, &event(0)).await.unwrap();
    for _ in 0..3 {
        let release = async |n: u64| {
            let mut transaction = store.begin().await.unwrap();
            let key = transaction.key(&id).await.unwrap();
            transaction.count_release(key, &Allowance::default(), 6).await.unwrap();
            // Every third is dropped after it was counted.
            if !n.is_multiple_of(3) {
                transaction.commit(6, &event(n)).await.unwrap();
            }
        };
        futures_util::future::join_all((0..30).map(release)).await;
    }
    let releases = async |store: &Store| {
        let key = store.begin().await.unwrap().key(&id).await.unwrap();
        let read = store.begin_reading().await.unwrap().key(&id).await.unwrap();
        assert_eq!(read.metadata, key.metadata);
        key.metadata.uses.releases
    };
    assert_eq!(releases(&store).await, 60);
    drop(store);
    assert_eq!(releases(&open(folder.path()).await.unwrap()).await, 60);
}

#[tokio::test]
async fn shared_transaction_that_fails_fails_for_all_and_the_next_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    // Of this connection alone: nothing of it is in the file.
    store.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON leaves BEGIN SELECT RAISE(ABORT, 'disk full'); END").await;
    let (one, clock) = (event(1), at(5));
    // All of them wait for their turn before the first has it.
    let held = store.begin().await.unwrap();
    let all = futures_util::future::join_all((0..8).map(|_| store.record(&clock, &one)));
    for recorded in futures_util::future::join(all, async { drop(held) }).await.0 {
        assert_eq!(recorded.unwrap_err().code, Code::StoreFailed);
    }
    store.execute("DROP TRIGGER IF EXISTS full").await;
    assert_eq!(store.record(&clock, &one).await.unwrap().seq(), 1);
}

#[tokio::test]
async fn full_disk_takes_no_entry_loses_none_and_needs_no_restart_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    // No more pages than there are. It is of this connection alone: the one that takes its place has room.
    store.execute("PRAGMA max_page_count = 1").await;
    let (clock, large) = (at(5), Event { detail: json!({ "n": "x".repeat(2000) }), ..event(1) });
    let mut recorded = 0;
    let count = async || u64::try_from(entries_of(&store, 0, 1000).await.len()).unwrap();
    let refusal = loop {
        match store.record(&clock, &large).await {
            Ok(one) => recorded = one.seq(),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code, Code::StoreFailed);
    assert_eq!(count().await, recorded);
    assert_eq!(store.record(&clock, &large).await.unwrap().seq(), recorded + 1);
    assert_eq!(count().await, recorded + 1);
}

#[tokio::test]
async fn leaves_can_neither_be_changed_nor_deleted_and_tiles_only_grow() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    store.record(&at(1), &event(1)).await.unwrap();
    for statement in [
        "UPDATE leaves SET leaf = x'00' WHERE seq = 1",
        "DELETE FROM leaves WHERE seq = 1",
        "UPDATE tiles SET hashes = zeroblob(64)",
        "UPDATE tiles SET hashes = substr(hashes, 1, 32)",
        "DELETE FROM tiles",
    ] {
        let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

/// What the next record and the next opening say of a store of three decisions in which this was executed behind its back.
async fn after(statement: &'static str) -> [Option<Code>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for n in 1..=3 {
        store.record(&at(n), &event(n)).await.unwrap();
    }
    let triggers = take_triggers(&store).await;
    sqlx::query(statement).execute(&store.pool).await.unwrap();
    put_back(&store, triggers).await;
    let recorded = store.record(&at(4), &event(4)).await.err();
    drop(store);
    [recorded, open(folder.path()).await.err()].map(|refusal| refusal.map(|refusal| refusal.code))
}

#[tokio::test]
async fn log_that_does_not_end_as_it_was_left_takes_no_entry_and_does_not_open() {
    assert_eq!(after("SELECT 1").await, [None; 2]);
    for statement in [
        "DELETE FROM leaves WHERE seq = 3",
        "DELETE FROM leaves",
        "INSERT INTO leaves SELECT 4, kind, leaf FROM leaves WHERE seq = 3",
        "UPDATE leaves SET seq = 9 WHERE seq = 3",
        "UPDATE tiles SET hashes = substr(hashes, 1, 96)",
        "UPDATE tiles SET hashes = CAST(substr(hashes, 33, 32) || substr(hashes, 1, 32) || substr(hashes, 65) AS BLOB)",
        "DELETE FROM tiles",
        "DELETE FROM meta WHERE name = 'audit-head'",
        "DELETE FROM meta WHERE name = 'checkpoint'",
        "UPDATE meta SET value = CAST(replace(value, '4', '3') AS BLOB) WHERE name = 'checkpoint'",
        "UPDATE meta SET value = x'00' WHERE name = 'checkpoint'",
    ] {
        assert_eq!(after(statement).await, [Some(Code::StoreTampered); 2], "{statement}");
    }
}

#[tokio::test]
async fn entry_that_was_changed_or_moved_keeps_the_store_from_opening() {
    for statement in [
        "UPDATE leaves SET leaf = (SELECT leaf FROM leaves WHERE seq = 1) WHERE seq = 2",
        "UPDATE leaves SET leaf = CAST(replace(leaf, 'call 1', 'call 7') AS BLOB) WHERE seq = 1",
        "DELETE FROM leaves WHERE seq = 1",
    ] {
        assert_eq!(after(statement).await[1], Some(Code::StoreTampered), "{statement}");
    }
}

#[tokio::test]
async fn log_put_back_with_what_was_signed_then_is_noticed_while_it_is_open_and_at_a_start_where_keys_changed_since() {
    for changed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        store.record(&at(1), &event(1)).await.unwrap();
        for table in ["leaves", "tiles", "meta"] {
            let copy = sqlx::AssertSqlSafe(format!("CREATE TEMP TABLE old_{table} AS SELECT * FROM {table}"));
            sqlx::query(copy).execute(&store.pool).await.unwrap();
        }
        let mut transaction = store.begin().await.unwrap();
        if changed {
            let id = strongroom_wire::kbs::ResourcePath::parse("a/b/c").unwrap();
            transaction.put_key(&id, b"value", 5).await.unwrap();
        }
        transaction.commit(6, &event(2)).await.unwrap();
        let triggers = take_triggers(&store).await;
        for put_back in [
            "DELETE FROM leaves WHERE seq = 2",
            "DELETE FROM tiles",
            "INSERT INTO tiles SELECT * FROM old_tiles",
            "INSERT OR REPLACE INTO meta SELECT * FROM old_meta WHERE name IN ('checkpoint', 'audit-head')",
        ] {
            sqlx::query(put_back).execute(&store.pool).await.unwrap();
        }
        put_back(&store, triggers).await;
        let recorded = store.record(&at(7), &event(3)).await.err();
        assert_eq!(recorded.map(|refusal| refusal.code), Some(Code::StoreTampered));
        drop(store);
        let opened = open(folder.path()).await.err();
        assert_eq!(opened.map(|refusal| refusal.code), changed.then_some(Code::StoreTampered));
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let id = strongroom_wire::kbs::ResourcePath::parse("a/b/c").unwrap();
    for full in [true, false] {
        if full {
            // Of this connection alone: nothing of it is in the file.
            let trigger =
                "CREATE TEMP TRIGGER full BEFORE INSERT ON leaves BEGIN SELECT RAISE(ABORT, 'disk full'); END";
            store.execute(trigger).await;
        } else {
            store.execute("DROP TRIGGER IF EXISTS full").await;
        }
        let mut transaction = store.begin().await.unwrap();
        transaction.put_key(&id, b"value", 5).await.unwrap();
        let recorded = transaction.commit(6, &event(1)).await;
        assert_eq!(recorded.err().map(|refusal| refusal.code), full.then_some(Code::StoreFailed));
        assert_eq!(store.begin().await.unwrap().keys().await.unwrap().is_empty(), full);
    }
}

#[tokio::test]
async fn rows_without_an_entry_are_not_committed_and_other_rows_beside_the_same_entries_were_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let id = strongroom_wire::kbs::ResourcePath::parse("a/b/c").unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.put_key(&id, b"value", 5).await.unwrap();
    assert_eq!(transaction.commit_unrecorded().await.unwrap_err().code, Code::Internal);
    assert!(store.begin().await.unwrap().keys().await.unwrap().is_empty());
    store.begin().await.unwrap().commit_unrecorded().await.unwrap();

    let keys = Keys { master: &store.master, log: &store.log };
    let mut transaction = store.begin().await.unwrap();
    let head = log::head(&mut transaction.sql, keys).await.unwrap();
    for (rows, code) in [(head.rows.clone(), None), (vec![0; head.rows.len()], Some(Code::StoreTampered))] {
        let last = End::new(head.note.clone(), head.checkpoint.size(), rows);
        let goes_on = log::verify_goes_on(&mut transaction.sql, keys, &last, &head).await;
        assert_eq!(goes_on.err().map(|refusal| refusal.code), code);
    }
}
