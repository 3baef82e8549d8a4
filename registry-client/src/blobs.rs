//! Blobs, pulled (distribution specification 1.1, "Pulling blobs"): streamed, resumed where the connection is cut, and held
//! to length and digest.

use crate::auth::Scope;
use crate::client::{Call, RegistryClient, is_passing, retry_after};
use crate::status;
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use core::fmt;
use core::time::Duration;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use strongroom_transport::pace::{Pace, Paced};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How far a connection has to get for its end not to count as a failed attempt. Without it a registry that cuts after every
/// byte would be asked forever; with a plain count, a large blob would never come over a bad link.
const PROGRESS: u64 = 1024 * 1024;

/// A blob on its way. Chunks come in order, each byte once; they are those of the digest only once [`Self::next`] has
/// returned `None`.
pub struct BlobStream {
    client: RegistryClient,
    call: Call,
    what: String,
    digest: Sha256,
    size: u64,
    received: u64,
    /// Absent where whoever reads holds the bytes to the digest, and once it was compared.
    hash: Option<digest::Context>,
    body: Option<Paced<Incoming>>,
    /// Bytes still to be passed over: the registry began anew where it was asked to go on.
    surplus: u64,
    failures: u32,
    /// Where the last failure was.
    failed_at: u64,
}

impl RegistryClient {
    /// The blob `digest` of exactly `size` bytes. Nothing is asked for yet.
    ///
    /// # Errors
    /// `reference-invalid`: `repository` makes no URL.
    pub fn blob_stream(&self, repository: &str, digest: Sha256, size: u64) -> Result<BlobStream> {
        let uri = self.url(&format!("{repository}/blobs/{}", digest.oci()))?;
        Ok(BlobStream {
            client: self.clone(),
            call: Call::new(Method::GET, uri, Scope::pull(repository)),
            what: format!("blob `{}/{repository}@{}`", self.host(), digest.oci()),
            digest,
            size,
            received: 0,
            hash: Some(digest::Context::new(&digest::SHA256)),
            body: None,
            surplus: 0,
            failures: 0,
            failed_at: 0,
        })
    }

    /// [`Self::blob_stream`] without the comparison with the digest, for a reader that makes it itself: hashing twice would
    /// cost as much as opening.
    pub(crate) fn unhashed_blob_stream(&self, repository: &str, digest: Sha256, size: u64) -> Result<BlobStream> {
        Ok(BlobStream { hash: None, ..self.blob_stream(repository, digest, size)? })
    }

    /// The whole blob `digest` of exactly `size` bytes, which are at most `limit`. For configurations and signatures.
    ///
    /// # Errors
    /// `too-large`; else as [`BlobStream::next`].
    pub async fn blob(&self, repository: &str, digest: Sha256, size: u64, limit: usize) -> Result<Bytes> {
        let length = usize::try_from(size).ok().filter(|size| *size <= limit);
        let length = length.ok_or_else(|| Refusal::too_large(format!("blob `{}`", digest.oci()), size, limit))?;
        let mut stream = self.blob_stream(repository, digest, size)?;
        let mut bytes = BytesMut::with_capacity(length);
        while let Some(chunk) = stream.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").field("what", &self.what).field("received", &self.received).finish_non_exhaustive()
    }
}

