//! The file of a data key, and beside it the note of what the key has sealed: no key seals two artifacts.

use crate::files;
use std::path::{Path, PathBuf};
use strongroom_artifact::DataKey;
use strongroom_registry_client::Pushed;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// The key in `file`, or a fresh one, which `file` then holds.
///
/// # Errors
/// `key-exists`: a push has sealed an artifact with it; those of [`files::read_data_key`].
pub(super) fn unused(file: Option<&Path>) -> Result<DataKey> {
    let Some(path) = file else { return DataKey::generate() };
    if path.as_os_str() == "-" {
        return files::read_data_key(path);
    }
    let exists = |path: &Path| path.try_exists().map_err(|e| Refusal::io(path.display(), &e));
    let note = note_path(path);
    if exists(&note)? {
        let text = files::read(&note, limits::KEY_FILE)?;
        return Err(Refusal::new(Code::KeyExists, format!("`{}` has sealed an artifact", path.display()))
            .got(String::from_utf8_lossy(&text).trim_end())
            .want("a file that does not exist yet, for a fresh key: no key seals two artifacts"));
    }
    if exists(path)? {
        return files::read_data_key(path);
    }
    let key = DataKey::generate()?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(key.expose()))));
    files::create_private(path, text.as_bytes())?;
    Ok(key)
}

/// Notes beside the key's file what it has sealed. Standard input has no place for a note.
pub(super) fn note_use(file: Option<&Path>, pushed: &Pushed) -> Result<()> {
    match (file, &pushed.sealing) {
        (Some(path), Some(sealing)) if path.as_os_str() != "-" => {
            let text = format!("{} {}\n", sealing.id, pushed.manifest.oci());
            files::create_private(&note_path(path), text.as_bytes())
        }
        _ => Ok(()),
    }
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".artifact");
    PathBuf::from(name)
}
