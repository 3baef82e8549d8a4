//! Promotion statements: what was seen is kept, and none is taken back.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_appraisal::UnixTime;
use strongroom_artifact::promotion::SignedStatement;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "promotions",
    key: &["repository", "environment", "sequence", "promoter", "payload"],
    // Neither repositories nor environments have a space in them.
    names: "SELECT repository, environment, payload, promoter, sequence, mac FROM promotions
         ORDER BY repository, environment, sequence, promoter, payload",
    rewrap: |row, old, new| {
        let stored = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(stored.content().bytes()), sealed: None })
    },
};

/// A statement as it is kept. Its signature held when it was put in; whose it must be is for who uses it to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPromotion {
    /// `host[:port]/repo`.
    pub repository: String,
    /// As the statement names it.
    pub environment: String,
    /// Its place among all about both.
    pub sequence: u64,
    /// Who signed it, as the signature proves.
    pub promoter: String,
    /// SHA-256 of what was signed.
    pub payload: Sha256,
    /// When it was seen first, in seconds since 1970.
    pub created: UnixTime,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// The statements about one repository and environment, the newest by sequence first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// At most [`limits::PROMOTIONS`] of each promoter.
    pub rows: Vec<StoredPromotion>,
    /// From which sequence on they are all, of those promoters who said more.
    cuts: BTreeMap<String, u64>,
}

impl Kept {
    /// From which sequence on they are all, of those promoters who count: nobody else's flood raises it.
    pub(crate) fn floor(&self, counts: impl Fn(&String) -> bool) -> u64 {
        self.cuts.iter().filter(|(promoter, _)| counts(promoter)).map(|(_, floor)| *floor).max().unwrap_or(0)
    }
}

