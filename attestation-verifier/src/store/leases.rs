//! Leases, one for each key that they are about: the newest, until some time after its end, so that its holder's connections can
//! still be cut off.
//!
//! Each row is authenticated by itself and in no set: they come and go with every guest, and who puts an older one back, or takes one
//! out, gives nobody a lease that was not given, nor a longer one. Whether its holder was revoked since is looked up apart.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use crate::revocation::Subject;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::deployment::UNLEASED;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "leases",
    key: &["holder"],
    names: "SELECT holder, 0, mac FROM leases ORDER BY holder",
    rewrap: |row, old, new| {
        let (lease, json) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&lease.holder, lease.expires, &json).bytes()), sealed: None })
    },
};

/// A lease that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredLease {
    /// RFC 7638 thumbprint of the key that it is about.
    pub(crate) holder: String,
    /// Its end, in seconds since 1970.
    pub(crate) expires: UnixTime,
    /// What tells it from all others.
    pub(crate) id: String,
    /// Digest of the holder's deployment document.
    pub(crate) document: Sha256,
    /// Everything that the holder could be revoked by.
    pub(crate) subject: Subject,
    /// Where routers may connect to; `None`: nowhere.
    pub(crate) addr: Option<SocketAddr>,
    /// The server names under which it gets connections.
    pub(crate) routes: Vec<String>,
}

impl Transaction<'_> {
    /// Keeps a lease in place of the one before of its holder, and forgets those that ended long ago.
    ///
    /// # Errors
    /// `busy`: there are [`limits::LEASES`] others; `store-failed`.
    pub(crate) async fn put_lease(&mut self, lease: &StoredLease, now: UnixTime) -> Result<()> {
        let error = failed("leases");
        let forget = sqlx::query("DELETE FROM leases WHERE expires < $1");
        let long_ago = to_integer(now.saturating_sub(*UNLEASED.end()))?;
        forget.bind(long_ago).execute(&mut *self.sql).await.map_err(&error)?;
        let others = sqlx::query_scalar("SELECT COUNT(*) FROM leases WHERE holder <> $1 AND expires > $2");
        let others = others.bind(&lease.holder).bind(to_integer(now)?);
        let others: i64 = others.fetch_one(&mut *self.sql).await.map_err(&error)?;
        if usize::try_from(others).is_ok_and(|others| others >= limits::LEASES) {
            return Err(Refusal::new(Code::Busy, "leases").got(others).want(format!("fewer than {}", limits::LEASES)));
        }
        let json = serde_json::to_vec(lease).map_err(|e| Refusal::new(Code::Internal, "lease as JSON").because(e))?;
        let mac = self.master.mac(content(&lease.holder, lease.expires, &json).bytes());
        let insert = "INSERT INTO leases (holder, expires, lease, mac) VALUES ($1, $2, $3, $4) ON CONFLICT (holder)
             DO UPDATE SET expires = excluded.expires, lease = excluded.lease, mac = excluded.mac";
        let insert = sqlx::query(insert).bind(&lease.holder).bind(to_integer(lease.expires)?).bind(json).bind(mac);
        insert.execute(&mut *self.sql).await.map(drop).map_err(error)
    }

    /// The newest lease of everybody who had one not long ago, those that last longest first.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn leases(&mut self) -> Result<Vec<StoredLease>> {
        let select = sqlx::query("SELECT * FROM leases ORDER BY expires DESC, holder");
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("leases"))?;
        rows.iter().map(|row| Ok(authentic(row, self.master)?.0)).collect()
    }
}

/// What a row is authenticated by.
fn content(holder: &str, expires: UnixTime, json: &[u8]) -> Content {
    Content::of("strongroom/stored-lease-row/v1").field(holder.as_bytes()).number(expires).field(json)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(StoredLease, Vec<u8>)> {
    let error = failed("leases");
    let holder: String = row.try_get("holder").map_err(&error)?;
    let expires = from_integer(row.try_get("expires").map_err(&error)?)?;
    let json: Vec<u8> = row.try_get("lease").map_err(&error)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    master.verify("stored lease", content(&holder, expires, &json).bytes(), &mac)?;
    let lease = serde_json::from_slice(&json);
    Ok((lease.map_err(|e| Refusal::new(Code::StoreTampered, "stored lease").because(e))?, json))
}
