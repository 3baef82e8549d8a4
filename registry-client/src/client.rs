//! One registry: how requests reach it, are authorized, redirected and repeated.

use crate::access::Access;
use crate::auth::{Authorizer, Scope};
use crate::blobs::Ranges;
use crate::cache::Cache;
use crate::content::Content;
use crate::mirror::ReachedMirror;
use crate::reference::{Reference, is_host};
use crate::status;
use bytes::Bytes;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use std::sync::Arc;
use strongroom_transport::pace::{Pace, Paced};
use strongroom_transport::patience::{is_passing, is_passing_status, retry_after};
use strongroom_transport::{HttpClient, Patience, Protocol, ServerTrust, read_body};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Redirects of one request that are followed; content networks take one or two.
const REDIRECTS: u32 = 4;

/// A client of one registry. Clones share connections and authorization.
#[derive(Clone)]
pub struct RegistryClient {
    inner: Arc<Inner>,
    mirrors: Arc<[ReachedMirror]>,
    listener: Option<BlobListener>,
}

/// Told how many more bytes of which blob are there, on any thread: they came, or were found in the cache.
pub type BlobListener = Arc<dyn Fn(Sha256, u64) + Send + Sync>;

struct Inner {
    host: String,
    scheme: &'static str,
    http: HttpClient,
    authorizer: Authorizer,
    patience: Patience,
    pace: Pace,
    ranges: Ranges,
    /// One permit a range that is fetched ahead.
    connections: Arc<Semaphore>,
    cache: Option<Cache>,
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { host, scheme, http, .. } = &*self.inner;
        f.debug_struct("RegistryClient")
            .field("host", host)
            .field("scheme", scheme)
            .field("http", http)
            .finish_non_exhaustive()
    }
}

/// A request that can be made again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    pub(crate) scope: Scope,
}

