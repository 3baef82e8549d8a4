//! The value of a key on its way into the store: a custody wraps it before a transaction begins, since none may wait for anything
//! but the store. What was found out by then is looked at again there.

use crate::Verifier;
use crate::custody::Wrapped;
use crate::store::NewKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

/// A value that was wrapped anew.
#[derive(Debug)]
pub(crate) struct Rewrapped {
    /// As it was.
    pub(crate) before: Wrapped,
    /// As it shall be.
    pub(crate) after: Wrapped,
}

impl Verifier {
    /// The value for an id, wrapped where that is free.
    ///
    /// # Errors
    /// `key-invalid`: there is none; `key-exists`: another value is at that id; `key-destroyed`: one was; those of the custody;
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn new_key(&self, id: &ResourcePath, value: &[u8]) -> Result<NewKey> {
        if value.is_empty() {
            return Err(Refusal::new(Code::KeyInvalid, "key").got("no bytes").want("at least one"));
        }
        let stored = self.store.begin_reading().await?.find_key(id).await?;
        let Some(stored) = stored else {
            return self.custodies.wrap(id.as_str(), value).await.map(NewKey::Wrapped);
        };
        let stored = stored.not_destroyed()?;
        let kept = self.custodies.unwrap(id.as_str(), &stored.wrapped).await?;
        let same = verify_slices_are_equal(kept.expose(), value);
        same.map_err(|_| Refusal::new(Code::KeyExists, "key").got(id))?;
        Ok(NewKey::Same)
    }

    /// The value at an id, wrapped anew by the custody that wraps, under the newest version of that one's own key.
    ///
    /// # Errors
    /// `key-unknown`; `key-destroyed`; those of the custodies; `store-failed`; `store-tampered`.
    pub(crate) async fn rewrapped(&self, id: &ResourcePath) -> Result<Rewrapped> {
        let before = self.store.begin_reading().await?.key(id).await?.not_destroyed()?.wrapped;
        let value = self.custodies.unwrap(id.as_str(), &before).await?;
        let after = self.custodies.wrap(id.as_str(), value.expose()).await?;
        Ok(Rewrapped { before, after })
    }
}
