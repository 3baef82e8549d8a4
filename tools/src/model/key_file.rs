//! The file of a data key.

use crate::files;
use std::path::Path;
use strongroom_artifact::DataKey;
use strongroom_wire::{Refusal, Result};
use zeroize::Zeroizing;

/// The key in `file`, or a fresh one, which `file` then holds. One that was there before may have sealed another artifact:
/// whoever gets it for one can open both.
pub(super) fn read_or_create(file: Option<&Path>) -> Result<DataKey> {
    let Some(path) = file else { return DataKey::generate() };
    if path.as_os_str() == "-" {
        return files::read_data_key(path);
    }
    if path.try_exists().map_err(|e| Refusal::io(path.display(), &e))? {
        tracing::warn!(key = %path.display(), "an existing data key is used: right to go on with what was interrupted, else no two artifacts should share one");
        return files::read_data_key(path);
    }
    let key = DataKey::generate()?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(key.expose()))));
    files::create_private(path, text.as_bytes())?;
    Ok(key)
}