impl Transaction<'_> {
    /// Keeps statements, each once: every demotion, and of promotions those that have begun and have a higher sequence than all
    /// that their promoter said before. One that was signed anew keeps its new signature alone, which is the one that verifies
    /// today. Gives whether anything changed.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keep_promotions(&mut self, statements: &[SignedStatement], now: UnixTime) -> Result<bool> {
        self.verify_rows().await?;
        let mut statements: Vec<_> = statements.iter().collect();
        statements.sort_by_key(|signed| signed.statement().sequence);
        let mut changed = false;
        for signed in statements {
            let statement = signed.statement();
            let stored = match self.same_promotion(&StoredPromotion::of(signed, now)).await? {
                Some(before) if before.bundle == signed.bundle() => continue,
                Some(before) => StoredPromotion { bundle: signed.bundle().to_vec(), ..before },
                None if !statement.promotes() => StoredPromotion::of(signed, now),
                None if statement.issued > now.saturating_add(limits::PROMOTION_SKEW) => continue,
                None if self.highest_promotion(signed).await?.is_some_and(|highest| statement.sequence <= highest) => {
                    continue;
                }
                None => StoredPromotion::of(signed, now),
            };
            let insert = "INSERT INTO promotions
                 (repository, environment, sequence, promoter, payload, bundle, created, mac)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (repository, environment, sequence, promoter, payload)
                 DO UPDATE SET bundle = excluded.bundle, mac = excluded.mac";
            let insert = sqlx::query(insert)
                .bind(&stored.repository)
                .bind(&stored.environment)
                .bind(to_integer(stored.sequence)?)
                .bind(&stored.promoter)
                .bind(stored.payload.0.as_slice())
                .bind(&stored.bundle)
                .bind(to_integer(stored.created)?)
                .bind(self.master.mac(stored.content().bytes()));
            insert.execute(&mut *self.sql).await.map_err(failed("promotions"))?;
            changed = true;
        }
        if changed {
            self.authenticate_rows().await?;
        }
        Ok(changed)
    }

    /// The same statement by the same promoter, as it is kept. The set of rows was verified.
    async fn same_promotion(&mut self, stored: &StoredPromotion) -> Result<Option<StoredPromotion>> {
        let select = "SELECT * FROM promotions
             WHERE repository = $1 AND environment = $2 AND sequence = $3 AND promoter = $4 AND payload = $5";
        let select = sqlx::query(select)
            .bind(&stored.repository)
            .bind(&stored.environment)
            .bind(to_integer(stored.sequence)?)
            .bind(&stored.promoter)
            .bind(stored.payload.0.as_slice());
        let row = select.fetch_optional(&mut *self.sql).await.map_err(failed("promotions"))?;
        row.map(|row| authentic(&row, self.master)).transpose()
    }

    /// What is known of one repository and environment.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn promotions(&mut self, repository: &str, environment: &Environment) -> Result<Kept> {
        self.verify_rows().await?;
        let select = "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY promoter ORDER BY sequence DESC, payload) AS place
                 FROM promotions WHERE repository = $1 AND environment = $2) AS placed
             WHERE place <= $3 ORDER BY sequence DESC, promoter, payload";
        let beyond = i64::try_from(limits::PROMOTIONS).unwrap_or(i64::MAX).saturating_add(1);
        let select = sqlx::query(select).bind(repository).bind(environment.as_str()).bind(beyond);
        let mut kept = Kept::default();
        for row in &select.fetch_all(&mut *self.sql).await.map_err(failed("promotions"))? {
            let place: i64 = row.try_get("place").map_err(failed("promotions"))?;
            let stored = authentic(row, self.master)?;
            // Of the sequence that the cut goes through, some may be missing.
            match place == beyond {
                true => drop(kept.cuts.insert(stored.promoter, stored.sequence.saturating_add(1))),
                false => kept.rows.push(stored),
            }
        }
        Ok(kept)
    }

    /// The places of which anything is known: repositories with environments.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn promotion_places(&mut self) -> Result<BTreeSet<(String, Environment)>> {
        self.verify_rows().await?;
        let rows =
            sqlx::query("SELECT DISTINCT repository, environment FROM promotions").fetch_all(&mut *self.sql).await;
        let error = failed("promotions");
        let text = |row: &AnyRow, at: usize| row.try_get::<String, _>(at).map_err(&error);
        rows.map_err(&error)?.iter().map(|row| Ok((text(row, 0)?, Environment::parse(&text(row, 1)?)?))).collect()
    }

    /// The environments of which anything is known of a repository.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn environments(&mut self, repository: &str) -> Result<Vec<Environment>> {
        self.verify_rows().await?;
        let select = "SELECT DISTINCT environment FROM promotions WHERE repository = $1 ORDER BY environment";
        let rows = sqlx::query(select).bind(repository).fetch_all(&mut *self.sql).await;
        let error = failed("promotions");
        let name = |row: &AnyRow| row.try_get::<String, _>(0).map_err(&error).and_then(|n| Environment::parse(&n));
        rows.map_err(&error)?.iter().map(name).collect()
    }

    /// The highest sequence of what one promoter said about a repository and environment. The set of rows was verified.
    ///
    /// # Errors
    /// `store-failed`.
    pub(crate) async fn highest_promotion(&mut self, signed: &SignedStatement) -> Result<Option<u64>> {
        let stored = StoredPromotion::of(signed, 0);
        let select =
            "SELECT MAX(sequence) FROM promotions WHERE repository = $1 AND environment = $2 AND promoter = $3";
        let select = sqlx::query(select).bind(&stored.repository).bind(&stored.environment).bind(&stored.promoter);
        let row = select.fetch_one(&mut *self.sql).await.map_err(failed("promotions"))?;
        let highest: Option<i64> = row.try_get(0).map_err(failed("promotions"))?;
        highest.map(from_integer).transpose()
    }
}

impl StoredPromotion {
    fn of(signed: &SignedStatement, created: UnixTime) -> Self {
        let statement = signed.statement();
        Self {
            repository: statement.repository.clone(),
            environment: statement.environment.to_string(),
            sequence: statement.sequence,
            promoter: signed.credential().to_string(),
            payload: signed.payload(),
            created,
            bundle: signed.bundle().to_vec(),
        }
    }