impl BlobStream {
    /// The next chunk; `None` once all bytes have come and are those of the digest. After an error there is no more.
    ///
    /// # Errors
    /// `layer-size-mismatch` other than `size` bytes; `layer-digest-mismatch` other bytes; `registry-not-found`,
    /// `registry-unauthorized`, `registry-failed`; `network` and `timeout` where repeating did not help.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.received < self.size {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.connect().await?,
            };
            match body.frame().await {
                Some(Ok(frame)) => {
                    self.body = Some(body);
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(chunk) = self.take(data)? {
                        return Ok(Some(chunk));
                    }
                }
                Some(Err(error)) => {
                    let refusal = match error.downcast::<Refusal>() {
                        Ok(refusal) => *refusal,
                        Err(cause) => Refusal::new(Code::Network, "connection").because(cause),
                    };
                    self.fail(refusal, None).await?;
                }
                // A body that ends in good order has said that there is no more.
                None => return Err(self.size_mismatch(self.received)),
            }
        }
        self.finish().await
    }

    /// Asks for what is left.
    async fn connect(&mut self) -> Result<Paced<Incoming>> {
        loop {
            let mut call = self.call.clone();
            if self.received > 0 {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.received));
                call = call.header(header::RANGE, range.map_err(|e| Refusal::new(Code::Internal, "range").because(e))?);
            }
            let response = match self.client.send_once(&call).await {
                Ok(response) => response,
                Err(refusal) if is_passing(&refusal) => {
                    self.fail(refusal, None).await?;
                    continue;
                }
                Err(refusal) => return Err(refusal.within(&self.what)),
            };
            let (passing, asked) = (status::is_passing(response.status()), retry_after(response.headers()));
            match status::expect(response, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT], "answer").await {
                Ok(response) => {
                    self.surplus = self.surplus_of(&response)?;
                    return Ok(Paced::new(response.into_body(), Pace::default()));
                }
                Err(refusal) if passing => self.fail(refusal, asked).await?,
                Err(refusal) => return Err(refusal.within(&self.what)),
            }
        }
    }

    /// How much of the answer was received before. Refuses an answer that is not about the rest of this blob.
    fn surplus_of(&self, response: &Response<Incoming>) -> Result<u64> {
        let surplus = if response.status() == StatusCode::PARTIAL_CONTENT {
            let stated = status::demanded(response.headers(), &header::CONTENT_RANGE, &self.what)?;
            let want = format!("bytes {}-", self.received);
            if !stated.starts_with(&want) {
                return Err(Refusal::new(Code::RegistryFailed, &self.what).got(stated).want(want));
            }
            0
        } else {
            self.received
        };
        let announced =
            response.body().size_hint().exact().map(|length| length.saturating_add(self.received - surplus));
        match announced {
            Some(total) if total != self.size => Err(self.size_mismatch(total)),
            _ => Ok(surplus),
        }
    }

    /// What of `data` is new.
    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>> {
        let length = |data: &Bytes| u64::try_from(data.len()).unwrap_or(u64::MAX);
        let known = usize::try_from(self.surplus).unwrap_or(usize::MAX).min(data.len());
        drop(data.split_to(known));
        self.surplus = self.surplus.saturating_sub(u64::try_from(known).unwrap_or(u64::MAX));
        if data.is_empty() {
            return Ok(None);
        }
        self.received = self.received.saturating_add(length(&data));
        if self.received > self.size {
            return Err(self.size_mismatch(format!("at least {}", self.received)));
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&data);
        }
        Ok(Some(data))
    }

    /// All bytes have come: there may be no more, and they must be those of the digest.
    async fn finish(&mut self) -> Result<Option<Bytes>> {
        if let Some(mut body) = self.body.take() {
            while let Some(Ok(frame)) = body.frame().await {
                if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                    return Err(self.size_mismatch(format!("more than {}", self.size)));
                }
            }
        }
        let Some(hash) = self.hash.take() else { return Ok(None) };
        let digest = Sha256::from_finished(&hash.finish());
        if digest == self.digest {
            return Ok(None);
        }
        Err(Refusal::new(Code::LayerDigestMismatch, &self.what).got(digest.oci()).want(self.digest.oci()))
    }

    /// Counts a failure that may pass, and waits; or gives up.
    async fn fail(&mut self, refusal: Refusal, asked: Option<Duration>) -> Result<()> {
        if self.received.saturating_sub(self.failed_at) >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        self.failed_at = self.received;
        if self.failures >= self.client.patience().attempts {
            return Err(refusal.within(&self.what));
        }
        self.client.wait(self.failures, asked).await;
        Ok(())
    }

    fn size_mismatch(&self, got: impl fmt::Display) -> Refusal {
        Refusal::new(Code::LayerSizeMismatch, &self.what).got(got).want(self.size)
    }
}
