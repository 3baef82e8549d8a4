//! Blobs, pushed (distribution specification 1.1, "Pushing blobs"): in one request, or in chunks where the registry or a
//! proxy before it takes no body of that length.

use crate::auth::{Scope, query};
use crate::client::{Call, RegistryClient, is_passing, resolve, retry_after};
use crate::content::Content;
use crate::status;
use bytes::Bytes;
use core::time::Duration;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use std::path::PathBuf;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// The length of a chunk: above the 5 MiB that registries over object stores ask for, below the 10 MiB that proxies take.
const CHUNK: u64 = 8 * 1024 * 1024;
/// The longest minimum that a registry may ask for; beyond it chunks are no help against a limit of lengths.
const LARGEST_CHUNK: u64 = 256 * 1024 * 1024;
const CHUNK_MINIMUM: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A blob to push, with the digest and length that its source was found to have.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Sha256,
    content: Content,
}

impl Blob {
    /// A blob of these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Sha256::of(&bytes), content: Content::Bytes(bytes) }
    }

    /// The `length` bytes of a file from `offset`, whose digest the caller has computed. The registry computes it again.
    pub fn file(path: PathBuf, offset: u64, length: u64, digest: Sha256) -> Self {
        Self { digest, content: Content::File { path, offset, length } }
    }

    /// Its digest.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.content.length()
    }
}

impl RegistryClient {
    /// Makes the registry hold `blob`; false where it did already.
    ///
    /// # Errors
    /// `registry-unauthorized`, `registry-not-found`, `registry-failed` (also: the source no longer has its digest); `io` the source
    /// cannot be read; `network` and `timeout` where repeating did not help.
    pub async fn push_blob(&self, repository: &str, blob: &Blob) -> Result<bool> {
        let upload = Upload { client: self, repository, blob, scope: Scope::push(repository) };
        let mut attempt = 1;
        loop {
            // Each attempt begins by asking what is there: the answer to a finished upload may be all that was lost. After a
            // failure chunks are sent, since one that refuses a long body may close the connection before its answer is read.
            match upload.run(attempt > 1).await {
                Ok(pushed) => return Ok(pushed),
                Err(failure) if failure.passing && attempt < self.patience().attempts => {
                    self.wait(attempt, failure.asked).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.refusal.within(upload.what())),
            }
        }
    }
}

/// Why an attempt failed, and whether another may not.
struct Failure {
    refusal: Refusal,
    passing: bool,
    asked: Option<Duration>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { passing: is_passing(&refusal), refusal, asked: None }
    }
}

struct Upload<'a> {
    client: &'a RegistryClient,
    repository: &'a str,
    blob: &'a Blob,
    scope: Scope,
}

impl Upload<'_> {
    fn what(&self) -> String {
        format!("push of blob `{}/{}@{}`", self.client.host(), self.repository, self.blob.digest.oci())
    }

    async fn run(&self, cautiously: bool) -> core::result::Result<bool, Failure> {
        let uri = self.client.url(&format!("{}/blobs/{}", self.repository, self.blob.digest.oci()))?;
        let there = self.make(self.call(Method::HEAD, uri), &[StatusCode::OK, StatusCode::NOT_FOUND]).await?;
        if there.status() == StatusCode::OK {
            return Ok(false);
        }
        if cautiously && self.blob.size() > CHUNK {
            return self.push_in_chunks().await.map(|()| true);
        }
        let (session, _) = self.start().await?;
        let whole = self.call(Method::PUT, self.last(&session)?).content(OCTETS, self.blob.content.clone());
        let refused = [
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::LENGTH_REQUIRED,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ];
        let accepted: Vec<_> = refused.into_iter().chain([StatusCode::CREATED]).collect();
        if self.make(whole, &accepted).await?.status() != StatusCode::CREATED {
            self.push_in_chunks().await?;
        }
        Ok(true)
    }

    /// Opens an upload session: its URL, and the shortest chunk that the registry takes.
    async fn start(&self) -> core::result::Result<(Uri, u64), Failure> {
        let uri = self.client.url(&format!("{}/blobs/uploads/", self.repository))?;
        let begun = self.make(self.call(Method::POST, uri.clone()), &[StatusCode::ACCEPTED]).await?;
        let least = begun.headers().get(&CHUNK_MINIMUM).and_then(|value| value.to_str().ok());
        let least = least.and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        Ok((location(&uri, begun.headers())?, least.min(LARGEST_CHUNK)))
    }

    async fn push_in_chunks(&self) -> core::result::Result<(), Failure> {
        let (mut session, least) = self.start().await?;
        let length = CHUNK.max(least);
        let mut sent = 0;
        while sent < self.blob.size() {
            let chunk = self.blob.content.part(sent, length);
            let end = sent.saturating_add(chunk.length());
            let range = HeaderValue::from_str(&format!("{sent}-{}", end.saturating_sub(1)));
            let range = range.map_err(|e| Refusal::new(Code::Internal, "range").because(e))?;
            let call = self.call(Method::PATCH, session.clone()).content(OCTETS, chunk);
            let taken = self.make(call.header(header::CONTENT_RANGE, range), &[StatusCode::ACCEPTED]).await?;
            session = location(&session, taken.headers())?;
            sent = end;
        }
        let call = self.call(Method::PUT, self.last(&session)?);
        self.make(call, &[StatusCode::CREATED]).await.map(|_| ())
    }

    /// The URL that ends the session: its own, and the digest.
    fn last(&self, session: &Uri) -> Result<Uri> {
        let separator = if session.query().is_some() { '&' } else { '?' };
        let text = format!("{session}{separator}digest={}", query(&self.blob.digest.oci()));
        Uri::try_from(text).map_err(|e| Refusal::new(Code::RegistryFailed, "upload location").because(e))
    }

    fn call(&self, method: Method, uri: Uri) -> Call {
        Call::new(method, uri, self.scope.clone())
    }

    async fn make(&self, call: Call, statuses: &[StatusCode]) -> core::result::Result<Response<Incoming>, Failure> {
        let response = self.client.send_once(&call).await?;
        let (passing, asked) = (status::is_passing(response.status()), retry_after(response.headers()));
        let what = format!("{} of an upload", call.method);
        status::expect(response, statuses, &what).await.map_err(|refusal| Failure { refusal, passing, asked })
    }
}

fn location(base: &Uri, headers: &HeaderMap) -> Result<Uri> {
    resolve(base, status::demanded(headers, &header::LOCATION, "upload")?)
}