    fn content(&self) -> Content {
        Content::of("strongroom/stored-promotion-row/v1")
            .field(self.repository.as_bytes())
            .field(self.environment.as_bytes())
            .number(self.sequence)
            .field(self.promoter.as_bytes())
            .field(&self.payload.0)
            .field(&self.bundle)
            .number(self.created)
    }
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<StoredPromotion> {
    let error = failed("promotions");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let bytes = |name: &str| row.try_get::<Vec<u8>, _>(name).map_err(&error);
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(&error).and_then(from_integer);
    let payload: [u8; 32] = bytes("payload")?
        .try_into()
        .map_err(|_| Refusal::new(Code::StoreFailed, "payload of a stored promotion").want("32 bytes"))?;
    let stored = StoredPromotion {
        repository: text("repository")?,
        environment: text("environment")?,
        sequence: number("sequence")?,
        promoter: text("promoter")?,
        payload: Sha256(payload),
        created: number("created")?,
        bundle: bytes("bundle")?,
    };
    let what = format!("stored promotion of `{}`", stored.repository);
    master.verify(&what, stored.content().bytes(), &bytes("mac")?)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::schema::tests::{put_back, take_triggers};
    use crate::store::{Database, Store};
    use std::path::Path;
    use strongroom_artifact::SigningKey;
    use strongroom_artifact::promotion::{Action, Statement, Statements};
    use strongroom_wire::Realm;
    use strongroom_wire::trust::{PromotionRule, Rule, Signer, TrustFile};

    const REPOSITORY: &str = "h/m";

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    fn production() -> Environment {
        Environment::parse("production").unwrap()
    }

    /// Statements with these sequences, by one promoter.
    fn said(sequences: impl Iterator<Item = u64>) -> Vec<SignedStatement> {
        by_somebody(|statement| sequences.map(|sequence| Statement { sequence, ..statement.clone() }).collect())
    }

    /// What one promoter makes of a statement, each signed apart from the others.
    fn by_somebody(say: impl FnOnce(Statement) -> Vec<Statement>) -> Vec<SignedStatement> {
        let key = SigningKey::generate().unwrap();
        let signer = || vec![Signer::with_key("anna", key.public().pem())];
        let promotion = Some(PromotionRule::new(production(), signer()));
        let trust = TrustFile::new(vec![Rule { promotion, ..Rule::new(REPOSITORY, signer()) }]);
        let statement = Statement {
            manifest: Sha256([7; 32]),
            repository: REPOSITORY.into(),
            environment: production(),
            sequence: 1,
            issued: 5,
            action: Action::Promote { expires: 9, policy: None },
        };
        let sign = |statement: Statement| {
            let mut statements = Statements::demanded(&trust, REPOSITORY).unwrap().unwrap();
            statements.add(&statement.sign(&key).unwrap()).unwrap().clone()
        };
        say(statement).into_iter().map(sign).collect()
    }

    async fn sequences(store: &Store) -> Result<(Vec<u64>, u64)> {
        let kept = store.begin().await?.promotions(REPOSITORY, &production()).await?;
        Ok((kept.rows.iter().map(|row| row.sequence).collect(), kept.floor(|_| true)))
    }

    #[tokio::test]
    async fn statements_are_kept_once_across_restarts_and_the_highest_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let said = said([3, 1].into_iter());
        let mut transaction = store.begin().await.unwrap();
        assert!(transaction.keep_promotions(&said, 6).await.unwrap());
        assert!(!transaction.keep_promotions(&said, 7).await.unwrap());
        assert_eq!(transaction.highest_promotion(&said[1]).await.unwrap(), Some(3));
        assert_eq!(transaction.environments(REPOSITORY).await.unwrap(), [production()]);
        transaction.commit_unrecorded().await.unwrap();
        drop(store);
        let store = open(folder.path()).await.unwrap();
        assert_eq!(sequences(&store).await.unwrap(), (vec![3, 1], 0));
        let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
        assert_eq!((kept.rows[0].created, kept.rows[0].bundle.as_slice()), (6, said[0].bundle()));
        let staging = Environment::parse("staging").unwrap();
        assert_eq!(store.begin().await.unwrap().promotions(REPOSITORY, &staging).await.unwrap(), Kept::default());
    }

