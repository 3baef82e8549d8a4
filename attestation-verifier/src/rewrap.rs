//! The recipe: the store under another master key, while no service runs on it. No model is touched: what is encrypted anew are
//! the data keys, which stay what they are.

use crate::clock::Clock;
use crate::config::Config;
use crate::master_key::MasterKey;
use crate::private_file;
use crate::state_lock::StateLock;
use crate::store::Store;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

/// What [`rewrap`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrap {
    /// The store is under the new key now. The number of the row in the audit log that says so.
    Done(u64),
    /// It was already, from an earlier run, whose old values are out of its files now.
    Unchanged,
}

/// Puts the store that `config` names under the master key in the file `new`, which is made where it is absent. From then on it
/// opens with that key alone, and `master-key` in the configuration has to name it.
///
/// 1. Lock the state: no service runs on it, and none starts; a shared database with the first connection to it.
/// 2. Load the new key, or make it: another one, and on the disk before anything hangs on it.
/// 3. If the store opens with it, an earlier run got that far.
/// 4. Else open the store with the old key, and carry everything over in one transaction.
/// 5. Take what was encrypted under the old key out of the store's files.
///
/// Interrupted at any point, the store is under one of the two keys, and the same call goes on.
///
/// # Errors
/// `configuration-invalid`: a service runs on the state, or there is no store; `key-invalid`: the store is under neither key, or
/// they are the same; `store-tampered`, `store-failed`, `key-missing`, `file-mode-unsafe`, `realm-mismatch`, `io`. The store is
/// then under the old key, except where a `store-failed` says that only the last step is missing.
pub async fn rewrap(config: &Config, new: &Path, clock: &Clock) -> Result<Rewrap> {
    let (database, realm) = (config.database()?, config.roots()?.realm());
    if !database.exists()? {
        return Err(Refusal::new(Code::ConfigurationInvalid, "`state`")
            .got(format!("{}, without a store", config.state.display())));
    }
    // 1.
    let _lock = StateLock::serving(&config.state)?;
    // 2.
    let same = || Refusal::new(Code::KeyInvalid, "new master key").got("the one in the configuration").want("another");
    let current = MasterKey::load(&config.master_key, false);
    if *new == *config.master_key {
        return Err(same());
    }
    let key = MasterKey::load(new, true)?;
    if current.as_ref().is_ok_and(|current| current.is(&key)) {
        return Err(same());
    }
    private_file::sync(new)?;
    // 3.
    match Store::open_under(database.clone(), key, realm).await {
        Ok(store) => {
            store.clean().await?; // 5.
            return Ok(Rewrap::Unchanged);
        }
        Err(refusal) if refusal.code == Code::KeyInvalid => {}
        Err(refusal) => return Err(refusal),
    }
    // 4.
    let store = Store::open_under(database, current?, realm).await?;
    // With 5.
    let recorded = store.rewrap(&MasterKey::load(new, false)?, clock).await?;
    Ok(Rewrap::Done(recorded.seq()))
}
