//! Which keys were released to guests of which deployment document: kept for good, since such a guest has the model as long as it
//! runs, and what its keys are released by is what its leases are given by.

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;

pub(super) const TABLE: Table = Table {
    name: "openings",
    key: &["document", "id", "model"],
    names: "SELECT document, id, model, 0, mac FROM openings ORDER BY document, id, model",
    rewrap: |row, old, new| {
        let (document, opening) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&document, &opening).bytes()), sealed: None })
    },
};

/// A key, and the model of the document that it was released for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The key's id.
    pub(crate) key: ResourcePath,
    /// `host[:port]/repo@sha256:…`, as in the document.
    pub(crate) model: String,
}

impl Transaction<'_> {
    /// Keeps that guests of `document` were given a key.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keep_opening(&mut self, document: Sha256, opening: &Opening) -> Result<()> {
        if self.openings(document).await?.contains(opening) {
            return Ok(());
        }
        let document = document.to_string();
        let mac = self.master.mac(content(&document, opening).bytes());
        let insert = sqlx::query("INSERT INTO openings (document, id, model, mac) VALUES ($1, $2, $3, $4)");
        let insert = insert.bind(document).bind(opening.key.as_str()).bind(&opening.model).bind(mac);
        insert.execute(&mut *self.sql).await.map_err(failed("openings"))?;
        self.changed(&TABLE)
    }

    /// All keys that guests of `document` were given.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn openings(&mut self, document: Sha256) -> Result<Vec<Opening>> {
        let names = self.names(&TABLE).await?;
        let of = |all: &BTreeMap<String, Vec<Opening>>| all.get(&document.to_string()).cloned().unwrap_or_default();
        if let Some(all) = self.documents.openings.get(names.as_ref()) {
            return Ok(of(&all));
        }
        let select = sqlx::query("SELECT * FROM openings ORDER BY document, id, model");
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("openings"))?;
        verify_read(&TABLE, names.as_ref().map(|names| names.iter()), &rows)?;
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for row in &rows {
            let (document, opening) = authentic(row, self.master)?;
            all.entry(document).or_default().push(opening);
        }
        Ok(of(&self.documents.openings.put(names, all)))
    }
}

/// What a row is authenticated by.
fn content(document: &str, opening: &Opening) -> Content {
    let content = Content::of("strongroom/stored-opening-row/v1").field(document.as_bytes());
    content.field(opening.key.as_str().as_bytes()).field(opening.model.as_bytes())
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(String, Opening)> {
    let error = failed("openings");
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&error);
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let (document, opening) =
        (text("document")?, Opening { key: ResourcePath::parse(&text("id")?)?, model: text("model")? });
    master.verify("stored opening", content(&document, &opening).bytes(), &mac)?;
    Ok((document, opening))
}
