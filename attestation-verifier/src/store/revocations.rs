//! What is revoked or quarantined. A revocation stays; of a quarantine that was released the audit log alone knows.

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use crate::revocation::{Mark, Revocation, State, Subject};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "revocations",
    key: &["kind", "value"],
    names: "SELECT kind, value, created, mac FROM revocations ORDER BY kind, value",
    rewrap: |row, old, new| Ok(Rewrapped { mac: new.mac(content(&authentic(row, old)?).bytes()), sealed: None }),
};

impl Transaction<'_> {
    /// Revokes or quarantines. What is revoked stays so; what is quarantined may be revoked.
    ///
    /// # Errors
    /// `revoked`: it is, for good; `too-large`: more than [`limits::REVOCATIONS`]; `store-failed`; `store-tampered`.
    pub(crate) async fn put_revocation(&mut self, new: &Revocation) -> Result<()> {
        match self.revocation_of([&new.mark].into_iter()).await? {
            Some(before) if before.state == State::Revoked => return Err(before.refusal()),
            Some(_) => {}
            None => {
                let count = self.revocations().await?.len();
                if count >= limits::REVOCATIONS {
                    return Err(Refusal::too_large("revocations", count, limits::REVOCATIONS));
                }
            }
        }
        let (kind, value) = new.mark.parts();
        let insert = "INSERT INTO revocations (kind, value, state, because, person, created, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (kind, value) DO UPDATE SET state = excluded.state,
             because = excluded.because, person = excluded.person, created = excluded.created, mac = excluded.mac";
        let insert = sqlx::query(insert).bind(kind).bind(value).bind(new.state.as_str()).bind(&new.because);
        let insert = insert.bind(&new.by).bind(to_integer(new.created)?).bind(self.master.mac(content(new).bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("revocations"))?;
        self.changed(&TABLE)
    }

    /// Ends a quarantine, and gives what it was.
    ///
    /// # Errors
    /// `revoked`: it is, for good; `request-invalid`: there is no quarantine of it; `store-failed`; `store-tampered`.
    pub(crate) async fn release_quarantine(&mut self, mark: &Mark) -> Result<Revocation> {
        let (kind, value) = mark.parts();
        let none = || Refusal::new(Code::RequestInvalid, format!("quarantine of {kind} `{value}`")).got("none");
        let before = self.revocation_of([mark].into_iter()).await?.ok_or_else(none)?;
        if before.state == State::Revoked {
            return Err(before.refusal());
        }
        let delete = sqlx::query("DELETE FROM revocations WHERE kind = $1 AND value = $2").bind(kind).bind(value);
        delete.execute(&mut *self.sql).await.map_err(failed("revocations"))?;
        self.changed(&TABLE)?;
        Ok(before)
    }

    /// All that are in force, the oldest first.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn revocations(&mut self) -> Result<Vec<Revocation>> {
        let mut all: Vec<_> = self.by_mark().await?.values().cloned().collect();
        all.sort_by(|one, other| (one.created, one.mark.parts()).cmp(&(other.created, other.mark.parts())));
        Ok(all)
    }

    async fn by_mark(&mut self) -> Result<Arc<BTreeMap<Mark, Revocation>>> {
        let names = self.names(&TABLE).await?;
        if let Some(all) = self.documents.revocations.get(names.as_ref()) {
            return Ok(all);
        }
        let rows = sqlx::query("SELECT * FROM revocations").fetch_all(&mut *self.sql).await;
        let rows = rows.map_err(failed("revocations"))?;
        verify_read(&TABLE, names.as_ref().map(|names| names.iter()), &rows)?;
        let of = |row| authentic(row, self.master).map(|revocation| (revocation.mark.clone(), revocation));
        let all = rows.iter().map(of).collect::<Result<_>>()?;
        Ok(self.documents.revocations.put(names, all))
    }

    /// Verifies that nothing that somebody could be revoked by is revoked or quarantined.
    ///
    /// # Errors
    /// `revoked`, `quarantined`; `store-failed`; `store-tampered`.
    pub(crate) async fn verify_not_revoked(&mut self, subject: &Subject) -> Result<()> {
        match self.revocation_of(subject.marks()).await? {
            Some(revocation) => Err(revocation.refusal()),
            None => Ok(()),
        }
    }

    /// The first by any of the marks, `revoked` before `quarantined`.
    async fn revocation_of(&mut self, marks: impl Iterator<Item = &Mark>) -> Result<Option<Revocation>> {
        let all = self.by_mark().await?;
        let found = marks.filter_map(|mark| all.get(mark));
        Ok(found.min_by_key(|revocation| (revocation.state != State::Revoked, revocation.mark.parts())).cloned())
    }
}

/// What a row is authenticated by.
fn content(revocation: &Revocation) -> Content {
    let Revocation { mark, state, because, by, created } = revocation;
    let (kind, value) = mark.parts();
    let content = Content::of("strongroom/stored-revocation-row/v1").field(kind.as_bytes()).field(value.as_bytes());
    content.field(state.as_str().as_bytes()).field(because.as_bytes()).field(by.as_bytes()).number(*created)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<Revocation> {
    let error = failed("revocations");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let revocation = Revocation {
        mark: Mark::new(read(text("kind")?)?, text("value")?)?,
        state: read(text("state")?)?,
        because: text("because")?,
        by: text("person")?,
        created: from_integer(row.try_get("created").map_err(&error)?)?,
    };
    master.verify("stored revocation", content(&revocation).bytes(), &mac)?;
    Ok(revocation)
}

fn read<T: DeserializeOwned>(text: String) -> Result<T> {
    serde_json::from_value(text.into()).map_err(|e| Refusal::new(Code::StoreTampered, "stored revocation").because(e))
}
