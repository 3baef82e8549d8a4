//! What speaks against promotions: kept for good, for each policy, and used without asking who is a promoter today.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_artifact::promotion::Fact;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result};

pub(super) const TABLE: Table = Table {
    name: "promotion_facts",
    key: &["policy", "repository", "environment", "kind", "manifest"],
    // None of them has a space in it.
    names: "SELECT policy, repository, environment, kind, manifest, sequence, mac FROM promotion_facts
         ORDER BY policy, repository, environment, kind, manifest",
    rewrap: |row, old, new| {
        let (place, fact) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&place, &fact).bytes()), sealed: None })
    },
};

/// What a fact is about: promotions under a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The id of the policy, which is that of its key.
    pub policy: String,
    /// `host[:port]/repo`.
    pub repository: String,
    /// Promotions to it.
    pub environment: Environment,
}

impl Transaction<'_> {
    /// All that speaks against promotions at a place.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn promotion_facts(&mut self, place: &Place) -> Result<Vec<Fact>> {
        self.verify_rows().await?;
        let select = "SELECT * FROM promotion_facts WHERE policy = $1 AND repository = $2 AND environment = $3";
        let select = sqlx::query(select).bind(&place.policy).bind(&place.repository).bind(place.environment.as_str());
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("promotion facts"))?;
        rows.iter().map(|row| Ok(authentic(row, self.master)?.1)).collect()
    }

    /// Adds to it.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keep_promotion_facts(&mut self, place: &Place, facts: &[Fact]) -> Result<()> {
        let known = self.promotion_facts(place).await?;
        let mut new = false;
        for fact in facts {
            let before = known.iter().find_map(|known| Some((known, known.with(*fact)?)));
            if before.is_some_and(|(known, both)| *known == both) {
                continue;
            }
            let fact = before.map_or(*fact, |(_, both)| both);
            let (kind, sequence, issued) = columns(&fact);
            let insert = "INSERT INTO promotion_facts
                 (policy, repository, environment, kind, manifest, sequence, issued, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (policy, repository, environment, kind, manifest)
                 DO UPDATE SET sequence = excluded.sequence, issued = excluded.issued, mac = excluded.mac";
            let insert = sqlx::query(insert)
                .bind(&place.policy)
                .bind(&place.repository)
                .bind(place.environment.as_str())
                .bind(kind)
                .bind(fact.manifest().0.to_vec())
                .bind(to_integer(sequence)?)
                .bind(to_integer(issued)?)
                .bind(self.master.mac(content(place, &fact).bytes()));
            insert.execute(&mut *self.sql).await.map_err(failed("promotion facts"))?;
            new = true;
        }
        if new { self.changed(&TABLE) } else { Ok(()) }
    }
}

/// A kind, its sequence, and its time where it has one.
const fn columns(fact: &Fact) -> (&'static str, u64, u64) {
    match fact {
        Fact::Reached { sequence, .. } => ("reached", *sequence, 0),
        Fact::Demoted { sequence, issued, .. } => ("demoted", *sequence, *issued),
    }
}

