//! The table of routes: every version is kept, the last is in force.

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use crate::route_table::RouteTable;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;
use strongroom_appraisal::UnixTime;
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

pub(super) const TABLE: Table = Table {
    name: "routes",
    key: &["version"],
    names: "SELECT '', version, mac FROM routes ORDER BY version",
    rewrap: |row, old, new| {
        let stored = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&stored).bytes()), sealed: None })
    },
};

/// A version of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    version: u64,
    toml: Vec<u8>,
    created: UnixTime,
}

/// What is said of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RoutesMetadata {
    /// From 1.
    pub(crate) version: u64,
    /// SHA-256 of the document.
    pub(crate) digest: Sha256,
    /// Seconds since 1970.
    pub(crate) created: UnixTime,
}

impl Transaction<'_> {
    /// Puts a table into force. The one that is makes no new version.
    ///
    /// # Errors
    /// Those of [`RouteTable::parse`]; `store-failed`; `store-tampered`.
    pub(crate) async fn put_routes(&mut self, toml: &[u8], now: UnixTime) -> Result<RoutesMetadata> {
        RouteTable::parse(toml)?;
        let before = self.last_routes().await?;
        if let Some(stored) = before.as_ref().filter(|stored| stored.toml == toml) {
            return Ok(metadata(stored));
        }
        let version = before.map_or(0, |stored| stored.version).saturating_add(1);
        let stored = Stored { version, toml: toml.to_vec(), created: now };
        let insert = sqlx::query("INSERT INTO routes (version, toml, created, mac) VALUES ($1, $2, $3, $4)");
        let insert = insert.bind(to_integer(version)?).bind(toml).bind(to_integer(now)?);
        let insert = insert.bind(self.master.mac(content(&stored).bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("routes"))?;
        self.changed(&TABLE)?;
        Ok(metadata(&stored))
    }

    /// The table in force, as it was put; empty where none was.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn routes_text(&mut self) -> Result<Vec<u8>> {
        Ok(self.last_routes().await?.map(|stored| stored.toml).unwrap_or_default())
    }

    /// The table in force: read and parsed once, however often it is asked for.
    ///
    /// # Errors
    /// As [`Self::routes_text`]; those of [`RouteTable::parse`], where this program takes it no more.
    pub(crate) async fn routes(&mut self) -> Result<Arc<RouteTable>> {
        let names = self.names(&TABLE).await?;
        if let Some(table) = self.documents.routes.get(names.as_ref()) {
            return Ok(table);
        }
        let table = RouteTable::parse(&self.routes_text().await?)?;
        Ok(self.documents.routes.put(names, table))
    }

    async fn last_routes(&mut self) -> Result<Option<Stored>> {
        let names = self.names(&TABLE).await?;
        let select = sqlx::query("SELECT version, toml, created, mac FROM routes ORDER BY version DESC LIMIT 1");
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("routes"))?;
        verify_read(&TABLE, names.as_ref().map(|names| names.last().into_iter()), &rows)?;
        rows.first().map(|row| authentic(row, self.master)).transpose()
    }
}

fn metadata(stored: &Stored) -> RoutesMetadata {
    RoutesMetadata { version: stored.version, digest: Sha256::of(&stored.toml), created: stored.created }
}

/// What a row is authenticated by.
fn content(stored: &Stored) -> Content {
    let content = Content::of("strongroom/stored-routes-row/v1").number(stored.version);
    content.number(stored.created).field(&stored.toml)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<Stored> {
    let error = failed("routes");
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let stored = Stored {
        version: from_integer(row.try_get("version").map_err(&error)?)?,
        toml: row.try_get("toml").map_err(&error)?,
        created: from_integer(row.try_get("created").map_err(&error)?)?,
    };
    master.verify(&format!("version {} of the routes", stored.version), content(&stored).bytes(), &mac)?;
    Ok(stored)
}
