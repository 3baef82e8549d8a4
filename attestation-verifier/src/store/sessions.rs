//! Sessions that were accepted, for every verifier that shares the store, and the nonces that were used.

use super::authentic::Content;
use super::{Store, Transaction, failed, from_integer, to_integer};
use crate::sessions::{Challenged, Nonce};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sqlx::Row as _;
use strongroom_appraisal::UnixTime;
use strongroom_wire::{Code, Refusal, Result};

/// How long a used nonce is kept after it ended, in seconds: a verifier whose clock went ahead by less forgets none that another still
/// takes.
const KEPT: u64 = 7200;

/// An accepted session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSession {
    /// The audit row of its acceptance.
    pub(crate) seq: u64,
    /// What the guest showed (`attest.rs`), to be verified again by who uses it.
    pub(crate) shown: Vec<u8>,
}

impl Store {
    /// What tells a nonce of this store's from any other, of what stands before it.
    pub(crate) fn nonce_code(&self, head: &[u8]) -> Vec<u8> {
        self.master.mac(Content::of("strongroom/session-nonce/v1").field(head).bytes())
    }

    /// Verifies the beginning of [`Self::nonce_code`], in constant time.
    ///
    /// # Errors
    /// `session-unknown`.
    pub(crate) fn verify_nonce_code(&self, head: &[u8], code: &[u8]) -> Result<()> {
        let unknown = || Refusal::new(Code::SessionUnknown, "nonce");
        let own = self.nonce_code(head);
        verify_slices_are_equal(own.get(..code.len()).ok_or_else(unknown)?, code).map_err(|_| unknown())
    }
}

impl Transaction<'_> {
    /// Uses up a nonce, for every verifier that shares the store.
    ///
    /// # Errors
    /// `nonce-used`; `store-failed`.
    pub(crate) async fn spend(&mut self, session: &Challenged, now: UnixTime) -> Result<()> {
        self.count(now).await?;
        let insert = "INSERT INTO nonces (nonce, expires) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING";
        let insert = sqlx::query(insert).bind(session.nonce.as_slice()).bind(to_integer(session.expires)?);
        match insert.execute(&mut *self.sql).await.map_err(failed("sessions"))?.rows_affected() {
            0 => Err(Refusal::new(Code::NonceUsed, "session").got("used at another verifier")),
            _ => Ok(()),
        }
    }

    /// Keeps what was accepted in a session whose nonce was just used, under the number that the decision's entry of the log gets.
    /// Where several verifiers share the store, there may be as many more as others accept in a second.
    ///
    /// # Errors
    /// `busy`: `most` are kept, which there is room for; `store-failed`; `store-tampered`.
    pub(crate) async fn keep_session(
        &mut self,
        session: &Challenged,
        shown: &[u8],
        most: u64,
        now: UnixTime,
    ) -> Result<()> {
        let count = self.count(now).await?;
        if count >= most {
            return Err(Refusal::new(Code::Busy, "sessions").got(count).want(format!("fewer than {most}")));
        }
        let writing = self.sql.writing_mut()?;
        let seq = writing.log().await?.next();
        writing.set_sessions(now, count.saturating_add(1));
        let insert = "INSERT INTO sessions (nonce, expires, seq, shown, mac) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(insert).bind(session.nonce.as_slice()).bind(to_integer(session.expires)?);
        let insert = insert.bind(to_integer(seq)?).bind(shown);
        let insert = insert.bind(self.master.mac(content(&session.nonce, seq, shown).bytes()));
        insert.execute(&mut *self.sql).await.map(drop).map_err(failed("sessions"))
    }

    /// Accepted sessions: counted once a second, when those that ended go, and nonces that ended long ago.
    async fn count(&mut self, now: UnixTime) -> Result<u64> {
        if let Some(count) = self.sql.writing_mut()?.sessions(now) {
            return Ok(count);
        }
        let error = failed("sessions");
        for (delete, over) in [
            ("DELETE FROM nonces WHERE expires <= $1", now.saturating_sub(KEPT)),
            ("DELETE FROM sessions WHERE expires <= $1", now),
        ] {
            sqlx::query(delete).bind(to_integer(over)?).execute(&mut *self.sql).await.map_err(&error)?;
        }
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM sessions").fetch_one(&mut *self.sql).await;
        let count = from_integer(count.map_err(error)?)?;
        self.sql.writing_mut()?.set_sessions(now, count);
        Ok(count)
    }

    /// What was accepted in a session.
    ///
    /// # Errors
    /// `session-unknown`: nothing; `store-tampered`: the row was changed; `store-failed`.
    pub(crate) async fn session(&mut self, session: &Challenged) -> Result<StoredSession> {
        let error = failed("sessions");
        let select = sqlx::query("SELECT seq, shown, mac FROM sessions WHERE nonce = $1");
        let row = select.bind(session.nonce.as_slice()).fetch_optional(&mut *self.sql).await.map_err(&error)?;
        let nothing = || Refusal::new(Code::SessionUnknown, "session").got("nothing was accepted in it");
        let row = row.ok_or_else(nothing)?;
        let seq = from_integer(row.try_get("seq").map_err(&error)?)?;
        let shown: Vec<u8> = row.try_get("shown").map_err(&error)?;
        let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
        self.master.verify("stored session", content(&session.nonce, seq, &shown).bytes(), &mac)?;
        Ok(StoredSession { seq, shown })
    }

    /// How many were accepted and have not ended.
    ///
    /// # Errors
    /// `store-failed`.
    pub(crate) async fn count_sessions(&mut self, now: UnixTime) -> Result<u64> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE expires > $1").bind(to_integer(now)?);
        from_integer(count.fetch_one(&mut *self.sql).await.map_err(failed("sessions"))?)
    }

    /// Forgets all sessions: under another master key nobody knows their nonces.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn end_sessions(&mut self) -> Result<()> {
        sqlx::query("DELETE FROM sessions").execute(&mut *self.sql).await.map(drop).map_err(failed("sessions"))
    }
}

