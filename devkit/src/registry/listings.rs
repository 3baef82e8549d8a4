//! Lists, in pages: tags (end-8), referrers (end-12) and, as Docker's registry has it, repositories.

use super::blobs::{not_allowed, text_value};
use super::error::{Answer, ErrorCode, OciError};
use super::manifest::{Descriptor, OCI_INDEX};
use super::names::Repository;
use super::{FILTERS_APPLIED, Query, Shared};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, LINK};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::json;
use strongroom_wire::digest::Sha256;

/// Answers `/v2/_catalog`.
pub(super) fn catalog(shared: &Shared, method: &Method, uri: &Uri) -> Answer {
    read_only(method)?;
    let query = Query::of(uri)?;
    let page = Page::of(shared.store.repositories()?, String::as_str, &query, shared.limits.page)?;
    let body = Json(json!({"repositories": page.entries}));
    Ok((page.link(uri.path(), &query), body).into_response())
}

/// Answers `/v2/<name>/tags/list`.
pub(super) fn tags(shared: &Shared, method: &Method, repository: &Repository, uri: &Uri) -> Answer {
    read_only(method)?;
    let query = Query::of(uri)?;
    let tags = shared.store.tags(repository)?;
    let tags = tags.ok_or_else(|| OciError::new(ErrorCode::NameUnknown, "no such repository").about(repository))?;
    let page = Page::of(tags, String::as_str, &query, shared.limits.page)?;
    let body = Json(json!({"name": repository.to_string(), "tags": page.entries}));
    Ok((page.link(uri.path(), &query), body).into_response())
}

/// Answers `/v2/<name>/referrers/<digest>`: an index, empty where nothing refers to the digest, never 404 ("Listing
/// Referrers"). Without the API it is 404 and plain text, as docker-registry 2.8 answers.
pub(super) fn referrers(
    shared: &Shared,
    method: &Method,
    repository: &Repository,
    subject: Sha256,
    uri: &Uri,
) -> Answer {
    if !shared.referrers_api {
        return Ok((StatusCode::NOT_FOUND, "404 page not found\n").into_response());
    }
    read_only(method)?;
    let query = Query::of(uri)?;
    let stored = shared.store.referrers(repository, subject)?;
    let mut descriptors: Vec<Descriptor> =
        stored.iter().filter_map(|descriptor| serde_json::from_slice(descriptor).ok()).collect();
    let filter = query.value("artifactType");
    if let Some(wanted) = filter {
        descriptors.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
    }
    let page = Page::of(descriptors, |descriptor| &descriptor.digest, &query, shared.limits.page)?;
    let mut response = (page.link(uri.path(), &query), index(&page.entries)).into_response();
    if filter.is_some() {
        response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

/// An image index of `descriptors`, as a referrers list is.
pub(super) fn index(descriptors: &[Descriptor]) -> Response {
    let body = Json(json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}));
    ([(CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX))], body).into_response()
}

fn read_only(method: &Method) -> Answer<()> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(not_allowed("GET, HEAD")) }
}

/// One page of a sorted list.
struct Page<T> {
    entries: Vec<T>,
    /// The key that the next page starts behind.
    next: Option<String>,
}

impl<T> Page<T> {
    /// The entries behind `last`, at most `n` of them and never more than `limit`. "Listing Tags": `n=0` is an empty page.
    fn of(entries: Vec<T>, key: impl Fn(&T) -> &str, query: &Query, limit: usize) -> Answer<Self> {
        let n = query.value("n").map(str::parse::<usize>).transpose();
        let n = n.map_err(|_| {
            OciError::new(ErrorCode::Unsupported, "`n` is not a number").with_status(StatusCode::BAD_REQUEST)
        })?;
        let size = n.unwrap_or(limit).min(limit);
        let behind = |entry: &T| query.value("last").is_none_or(|last| key(entry) > last);
        let mut entries: Vec<_> = entries.into_iter().filter(behind).collect();
        let more = entries.len() > size;
        entries.truncate(size);
        let next = entries.last().filter(|_| more).map(|entry| key(entry).to_owned());
        Ok(Self { entries, next })
    }

    /// The `Link` to the next page (RFC 8288), which keeps the query but for where it starts.
    fn link(&self, path: &str, query: &Query) -> Option<[(HeaderName, HeaderValue); 1]> {
        let next = self.next.as_ref()?;
        let kept = ["n", "artifactType"].into_iter().filter_map(|name| Some((name, query.value(name)?)));
        let kept: String = kept.map(|(name, value)| format!("{name}={}&", escape(value))).collect();
        Some([(LINK, text_value(&format!("<{path}?{kept}last={next}>; rel=\"next\"")))])
    }
}

/// RFC 3986 §2.1: a query's value as a client may send it back.
fn escape(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:".contains(&b);
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
