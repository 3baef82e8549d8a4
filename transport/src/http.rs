//! The HTTP/1.1 client (RFC 9112) and how bodies are made and read.

mod body;
mod connector;

pub use body::{Body, BoxError, empty, full, read_body, stream};

use crate::failure;
use crate::identity::ServerIdentity;
use crate::proxy::Proxies;
use crate::trace::{self, TRACEPARENT};
use crate::trust::{Protocol, ServerTrust, client_config, client_config_for};
use connector::Connector;
use core::fmt;
use core::time::Duration;
use http::uri::{Scheme, Uri};
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time;

/// A TCP connection is there within this time or the address is tried no longer; a caller's timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the time after which [`crate::serve()`] closes an idle connection, so that a request is not sent into a
/// connection that its server is just closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept per server: as many as a parallel pull opens.
const POOL_IDLE_CONNECTIONS: usize = 16;
/// Most of a response that is buffered before it is asked for, and so the longest response head. hyper's own default,
/// named here because large blobs are read through it.
const RESPONSE_BUFFER: usize = 400 * 1024;
/// Header fields of a response; registries behind content networks send about thirty.
const RESPONSE_HEADERS: usize = 100;

/// An HTTP client that believes one [`ServerTrust`]. Connections are pooled; clones share the pool.
///
/// Redirects, cookies and retries are not followed, kept or made, and a proxy is used only where one was named. (A request that meets a pooled connection
/// already closed by its server, and of which not one byte was written, goes to a new one of the same trust.)
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<Connector>, Body>,
    connector: Connector,
    plain_http: bool,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("plain_http", &self.plain_http).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client for TLS 1.3 servers; `plain_http` allows `http://` beside `https://`.
    ///
    /// # Errors
    /// As [`crate::client_config`].
    pub fn new(trust: &ServerTrust, plain_http: bool) -> Result<Self> {
        Self::with_protocol(trust, plain_http, Protocol::Tls13)
    }

    /// [`Self::new`], with the oldest protocol chosen.
    ///
    /// # Errors
    /// As [`crate::client_config`].
    pub fn with_protocol(trust: &ServerTrust, plain_http: bool, protocol: Protocol) -> Result<Self> {
        Self::through(Proxies::default(), trust, plain_http, protocol)
    }

    /// [`Self::with_protocol`], with servers reached through `proxies`.
    ///
    /// # Errors
    /// As [`crate::client_config`].
    pub fn through(proxies: Proxies, trust: &ServerTrust, plain_http: bool, protocol: Protocol) -> Result<Self> {
        Ok(Self::with_config(proxies, client_config_for(trust, protocol)?, plain_http))
    }

    /// A client for TLS 1.3 servers that shows who it is to those that ask: its certificate, whose key it has.
    ///
    /// # Errors
    /// As [`crate::client_config`]; `key-invalid`.
    pub fn named(identity: &ServerIdentity, trust: &ServerTrust) -> Result<Self> {
        let mut config = client_config(trust)?;
        config.client_auth_cert_resolver = identity.as_client()?;
        Ok(Self::with_config(Proxies::default(), config, false))
    }

    fn with_config(proxies: Proxies, tls: ClientConfig, plain_http: bool) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let names = Arc::new(DefaultServerNameResolver::default());
        let connector = Connector::new(tcp, Arc::new(proxies));
        let https = HttpsConnector::new(connector.clone(), Arc::new(tls), !plain_http, names);

        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS)
            .http1_max_buf_size(RESPONSE_BUFFER)
            .http1_max_headers(RESPONSE_HEADERS)
            .build(https);
        Self { client, connector, plain_http }
    }

    /// Sends `request`, whose URI must be absolute, and returns the answer once its head is there; [`read_body`] or
    /// [`crate::pace::Paced`] bounds what follows. `timeout` covers everything up to the head: name resolution, connecting,
    /// the handshake, the request's body and the server's thinking.
    ///
    /// # Errors
    /// `plaintext-refused` the URI is not `https` and plain HTTP is not allowed; `pin-mismatch`,
    /// `handshake-signature-invalid`, `tls-failed` the server is not the trusted one; `network` no connection, or it broke, or
    /// the peer speaks no HTTP/1.1; `proxy-refused` the proxy did not open the connection; `timeout`; or the refusal that the
    /// request's body ended in.
    pub async fn send(&self, mut request: Request<Body>, timeout: Duration) -> Result<Response<Incoming>> {
        let what = describe(&request);
        self.refuse_plaintext(request.uri()).map_err(|refusal| refusal.within(&what))?;
        if let Some(authorization) = self.connector.authorization(request.uri()) {
            let value = authorization.clone();
            let set = request.headers_mut().try_insert(header::PROXY_AUTHORIZATION, value);
            set.map_err(|e| Refusal::new(Code::Internal, &what).because(e))?;
        }
        if let Some(trace) = trace::passed_on() {
            let set = request.headers_mut().try_insert(TRACEPARENT, trace);
            set.map_err(|e| Refusal::new(Code::Internal, &what).because(e))?;
        }
        match time::timeout(timeout, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| failure::refusal(&what, &error)),
            Err(_) => Err(Refusal::new(Code::Timeout, what).got("no answer").want(format!("one within {timeout:?}"))),
        }
    }

    fn refuse_plaintext(&self, uri: &Uri) -> Result<()> {
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(()),
            Some(scheme) if *scheme == Scheme::HTTP && self.plain_http => Ok(()),
            other => {
                let got = other.map_or("no scheme", Scheme::as_str);
                Err(Refusal::new(Code::PlaintextRefused, "url scheme").got(got).want("https"))
            }
        }
    }
}

/// Method, server and path. Not the query: registries sign URLs there.
fn describe(request: &Request<Body>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{} `{host}{port}{}`", request.method(), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_user_information_stay_out_of_refusals() {
        let request = Request::get("https://user:pass@host:5000/v2/a?signature=abc").body(empty()).unwrap();
        assert_eq!(describe(&request), "GET `host:5000/v2/a`");
    }

    #[tokio::test]
    async fn plain_http_refused_when_not_allowed() {
        let client = HttpClient::new(&ServerTrust::WebPki, false).unwrap();
        let request = Request::get("http://127.0.0.1:1/").body(empty()).unwrap();
        let refusal = client.send(request, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refusal.code, Code::PlaintextRefused);
    }

    #[tokio::test]
    async fn plain_http_attempted_when_allowed() {
        // Nobody listens on a port that was just given back, so the attempt ends at the socket, not at the scheme.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = HttpClient::new(&ServerTrust::WebPki, true).unwrap();
        let request = Request::get(format!("http://127.0.0.1:{port}/")).body(empty()).unwrap();
        let refusal = client.send(request, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refusal.code, Code::Network);
    }
}
