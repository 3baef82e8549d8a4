//! What the registry keeps, on disk below its root folder:
//!
//! ```text
//! incoming/                                  uploads under way, and files before their rename
//! repositories/<name, `/` as `+`>/blobs/<hex>
//!                                /manifests/<hex>    the bytes as pushed
//!                                /types/<hex>        their media type, as pushed
//!                                /tags/<tag>         `sha256:<hex>`
//!                                /referrers/<hex of the subject>/<hex>    the referrer's descriptor
//! ```
//!
//! Every file appears by a rename, complete or not at all. Nothing is synced to the disk: a machine that crashes may lose
//! what it was told last. One process at a time may hold a root. All calls here block, and briefly: files are small, or are
//! renamed rather than copied.

mod manifests;

pub(super) use manifests::StoredManifest;

use super::names::Repository;
use std::path::{Path, PathBuf};
use std::{fs, io};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Refusal, Result};
use tempfile::{NamedTempFile, TempPath};

/// The folders of one registry.
#[derive(Debug)]
pub(super) struct Store {
    repositories: PathBuf,
    incoming: PathBuf,
}

impl Store {
    /// Opens the store below `root`, which is made when absent. What an earlier process left half-uploaded is removed.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let store = Self { repositories: root.join("repositories"), incoming: root.join("incoming") };
        optional(&store.incoming, fs::remove_dir_all(&store.incoming))?;
        make_folder(&store.incoming)?;
        make_folder(&store.repositories)?;
        Ok(store)
    }

    /// A new file for bytes that are not yet content. It is removed unless kept.
    pub(super) fn incoming(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.incoming).map_err(|e| Refusal::io(self.incoming.display(), &e))
    }

    /// Where the blob `digest` of `repository` is, if it is there.
    pub(super) fn blob(&self, repository: &Repository, digest: Sha256) -> PathBuf {
        self.file(repository, "blobs", &digest.to_string())
    }

    /// Whether `repository` has the blob `digest`.
    pub(super) fn has_blob(&self, repository: &Repository, digest: Sha256) -> bool {
        self.blob(repository, digest).is_file()
    }

    /// Keeps `file`, whose content the caller has hashed to `digest`, as a blob of `repository`.
    pub(super) fn keep_blob(&self, repository: &Repository, digest: Sha256, file: TempPath) -> Result<()> {
        keep(file, &self.blob(repository, digest))
    }

    /// Gives `to` the blob `digest` of `from` without a copy. False if `from` does not have it.
    pub(super) fn mount_blob(&self, from: &Repository, to: &Repository, digest: Sha256) -> Result<bool> {
        let (source, target) = (self.blob(from, digest), self.blob(to, digest));
        if !source.is_file() {
            return Ok(false);
        }
        make_parent(&target)?;
        match fs::hard_link(&source, &target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Refusal::io(target.display(), &error)),
            _ => Ok(true),
        }
    }

    /// Removes a blob from `repository`; other repositories keep theirs. False if there is none.
    pub(super) fn remove_blob(&self, repository: &Repository, digest: Sha256) -> Result<bool> {
        remove(&self.blob(repository, digest))
    }

    /// The names of all repositories, sorted.
    pub(super) fn repositories(&self) -> Result<Vec<String>> {
        let folders = list(&self.repositories)?.unwrap_or_default();
        let mut names: Vec<_> = folders.iter().map(|folder| Repository::name_of_folder(folder)).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn folder(&self, repository: &Repository, kind: &str) -> PathBuf {
        self.repositories.join(repository.folder()).join(kind)
    }

    fn file(&self, repository: &Repository, kind: &str, name: &str) -> PathBuf {
        self.folder(repository, kind).join(name)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.incoming()?;
        fs::write(file.path(), bytes).map_err(|e| Refusal::io(file.path().display(), &e))?;
        keep(file.into_temp_path(), path)
    }
}

fn keep(file: TempPath, path: &Path) -> Result<()> {
    make_parent(path)?;
    file.persist(path).map_err(|e| Refusal::io(path.display(), &e.error))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), make_folder)
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Refusal::io(path.display(), &e))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    optional(path, fs::read(path))
}

fn remove(path: &Path) -> Result<bool> {
    Ok(optional(path, fs::remove_file(path))?.is_some())
}

/// The sorted names in a folder; `None` if there is no such folder.
fn list(path: &Path) -> Result<Option<Vec<String>>> {
    let Some(entries) = optional(path, fs::read_dir(path))? else { return Ok(None) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Refusal::io(path.display(), &e))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(Some(names))
}

fn optional<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::io(path.display(), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_again_removes_half_uploads_and_keeps_blobs() {
        let root = tempfile::tempdir().unwrap();
        let (repository, digest) = (Repository::parse("a/b").unwrap(), Sha256::of(b"x"));
        let store = Store::open(root.path()).unwrap();
        let blob = store.incoming().unwrap();
        fs::write(blob.path(), b"x").unwrap();
        store.keep_blob(&repository, digest, blob.into_temp_path()).unwrap();
        let (_file, half) = store.incoming().unwrap().keep().unwrap();

        let store = Store::open(root.path()).unwrap();
        assert!(!half.exists());
        assert!(store.has_blob(&repository, digest));
        assert_eq!(store.repositories().unwrap(), ["a/b"]);
    }

    #[test]
    fn mounted_blob_outlives_its_source() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (from, to) = (Repository::parse("from").unwrap(), Repository::parse("to").unwrap());
        let digest = Sha256::of(b"x");
        assert!(!store.mount_blob(&from, &to, digest).unwrap());
        let blob = store.incoming().unwrap();
        fs::write(blob.path(), b"x").unwrap();
        store.keep_blob(&from, digest, blob.into_temp_path()).unwrap();
        assert!(store.mount_blob(&from, &to, digest).unwrap());
        assert!(store.mount_blob(&from, &to, digest).unwrap(), "mounting twice is no error");
        assert!(store.remove_blob(&from, digest).unwrap());
        assert!(!store.has_blob(&from, digest));
        assert_eq!(fs::read(store.blob(&to, digest)).unwrap(), b"x");
    }
}
