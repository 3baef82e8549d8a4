//! Servers for the tests: our own, and ones that only a test would write.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strongroom_transport::{HttpClient, ServeLimits, ServerIdentity, bind, http, read_body, serve};
use strongroom_wire::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Long for loopback, short for a person: nothing that should happen takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// One of our own servers.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) served: JoinHandle<Result<()>>,
}

pub(crate) async fn run(router: axum::Router, tls: Option<Arc<ServerConfig>>, limits: ServeLimits) -> Running {
    let bound = bind("127.0.0.1:0").await.unwrap();
    let addr = bound.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(bound, tls, router, limits, async move { drop(stopped.await) }));
    Running { addr, stop, served }
}

pub(crate) fn hello() -> axum::Router {
    axum::Router::new().route("/", axum::routing::get(|| async { "hello" }))
}

pub(crate) fn identity() -> ServerIdentity {
    ServerIdentity::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

/// Shows one certificate and signs with whatever key it has.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server that shows `certificate` (PEM) and signs with `key` (PEM), whether they belong together or not.
pub(crate) fn showing(certificate: &str, key: &str, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(|der| der.unwrap()).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key: Arc<dyn SigningKey> = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key)))))
}

/// Runs `config` on loopback: every connection that gets through the handshake is answered `hello`.
pub(crate) async fn run_raw(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await);
                    drop(stream.shutdown().await);
                }
            });
        }
    });
    addr
}

/// Accepts connections and never says a word.
pub(crate) async fn run_silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    addr
}

/// An address that refuses connections.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) async fn get(client: &HttpClient, url: &str) -> Result<String> {
    let request = ::http::Request::get(url).body(http::empty()).unwrap();
    let answer = client.send(request, SOON).await?;
    let body = read_body(answer.into_body(), 1024, "answer").await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Writes `request` as it is and returns all that comes back until the server closes.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the server closes").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
