//! The endpoints of the distribution specification 1.1 ("Endpoints"), told apart by the end of the path: a repository's
//! name holds slashes, so a router of fixed segments cannot.

use super::error::{Answer, ErrorCode, OciError};
use super::names::{Reference, Repository, parse_digest};
use strongroom_wire::digest::Sha256;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/` (end-1).
    Base,
    /// `/v2/_catalog`, of Docker's registry.
    Catalog,
    /// `/v2/<name>/blobs/<digest>` (end-2, end-10).
    Blob(Repository, Sha256),
    /// `/v2/<name>/blobs/uploads/` (end-4, end-11).
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<session>` (end-5, end-6, end-13).
    Upload(Repository, String),
    /// `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9).
    Manifest(Repository, Reference),
    /// `/v2/<name>/referrers/<digest>` (end-12).
    Referrers(Repository, Sha256),
    /// `/v2/<name>/tags/list` (end-8).
    Tags(Repository),
}

impl Route {
    /// The route of `path`. A path of no endpoint is `UNSUPPORTED` with status 404.
    pub(super) fn parse(path: &str) -> Answer<Self> {
        match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some("/_catalog") => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(no_endpoint)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(Repository::parse(name)?));
        }
        let uploads = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"));
        if let Some(name) = uploads {
            return Ok(Self::Uploads(Repository::parse(name)?));
        }
        let (head, last) = rest.rsplit_once('/').ok_or_else(no_endpoint)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(Repository::parse(name)?, last.to_owned()));
        }
        match head.rsplit_once('/') {
            Some((name, "blobs")) => Ok(Self::Blob(Repository::parse(name)?, parse_digest(last)?)),
            Some((name, "manifests")) => Ok(Self::Manifest(Repository::parse(name)?, Reference::parse(last)?)),
            Some((name, "referrers")) => Ok(Self::Referrers(Repository::parse(name)?, parse_digest(last)?)),
            _ => Err(no_endpoint()),
        }
    }
}

fn no_endpoint() -> OciError {
    OciError::new(ErrorCode::Unsupported, "no such endpoint").with_status(http::StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        Repository::parse(name).unwrap()
    }

    #[test]
    fn every_endpoint_is_told_apart_by_its_end() {
        let digest = Sha256::of(b"x");
        let (name, oci) = ("a/blobs/tags", digest.oci());
        let session = "0".repeat(32);
        let cases = [
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            (format!("/v2/{name}/blobs/{oci}"), Route::Blob(repository(name), digest)),
            (format!("/v2/{name}/blobs/uploads/"), Route::Uploads(repository(name))),
            (format!("/v2/{name}/blobs/uploads/{session}"), Route::Upload(repository(name), session)),
            (format!("/v2/{name}/manifests/list"), Route::Manifest(repository(name), Reference::Tag("list".into()))),
            (format!("/v2/{name}/manifests/{oci}"), Route::Manifest(repository(name), Reference::Digest(digest))),
            (format!("/v2/{name}/referrers/{oci}"), Route::Referrers(repository(name), digest)),
            (format!("/v2/{name}/tags/list"), Route::Tags(repository(name))),
        ];
        for (path, route) in cases {
            assert_eq!(Route::parse(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn path_of_no_endpoint_refused_by_what_is_wrong_with_it() {
        let oci = Sha256::of(b"x").oci();
        for (path, code) in [
            ("/".to_owned(), ErrorCode::Unsupported),
            ("/v1/".to_owned(), ErrorCode::Unsupported),
            ("/v2/a".to_owned(), ErrorCode::Unsupported),
            ("/v2/a/b/c".to_owned(), ErrorCode::Unsupported),
            (format!("/v2/../manifests/{oci}"), ErrorCode::NameInvalid),
            (format!("/v2/a/%2e%2e/blobs/{oci}"), ErrorCode::NameInvalid),
            ("/v2//tags/list".to_owned(), ErrorCode::NameInvalid),
            ("/v2/a/blobs/latest".to_owned(), ErrorCode::DigestInvalid),
            ("/v2/a/manifests/..".to_owned(), ErrorCode::ManifestInvalid),
        ] {
            assert_eq!(Route::parse(&path).unwrap_err().code(), code, "{path}");
        }
    }
}
