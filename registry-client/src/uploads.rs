//! Blobs, pushed (distribution specification 1.1, "Pushing blobs"): mounted from another repository of the registry, in one
//! request where they are short, else in chunks, of which an interrupted one goes on where the registry says that it stands.

use crate::auth::{Scope, query};
use crate::client::{Call, RegistryClient, resolve};
use crate::content::Content;
use crate::status;
use bytes::Bytes;
use core::time::Duration;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use std::path::PathBuf;
use strongroom_transport::patience::{is_passing, is_passing_status, retry_after};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// The longest blob that is sent in one request at first: to send it again costs little.
const SHORT: u64 = 64 * 1024 * 1024;
/// The length of a chunk at first: each waits for its answer.
const LONG_CHUNK: u64 = 32 * 1024 * 1024;
/// The length of a chunk where that is too long: above the 5 MiB that registries over object stores ask for, below the 10 MiB that proxies take.
const CHUNK: u64 = 8 * 1024 * 1024;
/// How far an upload has to get for its failure not to count as one more.
const PROGRESS: u64 = 1024 * 1024;
/// The longest minimum that a registry may ask for; beyond it chunks are no help against a limit of lengths.
const LARGEST_CHUNK: u64 = 256 * 1024 * 1024;
const CHUNK_MINIMUM: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// What is said of a body that is too long, by registries and by proxies before them.
const TOO_LONG: [StatusCode; 4] = [
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::LENGTH_REQUIRED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
];
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A blob to push, with the digest and length that its source was found to have.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Sha256,
    content: Content,
    source: Option<String>,
}

