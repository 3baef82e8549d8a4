//! Upload sessions: bytes go to the disk and into the hash as they arrive, and become a blob by one rename.

use super::error::{Answer, ErrorCode, OciError};
use super::names::Repository;
use super::store::Store;
use aws_lc_rs::{digest, rand};
use axum::body::Body;
use futures_util::TryStreamExt as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

/// A session, absent once it was finished or cancelled. The lock lets one request at a time append.
pub(super) type Session = Arc<tokio::sync::Mutex<Option<Upload>>>;

/// The sessions under way. A restart of the registry forgets them.
#[derive(Debug)]
pub(super) struct Uploads {
    open: Mutex<HashMap<String, (Repository, Session)>>,
    limit: usize,
}

impl Uploads {
    /// No session; at most `limit` at a time, since nothing but its client ends one.
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Mutex::default(), limit }
    }

    /// Opens a session for a blob of `repository` and gives it an unguessable id.
    pub(super) fn start(&self, store: &Store, repository: &Repository) -> Answer<(String, Session)> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| Refusal::new(Code::Internal, "no randomness"))?;
        let id = hex::encode(id);
        let mut open = self.lock();
        if open.len() >= self.limit {
            return Err(OciError::new(ErrorCode::TooManyRequests, "too many uploads are open").about(self.limit));
        }
        let session = Arc::new(tokio::sync::Mutex::new(Some(Upload::new(store)?)));
        open.insert(id.clone(), (repository.clone(), Arc::clone(&session)));
        Ok((id, session))
    }

    /// The session `id` of `repository`.
    pub(super) fn find(&self, repository: &Repository, id: &str) -> Answer<Session> {
        match self.lock().get(id) {
            Some((of, session)) if of == repository => Ok(Arc::clone(session)),
            _ => Err(unknown()),
        }
    }

    /// Ends the session `id`: nobody finds it any more.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Repository, Session)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a session that is not, or no longer, there.
pub(super) fn unknown() -> OciError {
    OciError::new(ErrorCode::BlobUploadUnknown, "no such upload in this repository")
}

/// The bytes of one session so far. Dropped, it leaves nothing on the disk.
pub(super) struct Upload {
    file: File,
    path: TempPath,
    hash: digest::Context,
    size: u64,
}

impl Upload {
    fn new(store: &Store) -> Result<Self> {
        let (file, path) = store.incoming()?.into_parts();
        Ok(Self { file: File::from_std(file), path, hash: digest::Context::new(&digest::SHA256), size: 0 })
    }

    /// How many bytes have arrived.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Appends `body` and says how long it was. What arrived before the connection broke, or before more than `limit`
    /// bytes came, stays and counts: the client may ask for the size and go on from there.
    pub(super) async fn append(&mut self, body: Body, limit: u64) -> Result<u64> {
        let before = self.size;
        let mut chunks = body.into_data_stream();
        let outcome = loop {
            let chunk = match chunks.try_next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(self.size.saturating_sub(before)),
                Err(error) => break Err(Refusal::new(Code::Network, "request body").because(error)),
            };
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            let arrived = self.size.saturating_sub(before).saturating_add(length);
            if arrived > limit {
                break Err(Refusal::too_large("request body", arrived, limit));
            }
            if let Err(error) = self.file.write_all(&chunk).await {
                break Err(Refusal::io(self.path.display(), &error));
            }
            self.hash.update(&chunk);
            self.size = self.size.saturating_add(length);
        };
        self.file.flush().await.map_err(|e| Refusal::io(self.path.display(), &e))?;
        outcome
    }

    /// Keeps the bytes as the blob `digest` of `repository`, or refuses with `DIGEST_INVALID` and drops them.
    pub(super) fn finish(self, store: &Store, repository: &Repository, digest: Sha256) -> Answer<()> {
        let got = Sha256::from_finished(&self.hash.finish());
        if got != digest {
            let error = OciError::new(ErrorCode::DigestInvalid, "the content has another digest");
            return Err(error.about(format!("got {}, want {}", got.oci(), digest.oci())));
        }
        Ok(store.keep_blob(repository, digest, self.path)?)
    }
}

impl core::fmt::Debug for Upload {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}