/// What a row is authenticated by. When it ends, the nonce says.
fn content(nonce: &Nonce, seq: u64, shown: &[u8]) -> Content {
    Content::of("strongroom/stored-session-row/v1").field(nonce).number(seq).field(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind};
    use crate::sessions::Purpose;
    use crate::store::Database;
    use serde_json::json;
    use strongroom_wire::Realm;
    use strongroom_wire::kbs::Tee;

    const KEYS: Purpose = Purpose::Keys(Tee::Snp);

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("store"));
        let store = Store::open(database, &folder.path().join("master"), Realm::Vendor).await.unwrap();
        (folder, store)
    }

    fn event() -> Event {
        Event { kind: Kind::Attestation, subject: "-".into(), code: None, detail: json!({}) }
    }

    fn code<T>(outcome: Result<T>) -> Option<Code> {
        outcome.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn nonce_is_spent_with_its_decision_and_not_where_that_is_given_up() {
        let (_folder, store) = store().await;
        let session = Challenged::open(&store, KEYS, 5).unwrap();
        let mut given_up = store.begin().await.unwrap();
        given_up.spend(&session, 6).await.unwrap();
        drop(given_up);
        let mut transaction = store.begin().await.unwrap();
        transaction.spend(&session, 6).await.unwrap();
        transaction.commit(6, &event()).await.unwrap();
        // By a clock that went ahead or back by an hour, too.
        for now in [6, 6 + 3600, 0, session.expires + KEPT - 1] {
            assert_eq!(code(store.begin().await.unwrap().spend(&session, now).await), Some(Code::NonceUsed), "{now}");
        }
        assert_eq!(code(store.begin().await.unwrap().spend(&session, session.expires + KEPT).await), None);
    }

    #[tokio::test]
    async fn session_is_kept_under_the_number_of_its_entry_and_there_are_no_more_than_there_is_room_for() {
        let (_folder, store) = store().await;
        let session = Challenged::open(&store, KEYS, 5).unwrap();
        assert_eq!(code(store.begin_reading().await.unwrap().session(&session).await), Some(Code::SessionUnknown));
        let mut transaction = store.begin().await.unwrap();
        transaction.keep_session(&session, b"shown", 4, 6).await.unwrap();
        let seq = transaction.commit(6, &event()).await.unwrap().seq();
        let kept = store.begin_reading().await.unwrap().session(&session).await.unwrap();
        assert_eq!(kept, StoredSession { seq, shown: b"shown".to_vec() });
        let mut transaction = store.begin().await.unwrap();
        for _ in 1..4 {
            let other = Challenged::open(&store, KEYS, 5).unwrap();
            transaction.keep_session(&other, b"", 4, 6).await.unwrap();
        }
        let other = Challenged::open(&store, KEYS, 6).unwrap();
        // By what was counted in this second, and by what is counted in the last before the first of them ends.
        for now in [6, session.expires - 1] {
            assert_eq!(code(transaction.keep_session(&other, b"", 4, now).await), Some(Code::Busy));
        }
        assert_eq!(code(transaction.keep_session(&other, b"", 4, session.expires).await), None);
        assert_eq!(code(transaction.session(&session).await), Some(Code::SessionUnknown));
    }

    #[tokio::test]
    async fn session_that_was_changed_or_moved_behind_the_store_s_back_is_noticed() {
        for (statement, want) in [
            ("SELECT 1", None),
            ("UPDATE sessions SET shown = x'00'", Some(Code::StoreTampered)),
            ("UPDATE sessions SET seq = 9", Some(Code::StoreTampered)),
            ("UPDATE sessions SET nonce = (SELECT nonce FROM nonces)", Some(Code::StoreTampered)),
            ("DELETE FROM sessions", Some(Code::SessionUnknown)),
        ] {
            let (_folder, store) = store().await;
            let [session, other] = [0, 1].map(|now| Challenged::open(&store, KEYS, now).unwrap());
            let mut transaction = store.begin().await.unwrap();
            transaction.keep_session(&session, b"shown", 4, 6).await.unwrap();
            transaction.spend(&other, 6).await.unwrap();
            transaction.commit(6, &event()).await.unwrap();
            store.execute(statement).await;
            let asked = if statement.contains("nonce =") { &other } else { &session };
            assert_eq!(code(store.begin_reading().await.unwrap().session(asked).await), want, "{statement}");
        }
    }
}