impl Call {
    /// `method` on `uri`, without headers and content.
    pub(crate) fn new(method: Method, uri: Uri, scope: Scope) -> Self {
        Self { method, uri, headers: HeaderMap::new(), content: Content::Empty, scope }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends `content`, of the media type `kind`.
    pub(crate) fn content(mut self, kind: HeaderValue, content: Content) -> Self {
        self.content = content;
        self.header(header::CONTENT_TYPE, kind)
    }
}

impl RegistryClient {
    /// A client of the registry at `host[:port]`. No connection is made yet.
    ///
    /// # Errors
    /// `reference-invalid`: `host` is not of the form that references have; `configuration-invalid`: the CA bundle.
    pub fn new(host: &str, access: Access) -> Result<Self> {
        if !is_host(host) {
            return Err(Refusal::new(Code::ReferenceInvalid, "registry").got(host).want("host[:port]"));
        }
        let Access { plain_http, ca, credentials, patience, pace, proxies, mirrors, ranges, cache } = access;
        let trust = ca.map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.into_bytes()));
        // Some registries have no TLS 1.3. What they answer is verified by digest and signature whoever sent it.
        let http = HttpClient::through(proxies, &trust, plain_http, Protocol::Tls12Allowed)?;
        let inner = Inner {
            host: host.to_owned(),
            scheme: if plain_http { "http" } else { "https" },
            http,
            authorizer: Authorizer::new(credentials),
            patience,
            pace,
            ranges,
            connections: Arc::new(Semaphore::new(ranges.connections())),
            cache,
        };
        let mirrors = mirrors.into_iter().map(ReachedMirror::new).collect::<Result<Vec<_>>>()?;
        Ok(Self { inner: Arc::new(inner), mirrors: mirrors.into(), listener: None })
    }

    /// The same client, telling `listener` what comes.
    #[must_use]
    pub fn with_listener(self, listener: BlobListener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// `host[:port]` of the registry.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Refuses references to another registry: this one could answer for none of them.
    pub(crate) fn serves(&self, reference: &Reference) -> Result<()> {
        if reference.host() == self.host() {
            return Ok(());
        }
        Err(Refusal::new(Code::Internal, "client of another registry").got(reference.host()).want(self.host()))
    }

    pub(crate) fn patience(&self) -> Patience {
        self.inner.patience
    }

    pub(crate) fn pace(&self) -> Pace {
        self.inner.pace
    }

    /// Waits before attempt number `attempt + 1`, within our patience.
    pub(crate) async fn wait(&self, attempt: u32, asked: Option<Duration>) {
        self.inner.patience.wait(attempt, asked).await;
    }

    pub(crate) fn mirrors(&self) -> &[ReachedMirror] {
        &self.mirrors
    }

    /// The same client, which asks the registry alone.
    pub(crate) fn without_mirrors(&self) -> Self {
        Self { mirrors: Arc::new([]), ..self.clone() }
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    pub(crate) fn ranges(&self) -> Ranges {
        self.inner.ranges
    }

    /// Room for one more connection to read a blob or a part of it, if there is any now.
    pub(crate) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.inner.connections).try_acquire_owned().ok()
    }

    /// Tells the listener of `length` more bytes of the blob `digest`.
    pub(crate) fn report(&self, digest: Sha256, length: u64) {
        self.listener.iter().for_each(|listener| listener(digest, length));
    }

    /// The URL of `path` below `/v2/`. Parts of references are of their grammar, so nothing has to be escaped.
    pub(crate) fn url(&self, path: &str) -> Result<Uri> {
        let text = format!("{}://{}/v2/{path}", self.inner.scheme, self.inner.host);
        Uri::try_from(text).map_err(|e| Refusal::new(Code::ReferenceInvalid, "registry url").because(e))
    }

    /// Makes `call`, repeated with growing waits while the connection breaks, nothing comes or the registry is out of order.
    /// Any status that is left is the caller's to judge.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response<Incoming>> {
        let mut attempt = 1;
        loop {
            let outcome = self.send_once(call).await;
            let asked = match &outcome {
                Ok(response) if is_passing_status(response.status()) => retry_after(response.headers()),
                Err(refusal) if is_passing(refusal) => None,
                _ => return outcome,
            };
            if attempt >= self.inner.patience.attempts {
                return outcome;
            }
            self.wait(attempt, asked).await;
            attempt += 1;
        }
    }

    /// What a `call` that is answered with 200 brings, at most `limit` bytes: repeated also where the connection breaks before
    /// all of it has come.
    pub(crate) async fn fetch(&self, call: &Call, limit: usize, what: &str) -> Result<(Parts, Bytes)> {
        let mut attempt = 1;
        loop {
            let response = status::expect(self.send(call).await?, &[StatusCode::OK], what).await?;
            let (head, body) = response.into_parts();
            match read_body(Paced::new(body, self.inner.pace), limit, what).await {
                Ok(bytes) => return Ok((head, bytes)),
                Err(refusal) if is_passing(&refusal) && attempt < self.inner.patience.attempts => {
                    self.wait(attempt, None).await;
                    attempt += 1;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Makes `call` once: authorizes where it is asked to, follows redirects of what only reads.
    pub(crate) async fn send_once(&self, call: &Call) -> Result<Response<Incoming>> {
        let reads = call.method == Method::GET || call.method == Method::HEAD;
        let mut uri = call.uri.clone();
        let mut authorized = false;
        for _ in 0..=REDIRECTS {
            let shown = self.inner.authorizer.granted(&call.scope).filter(|_| self.is_own(&uri));
            let response = self.exchange(call, &uri, shown.clone()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && self.is_own(&uri) && !authorized {
                let (http, patience) = (&self.inner.http, self.inner.patience);
                self.inner.authorizer.renew(http, &call.scope, shown.as_ref(), response.headers(), patience).await?;
                authorized = true;
            } else if is_redirect(status) && reads {
                uri = resolve(&uri, status::demanded(response.headers(), &header::LOCATION, "redirect")?)?;
            } else {
                return Ok(response);
            }
        }
        Err(Refusal::new(Code::RegistryFailed, "redirects").got("another").want(format!("at most {REDIRECTS}")))
    }

    /// One request and its answer's head. The registry may take as long as it likes for an upload, but not stand still.
    async fn exchange(&self, call: &Call, uri: &Uri, shown: Option<HeaderValue>) -> Result<Response<Incoming>> {
        let sent = Arc::new(AtomicU64::new(0));
        let internal = |e: http::Error| Refusal::new(Code::Internal, "request").because(e);
        let mut request = Request::new(call.content.body(&sent).await?);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = call.headers.clone();
        if matches!(call.content, Content::File { .. }) {
            let length = HeaderValue::from(call.content.length());
            request.headers_mut().try_insert(header::CONTENT_LENGTH, length).map_err(|e| internal(e.into()))?;
        }
        if let Some(value) = shown {
            request.headers_mut().try_insert(header::AUTHORIZATION, value).map_err(|e| internal(e.into()))?;
        }
        let answer = self.inner.http.send(request, Duration::MAX);
        let mut answer = core::pin::pin!(answer);
        let patience = self.inner.patience.answer;
        let mut before = 0;
        loop {
            if let Ok(answer) = timeout(patience, &mut answer).await {
                return answer;
            }
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                let what = format!("{} on registry `{}`", call.method, self.inner.host);
                return Err(Refusal::new(Code::Timeout, what).got("silence").want(format!("at most {patience:?}")));
            }
            before = now;
        }
    }

    /// Whether `uri` is of the registry's own origin (RFC 6454 §4), which alone sees what was obtained for it.
    pub(crate) fn is_own(&self, uri: &Uri) -> bool {
        uri.scheme_str() == Some(self.inner.scheme)
            && uri.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(&self.inner.host))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// What `location` means in an answer from `base` (RFC 3986 §5.2): an absolute URL, one without a scheme, or a path from the
/// root; registries send no other.
///
/// # Errors
/// `registry-failed`: anything else.
pub(crate) fn resolve(base: &Uri, location: &str) -> Result<Uri> {
    let scheme = base.scheme_str().unwrap_or_default();
    let authority = base.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let text = match location {
        rooted if rooted.starts_with("//") => format!("{scheme}:{rooted}"),
        rooted if rooted.starts_with('/') => format!("{scheme}://{authority}{rooted}"),
        other => other.to_owned(),
    };
    let text = text.split('#').next().unwrap_or_default();
    Uri::try_from(text).ok().filter(|uri| uri.scheme().is_some() && uri.authority().is_some()).ok_or_else(|| {
        Refusal::new(Code::RegistryFailed, "location").got("another form").want("a url or a path from the root")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_resolved_against_their_origin() {
        let base = Uri::from_static("http://r:5000/v2/a/blobs/uploads/");
        for (location, want) in [
            ("/v2/x?y=z", "http://r:5000/v2/x?y=z"),
            ("https://cdn.example/x#part", "https://cdn.example/x"),
            ("//cdn.example/x", "http://cdn.example/x"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), want);
        }
        for location in ["", "x", "../x", "?x", "http://"] {
            assert_eq!(resolve(&base, location).unwrap_err().code, Code::RegistryFailed, "{location}");
        }
    }

    #[test]
    fn only_the_registrys_own_origin_is_own() {
        let client = RegistryClient::new("r.example:5000", Access::default()).unwrap();
        assert!(client.is_own(&Uri::from_static("https://R.example:5000/x")));
        for other in
            ["http://r.example:5000/", "https://r.example/", "https://r.example:5001/", "https://u@r.example:5000/"]
        {
            assert!(!client.is_own(&Uri::from_static(other)), "{other}");
        }
    }

    #[test]
    fn host_that_no_reference_has_refused() {
        for host in ["", "a/b", "https://a", "a", "a:b"] {
            assert_eq!(
                RegistryClient::new(host, Access::default()).unwrap_err().code,
                Code::ReferenceInvalid,
                "{host}"
            );
        }
    }
}
