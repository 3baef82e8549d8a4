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
            self.changed(&TABLE)?;
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
mod tests;
