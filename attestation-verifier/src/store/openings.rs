//! Which keys were released to guests of which deployment document: kept for good, since such a guest has the model as long as it
//! runs, and what its keys are released by is what its leases are given by.

use super::authentic::Content;
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed};
use crate::master_key::MasterKey;
use sqlx::Row as _;
use sqlx::any::AnyRow;
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
        self.authenticate_rows().await
    }

    /// All keys that guests of `document` were given.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn openings(&mut self, document: Sha256) -> Result<Vec<Opening>> {
        self.verify_rows().await?;
        let select = sqlx::query("SELECT * FROM openings WHERE document = $1 ORDER BY id, model");
        let rows = select.bind(document.to_string()).fetch_all(&mut *self.sql).await.map_err(failed("openings"))?;
        rows.iter().map(|row| Ok(authentic(row, self.master)?.1)).collect()
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
