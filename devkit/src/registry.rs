//! An OCI registry (distribution specification 1.1) for tests and the demo: `oras`, `cosign` and any other client can
//! push to it and pull from it; it lists referrers, or behaves as a registry that cannot; and it can be told to lie.
//!
//! It keeps what it is given in a folder ([`Config::root`]), each blob once it hashes to its digest and each manifest once
//! all that it names is there. [`Faults`] make it answer wrongly, [`Requests`] tell what it was asked.
//!
//! It does not collect garbage, issue tokens or know more than one user, and it refuses digests other than SHA-256.

mod blobs;
mod credentials;
mod error;
mod faults;
mod lies;
mod listings;
mod manifest;
mod manifests;
mod names;
mod pushes;
mod range;
mod requests;
mod route;
mod running;
mod store;
mod uploads;

pub use credentials::Credentials;
pub use faults::{Fault, Faults, Gate, Target, Times};
pub use requests::{Recorded, Requests};
pub use running::RunningRegistry;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use error::{Answer, ErrorCode, OciError};
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use route::Route;
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;
use strongroom_transport::ServerIdentity;
use strongroom_wire::{Result, limits};
use uploads::Uploads;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What a registry is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that it keeps everything in; made when absent. One registry at a time may have it.
    pub root: PathBuf,
    /// Where [`RunningRegistry`] listens: `host:port`, port 0 for a free one.
    pub listen: String,
    /// The user that clients must be, if any; for reading too.
    pub credentials: Option<Credentials>,
    /// What it serves TLS with; plain HTTP if absent.
    pub tls: Option<Arc<ServerIdentity>>,
    /// Whether it has the referrers API. Without, it is like docker-registry 2.8: 404 there, and no `OCI-Subject` on pushes,
    /// so that clients keep the fallback tag themselves.
    pub referrers_api: bool,
    /// How much it takes and gives.
    pub limits: Limits,
}

impl Config {
    /// A registry in `root` on a free port of loopback, without TLS or credentials, with the referrers API.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: "127.0.0.1:0".to_owned(),
            credentials: None,
            tls: None,
            referrers_api: true,
            limits: Limits::default(),
        }
    }
}

/// How much a registry takes from a client, and gives at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a manifest. Default: [`limits::MANIFEST`].
    pub manifest: usize,
    /// Bytes of a blob. Default: 64 GiB, more than any layer that Strongroom writes.
    pub blob: u64,
    /// Uploads open at a time. Default: 256; an upload that its client abandons stays open.
    pub uploads: usize,
    /// Entries of one page of a list. Default: 1000. Small values make clients follow `Link`.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { manifest: limits::MANIFEST, blob: 64 << 30, uploads: 256, page: 1000 }
    }
}

/// A registry without a socket. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    uploads: Uploads,
    credentials: Option<Credentials>,
    referrers_api: bool,
    limits: Limits,
    faults: Faults,
    requests: Requests,
}

impl Registry {
    /// Opens the registry of `config`, with what its folder already holds; uploads that were under way are gone.
    ///
    /// # Errors
    /// `io` where the folder cannot be read or made.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            store: Store::open(&config.root)?,
            uploads: Uploads::new(config.limits.uploads),
            credentials: config.credentials.clone(),
            referrers_api: config.referrers_api,
            limits: config.limits,
            faults: Faults::default(),
            requests: Requests::default(),
        })))
    }

    /// Everything below `/v2/`; other paths are 404.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What was asked.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }
}

async fn handle(State(Registry(shared)): State<Registry>, request: Request) -> Response {
    shared.requests.record(request.method(), request.uri(), request.headers());
    let mut response = answer(&shared, request).await.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn answer(shared: &Shared, request: Request) -> Answer {
    if let Some(credentials) = &shared.credentials {
        credentials.require(request.headers())?;
    }
    let route = Route::parse(request.uri().path())?;
    match shared.faults.take(request.method(), &route) {
        Some(fault) => lies::answer(shared, route, request, fault).await,
        None => dispatch(shared, route, request).await,
    }
}

async fn dispatch(shared: &Shared, route: Route, request: Request) -> Answer {
    let (method, uri) = (request.method(), request.uri());
    match route {
        Route::Base => Ok(StatusCode::OK.into_response()),
        Route::Catalog => listings::catalog(shared, method, uri),
        Route::Tags(repository) => listings::tags(shared, method, &repository, uri),
        Route::Referrers(repository, subject) => listings::referrers(shared, method, &repository, subject, uri),
        Route::Blob(repository, digest) => blobs::blob(shared, method, request.headers(), &repository, digest).await,
        Route::Uploads(repository) => pushes::start(shared, &repository, request).await,
        Route::Upload(repository, id) => pushes::session(shared, &repository, &id, request).await,
        Route::Manifest(repository, reference) => manifests::manifest(shared, &repository, &reference, request).await,
    }
}

/// The unescaped parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &Uri) -> Answer<Self> {
        let invalid = |_| OciError::new(ErrorCode::Unsupported, "malformed query").with_status(StatusCode::BAD_REQUEST);
        axum::extract::Query::try_from_uri(uri).map(|query| Self(query.0)).map_err(invalid)
    }

    /// The first value of `name`.
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
