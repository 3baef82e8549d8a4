//! Reading and writing files: limited, secrets zeroised and private, nothing left half written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use strongroom_artifact::{DataKey, SigningKey};
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Reads a file of at most `limit` bytes; `-` is standard input.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, limit, &mut bytes, |_, _| Ok(()))?;
    Ok(bytes)
}

/// [`read`] of a secret of ours of at most [`limits::KEY_FILE`] bytes. `file-mode-unsafe` where others than the owner may
/// read or write the file.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    read_key(path, verify_private)
}

/// [`read_secret`] of a key that its owner's own tools made: a mode that lets others in is warned of, not refused.
fn read_owners_key(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    read_key(path, |file, path| {
        if let Err(refusal) = verify_private(file, path) {
            tracing::warn!(%refusal, "others may read this key");
        }
        Ok(())
    })
}

fn read_key(path: &Path, acceptable: impl FnOnce(&File, &Path) -> Result<()>) -> Result<Zeroizing<Vec<u8>>> {
    // One allocation: a vector that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limits::KEY_FILE.saturating_add(1)));
    read_into(path, limits::KEY_FILE, &mut bytes, acceptable)?;
    Ok(bytes)
}

/// Takes the opened file, so that no other can be put in its place between the look and the reading.
fn verify_private(file: &File, path: &Path) -> Result<()> {
    let metadata = file.metadata().map_err(|e| Refusal::io(path.display(), &e))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(Refusal::new(Code::FileModeUnsafe, format!("`{}`", path.display()))
        .got(format!("mode {mode:o}"))
        .want("a file that only its owner may read or write: mode 600"))
}

fn read_into(
    path: &Path,
    limit: usize,
    bytes: &mut Vec<u8>,
    acceptable: impl FnOnce(&File, &Path) -> Result<()>,
) -> Result<()> {
    let io = |e: std::io::Error| Refusal::io(path.display(), &e);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(bytes).map_err(io)?;
    } else {
        let file = File::open(path).map_err(io)?;
        acceptable(&file, path)?;
        file.take(most).read_to_end(bytes).map_err(io)?;
    }
    if bytes.len() > limit {
        return Err(Refusal::too_large(format!("`{}`", path.display()), format!("over {limit} bytes"), limit));
    }
    Ok(())
}

/// Reads a data key: 32 raw bytes or 64 hex digits; `-` is standard input.
pub(crate) fn read_data_key(path: &Path) -> Result<DataKey> {
    DataKey::from_file_bytes(&read_owners_key(path)?).map_err(|refusal| refusal.within(format!("`{}`", path.display())))
}

/// Reads a private key; an encrypted one opens with the password in `COSIGN_PASSWORD`.
pub(crate) fn read_signing_key(path: &Path) -> Result<SigningKey> {
    use std::os::unix::ffi::OsStringExt;
    let password = std::env::var_os("COSIGN_PASSWORD").map(|password| Zeroizing::new(password.into_vec()));
    SigningKey::from_pem(&read_owners_key(path)?, password.as_ref().map(|password| password.as_slice()))
        .map_err(|refusal| refusal.within(format!("`{}`", path.display())))
}

/// Writes a new file that only its owner may read. It must not exist: what was a key is never written over.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |e: std::io::Error| Refusal::io(path.display(), &e);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Refusal::new(Code::Usage, format!("`{}`", path.display()))
            .got("a file")
            .want("no file: keys are not written over"),
        _ => io(e),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    sync_folder(path)
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |e: std::io::Error| Refusal::io(path.display(), &e);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = Path::new(&name);
    let written = File::create(temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    if let Err(e) = written.and_then(|()| std::fs::rename(temporary, path)) {
        // The first failure is what counts.
        let _ = std::fs::remove_file(temporary);
        return Err(io(e));
    }
    Ok(())
}

/// [`write()`], so that no power cut brings back the file that was there before.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Refusal::io(folder.display(), &e))
}