fn content(place: &Place, fact: &Fact) -> Content {
    let (kind, sequence, issued) = columns(fact);
    Content::of("strongroom/stored-promotion-fact-row/v1")
        .field(place.policy.as_bytes())
        .field(place.repository.as_bytes())
        .field(place.environment.as_str().as_bytes())
        .field(kind.as_bytes())
        .field(&fact.manifest().0)
        .number(sequence)
        .number(issued)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(Place, Fact)> {
    let error = failed("promotion facts");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(&error).and_then(from_integer);
    let damaged = || Refusal::new(Code::StoreTampered, "stored promotion fact");
    let manifest: Vec<u8> = row.try_get("manifest").map_err(&error)?;
    let manifest = Sha256(manifest.try_into().map_err(|_| damaged().want("32 bytes"))?);
    let (sequence, issued) = (number("sequence")?, number("issued")?);
    let fact = match text("kind")?.as_str() {
        "reached" => Fact::Reached { manifest, sequence },
        "demoted" => Fact::Demoted { manifest, sequence, issued },
        other => return Err(damaged().got(other)),
    };
    let environment = Environment::parse(&text("environment")?).map_err(|e| damaged().because(e))?;
    let place = Place { policy: text("policy")?, repository: text("repository")?, environment };
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    master.verify("stored promotion fact", content(&place, &fact).bytes(), &mac)?;
    Ok((place, fact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::schema::tests::{put_back, take_triggers};
    use crate::store::{Database, Store};
    use std::path::Path;
    use strongroom_wire::Realm;

    const MODEL: Sha256 = Sha256([7; 32]);

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    fn place() -> Place {
        let environment = Environment::parse("production").unwrap();
        Place { policy: "a/b/c".into(), repository: "h/m".into(), environment }
    }

    fn demoted(sequence: u64, issued: u64) -> Fact {
        Fact::Demoted { manifest: MODEL, sequence, issued }
    }

    async fn keep(store: &Store, facts: &[Fact]) {
        let mut transaction = store.begin().await.unwrap();
        transaction.keep_promotion_facts(&place(), facts).await.unwrap();
        transaction.commit_in_test().await.unwrap();
    }

    async fn kept(store: &Store) -> Result<Vec<Fact>> {
        store.begin().await?.promotion_facts(&place()).await
    }

    #[tokio::test]
    async fn facts_only_grow_and_are_the_same_under_another_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        keep(&store, &[demoted(4, 10)]).await;
        keep(&store, &[demoted(3, 11), Fact::Reached { manifest: MODEL, sequence: 5 }]).await;
        let want = vec![demoted(4, 11), Fact::Reached { manifest: MODEL, sequence: 5 }];
        let sorted = async |store: &Store| {
            let mut facts = kept(store).await.unwrap();
            facts.sort_by_key(|fact| matches!(fact, Fact::Reached { .. }));
            facts
        };
        assert_eq!(sorted(&store).await, want);
        let elsewhere = Place { policy: "a/b/d".into(), ..place() };
        assert_eq!(store.begin().await.unwrap().promotion_facts(&elsewhere).await.unwrap(), []);
        let new = || MasterKey::from_file_bytes(&[2; 32]).unwrap();
        store.rewrap(&new(), &Clock::of(|| 6)).await.unwrap();
        let path = folder.path().join("verifier.sqlite");
        assert_eq!(
            sorted(&Store::open_under(Database::sqlite(&path), new(), Realm::Vendor).await.unwrap()).await,
            want
        );
    }

    #[tokio::test]
    async fn fact_that_was_lowered_moved_or_taken_out_behind_the_store_s_back_is_noticed() {
        for (statement, tampered) in [
            ("SELECT 1", false),
            ("UPDATE promotion_facts SET sequence = 3", true),
            ("UPDATE promotion_facts SET issued = 9", true),
            ("UPDATE promotion_facts SET kind = 'reached'", true),
            ("UPDATE promotion_facts SET manifest = x'00'", true),
            ("UPDATE promotion_facts SET policy = 'a/b/d'", true),
            ("DELETE FROM promotion_facts", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            keep(&store, &[demoted(4, 10)]).await;
            if tampered {
                let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
                assert!(refused.to_string().contains("is not taken back"), "{refused}");
            }
            let triggers = take_triggers(&store).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            put_back(&store, triggers).await;
            let code = tampered.then_some(Code::StoreTampered);
            assert_eq!(kept(&store).await.err().map(|refusal| refusal.code), code, "{statement}");
        }
    }

    #[tokio::test]
    async fn fact_that_is_hidden_while_somebody_reads_is_noticed_though_it_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        keep(&store, &[demoted(3, 7)]).await;
        let read = async || {
            let facts = store.begin_reading().await.unwrap().promotion_facts(&place()).await;
            facts.map(|facts| facts.len()).map_err(|refusal| refusal.code)
        };
        assert_eq!(read().await, Ok(1));
        let triggers = take_triggers(&store).await;
        sqlx::query("CREATE TEMP TABLE kept AS SELECT * FROM promotion_facts").execute(&store.pool).await.unwrap();
        sqlx::query("DELETE FROM promotion_facts").execute(&store.pool).await.unwrap();
        put_back(&store, triggers).await;
        assert_eq!(read().await, Err(Code::StoreTampered));
        sqlx::query("INSERT INTO promotion_facts SELECT * FROM kept").execute(&store.pool).await.unwrap();
        assert_eq!(read().await, Ok(1));
    }
}
