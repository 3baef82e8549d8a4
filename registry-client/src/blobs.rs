//! Blobs, pulled (distribution specification 1.1, "Pulling blobs"): streamed, in ranges side by side where they are long, resumed
//! where the connection is cut, and held to length and digest.

mod ahead;
mod range;
mod source;

use crate::client::RegistryClient;
use ahead::Ahead;
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use core::fmt;
use range::Range;
use source::Source;
use std::collections::VecDeque;
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long blobs are divided, so that a slow connection is not the only one (RFC 9110 §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Length of a range in bytes. Blobs of up to two are not divided.
    pub length: u64,
    /// Ranges that are fetched before they are asked for, of all blobs of a client together, less one for each blob that is read
    /// beside the first: each is a connection, and up to [`Self::length`] bytes of memory. Zero: none.
    pub ahead: u32,
}

impl Ranges {
    /// Connections to read from: several blobs at a time keep a network as busy as ranges ahead do, without bytes that wait and
    /// are no longer in a cache of the processor once they are read.
    pub(crate) fn connections(self) -> usize {
        usize::try_from(self.ahead).unwrap_or(0).saturating_add(1).min(Semaphore::MAX_PERMITS)
    }
}

impl Default for Ranges {
    /// 3 ranges of 8 MiB: with the one that is read, more than a gigabit a second over a round trip of a tenth of a second, in
    /// 24 MiB. Shorter ones would cost a fast connection more requests than they are worth.
    fn default() -> Self {
        Self { length: 8 << 20, ahead: 3 }
    }
}

/// A blob on its way. Chunks come in order, each byte once; they are those of the digest only once [`Self::next`] has
/// returned `None`.
pub struct BlobStream {
    source: Arc<Source>,
    received: u64,
    /// Absent where whoever reads holds the bytes to the digest, and once it was compared.
    hash: Option<digest::Context>,
    current: Option<Current>,
    /// The ranges that follow the current one without a gap.
    ahead: VecDeque<Ahead>,
    /// The end of the last of them, or of the current one.
    planned: u64,
    /// Whether ranges are asked for; not once the registry showed that it has none.
    divided: bool,
    /// What it takes of the client's connections; it is read also where there is none left.
    _connection: Option<OwnedSemaphorePermit>,
}

/// The range that is being read.
enum Current {
    Direct(Range),
    Ahead(Ahead),
}

impl RegistryClient {
    /// The blob `digest` of exactly `size` bytes. Nothing is asked for yet.
    ///
    /// # Errors
    /// `reference-invalid`: `repository` makes no URL.
    pub fn blob_stream(&self, repository: &str, digest: Sha256, size: u64) -> Result<BlobStream> {
        let stream = self.unhashed_blob_stream(repository, digest, size, 0)?;
        Ok(BlobStream { hash: Some(digest::Context::new(&digest::SHA256)), ..stream })
    }

    /// [`Self::blob_stream`] from the byte `start` on, without the comparison with the digest, for a reader that makes it
    /// itself: hashing twice would cost as much as opening.
    pub(crate) fn unhashed_blob_stream(
        &self,
        repository: &str,
        digest: Sha256,
        size: u64,
        start: u64,
    ) -> Result<BlobStream> {
        Ok(BlobStream {
            source: Arc::new(Source::new(self, repository, digest, size)?),
            received: start,
            hash: None,
            current: None,
            ahead: VecDeque::new(),
            planned: start,
            divided: self.ranges().ahead > 0,
            _connection: self.connection(),
        })
    }

    /// The whole blob `digest` of exactly `size` bytes, which are at most `limit`. For configurations and signatures.
    ///
    /// # Errors
    /// `too-large`; else as [`BlobStream::next`].
    pub async fn blob(&self, repository: &str, digest: Sha256, size: u64, limit: usize) -> Result<Bytes> {
        let length = usize::try_from(size).ok().filter(|size| *size <= limit);
        let length = length.ok_or_else(|| Refusal::too_large(format!("blob `{}`", digest.oci()), size, limit))?;
        match self.blob_stream(repository, digest, size)?.collect(length).await {
            // A mirror had something else.
            Err(refusal)
                if matches!(refusal.code, Code::LayerDigestMismatch | Code::LayerSizeMismatch)
                    && !self.mirrors().is_empty() =>
            {
                self.without_mirrors().blob_stream(repository, digest, size)?.collect(length).await
            }
            outcome => outcome,
        }
    }

