//! Changes that wait for another person's approval, each until it is approved or rejected, or its day is over. What they would put is
//! encrypted under the master key; where that is a key, a custody wrapped it before.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Store, Transaction, failed, from_integer, to_integer};
use crate::admin::ChangeId;
use crate::admin_gate::Person;
use crate::audit::{Event, Kind};
use crate::master_key::MasterKey;
use aws_lc_rs::rand;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Seconds for which a change waits.
const LIFETIME: u64 = 24 * 60 * 60;
/// Bytes before what is sealed, which keep its digest from telling what it is.
const SALT: usize = 32;
/// Changes of one person that wait at a time: nobody takes up the place of all.
const OF_PERSON: usize = 8;

pub(super) const TABLE: Table = Table {
    name: "changes",
    key: &["id"],
    names: "SELECT id, 0, mac FROM changes ORDER BY id",
    rewrap: |row, old, new| {
        let stored = stored(row, old)?;
        let sealed = new.seal(&stored.sealed_as(), &old.open(&stored.sealed_as(), &stored.sealed)?)?;
        let stored = Stored { sealed, ..stored };
        Ok(Rewrapped { mac: new.mac(stored.content().bytes()), sealed: Some(stored.sealed) })
    },
};

/// What may be known of a change that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeMetadata {
    pub(crate) id: String,
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// SHA-256 of all that was asked, salted: who approves names it, and approves nothing else.
    pub(crate) digest: Sha256,
    /// Who asked.
    pub(crate) asked_by: Person,
    /// Seconds since 1970.
    pub(crate) created: UnixTime,
    /// Until when it may be approved.
    pub(crate) expires: UnixTime,
}

/// A change that waits, with what it would put.
pub(crate) struct PendingChange {
    pub(crate) change: ChangeMetadata,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

struct Stored {
    change: ChangeMetadata,
    sealed: Vec<u8>,
}

impl Store {
    /// Takes out changes whose time is over at `now`, if there are any, with an entry of the log.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn forget_expired_changes(&self, now: UnixTime) -> Result<()> {
        let expired = sqlx::query_scalar("SELECT COUNT(*) FROM changes WHERE expires <= $1").bind(to_integer(now)?);
        let expired: i64 = expired.fetch_one(&mut *self.begin_reading().await?.sql).await.map_err(failed("changes"))?;
        if expired == 0 {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        transaction.verify_rows().await?;
        let over = transaction.delete_expired(now).await?;
        if over == 0 {
            return Ok(());
        }
        let (subject, detail) = ("changes that nobody approved in time".to_owned(), json!({ "changes": over }));
        transaction.commit(now, &Event { kind: Kind::Admin, subject, code: None, detail }).await?;
        self.forget_erased().await;
        Ok(())
    }
}

impl Transaction<'_> {
    /// Keeps what `person` asked for; those whose time is over go. There is room for what is `urgent`, whatever others asked for.
    ///
    /// # Errors
    /// `busy`: [`limits::PENDING_CHANGES`] wait already, or 8 of the same person; `store-failed`; `store-tampered`.
    pub(crate) async fn put_change(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        person: &Person,
        urgent: bool,
        now: UnixTime,
    ) -> Result<ChangeMetadata> {
        self.verify_rows().await?;
        self.delete_expired(now).await?;
        let own = sqlx::query_scalar("SELECT COUNT(*) FROM changes WHERE person = $1").bind(&person.name);
        let own: i64 = own.fetch_one(&mut *self.sql).await.map_err(failed("changes"))?;
        let all = sqlx::query_scalar("SELECT COUNT(*) FROM changes").fetch_one(&mut *self.sql);
        let all: i64 = all.await.map_err(failed("changes"))?;
        for (what, count, most) in [
            ("changes of one person that wait for approval", own, OF_PERSON),
            ("changes that wait for approval", if urgent { 0 } else { all }, limits::PENDING_CHANGES),
        ] {
            if usize::try_from(count).map_or(true, |count| count >= most) {
                let refusal = Refusal::new(Code::Busy, what).got(count);
                return Err(refusal.want(format!("fewer than {most}: have some approved or rejected")));
            }
        }
        let (mut random, mut salt) = ([0; 16], Zeroizing::new([0; SALT]));
        let unable = |_| Refusal::new(Code::Internal, "random id of a change");
        rand::fill(&mut random).map_err(unable)?;
        rand::fill(salt.as_mut_slice()).map_err(unable)?;
        let salted = Zeroizing::new([salt.as_slice(), body].concat());
        let change = ChangeMetadata {
            id: hex::encode(random),
            method: method.to_owned(),
            path: path.to_owned(),
            // Neither method nor path has a line feed.
            digest: Sha256::of_parts(&[method.as_bytes(), b"\n", path.as_bytes(), b"\n", &salted]),
            asked_by: person.clone(),
            created: now,
            expires: now.saturating_add(LIFETIME),
        };
        let mut stored = Stored { change, sealed: Vec::new() };
        stored.sealed = self.master.seal(&stored.sealed_as(), &salted)?;
        let insert =
            "INSERT INTO changes (id, method, path, digest, person, came_by, login, created, expires, sealed, mac)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let change = &stored.change;
        let insert = sqlx::query(insert).bind(&change.id).bind(&change.method).bind(&change.path);
        let insert = insert.bind(change.digest.to_string()).bind(&change.asked_by.name).bind(&change.asked_by.by);
        let insert = insert.bind(change.asked_by.login.as_deref().unwrap_or_default());
        let insert = insert.bind(to_integer(change.created)?).bind(to_integer(change.expires)?).bind(&stored.sealed);
        let insert = insert.bind(self.master.mac(stored.content().bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("changes"))?;
        self.changed(&TABLE)?;
        Ok(stored.change)
    }

    /// All that wait at `now`, the oldest first.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn changes(&mut self, now: UnixTime) -> Result<Vec<ChangeMetadata>> {
        self.verify_rows().await?;
        let select =
            "SELECT id, method, path, digest, person, came_by, login, created, expires, sealed, mac FROM changes
                      WHERE expires > $1 ORDER BY created, id";
        let rows = sqlx::query(select).bind(to_integer(now)?).fetch_all(&mut *self.sql).await;
        let rows = rows.map_err(failed("changes"))?;
        rows.iter().map(|row| stored(row, self.master).map(|stored| stored.change)).collect()
    }

