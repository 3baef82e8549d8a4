//! Stored keys: what the row of one has, and what authenticates it. A value is immutable at its id and wrapped by a custody; its
//! state, whose it is and what it is called by may change (`key_changes.rs`).

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::uses::Uses;
use super::{Transaction, failed, from_integer};
use crate::custody::Wrapped;
use crate::master_key::{self, MasterKey};
use crate::tags::Tags;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

pub(super) const TABLE: Table = Table {
    name: "keys",
    key: &["id"],
    names: "SELECT id, 0, mac FROM keys ORDER BY id",
    rewrap: |row, old, new| {
        let key = stored(row, old)?;
        // What another custody wrapped, or nobody any more, hangs on the master key by its code alone.
        let wrapped = match &key.wrapped {
            Wrapped { by, bytes } if by == master_key::NAME && key.metadata.state != KeyState::Destroyed => {
                Wrapped::by(master_key::NAME, new.seal(&key.metadata.id, &old.open(&key.metadata.id, bytes)?)?)
            }
            other => other.clone(),
        };
        let key = StoredKey { wrapped, ..key };
        Ok(Rewrapped { mac: new.mac(key.content().bytes()), sealed: Some(key.wrapped.bytes) })
    },
};

/// Whether a key can be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "ShownState")]
pub(crate) enum KeyState {
    /// It can.
    Enabled,
    /// Not until somebody enables it.
    Disabled,
    /// Never again: its value is erased, and its id stays taken.
    Destroyed,
}

/// A state as it is shown.
#[derive(Serialize)]
struct ShownState {
    enabled: bool,
    state: &'static str,
}

impl From<KeyState> for ShownState {
    fn from(state: KeyState) -> Self {
        Self { enabled: state == KeyState::Enabled, state: state.as_str() }
    }
}

/// What may be known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct KeyMetadata {
    /// `<repo>/<type>/<tag>`.
    pub id: String,
    /// Seconds since 1970.
    pub created: UnixTime,
    /// Whether it can be released.
    #[serde(flatten)]
    pub state: KeyState,
    /// What wrapped its value.
    pub custody: String,
    /// How often that was done: once when it was stored, and at each rotation.
    pub wrappings: u64,
    /// How often it was released, and when.
    #[serde(flatten)]
    pub uses: Uses,
    /// Whose it is and what it is called by.
    #[serde(flatten)]
    pub tags: Tags,
}

/// A key as it is stored, still wrapped.
#[derive(Debug, Clone)]
pub(crate) struct StoredKey {
    /// What may be known of it.
    pub metadata: KeyMetadata,
    /// Its value; nothing where it is destroyed.
    pub wrapped: Wrapped,
}

impl Transaction<'_> {
    /// The key at an id, still wrapped.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`; `store-tampered`.
    pub(crate) async fn key(&mut self, id: &ResourcePath) -> Result<StoredKey> {
        self.find_key(id).await?.ok_or_else(|| Refusal::new(Code::KeyUnknown, "key").got(id))
    }

    /// The same, or `None` where the id is free.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn find_key(&mut self, id: &ResourcePath) -> Result<Option<StoredKey>> {
        let names = self.names(&TABLE).await?;
        let select = sqlx::query("SELECT * FROM keys WHERE id = $1").bind(id.as_str());
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("keys"))?;
        let own = names.as_deref().map(|names| names.iter().filter(|name| name.id == id.as_str()));
        verify_read(&TABLE, own, &rows)?;
        rows.first().map(|row| stored(row, self.master)).transpose()
    }

    /// All keys by id.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn keys(&mut self) -> Result<Vec<KeyMetadata>> {
        let names = self.names(&TABLE).await?;
        let rows = sqlx::query("SELECT * FROM keys ORDER BY id").fetch_all(&mut *self.sql).await;
        let rows = rows.map_err(failed("keys"))?;
        verify_read(&TABLE, names.as_deref().map(|names| names.iter()), &rows)?;
        rows.iter().map(|row| stored(row, self.master).map(|key| key.metadata)).collect()
    }
}

impl KeyState {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Destroyed];

    /// As rows have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "enabled" => Ok(Self::Enabled),
            "disabled" => Ok(Self::Disabled),
            "destroyed" => Ok(Self::Destroyed),
            other => Err(Refusal::new(Code::StoreTampered, "state of a stored key").got(other)),
        }
    }
}

impl StoredKey {
    /// The key, where it can be released.
    ///
    /// # Errors
    /// `key-disabled`; `key-destroyed`.
    pub(crate) fn enabled(self) -> Result<Self> {
        match self.not_destroyed()? {
            key if key.metadata.state == KeyState::Enabled => Ok(key),
            key => Err(Refusal::new(Code::KeyDisabled, "key").got(key.metadata.id)),
        }
    }

    /// The key, where it has a value.
    ///
    /// # Errors
    /// `key-destroyed`.
    pub(crate) fn not_destroyed(self) -> Result<Self> {
        match self.metadata.state {
            KeyState::Enabled | KeyState::Disabled => Ok(self),
            KeyState::Destroyed => Err(Refusal::new(Code::KeyDestroyed, "key").got(self.metadata.id)),
        }
    }

    /// What its row is authenticated by.
    pub(super) fn content(&self) -> Content {
        let KeyMetadata { id, created, state, custody, wrappings, uses, tags } = &self.metadata;
        let fields = |label| {
            let content = Content::of(label).field(id.as_bytes()).number(*created);
            content.field(state.as_str().as_bytes()).field(&self.wrapped.bytes)
        };
        let tagged = |content: Content| content.field(tags.owner().as_bytes()).field(tags.lines().as_bytes());
        let first = custody == master_key::NAME && *wrappings == 1 && *uses == Uses::default();
        // A row that has nothing of what came later is as it was before there was any.
        match (first, tags.is_empty()) {
            (true, true) => fields("strongroom/stored-key-row/v1"),
            (true, false) => tagged(fields("strongroom/stored-key-row/v2")),
            (false, _) => {
                let content = tagged(fields("strongroom/stored-key-row/v3")).field(custody.as_bytes());
                uses.numbers().into_iter().fold(content.number(*wrappings), Content::number)
            }
        }
    }
}

fn stored(row: &AnyRow, master: &MasterKey) -> Result<StoredKey> {
    let error = failed("keys");
    let number = |name: &str| from_integer(row.try_get(name).map_err(&error)?);
    let custody: String = row.try_get("custody").map_err(&error)?;
    let metadata = KeyMetadata {
        id: row.try_get("id").map_err(&error)?,
        created: number("created")?,
        state: KeyState::parse(row.try_get("state").map_err(&error)?)?,
        custody: custody.clone(),
        wrappings: number("wrappings")?,
        uses: Uses {
            releases: number("releases")?,
            last_release: number("last_release")?,
            counted_from: number("counted_from")?,
            counted: number("counted")?,
        },
        tags: Tags::stored(row.try_get("owner").map_err(&error)?, row.try_get("labels").map_err(&error)?),
    };
    let key = StoredKey { metadata, wrapped: Wrapped { by: custody, bytes: row.try_get("sealed").map_err(&error)? } };
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    master.verify(&format!("stored key `{}`", key.metadata.id), key.content().bytes(), &mac)?;
    Ok(key)
}
