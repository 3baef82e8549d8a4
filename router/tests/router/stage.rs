//! A verifier that says who holds a lease, guests, clients, and the router between them.

use axum::Router;
use axum::routing::get;
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strongroom_jose::TokenSigner;
use strongroom_router::{Config, Service};
use strongroom_transport::{ServeLimits, ServerIdentity, ServerTrust, bind, client_config, serve, server_config};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::feed::{AGE, AUDIENCE, Backend, BackendState, Feed, Route, Share};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

pub(crate) const TENANT: &str = "team";

/// What the verifier says, and may be told to say.
pub(crate) struct Says {
    pub(crate) routes: BTreeMap<String, Route>,
    pub(crate) share: Share,
    seq: u64,
    pub(crate) silent: bool,
}

pub(crate) struct Stage {
    pub(crate) says: Arc<Mutex<Says>>,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Dropped, the router stops.
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) running: tokio::task::JoinHandle<strongroom_wire::Result<()>>,
}

/// A guest that answers each line with its own name and that line.
pub(crate) struct Guest {
    pub(crate) addr: SocketAddr,
    pub(crate) pin: [u8; 32],
    pub(crate) certificate: CertificateDer<'static>,
}

impl Guest {
    pub(crate) async fn start(name: &'static str) -> Self {
        let identity = ServerIdentity::generate(&[]).unwrap();
        let acceptor = TlsAcceptor::from(server_config(&identity).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever only looks whether it is there makes no handshake.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut bytes = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        let answer = [name.as_bytes(), b" ", &bytes[..read]].concat();
                        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let certificate = CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).unwrap();
        Self { addr, pin: identity.spki_sha256(), certificate }
    }

    /// One at whose address is nobody, or somebody else.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self { addr, pin: [0; 32], certificate: CertificateDer::from(Vec::new()) }
    }

    pub(crate) fn backend(&self, state: BackendState) -> Backend {
        Backend { addr: self.addr, expires: now() + 60, state }
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A verifier of which a router's configuration is the answer, less where the router listens.
pub(crate) async fn verifier() -> (Arc<Mutex<Says>>, String) {
    let (identity, signer) = (ServerIdentity::generate(&[]).unwrap(), TokenSigner::generate().unwrap());
    let share = Share { connections: 100, per_second: 1000 };
    let says = Arc::new(Mutex::new(Says { routes: BTreeMap::new(), share, seq: 0, silent: false }));
    let key = to_base64(signer.spki_der());
    let told = Arc::clone(&says);
    let answer = async move || {
        let mut says = told.lock().unwrap();
        if says.silent {
            return Err(http::StatusCode::SERVICE_UNAVAILABLE);
        }
        says.seq += 1;
        let (iat, tenants) = (now(), [(TENANT.to_owned(), says.share)].into());
        let (aud, iss, routes) = (AUDIENCE.to_owned(), "verifier".to_owned(), says.routes.clone());
        Ok(signer.sign(&Feed { aud, iss, iat, exp: iat + AGE, seq: says.seq, tenants, routes }).unwrap())
    };
    let answer = Arc::new(answer);
    let route = Router::new().route("/v1/feed", get(move || async move { answer().await }));
    let bound = bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "admin-listen = '127.0.0.1:0'\nfeeds = ['https://{}/v1/feed']\nverifier-pin = '{}'\nfeed-key = '{key}'\nprobe = 1\ngrace = 1\n",
        bound.local_addr(),
        identity.spki_sha256().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    );
    let tls = server_config(&identity).unwrap();
    tokio::spawn(serve(bound, Some(tls), route, ServeLimits::default(), core::future::pending()));
    (says, config)
}

impl Stage {
    /// A router that has taken the first feed.
    pub(crate) async fn start() -> Self {
        let (says, config) = verifier().await;
        let config = format!("listen = '127.0.0.1:0'\n{config}");
        let service = Service::start(&Config::parse(config.as_bytes()).unwrap()).await.unwrap();
        let (addr, admin) = (service.addr(), service.admin_addr());
        let (stop, mut stopping) = watch::channel(false);
        let running = tokio::spawn(service.run(async move { drop(stopping.wait_for(|stop| *stop).await) }));
        let stage = Self { says, addr, admin, stop, running };
        stage.told().await;
        stage
    }

    pub(crate) fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    /// Says that these guests serve a name.
    pub(crate) fn route(&self, name: &str, guests: &[(&str, &Guest, BackendState)]) {
        let backends = guests.iter().map(|(lease, guest, state)| ((*lease).to_owned(), guest.backend(*state)));
        let route = Route { tenant: TENANT.to_owned(), backends: backends.collect() };
        self.say(|says| drop(says.routes.insert(name.to_owned(), route)));
    }

    /// Until the router has taken what the verifier says now.
    pub(crate) async fn told(&self) {
        let wanted = self.says.lock().unwrap().seq + 1;
        self.until(|text| gauge(text, "feed_sequence") >= wanted).await;
    }

    /// Until the router's counts are so. They are asked for until they are; nothing else tells.
    pub(crate) async fn until(&self, so: impl Fn(&str) -> bool) {
        let asking = async {
            while !so(&self.get("/metrics").await.1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it never became so");
    }

    /// Status and body of a path of the router's own.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A connection to the guest with that key, asked for by name.
    pub(crate) async fn connect(&self, name: &str, pin: [u8; 32]) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(client_config(&ServerTrust::Pin(pin)).unwrap()));
        let stream = TcpStream::connect(self.addr).await.unwrap();
        connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
    }

    /// A connection to whichever of these guests the router chose, and which it was.
    pub(crate) async fn connect_to_any(&self, name: &str, guests: &[&Guest]) -> (TlsStream<TcpStream>, usize) {
        // By the certificate that is shown: TLS ends at the guest. Only its key is looked at here.
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKey))
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let which = guests.iter().position(|guest| guest.certificate == shown).unwrap();
        (stream, which)
    }

    /// A connection that has said the ClientHello of a client, and says nothing more.
    pub(crate) async fn hello(&self, name: &str) -> TcpStream {
        let config = Arc::new(client_config(&ServerTrust::Pin([0; 32])).unwrap());
        let mut client = rustls::ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream
    }

    /// What comes back for bytes that are no TLS of a client's.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A peer that closed with unread bytes resets.
        drop(stream.read_to_end(&mut answer).await);
        answer
    }
}

/// Takes any certificate, and nothing but the signature of its key.
#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A count, by the last word of its name; labels as they stand there.
pub(crate) fn gauge(text: &str, name: &str) -> u64 {
    let name = format!("strongroom_router_{name} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
}

/// Sends a line and gives what comes back.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, line: &str) -> std::io::Result<String> {
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}
