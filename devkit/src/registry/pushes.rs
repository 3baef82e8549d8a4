//! Pushing a blob: in one request, in two, in chunks, or by a mount from another repository (end-4 to end-6, end-11,
//! end-13, and cancelling as Docker's registry has it).

use super::blobs::{not_allowed, text_value};
use super::error::{Answer, ErrorCode, OciError};
use super::names::{Repository, parse_digest};
use super::range::parse_chunk;
use super::uploads::{Upload, unknown};
use super::{CONTENT_DIGEST, Query, Shared, UPLOAD_ID};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, Method, StatusCode};
use strongroom_wire::digest::Sha256;

/// Answers a `POST` to the uploads of a repository.
pub(super) async fn start(shared: &Shared, repository: &Repository, request: Request) -> Answer {
    if request.method() != Method::POST {
        return Err(not_allowed("POST"));
    }
    let query = Query::of(request.uri())?;
    if let (Some(mount), Some(from)) = (query.value("mount"), query.value("from")) {
        let digest = parse_digest(mount)?;
        if shared.store.mount_blob(&Repository::parse(from)?, repository, digest)? {
            return Ok(created(repository, digest));
        }
        // "Mounting a blob from another repository": what cannot be mounted is to be uploaded.
    }
    let digest = query.value("digest").map(parse_digest).transpose()?;
    let (id, session) = shared.uploads.start(&shared.store, repository)?;
    let Some(digest) = digest else { return Ok(progress(StatusCode::ACCEPTED, repository, &id, 0)) };
    // The client is never told of this session: it ends here, well or not.
    shared.uploads.forget(&id);
    let mut upload = session.lock().await.take().ok_or_else(unknown)?;
    append(shared, &mut upload, request.into_body(), None).await?;
    upload.finish(&shared.store, repository, digest)?;
    Ok(created(repository, digest))
}

/// Answers a request to one session.
pub(super) async fn session(shared: &Shared, repository: &Repository, id: &str, request: Request) -> Answer {
    let session = shared.uploads.find(repository, id)?;
    let mut slot = session.lock().await;
    let upload = slot.as_mut().ok_or_else(unknown)?;
    match *request.method() {
        Method::GET => Ok(progress(StatusCode::NO_CONTENT, repository, id, upload.size())),
        Method::PATCH => {
            let (parts, body) = request.into_parts();
            let expected = in_order(&parts.headers, repository, id, upload)?;
            append(shared, upload, body, expected).await?;
            Ok(progress(StatusCode::ACCEPTED, repository, id, upload.size()))
        }
        Method::PUT => {
            let query = Query::of(request.uri())?;
            let digest = query.value("digest").ok_or_else(|| {
                OciError::new(ErrorCode::DigestInvalid, "the last request of an upload names the digest")
            })?;
            let digest = parse_digest(digest)?;
            let (parts, body) = request.into_parts();
            let expected = in_order(&parts.headers, repository, id, upload)?;
            append(shared, upload, body, expected).await?;
            let upload = slot.take().ok_or_else(unknown)?;
            shared.uploads.forget(id);
            upload.finish(&shared.store, repository, digest)?;
            Ok(created(repository, digest))
        }
        Method::DELETE => {
            *slot = None;
            shared.uploads.forget(id);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(not_allowed("GET, PATCH, PUT, DELETE")),
    }
}

async fn append(shared: &Shared, upload: &mut Upload, body: Body, expected: Option<u64>) -> Answer<()> {
    let room = shared.limits.blob.saturating_sub(upload.size());
    let arrived = upload.append(body, expected.map_or(room, |length| length.min(room))).await?;
    match expected {
        Some(length) if length != arrived => {
            let error = OciError::new(ErrorCode::SizeInvalid, "the chunk is shorter than its Content-Range");
            Err(error.with_status(StatusCode::BAD_REQUEST).about(format!("got {arrived}, want {length}")))
        }
        _ => Ok(()),
    }
}

/// "Pushing a blob in chunks": a chunk that does not start where the session stands is answered 416 with the session's
/// range. A request without `Content-Range` is appended wherever that is. Returns how long the chunk says it is.
fn in_order(headers: &HeaderMap, repository: &Repository, id: &str, upload: &Upload) -> Answer<Option<u64>> {
    match chunk(headers)? {
        Some((first, _)) if first != upload.size() => {
            let error = OciError::new(ErrorCode::BlobUploadInvalid, "the chunk does not start where the upload stands");
            Err(error
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
                .about(format!("got {first}, want {}", upload.size()))
                .with_header(LOCATION, text_value(&location(repository, id)))
                .with_header(RANGE, text_value(&range(upload.size()))))
        }
        chunk => Ok(chunk.map(|(_, length)| length)),
    }
}

fn chunk(headers: &HeaderMap) -> Answer<Option<(u64, u64)>> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse_chunk);
    parsed.map(Some).ok_or_else(|| OciError::new(ErrorCode::BlobUploadInvalid, "Content-Range is not <first>-<last>"))
}

fn progress(status: StatusCode, repository: &Repository, id: &str, size: u64) -> Response {
    let headers = [
        (LOCATION, text_value(&location(repository, id))),
        (RANGE, text_value(&range(size))),
        (UPLOAD_ID, text_value(id)),
    ];
    (status, headers).into_response()
}

fn created(repository: &Repository, digest: Sha256) -> Response {
    let location = text_value(&format!("/v2/{repository}/blobs/{}", digest.oci()));
    (StatusCode::CREATED, [(LOCATION, location), (CONTENT_DIGEST, text_value(&digest.oci()))]).into_response()
}

fn location(repository: &Repository, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// The bytes that a session holds. The notation has no word for none; `0-0` is what Docker's registry says then.
fn range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
