//! Somebody in between: it ends the client's TLS connection and passes a genuine enclave's evidence on.

use crate::enclave::{Enclave, Requests, serve_tls};
use axum::Router;
use axum::extract::{Request, State};
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strongroom_transport::http::empty;
use strongroom_transport::{HttpClient, ServerIdentity, ServerTrust, read_body, server_config};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::evidence::EvidenceAnswer;

pub(crate) struct Impostor {
    pub(crate) address: SocketAddr,
    requests: Requests,
}

#[derive(Clone)]
struct Relay {
    enclave: Enclave,
    /// The key that is written into the answer in place of the enclave's.
    substitute: Option<Vec<u8>>,
    requests: Requests,
}

impl Impostor {
    /// Relays answers unchanged.
    pub(crate) async fn relaying(enclave: &Enclave) -> Self {
        let identity = ServerIdentity::generate(&[]).unwrap();
        Self::run(server_config(&identity).unwrap(), enclave, None).await
    }

    /// Relays answers with its own key in place of the enclave's.
    pub(crate) async fn substituting_its_key(enclave: &Enclave) -> Self {
        let identity = ServerIdentity::generate(&[]).unwrap();
        let substitute = Some(identity.spki_der().to_vec());
        Self::run(server_config(&identity).unwrap(), enclave, substitute).await
    }

    /// Shows the enclave's certificate and signs the handshake with a key of its own.
    pub(crate) async fn showing_the_certificate_of(enclave: &Enclave) -> Self {
        let certificate = enclave.identity.certificate_pem();
        let own = ServerIdentity::generate(&[]).unwrap().private_key_pem().unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.expose().as_bytes()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let certified = CertifiedKey::new(chain, sign::any_ecdsa_type(&key).unwrap());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Self::run(Arc::new(config), enclave, None).await
    }

    async fn run(config: Arc<rustls::ServerConfig>, enclave: &Enclave, substitute: Option<Vec<u8>>) -> Self {
        let requests = Requests::default();
        let relay = Relay { enclave: enclave.clone(), substitute, requests: requests.clone() };
        let address = serve_tls(config, Router::new().fallback(relayed).with_state(relay)).await;
        Self { address, requests }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests.seen()
    }
}

async fn relayed(State(relay): State<Relay>, request: Request) -> Vec<u8> {
    relay.requests.note(&request);
    let client = HttpClient::new(&ServerTrust::Pin(relay.enclave.identity.spki_sha256()), false).unwrap();
    let url = format!("https://{}{}", relay.enclave.address, request.uri());
    let onward = http::Request::get(url).body(empty()).unwrap();
    let answer = client.send(onward, Duration::from_secs(10)).await.unwrap();
    let json = read_body(answer.into_body(), 1 << 20, "evidence").await.unwrap();
    match relay.substitute {
        None => json.to_vec(),
        Some(spki) => {
            let mut answer = EvidenceAnswer::parse(&json).unwrap();
            answer.channel_key = to_base64(&spki);
            serde_json::to_vec(&answer).unwrap()
        }
    }
}
