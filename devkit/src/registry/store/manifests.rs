//! Manifests, the tags that point to them, and which of them refer to which.

use super::{Store, list, read, remove};
use crate::registry::names::{Reference, Repository};
use std::fs;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// A manifest as it was pushed.
#[derive(Debug)]
pub(in crate::registry) struct StoredManifest {
    /// The digest of `bytes`.
    pub(in crate::registry) digest: Sha256,
    /// The `Content-Type` it was pushed with.
    pub(in crate::registry) media_type: String,
    /// The bytes, verbatim.
    pub(in crate::registry) bytes: Vec<u8>,
}

impl Store {
    /// The manifest that `reference` names now.
    pub(in crate::registry) fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>> {
        let Some(digest) = self.resolve(repository, reference)? else { return Ok(None) };
        let name = digest.to_string();
        let bytes = read(&self.file(repository, "manifests", &name))?;
        let media_type = read(&self.file(repository, "types", &name))?;
        let (Some(bytes), Some(media_type)) = (bytes, media_type) else { return Ok(None) };
        Ok(Some(StoredManifest { digest, media_type: text(media_type)?, bytes }))
    }

    /// Whether `repository` has the manifest `digest`.
    pub(in crate::registry) fn has_manifest(&self, repository: &Repository, digest: Sha256) -> bool {
        self.file(repository, "manifests", &digest.to_string()).is_file()
    }

    /// Keeps a manifest under its digest, then under `tag`. The media type is written first, so that no manifest is ever
    /// without one.
    pub(in crate::registry) fn keep_manifest(
        &self,
        repository: &Repository,
        manifest: &StoredManifest,
        tag: Option<&str>,
    ) -> Result<()> {
        let name = manifest.digest.to_string();
        self.write(&self.file(repository, "types", &name), manifest.media_type.as_bytes())?;
        self.write(&self.file(repository, "manifests", &name), &manifest.bytes)?;
        tag.map_or(Ok(()), |tag| self.write(&self.file(repository, "tags", tag), manifest.digest.oci().as_bytes()))
    }

    /// Removes a tag, and leaves its manifest. False if there is no such tag.
    pub(in crate::registry) fn remove_tag(&self, repository: &Repository, tag: &str) -> Result<bool> {
        remove(&self.file(repository, "tags", tag))
    }

    /// Removes a manifest and every tag that points to it. False if there is none.
    pub(in crate::registry) fn remove_manifest(&self, repository: &Repository, digest: Sha256) -> Result<bool> {
        for tag in self.tags(repository)?.unwrap_or_default() {
            if self.resolve(repository, &Reference::Tag(tag.clone()))? == Some(digest) {
                self.remove_tag(repository, &tag)?;
            }
        }
        let name = digest.to_string();
        let was_there = remove(&self.file(repository, "manifests", &name))?;
        remove(&self.file(repository, "types", &name))?;
        Ok(was_there)
    }

    /// The tags of `repository`, sorted; `None` if there is no such repository.
    pub(in crate::registry) fn tags(&self, repository: &Repository) -> Result<Option<Vec<String>>> {
        let tags = list(&self.folder(repository, "tags"))?;
        let exists = fs::exists(self.folder(repository, "")).unwrap_or(false);
        Ok(tags.or_else(|| exists.then(Vec::new)))
    }

    /// Records that the manifest `referrer`, described by the JSON `descriptor`, has `subject` as its subject.
    pub(in crate::registry) fn keep_referrer(
        &self,
        repository: &Repository,
        subject: Sha256,
        referrer: Sha256,
        descriptor: &[u8],
    ) -> Result<()> {
        let path = self.folder(repository, "referrers").join(subject.to_string()).join(referrer.to_string());
        self.write(&path, descriptor)
    }

    /// Forgets that `referrer` refers to `subject`.
    pub(in crate::registry) fn remove_referrer(
        &self,
        repository: &Repository,
        subject: Sha256,
        referrer: Sha256,
    ) -> Result<()> {
        remove(&self.folder(repository, "referrers").join(subject.to_string()).join(referrer.to_string())).map(|_| ())
    }

    /// The descriptors of all manifests whose subject is `subject`, as JSON, in the order of their digests.
    pub(in crate::registry) fn referrers(&self, repository: &Repository, subject: Sha256) -> Result<Vec<Vec<u8>>> {
        let folder = self.folder(repository, "referrers").join(subject.to_string());
        let names = list(&folder)?.unwrap_or_default();
        // One that is deleted in between is simply no longer listed.
        names.iter().filter_map(|name| read(&folder.join(name)).transpose()).collect()
    }

    fn resolve(&self, repository: &Repository, reference: &Reference) -> Result<Option<Sha256>> {
        match reference {
            Reference::Digest(digest) => Ok(Some(*digest)),
            Reference::Tag(tag) => match read(&self.file(repository, "tags", tag))? {
                Some(target) => Sha256::from_oci(&text(target)?).map(Some),
                None => Ok(None),
            },
        }
    }
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Refusal::new(Code::Io, "registry folder: file is not text").because(e))
}