    /// One that waits at `now`.
    ///
    /// # Errors
    /// `change-unknown`: never there, decided on, or its time is over; `store-failed`; `store-tampered`.
    pub(crate) async fn change(&mut self, id: &ChangeId, now: UnixTime) -> Result<PendingChange> {
        self.verify_rows().await?;
        let select =
            "SELECT id, method, path, digest, person, came_by, login, created, expires, sealed, mac FROM changes
                      WHERE id = $1 AND expires > $2";
        let select = sqlx::query(select).bind(&id.0).bind(to_integer(now)?).fetch_optional(&mut *self.sql);
        let unknown = || Refusal::new(Code::ChangeUnknown, "change").got(&id.0).want("one that waits for approval");
        let row = select.await.map_err(failed("changes"))?.ok_or_else(unknown)?;
        let stored = stored(&row, self.master)?;
        let mut body = self.master.open(&stored.sealed_as(), &stored.sealed)?;
        let salt = SALT.min(body.len());
        body.drain(..salt);
        Ok(PendingChange { change: stored.change, body })
    }

    /// One that waits, out of what waits, for `approver`, who is not who asked for it and names its digest.
    ///
    /// # Errors
    /// As [`Self::change`]; `change-unknown`: also another digest; `approval-own`.
    pub(crate) async fn approve_change(
        &mut self,
        id: &ChangeId,
        digest: Sha256,
        approver: &Person,
        now: UnixTime,
    ) -> Result<PendingChange> {
        let pending = self.change(id, now).await?;
        let change = &pending.change;
        if digest != change.digest {
            return Err(Refusal::new(Code::ChangeUnknown, "digest of the change").got(digest).want(change.digest));
        }
        if !approver.is_certainly_another_than(&change.asked_by) {
            let want = format!("certainly another person than `{}`", change.asked_by.name);
            return Err(Refusal::new(Code::ApprovalOwn, "approver").got(&approver.name).want(want));
        }
        self.remove_change(id).await?;
        Ok(pending)
    }

