//! What happens to stored keys: they are stored once, wrapped anew, enabled, disabled, labelled, released, and destroyed for good.
//! No transaction waits for a custody: what one has to do was done before.

use super::keys::{KeyMetadata, KeyState, StoredKey, TABLE};
use super::uses::Uses;
use super::{Transaction, failed, to_integer};
use crate::custody::Wrapped;
use crate::tags::Tags;
use strongroom_appraisal::{Allowance, UnixTime};
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

/// A value that is to be stored, as it was found to be before the transaction began.
#[derive(Debug)]
pub(crate) enum NewKey {
    /// Its id was free, and it is wrapped.
    Wrapped(Wrapped),
    /// It is what its id has already.
    Same,
}

/// What a put came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The key is new.
    Created(KeyMetadata),
    /// The very same key was there already.
    Unchanged(KeyMetadata),
}

impl Transaction<'_> {
    /// Stores a key at a new id. Without tags, the tags of one that is there stay.
    ///
    /// # Errors
    /// `key-exists`: the same value has other tags; `key-destroyed`; `busy`: the id was free and is not, or the other way about;
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn store_key(&mut self, id: &ResourcePath, new: NewKey, tags: Tags, now: UnixTime) -> Result<Put> {
        match (self.find_key(id).await?, new) {
            (None, NewKey::Wrapped(wrapped)) => {
                let metadata = KeyMetadata {
                    id: id.to_string(),
                    created: now,
                    state: KeyState::Enabled,
                    custody: wrapped.by.clone(),
                    wrappings: 1,
                    uses: Uses::default(),
                    tags,
                };
                let insert = "INSERT INTO keys (id, sealed, created, state, mac) VALUES ($1, $2, $3, 'enabled', $4)";
                let insert = sqlx::query(insert).bind(id.as_str()).bind(&wrapped.bytes).bind(to_integer(now)?);
                // The rest, and what authenticates all of it, below.
                insert.bind(Vec::<u8>::new()).execute(&mut *self.sql).await.map_err(failed("keys"))?;
                self.update_key(StoredKey { metadata, wrapped }).await.map(Put::Created)
            }
            (Some(key), NewKey::Same) => {
                let key = key.not_destroyed()?.metadata;
                if !tags.is_empty() && key.tags != tags {
                    let refusal = Refusal::new(Code::KeyExists, "owner and labels of the key");
                    return Err(refusal.got(key.tags).want(format!("{tags}, by `strongroom key label`")));
                }
                Ok(Put::Unchanged(key))
            }
            (Some(_), NewKey::Wrapped(_)) | (None, NewKey::Same) => {
                Err(Refusal::new(Code::Busy, "key stored by another call meanwhile").got(id))
            }
        }
    }

    /// Puts what a custody made of the value anew in the place of what it was.
    ///
    /// # Errors
    /// `key-unknown`; `key-destroyed`; `busy`: it is not wrapped as it was; `store-failed`; `store-tampered`.
    pub(crate) async fn rotate_key(
        &mut self,
        id: &ResourcePath,
        before: &Wrapped,
        after: Wrapped,
    ) -> Result<KeyMetadata> {
        let mut key = self.key(id).await?.not_destroyed()?;
        if key.wrapped != *before {
            return Err(Refusal::new(Code::Busy, "key wrapped by another call meanwhile").got(id));
        }
        key.metadata.custody.clone_from(&after.by);
        key.metadata.wrappings = key.metadata.wrappings.saturating_add(1);
        self.update_key(StoredKey { wrapped: after, ..key }).await
    }

    /// Has a key released again.
    ///
    /// # Errors
    /// `key-unknown`; `key-destroyed`; `store-failed`; `store-tampered`.
    pub(crate) async fn enable_key(&mut self, id: &ResourcePath) -> Result<KeyMetadata> {
        self.set_state(id, KeyState::Enabled).await
    }

    /// Has a key released no more.
    ///
    /// # Errors
    /// As [`Self::enable_key`].
    pub(crate) async fn disable_key(&mut self, id: &ResourcePath) -> Result<KeyMetadata> {
        self.set_state(id, KeyState::Disabled).await
    }

    async fn set_state(&mut self, id: &ResourcePath, state: KeyState) -> Result<KeyMetadata> {
        let mut key = self.key(id).await?.not_destroyed()?;
        key.metadata.state = state;
        self.update_key(key).await
    }

    /// Erases a key's value, for good. What says that there was one stays.
    ///
    /// # Errors
    /// `key-unknown`; `store-failed`; `store-tampered`.
    pub(crate) async fn destroy_key(&mut self, id: &ResourcePath) -> Result<KeyMetadata> {
        let mut key = self.key(id).await?;
        key.metadata.state = KeyState::Destroyed;
        key.wrapped.bytes.clear();
        self.update_key(key).await
    }

    /// Says anew whose a key is and what it is called by.
    ///
    /// # Errors
    /// `key-unknown`; `key-destroyed`; `store-failed`; `store-tampered`.
    pub(crate) async fn label_key(&mut self, id: &ResourcePath, tags: Tags) -> Result<KeyMetadata> {
        let mut key = self.key(id).await?.not_destroyed()?;
        key.metadata.tags = tags;
        self.update_key(key).await
    }

    /// Counts a release of `key`, which this transaction read, where there may be one more.
    ///
    /// # Errors
    /// `rate-exceeded`; `releases-exhausted`; `store-failed`; `store-tampered`.
    pub(crate) async fn count_release(
        &mut self,
        mut key: StoredKey,
        allowed: &Allowance,
        now: UnixTime,
    ) -> Result<KeyMetadata> {
        key.metadata.uses = key.metadata.uses.one_more(allowed, now)?;
        self.update_key(key).await
    }

    async fn update_key(&mut self, key: StoredKey) -> Result<KeyMetadata> {
        let mac = self.master.mac(key.content().bytes());
        let StoredKey { metadata, wrapped } = key;
        let update = "UPDATE keys SET sealed = $1, state = $2, owner = $3, labels = $4, custody = $5, wrappings = $6,
            releases = $7, last_release = $8, counted_from = $9, counted = $10, mac = $11 WHERE id = $12";
        let mut update = sqlx::query(update).bind(wrapped.bytes).bind(metadata.state.as_str());
        update = update.bind(metadata.tags.owner()).bind(metadata.tags.lines()).bind(&metadata.custody);
        update = update.bind(to_integer(metadata.wrappings)?);
        for number in metadata.uses.numbers() {
            update = update.bind(to_integer(number)?);
        }
        update.bind(&mac).bind(&metadata.id).execute(&mut *self.sql).await.map_err(failed("keys"))?;
        self.changed_row(&TABLE, &metadata.id, &mac)?;
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests;
