//! A server that shows an enclave's certificate without having its key.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strongroom_transport::connect_provisional;
use strongroom_wire::{Code, Refusal, Result};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

/// Listens with the certificate of `target` (`host:port`) and a key of its own, until the runtime ends.
pub(crate) fn start(runtime: &Handle, target: &str) -> Result<SocketAddr> {
    let internal = |e: &dyn core::fmt::Display| Refusal::new(Code::Internal, "thief").because(e);
    let genuine = runtime.block_on(connect_provisional(target, Duration::from_secs(10)))?;
    let stolen = genuine.stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let own = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|e| internal(&e))?;
    let pkcs8 = own.to_pkcs8v1().map_err(|e| internal(&e))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
    let signer = any_ecdsa_type(&key).map_err(|e| internal(&e))?;
    let shown = SingleCertAndKey::from(CertifiedKey::new(stolen, signer));
    let config = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|e| internal(&e))?;
    let address = listener.local_addr().map_err(|e| internal(&e))?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever notices goes away during the handshake.
            let _ = acceptor.accept(stream).await;
        }
    });
    Ok(address)
}