    /// Takes out those whose time is over, and says how many.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    async fn delete_expired(&mut self, now: UnixTime) -> Result<u64> {
        let over = sqlx::query("DELETE FROM changes WHERE expires <= $1").bind(to_integer(now)?);
        let over = over.execute(&mut *self.sql).await.map_err(failed("changes"))?.rows_affected();
        if over > 0 {
            self.changed(&TABLE)?;
        }
        Ok(over)
    }

    /// One that waits, out of what waits, with nothing done.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub(crate) async fn reject_change(&mut self, id: &ChangeId, now: UnixTime) -> Result<ChangeMetadata> {
        let pending = self.change(id, now).await?;
        self.remove_change(id).await?;
        Ok(pending.change)
    }

    async fn remove_change(&mut self, id: &ChangeId) -> Result<()> {
        let delete = sqlx::query("DELETE FROM changes WHERE id = $1").bind(&id.0);
        delete.execute(&mut *self.sql).await.map_err(failed("changes"))?;
        self.changed(&TABLE)
    }
}

impl Stored {
    /// Under which name its body is sealed: no key's id, which has slashes of its own kind.
    fn sealed_as(&self) -> String {
        format!("change {}", self.change.id)
    }

    fn content(&self) -> Content {
        let change = &self.change;
        Content::of("strongroom/stored-change/v1")
            .field(change.id.as_bytes())
            .field(change.method.as_bytes())
            .field(change.path.as_bytes())
            .field(&change.digest.0)
            .field(change.asked_by.name.as_bytes())
            .field(change.asked_by.by.as_bytes())
            .field(change.asked_by.login.as_deref().unwrap_or_default().as_bytes())
            .number(change.created)
            .number(change.expires)
            .field(&self.sealed)
    }
}

/// A row, authentic.
fn stored(row: &AnyRow, master: &MasterKey) -> Result<Stored> {
    let error = failed("changes");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let number = |name: &str| from_integer(row.try_get(name).map_err(&error)?);
    let change = ChangeMetadata {
        id: text("id")?,
        method: text("method")?,
        path: text("path")?,
        digest: Sha256::from_hex(&text("digest")?)
            .map_err(|_| Refusal::new(Code::StoreTampered, "store: digest of a change"))?,
        asked_by: Person {
            name: text("person")?,
            by: text("came_by")?,
            login: Some(text("login")?).filter(|login| !login.is_empty()),
        },
        created: number("created")?,
        expires: number("expires")?,
    };
    let stored = Stored { change, sealed: row.try_get("sealed").map_err(&error)? };
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    master.verify(&format!("stored change `{}`", stored.change.id), stored.content().bytes(), &mac)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::Database;
    use strongroom_wire::Realm;

    fn person(name: &str) -> Person {
        Person { name: name.to_owned(), by: "certificate".to_owned(), login: None }
    }

    #[tokio::test]
    async fn change_is_carried_to_another_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("verifier.sqlite"));
        let store = Store::open(database.clone(), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let change = transaction.put_change("PUT", "/p?q", b"a key", &person("alice"), false, 5).await.unwrap();
        transaction.commit_in_test().await.unwrap();
        let new = || MasterKey::from_file_bytes(&[7; 32]).unwrap();
        store.rewrap(&new(), &Clock::of(|| 6)).await.unwrap();
        let store = Store::open_under(database, new(), Realm::Vendor).await.unwrap();
        let pending = store.begin().await.unwrap().change(&ChangeId(change.id.clone()), 6).await.unwrap();
        assert_eq!((pending.change, pending.body.as_slice()), (change, &b"a key"[..]));
    }

    #[tokio::test]
    async fn digest_of_the_same_change_is_another_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("verifier.sqlite"));
        let store = Store::open(database.clone(), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let one = transaction.put_change("PUT", "/p", b"a key", &person("alice"), false, 5).await.unwrap();
        let two = transaction.put_change("PUT", "/p", b"a key", &person("alice"), false, 5).await.unwrap();
        assert_ne!(
            (one.digest, one.id),
            (two.digest, two.id),
            "a digest that is in the log tells nobody what a key is"
        );
    }

    #[tokio::test]
    async fn change_whose_day_is_over_is_forgotten_without_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("verifier.sqlite"));
        let store = Store::open(database, &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        transaction.put_change("PUT", "/p", b"a key", &person("alice"), false, 5).await.unwrap();
        transaction.commit_in_test().await.unwrap();
        for (now, left) in [(4 + LIFETIME, 1), (5 + LIFETIME, 0), (5 + LIFETIME, 0)] {
            store.forget_expired_changes(now).await.unwrap();
            let mut transaction = store.begin().await.unwrap();
            // As a clock that was set back sees it.
            assert_eq!(transaction.changes(5).await.unwrap().len(), left, "{now}");
            let log = transaction.audit(0, 10, Some("admin")).await.unwrap();
            assert_eq!(log.len(), 2 - left, "after that of the change, once");
        }
    }
}
