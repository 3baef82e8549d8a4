//! What verifiers that share a store are known by, sealed in it: the TLS key that guests pin and the keys that sign tokens.

use super::{Store, Transaction, meta};
use crate::master_key::MasterKey;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// The name in `meta` of the sealed identity. No key id, since it has no slashes.
pub(super) const IDENTITY: &str = "identity";

/// The parts of an identity (`identity.rs`), secrets among them.
pub(crate) type Parts = Vec<Zeroizing<Vec<u8>>>;

/// An identity as it was found.
#[derive(Default)]
pub(crate) struct StoredIdentity {
    pub(crate) parts: Parts,
    /// What tells it from the one that was there before.
    pub(crate) sealed: Vec<u8>,
}

impl Store {
    /// The identity in the store, which `make` makes where there is none yet.
    ///
    /// # Errors
    /// Those of `make`; `store-failed`; `store-tampered`.
    pub(crate) async fn identity_or(&self, make: impl FnOnce() -> Result<Parts>) -> Result<StoredIdentity> {
        let mut transaction = self.begin().await?;
        if let Some(found) = transaction.identity(&[]).await? {
            return Ok(found);
        }
        let parts = make()?;
        let sealed = transaction.set_identity(&parts).await?;
        transaction.commit_unrecorded().await?;
        Ok(StoredIdentity { parts, sealed })
    }
}

impl Transaction<'_> {
    /// The identity, unless it is the one that is `known`.
    ///
    /// # Errors
    /// `store-tampered`; `store-failed`.
    pub(crate) async fn identity(&mut self, known: &[u8]) -> Result<Option<StoredIdentity>> {
        match meta(&mut self.sql, IDENTITY).await? {
            Some(sealed) if sealed != known => {
                let parts = open(&sealed, self.master)?;
                Ok(Some(StoredIdentity { parts, sealed }))
            }
            _ => Ok(None),
        }
    }

    /// Puts one in its place.
    ///
    /// # Errors
    /// `store-failed`.
    pub(crate) async fn set_identity(&mut self, parts: &Parts) -> Result<Vec<u8>> {
        let sealed = seal(parts, self.master)?;
        self.set_meta(IDENTITY, &sealed).await.map(|()| sealed)
    }

    /// Carries it over to another master key.
    pub(super) async fn rewrap_identity(&mut self, old: &MasterKey, new: &MasterKey) -> Result<()> {
        match meta(&mut self.sql, IDENTITY).await? {
            Some(sealed) => self.set_meta(IDENTITY, &seal(&open(&sealed, old)?, new)?).await,
            None => Ok(()),
        }
    }
}

/// Each part behind its length.
fn seal(parts: &Parts, master: &MasterKey) -> Result<Vec<u8>> {
    let length = parts.iter().map(|part| part.len().saturating_add(4)).sum();
    // One allocation: a vector that grows leaves copies of a secret behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        let length = u32::try_from(part.len()).map_err(|e| Refusal::new(Code::Internal, "identity").because(e))?;
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(part);
    }
    master.seal(IDENTITY, &plain)
}

fn open(sealed: &[u8], master: &MasterKey) -> Result<Parts> {
    let tampered = || Refusal::new(Code::StoreTampered, "store: identity");
    let plain = master.open(IDENTITY, sealed).map_err(|e| tampered().because(e))?;
    let (mut rest, mut parts) = (plain.as_slice(), Parts::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| tampered())?;
        let (part, after) = after.split_at_checked(length).ok_or_else(tampered)?;
        parts.push(Zeroizing::new(part.to_vec()));
        rest = after;
    }
    if rest.is_empty() { Ok(parts) } else { Err(tampered()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_open_as_they_were_sealed_and_no_others() {
        let master = MasterKey::from_file_bytes(&[1; 32]).unwrap();
        for parts in [vec![], vec![vec![]], vec![vec![1; 300], vec![], vec![2]]] {
            let parts: Parts = parts.into_iter().map(Zeroizing::new).collect();
            assert_eq!(open(&seal(&parts, &master).unwrap(), &master).unwrap(), parts);
        }
        let sealed = seal(&vec![Zeroizing::new(vec![1; 3])], &master).unwrap();
        let code = |sealed: &[u8]| open(sealed, &master).err().map(|refusal| refusal.code);
        assert_eq!(code(&sealed), None);
        assert_eq!(code(&[&sealed[..], &[0]].concat()), Some(Code::StoreTampered));
        for plain in [&[0, 0, 0, 2, 1][..], &[0, 0, 0][..]] {
            assert_eq!(code(&master.seal(IDENTITY, plain).unwrap()), Some(Code::StoreTampered));
        }
    }
}