    /// The blob `digest`, however long whoever names it says that it is: for what is named by documents that nobody signed. `None`
    /// where it is longer than `limit`.
    ///
    /// # Errors
    /// `layer-digest-mismatch`; `too-large`: the answer is longer than [`limits::BUNDLE`], so that nobody knows whose it is;
    /// `registry-…`; or what the connection failed with.
    pub(crate) async fn short_blob(&self, repository: &str, digest: Sha256, limit: usize) -> Result<Option<Bytes>> {
        for mirror in self.mirrors() {
            match mirror.client.fetch_short_blob(&mirror.repository(repository), digest, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(refusal) => tracing::debug!(%refusal, "mirror failed"),
            }
        }
        self.fetch_short_blob(repository, digest, limit).await
    }

    async fn fetch_short_blob(&self, repository: &str, digest: Sha256, limit: usize) -> Result<Option<Bytes>> {
        let source = Source::new(&self.without_mirrors(), repository, digest, 0)?;
        // More than is wanted: a page that stands in the way of the blob may be longer than it, and is not it.
        let (_, bytes) = self.fetch(&source.place().1.call, limits::BUNDLE, source.what()).await?;
        source.compare(Sha256::of(&bytes))?;
        Ok(Some(bytes).filter(|bytes| bytes.len() <= limit))
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.source.what();
        f.debug_struct("BlobStream").field("what", &what).field("received", &self.received).finish_non_exhaustive()
    }
}

impl BlobStream {
    /// The next chunk; `None` once all bytes have come and are those of the digest. After an error there is no more.
    ///
    /// # Errors
    /// `layer-size-mismatch` other than `size` bytes; `layer-digest-mismatch` other bytes; `registry-not-found`,
    /// `registry-unauthorized`, `registry-failed`; `network` and `timeout` where repeating did not help.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let chunk = match &mut self.current {
                None if self.received >= self.source.size() => return self.finish(),
                None => {
                    self.advance().await?;
                    continue;
                }
                Some(Current::Direct(range)) => range.next().await?,
                Some(Current::Ahead(ahead)) => match ahead.next().await {
                    Ok(chunk) => chunk,
                    Err(refusal) => {
                        self.fall_back(&refusal);
                        continue;
                    }
                },
            };
            let Some(chunk) = chunk else {
                self.current = None;
                continue;
            };
            self.received = self.received.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            self.source.report(chunk.len());
            if let Some(hash) = &mut self.hash {
                hash.update(&chunk);
            }
            return Ok(Some(chunk));
        }
    }

    /// All of it.
    async fn collect(mut self, length: usize) -> Result<Bytes> {
        let mut bytes = BytesMut::with_capacity(length);
        while let Some(chunk) = self.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// Begins with the range that starts where the last one ended.
    async fn advance(&mut self) -> Result<()> {
        if let Some(ahead) = self.ahead.pop_front() {
            self.current = Some(Current::Ahead(ahead));
            self.look_ahead();
            return Ok(());
        }
        let end = self.end_of_range(self.received);
        let mut range = Range::new(&self.source, self.received, end);
        self.planned = end;
        if end < self.source.size() {
            // Whether there are ranges at all is known with the head of the first answer.
            if range.open().await? {
                self.look_ahead();
            } else {
                self.divided = false;
                self.planned = self.source.size();
            }
        }
        self.current = Some(Current::Direct(range));
        Ok(())
    }

    /// Where a range from `start` ends: a remainder of less than two is not divided.
    fn end_of_range(&self, start: u64) -> u64 {
        let (size, length) = (self.source.size(), self.source.client().ranges().length.max(1));
        let is_long = size.saturating_sub(start) > length.saturating_mul(2);
        if self.divided && is_long { start.saturating_add(length) } else { size }
    }

    /// Fetches further ranges, as many as there is room for.
    fn look_ahead(&mut self) {
        while self.divided && self.planned < self.source.size() {
            let (start, length) = (self.planned, self.source.client().ranges().length.max(1));
            let end = start.saturating_add(length).min(self.source.size());
            let Some(room) = self.source.client().connection() else { return };
            self.ahead.push_back(Ahead::start(
                Range::strict(&self.source, start, end),
                end.saturating_sub(start),
                room,
            ));
            self.planned = end;
        }
    }

    /// Goes on with a single connection: what was fetched ahead is a convenience, and its failure that of nobody.
    fn fall_back(&mut self, refusal: &Refusal) {
        tracing::debug!(%refusal, what = self.source.what(), "range failed, going on with one connection");
        self.divided = false;
        self.ahead.clear();
        self.current = None;
        self.planned = self.received;
    }

    /// All bytes have come: they must be those of the digest.
    fn finish(&mut self) -> Result<Option<Bytes>> {
        let Some(hash) = self.hash.take() else { return Ok(None) };
        self.source.compare(Sha256::from_finished(&hash.finish())).map(|()| None)
    }
}