impl Blob {
    /// A blob of these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Sha256::of(&bytes), content: Content::Bytes(bytes), source: None }
    }

    /// The `length` bytes of a file from `offset`, whose digest the caller has computed. The registry computes it again.
    pub fn file(path: PathBuf, offset: u64, length: u64, digest: Sha256) -> Self {
        Self { digest, content: Content::File { path, offset, length }, source: None }
    }

    /// The same blob, not sent where the registry can mount it from `repository` (distribution specification 1.1, "Mounting a
    /// blob from another repository"), which the user may read.
    #[must_use]
    pub fn mountable_from(self, repository: &str) -> Self {
        Self { source: Some(repository.to_owned()), ..self }
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
    /// Makes the registry hold `blob`; false where it did already, in this repository or in one that it was mounted from.
    ///
    /// # Errors
    /// `registry-unauthorized`, `registry-not-found`, `registry-failed` (also: the source no longer has its digest); `io` the source
    /// cannot be read; `network` and `timeout` where repeating did not help.
    pub async fn push_blob(&self, repository: &str, blob: &Blob) -> Result<bool> {
        let scope = Scope::push(repository).with_source(blob.source.as_deref());
        let mut upload = Upload { client: self, repository, blob, scope, session: None, chunk: LONG_CHUNK };
        let (mut attempt, mut failed_at) = (1, 0);
        loop {
            // Each attempt begins by asking what is there: the answer to a finished upload may be all that was lost. After a
            // failure chunks are sent, since one that refuses a long body may close the connection before its answer is read.
            let failure = match upload.run(attempt > 1).await {
                Ok(pushed) => return Ok(pushed),
                Err(failure) => failure,
            };
            let reached = upload.session.as_ref().map_or(0, |session| session.sent);
            if reached.saturating_sub(failed_at) >= PROGRESS {
                (attempt, failed_at) = (1, reached);
            } else {
                // As much as this got nowhere: it may be what was too long, with the answer that said so lost.
                upload.chunk = CHUNK;
            }
            if !failure.passing || attempt >= self.patience().attempts {
                return Err(failure.refusal.within(upload.what()));
            }
            self.wait(attempt, failure.asked).await;
            attempt += 1;
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
    /// What is sent in chunks.
    session: Option<Session>,
    /// How long these are.
    chunk: u64,
}

/// An upload that the registry knows of.
#[derive(Clone)]
struct Session {
    uri: Uri,
    /// How many bytes it has.
    sent: u64,
    /// The shortest chunk that it takes.
    least: u64,
}

type Outcome<T> = core::result::Result<T, Failure>;

impl Upload<'_> {
    fn what(&self) -> String {
        format!("push of blob `{}/{}@{}`", self.client.host(), self.repository, self.blob.digest.oci())
    }

    async fn run(&mut self, cautiously: bool) -> Outcome<bool> {
        let uri = self.client.url(&format!("{}/blobs/{}", self.repository, self.blob.digest.oci()))?;
        let there = self.make(self.call(Method::HEAD, uri), &[StatusCode::OK, StatusCode::NOT_FOUND]).await?;
        if there.status() == StatusCode::OK {
            return Ok(false);
        }
        if let Some(session) = self.session.clone() {
            self.session = self.standing(session).await?;
        }
        if self.session.is_none() {
            let Some(session) = self.start(self.blob.source.as_deref()).await? else { return Ok(false) };
            if self.blob.size() <= if cautiously { CHUNK } else { SHORT } {
                if self.push_whole(&session).await? {
                    return Ok(true);
                }
                // A session that refused a body is of no more use.
                self.chunk = CHUNK;
                self.session = self.start(None).await?;
            } else {
                self.session = Some(session);
            }
        }
        self.push_in_chunks().await?;
        Ok(true)
    }

    /// Opens an upload session; `None` where the registry mounted the blob from `source` instead.
    async fn start(&self, source: Option<&str>) -> Outcome<Option<Session>> {
        let mut path = format!("{}/blobs/uploads/", self.repository);
        if let Some(source) = source {
            path.push_str(&format!("?mount={}&from={}", query(&self.blob.digest.oci()), query(source)));
        }
        let uri = self.client.url(&path)?;
        let statuses = [StatusCode::ACCEPTED, StatusCode::CREATED];
        let statuses = statuses.get(..if source.is_some() { 2 } else { 1 }).unwrap_or_default();
        let begun = self.make(self.call(Method::POST, uri.clone()), statuses).await?;
        if begun.status() == StatusCode::CREATED {
            return Ok(None);
        }
        let least = begun.headers().get(&CHUNK_MINIMUM).and_then(|value| value.to_str().ok());
        let least = least.and_then(|text| text.parse().ok()).unwrap_or(0_u64).min(LARGEST_CHUNK);
        Ok(Some(Session { uri: location(&uri, begun.headers())?, sent: 0, least }))
    }

    /// Sends all of the blob at once; false where the registry takes no such body.
    async fn push_whole(&self, session: &Session) -> Outcome<bool> {
        let whole = self.call(Method::PUT, self.last(&session.uri)?).content(OCTETS, self.blob.content.clone());
        let statuses: Vec<_> = TOO_LONG.into_iter().chain([StatusCode::CREATED]).collect();
        Ok(self.make(whole, &statuses).await?.status() == StatusCode::CREATED)
    }

    /// Where `session` stands; `None` where it is no longer known, or has nothing yet: it is as good as a new one then.
    async fn standing(&self, session: Session) -> Outcome<Option<Session>> {
        let asked = self.client.send_once(&self.call(Method::GET, session.uri.clone())).await?;
        if is_passing_status(asked.status()) {
            let refusal = status::expect(asked, &[StatusCode::NO_CONTENT], "upload").await.err();
            return Err(Failure { passing: true, ..refusal.unwrap_or_else(unusable).into() });
        }
        // `0-0` is what some registries say of nothing, and of one byte.
        let sent = stated(asked.headers()).filter(|sent| (2..=self.blob.size()).contains(sent));
        let is_open = asked.status() == StatusCode::NO_CONTENT;
        let uri = location(&session.uri, asked.headers()).unwrap_or_else(|_| session.uri.clone());
        Ok(sent.filter(|_| is_open).map(|sent| Session { uri, sent, ..session }))
    }

    async fn push_in_chunks(&mut self) -> Outcome<()> {
        loop {
            let Some(session) = self.session.clone() else { return Err(unusable().into()) };
            if session.sent >= self.blob.size() {
                let call = self.call(Method::PUT, self.last(&session.uri)?);
                return self.make(call, &[StatusCode::CREATED]).await.map(|_| ());
            }
            let chunk = self.blob.content.part(session.sent, self.chunk.max(session.least));
            let end = session.sent.saturating_add(chunk.length());
            let range = HeaderValue::from_str(&format!("{}-{}", session.sent, end.saturating_sub(1)));
            let range = range.map_err(|e| Refusal::new(Code::Internal, "range").because(e))?;
            let call = self.call(Method::PATCH, session.uri.clone()).content(OCTETS, chunk);
            let statuses = [StatusCode::ACCEPTED, StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::PAYLOAD_TOO_LARGE];
            let taken = self.make(call.header(header::CONTENT_RANGE, range), &statuses).await?;
            let next = match taken.status() {
                StatusCode::ACCEPTED => {
                    let sent = stated(taken.headers()).unwrap_or(end).min(end);
                    Some(Session { uri: location(&session.uri, taken.headers())?, sent, ..session })
                }
                StatusCode::RANGE_NOT_SATISFIABLE => self.standing(session.clone()).await?,
                _ if self.chunk > CHUNK => {
                    // Once: shorter ones there are not.
                    self.chunk = CHUNK;
                    self.session = self.start(None).await?;
                    continue;
                }
                _ => None,
            };
            // An upload that does not grow has no end.
            self.session = next.filter(|next| next.sent > session.sent);
        }
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
        let (passing, asked) = (is_passing_status(response.status()), retry_after(response.headers()));
        let what = format!("{} of an upload", call.method);
        status::expect(response, statuses, &what).await.map_err(|refusal| Failure { refusal, passing, asked })
    }
}

fn location(base: &Uri, headers: &HeaderMap) -> Result<Uri> {
    resolve(base, status::demanded(headers, &header::LOCATION, "upload")?)
}

/// How many bytes the registry says that it has: `Range: 0-<last>`, and nothing that is more than a part.
fn stated(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let last = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?;
    last.parse::<u64>().ok()?.checked_add(1)
}

fn unusable() -> Refusal {
    Refusal::new(Code::RegistryFailed, "upload in chunks").got("no place to go on from").want("`Range` of what it has")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_has_read_in_both_spellings() {
        for (range, want) in [
            ("0-41", Some(42)),
            ("bytes=0-41", Some(42)),
            ("0-0", Some(1)),
            ("1-41", None),
            ("0-", None),
            ("0-18446744073709551615", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(range))]);
            assert_eq!(stated(&headers), want, "{range}");
        }
    }
}