    #[tokio::test]
    async fn statements_are_the_same_under_another_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        transaction.keep_promotions(&said(1..=2), 6).await.unwrap();
        transaction.commit_unrecorded().await.unwrap();
        let kept = async |store: &Store| {
            let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
            kept.rows.into_iter().map(|row| (row.sequence, row.created, row.bundle)).collect::<Vec<_>>()
        };
        let before = kept(&store).await;
        let new = || MasterKey::from_file_bytes(&[2; 32]).unwrap();
        store.rewrap(&new(), &Clock::of(|| 6)).await.unwrap();
        let store = Store::open_under(Database::sqlite(&folder.path().join("verifier.sqlite")), new(), Realm::Vendor)
            .await
            .unwrap();
        let after = kept(&store).await;
        assert_eq!((after.len(), after), (2, before));
    }

    #[tokio::test]
    async fn more_of_one_promoter_than_fits_into_a_judgement_raises_the_floor_where_he_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let most = u64::try_from(limits::PROMOTIONS).unwrap();
        let (all, other) = (said(1..=most + 1), said(1..=1));
        for (said, length, floor) in [(&all[..limits::PROMOTIONS], 256, 0), (&other, 257, 0), (&all, 257, 2)] {
            let mut transaction = store.begin().await.unwrap();
            transaction.keep_promotions(said, 6).await.unwrap();
            transaction.commit_unrecorded().await.unwrap();
            let (known, from) = sequences(&store).await.unwrap();
            assert_eq!((known.len(), known.last(), from), (length, Some(&1), floor));
        }
        let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
        assert_eq!(kept.floor(|promoter| *promoter == other[0].credential().to_string()), 0, "not by another's flood");
    }

    #[tokio::test]
    async fn promotion_that_has_not_begun_or_is_not_above_is_not_kept_and_a_demotion_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let all = said(1..=3);
        let mut transaction = store.begin().await.unwrap();
        assert!(transaction.keep_promotions(&all[2..], 6).await.unwrap());
        assert!(!transaction.keep_promotions(&all, 6).await.unwrap(), "none is above the third");
        let demotion = Statement { action: Action::Demote { reason: "it leaks".into() }, ..all[0].statement().clone() };
        let demotion = by_somebody(|_| vec![demotion]);
        assert!(transaction.keep_promotions(&demotion, 6).await.unwrap());
        let far = Statement { issued: 7 + limits::PROMOTION_SKEW, ..all[0].statement().clone() };
        let far = Statement { action: Action::Promote { expires: far.issued, policy: None }, ..far };
        let far = by_somebody(|_| vec![far]);
        assert!(!transaction.keep_promotions(&far, 6).await.unwrap());
        assert!(transaction.keep_promotions(&far, 7).await.unwrap());
    }

    #[tokio::test]
    async fn statement_signed_anew_keeps_its_new_signature() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let twice = by_somebody(|statement| vec![statement.clone(), statement]);
        assert_ne!(twice[0].bundle(), twice[1].bundle());
        let mut transaction = store.begin().await.unwrap();
        for (signed, now) in [(&twice[0], 6), (&twice[1], 7)] {
            assert!(transaction.keep_promotions(core::slice::from_ref(signed), now).await.unwrap());
            let kept = transaction.promotions(REPOSITORY, &production()).await.unwrap();
            assert_eq!(
                (kept.rows.len(), kept.rows[0].created, kept.rows[0].bundle.as_slice()),
                (1, 6, signed.bundle())
            );
        }
    }

    #[tokio::test]
    async fn rows_changed_put_in_or_taken_out_are_noticed() {
        for (statement, tampered) in [
            ("SELECT 1", false),
            ("DELETE FROM promotions WHERE sequence = 2", true),
            ("DELETE FROM promotions", true),
            ("UPDATE promotions SET sequence = 9 WHERE sequence = 2", true),
            ("UPDATE promotions SET environment = 'staging' WHERE sequence = 2", true),
            ("UPDATE promotions SET bundle = x'00' WHERE sequence = 2", true),
            ("UPDATE promotions SET created = 9 WHERE sequence = 2", true),
            (
                "INSERT INTO promotions SELECT repository, 'x', sequence, promoter, payload, bundle, created, mac FROM promotions",
                true,
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            let mut transaction = store.begin().await.unwrap();
            transaction.keep_promotions(&said(1..=2), 6).await.unwrap();
            transaction.commit_unrecorded().await.unwrap();
            if tampered && !statement.starts_with("INSERT") && !statement.contains("SET bundle") {
                let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
                assert!(refused.to_string().contains("a promotion statement stays"), "{refused}");
            }
            let triggers = take_triggers(&store).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            put_back(&store, triggers).await;
            let expected = tampered.then_some(Code::StoreTampered);
            assert_eq!(sequences(&store).await.err().map(|refusal| refusal.code), expected, "{statement}");
        }
    }
}
