//! Promotion statements: every one that was seen is kept, and none is taken back.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use strongroom_appraisal::UnixTime;
use strongroom_artifact::promotion::SignedStatement;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "promotions",
    // Neither repositories nor environments have a space in them.
    names: "SELECT repository || ' ' || environment || ' ' || hex(payload) || ' ' || promoter, sequence, mac, rowid
         FROM promotions ORDER BY repository, environment, sequence, promoter, payload",
    select: "SELECT * FROM promotions WHERE rowid = ?1",
    update: "UPDATE promotions SET mac = ?2 WHERE rowid = ?1",
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
    /// At most [`limits::PROMOTIONS`].
    pub rows: Vec<StoredPromotion>,
    /// From which sequence on they are all.
    pub floor: u64,
}

impl Transaction<'_> {
    /// Keeps statements, each once. Gives whether any was new.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keep_promotions<'s>(
        &mut self,
        statements: impl IntoIterator<Item = &'s SignedStatement>,
        now: UnixTime,
    ) -> Result<bool> {
        self.verify_rows().await?;
        let mut new = false;
        for signed in statements {
            let stored = StoredPromotion::of(signed, now);
            let insert = "INSERT OR IGNORE INTO promotions
                 (repository, environment, sequence, promoter, payload, bundle, created, mac)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let insert = sqlx::query(insert)
                .bind(&stored.repository)
                .bind(&stored.environment)
                .bind(to_integer(stored.sequence)?)
                .bind(&stored.promoter)
                .bind(stored.payload.0.as_slice())
                .bind(&stored.bundle)
                .bind(to_integer(now)?)
                .bind(self.master.mac(stored.content().bytes()));
            let inserted = insert.execute(&mut *self.sql).await.map_err(failed("promotions"))?;
            new |= inserted.rows_affected() > 0;
        }
        if new {
            self.authenticate_rows().await?;
        }
        Ok(new)
    }

    /// What is known of one repository and environment.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn promotions(&mut self, repository: &str, environment: &Environment) -> Result<Kept> {
        self.verify_rows().await?;
        let select = "SELECT * FROM promotions WHERE repository = ? AND environment = ?
             ORDER BY sequence DESC, promoter, payload LIMIT ?";
        let beyond = limits::PROMOTIONS.saturating_add(1);
        let limit = i64::try_from(beyond).unwrap_or(i64::MAX);
        let select = sqlx::query(select).bind(repository).bind(environment.as_str()).bind(limit);
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("promotions"))?;
        let mut rows = rows.iter().map(|row| authentic(row, self.master)).collect::<Result<Vec<_>>>()?;
        // Of the sequence that the cut goes through, some may be missing.
        let cut = if rows.len() == beyond { rows.pop() } else { None };
        let floor = cut.map_or(0, |row| row.sequence.saturating_add(1));
        Ok(Kept { rows, floor })
    }

    /// The environments of which anything is known of a repository.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn environments(&mut self, repository: &str) -> Result<Vec<Environment>> {
        self.verify_rows().await?;
        let select = "SELECT DISTINCT environment FROM promotions WHERE repository = ? ORDER BY environment";
        let rows = sqlx::query(select).bind(repository).fetch_all(&mut *self.sql).await;
        let error = failed("promotions");
        let name = |row: &SqliteRow| row.try_get::<String, _>(0).map_err(&error).and_then(|n| Environment::parse(&n));
        rows.map_err(&error)?.iter().map(name).collect()
    }

    /// The highest sequence of what one promoter said about a repository and environment.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn highest_promotion(&mut self, signed: &SignedStatement) -> Result<Option<u64>> {
        self.verify_rows().await?;
        let stored = StoredPromotion::of(signed, 0);
        let select = "SELECT MAX(sequence) FROM promotions WHERE repository = ? AND environment = ? AND promoter = ?";
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
fn authentic(row: &SqliteRow, master: &MasterKey) -> Result<StoredPromotion> {
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
    use crate::store::Store;
    use crate::store::schema::tests::{put_back, take_triggers};
    use std::path::Path;
    use strongroom_artifact::SigningKey;
    use strongroom_artifact::promotion::{Action, Statement, Statements};
    use strongroom_wire::Realm;
    use strongroom_wire::trust::{PromotionRule, Rule, Signer, TrustFile};

    const REPOSITORY: &str = "h/m";

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(&folder.join("verifier.sqlite"), &folder.join("master"), Realm::Vendor).await
    }

    fn production() -> Environment {
        Environment::parse("production").unwrap()
    }

    /// Statements with these sequences, by one promoter.
    fn said(sequences: impl Iterator<Item = u64>) -> Vec<SignedStatement> {
        let key = SigningKey::generate().unwrap();
        let signer = || vec![Signer::with_key("anna", key.public().pem())];
        let promotion = Some(PromotionRule::new(production(), signer()));
        let trust = TrustFile::new(vec![Rule { promotion, ..Rule::new(REPOSITORY, signer()) }]);
        let mut statements = Statements::demanded(&trust, REPOSITORY).unwrap().unwrap();
        for sequence in sequences {
            let statement = Statement {
                manifest: Sha256([7; 32]),
                repository: REPOSITORY.into(),
                environment: production(),
                sequence,
                issued: 5,
                action: Action::Promote { expires: 9, policy: None },
            };
            statements.add(&statement.sign(&key).unwrap()).unwrap();
        }
        statements.all().to_vec()
    }

    async fn sequences(store: &Store) -> Result<(Vec<u64>, u64)> {
        let kept = store.begin().await?.promotions(REPOSITORY, &production()).await?;
        Ok((kept.rows.iter().map(|row| row.sequence).collect(), kept.floor))
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
        transaction.sql.commit().await.unwrap();
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
        transaction.sql.commit().await.unwrap();
        let kept = async |store: &Store| {
            let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
            kept.rows.into_iter().map(|row| (row.sequence, row.created, row.bundle)).collect::<Vec<_>>()
        };
        let before = kept(&store).await;
        let new = || MasterKey::from_file_bytes(&[2; 32]).unwrap();
        store.rewrap(&new(), &Clock::of(|| 6)).await.unwrap();
        let store = Store::open_under(&folder.path().join("verifier.sqlite"), new(), Realm::Vendor).await.unwrap();
        let after = kept(&store).await;
        assert_eq!((after.len(), after), (2, before));
    }

    #[tokio::test]
    async fn what_does_not_fit_into_a_judgement_raises_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let most = u64::try_from(limits::PROMOTIONS).unwrap();
        for (last, floor) in [(most, 0), (most + 1, 2)] {
            let mut transaction = store.begin().await.unwrap();
            // By another promoter each time, of whom the highest alone is new.
            let first = if floor == 0 { 1 } else { last };
            transaction.keep_promotions(&said(first..=last), 6).await.unwrap();
            transaction.sql.commit().await.unwrap();
            let (known, from) = sequences(&store).await.unwrap();
            assert_eq!((known.len(), known[0], from), (limits::PROMOTIONS, last, floor));
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
            transaction.sql.commit().await.unwrap();
            if tampered && !statement.starts_with("INSERT") {
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
