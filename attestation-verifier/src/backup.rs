//! The recipe: a copy of a verifier's state, while a service may run on it.

use std::fs::read_dir;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

use crate::config::Config;
use crate::service::store_path;
use crate::{identity, private_file};

/// Copies the state that `config` names into `folder`, which is made: a state like that one, which a verifier with the same master key
/// runs on. It holds secret keys, as that one does, and not the master key.
///
/// 1. The store, as it was at one moment, in a file that nobody else may read.
/// 2. The identity, of which nothing is ever changed or taken away: each file.
/// 3. All of it is on the disk before this returns.
///
/// # Errors
/// `configuration-invalid`: there is no store, or it is in PostgreSQL, which has its own `pg_dump`; `io`: also where `folder` has one of
/// the files already; `store-failed`; `file-mode-unsafe`.
pub async fn backup(config: &Config, folder: &Path) -> Result<()> {
    let database = config.database()?;
    if database.is_shared() {
        let refusal = Refusal::new(Code::ConfigurationInvalid, "backup");
        return Err(refusal.got("a PostgreSQL database").want("`pg_dump`"));
    }
    if !database.exists()? {
        let state = config.state.display();
        return Err(Refusal::new(Code::ConfigurationInvalid, "`state`").got(format!("{state}, without a store")));
    }
    private_file::create_folder(folder)?;
    // 1.
    let copy = store_path(folder);
    private_file::create(&copy, b"")?;
    database.copy_into(&copy).await?;
    // 2.
    let io = |e: std::io::Error| Refusal::io(config.state.display(), &e);
    for entry in read_dir(&config.state).map_err(io)? {
        let entry = entry.map_err(io)?;
        if identity::is_part(&entry.file_name()) {
            private_file::create(&folder.join(entry.file_name()), &private_file::load(&entry.path())?)?;
        }
    }
    // 3.
    private_file::sync(&copy)
}
