//! Manifests by tag and by digest (end-3, end-7, end-9).

use super::blobs::{not_allowed, text_value};
use super::error::{Answer, ErrorCode, OciError};
use super::manifest::Manifest;
use super::names::{Reference, Repository};
use super::store::StoredManifest;
use super::{CONTENT_DIGEST, OCI_SUBJECT, Shared};
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use strongroom_transport::read_body;
use strongroom_wire::digest::Sha256;

/// Answers a request for one manifest.
pub(super) async fn manifest(
    shared: &Shared,
    repository: &Repository,
    reference: &Reference,
    request: Request,
) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => pull(shared, repository, reference, request.method()),
        Method::PUT => push(shared, repository, reference, request).await,
        Method::DELETE => delete(shared, repository, reference),
        _ => Err(not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

fn pull(shared: &Shared, repository: &Repository, reference: &Reference, method: &Method) -> Answer {
    let manifest = shared.store.manifest(repository, reference)?.ok_or_else(|| unknown(reference))?;
    let headers = [
        (CONTENT_TYPE, text_value(&manifest.media_type)),
        (CONTENT_LENGTH, HeaderValue::from(manifest.bytes.len())),
        (CONTENT_DIGEST, text_value(&manifest.digest.oci())),
    ];
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(manifest.bytes) };
    Ok((StatusCode::OK, headers, body).into_response())
}

async fn push(shared: &Shared, repository: &Repository, reference: &Reference, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type
        .ok_or_else(|| OciError::new(ErrorCode::ManifestInvalid, "a manifest is pushed with its Content-Type"))?
        .to_owned();
    let bytes = read_body(body, shared.limits.manifest, "manifest").await?;
    let digest = Sha256::of(&bytes);
    if let Reference::Digest(named) = reference
        && *named != digest
    {
        let error = OciError::new(ErrorCode::DigestInvalid, "the manifest has another digest");
        return Err(error.about(format!("got {}, want {}", digest.oci(), named.oci())));
    }
    let manifest = Manifest::parse(&media_type, digest, &bytes)?;
    require_content(shared, repository, &manifest)?;
    let tag = match reference {
        Reference::Tag(tag) => Some(tag.as_str()),
        Reference::Digest(_) => None,
    };
    // The referrers list first: whoever can pull the manifest finds it listed.
    if let Some(subject) = manifest.subject {
        let descriptor = serde_json::to_vec(&manifest.descriptor).unwrap_or_default();
        shared.store.keep_referrer(repository, subject, digest, &descriptor)?;
    }
    shared.store.keep_manifest(repository, &StoredManifest { digest, media_type, bytes: bytes.to_vec() }, tag)?;

    let location = text_value(&format!("/v2/{repository}/manifests/{reference}"));
    let headers = [(LOCATION, location), (CONTENT_DIGEST, text_value(&digest.oci()))];
    let mut response = (StatusCode::CREATED, headers).into_response();
    if let Some(subject) = manifest.subject.filter(|_| shared.referrers_api) {
        response.headers_mut().insert(OCI_SUBJECT, text_value(&subject.oci()));
    }
    Ok(response)
}

fn require_content(shared: &Shared, repository: &Repository, manifest: &Manifest) -> Answer<()> {
    let blob = manifest.blobs.iter().find(|digest| !shared.store.has_blob(repository, **digest));
    let child = manifest.manifests.iter().find(|digest| !shared.store.has_manifest(repository, **digest));
    match blob.or(child) {
        Some(missing) => {
            let error = OciError::new(ErrorCode::ManifestBlobUnknown, "the manifest names content that is not here");
            Err(error.about(missing.oci()))
        }
        None => Ok(()),
    }
}

fn delete(shared: &Shared, repository: &Repository, reference: &Reference) -> Answer {
    let removed = match reference {
        Reference::Tag(tag) => shared.store.remove_tag(repository, tag)?,
        Reference::Digest(digest) => {
            if let Some(stored) = shared.store.manifest(repository, reference)?
                && let Some(subject) = Manifest::parse(&stored.media_type, *digest, &stored.bytes)?.subject
            {
                shared.store.remove_referrer(repository, subject, *digest)?;
            }
            shared.store.remove_manifest(repository, *digest)?
        }
    };
    if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(reference)) }
}

/// The refusal of a manifest that is not there.
pub(super) fn unknown(reference: &Reference) -> OciError {
    OciError::new(ErrorCode::ManifestUnknown, "no such manifest in this repository").about(reference)
}
