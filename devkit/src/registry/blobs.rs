//! Blobs: `HEAD`, `GET` with ranges, `DELETE` (end-2, end-10).

use super::error::{Answer, ErrorCode, OciError};
use super::faults::ContentStart;
use super::names::Repository;
use super::range::Wanted;
use super::{CONTENT_DIGEST, Shared};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::io::SeekFrom;
use strongroom_wire::Refusal;
use strongroom_wire::digest::Sha256;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// Bytes read from the disk at once: each read is a trip to another thread, and worth many pages.
const READ: usize = 256 * 1024;

/// Answers a request for one blob.
pub(super) async fn blob(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    repository: &Repository,
    digest: Sha256,
) -> Answer {
    match *method {
        Method::GET | Method::HEAD => download(shared, method, headers, repository, digest).await,
        Method::DELETE if shared.store.remove_blob(repository, digest)? => Ok(StatusCode::ACCEPTED.into_response()),
        Method::DELETE => Err(unknown(digest)),
        _ => Err(not_allowed("GET, HEAD, DELETE")),
    }
}

async fn download(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    repository: &Repository,
    digest: Sha256,
) -> Answer {
    let path = shared.store.blob(repository, digest);
    let failed = |e: std::io::Error| Refusal::io(path.display(), &e);
    let mut file = match File::open(&path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(unknown(digest)),
        opened => opened.map_err(failed)?,
    };
    let size = file.metadata().await.map_err(failed)?.len();
    let tag = text_value(&format!("\"{}\"", digest.oci()));
    let part = Part::asked_for(method, headers, Some(&tag), size)?;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(part.start)).await.map_err(failed)?;
        Body::from_stream(ReaderStream::with_capacity(file.take(part.length), READ))
    };
    let mut response = Response::new(body);
    part.describe(&mut response);
    response.extensions_mut().insert(ContentStart(part.start));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ETAG, tag);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DIGEST, text_value(&digest.oci()));
    Ok(response)
}

/// What of a blob an answer holds.
pub(super) struct Part {
    /// The offset of its first byte.
    pub(super) start: u64,
    /// How many bytes.
    pub(super) length: u64,
    size: u64,
    whole: bool,
}

impl Part {
    /// The part of `size` bytes that a request asks for, or 416 where that is none of them. Content with an entity tag is given
    /// whole to who wants a range of another (RFC 9110 §13.1.5).
    pub(super) fn asked_for(
        method: &Method,
        headers: &HeaderMap,
        tag: Option<&HeaderValue>,
        size: u64,
    ) -> Answer<Self> {
        let is_other = tag.is_some() && headers.get(IF_RANGE).is_some_and(|wanted| Some(wanted) != tag);
        // RFC 9110 §14.2: a range means something on GET alone.
        let range = headers.get(RANGE).filter(|_| method == Method::GET && !is_other);
        let range = range.and_then(|value| value.to_str().ok());
        match Wanted::parse(range, size) {
            Wanted::All => Ok(Self { start: 0, length: size, size, whole: true }),
            Wanted::Part { start, length } => Ok(Self { start, length, size, whole: false }),
            Wanted::Unsatisfiable => Err(unsatisfiable(size)),
        }
    }

    /// Sets the status and headers that go with it (RFC 9110 §14.4, §15.3.7).
    pub(super) fn describe(&self, response: &mut Response) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        if !self.whole {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = self.start.saturating_add(self.length).saturating_sub(1);
            let range = text_value(&format!("bytes {}-{last}/{}", self.start, self.size));
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
    }
}

fn unknown(digest: Sha256) -> OciError {
    OciError::new(ErrorCode::BlobUnknown, "no such blob in this repository").about(digest.oci())
}

fn unsatisfiable(size: u64) -> OciError {
    OciError::new(ErrorCode::SizeInvalid, "the range lies behind the blob's end")
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .with_header(CONTENT_RANGE, text_value(&format!("bytes */{size}")))
}

/// The refusal of a method that an endpoint does not have (RFC 9110 §15.5.6).
pub(super) fn not_allowed(allowed: &'static str) -> OciError {
    OciError::new(ErrorCode::Unsupported, "no such method here").with_header(ALLOW, HeaderValue::from_static(allowed))
}

/// A header's value from text that the registry wrote or whose grammar it checked: always visible ASCII, so the empty
/// value is never sent.
pub(super) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
