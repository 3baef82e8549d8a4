//! Which servers a client believes.

use crate::peers::{SOON, get, hello, identity, nobody, run, run_raw, run_silent, showing};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::time::Duration;
use strongroom_transport::{
    HttpClient, Protocol, ServeLimits, ServerIdentity, ServerTrust, connect_provisional, http, server_config,
};
use strongroom_wire::{Code, Result};

fn pin(identity: &ServerIdentity) -> ServerTrust {
    ServerTrust::Pin(identity.spki_sha256())
}

fn ca(identity: &ServerIdentity) -> ServerTrust {
    ServerTrust::Ca(identity.certificate_pem().into_bytes())
}

async fn get_trusting(trust: &ServerTrust, protocol: Protocol, addr: std::net::SocketAddr) -> Result<String> {
    let client = HttpClient::with_protocol(trust, false, protocol)?;
    get(&client, &format!("https://{addr}/")).await
}

#[tokio::test]
async fn server_with_the_pinned_key_accepted_and_another_refused() {
    let (genuine, other) = (identity(), identity());
    let server = run(hello(), Some(server_config(&genuine).unwrap()), ServeLimits::default()).await;
    assert_eq!(get_trusting(&pin(&genuine), Protocol::Tls13, server.addr).await.unwrap(), "hello");
    let refusal = get_trusting(&pin(&other), Protocol::Tls13, server.addr).await.unwrap_err();
    assert_eq!(refusal.code, Code::PinMismatch);
    assert_ne!(refusal.got, refusal.want);
}

#[tokio::test]
async fn server_under_the_given_ca_accepted_and_under_another_refused() {
    let (genuine, other) = (identity(), identity());
    let server = run(hello(), Some(server_config(&genuine).unwrap()), ServeLimits::default()).await;
    assert_eq!(get_trusting(&ca(&genuine), Protocol::Tls13, server.addr).await.unwrap(), "hello");
    for trust in [ca(&other), ServerTrust::WebPki] {
        assert_eq!(get_trusting(&trust, Protocol::Tls13, server.addr).await.unwrap_err().code, Code::TlsFailed);
    }
}

#[tokio::test]
async fn name_matters_to_a_ca_and_not_to_a_pin() {
    let elsewhere = ServerIdentity::generate(&["elsewhere.example".to_owned()]).unwrap();
    let server = run(hello(), Some(server_config(&elsewhere).unwrap()), ServeLimits::default()).await;
    assert_eq!(get_trusting(&ca(&elsewhere), Protocol::Tls13, server.addr).await.unwrap_err().code, Code::TlsFailed);
    assert_eq!(get_trusting(&pin(&elsewhere), Protocol::Tls13, server.addr).await.unwrap(), "hello");
}

#[tokio::test]
async fn server_without_the_private_key_refused_whatever_the_trust() {
    let (genuine, thief) = (identity(), identity());
    let (shown, key) = (genuine.certificate_pem(), thief.private_key_pem().unwrap());
    let other_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    for stolen in [key.expose(), &other_curve] {
        let addr = run_raw(showing(&shown, stolen, &[&TLS13])).await;
        for trust in [pin(&genuine), ca(&genuine)] {
            let refusal = get_trusting(&trust, Protocol::Tls13, addr).await.unwrap_err();
            assert_eq!(refusal.code, Code::HandshakeSignatureInvalid, "{trust:?}");
        }
        let refusal = connect_provisional(&addr.to_string(), SOON).await.unwrap_err();
        assert_eq!(refusal.code, Code::HandshakeSignatureInvalid);
    }
    let addr = run_raw(showing(&shown, genuine.private_key_pem().unwrap().expose(), &[&TLS13])).await;
    assert_eq!(get_trusting(&pin(&genuine), Protocol::Tls13, addr).await.unwrap(), "hello");
}

#[tokio::test]
async fn forged_chain_is_no_handshake_signature() {
    let issuer = || {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, Issuer::new(params, key))
    };
    let ((trusted, genuine), (_, forger)) = (issuer(), issuer());
    for (issuer, want) in [(&genuine, Ok("hello".to_owned())), (&forger, Err(Code::TlsFailed))] {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
        let addr = run_raw(showing(&leaf.pem(), &key.serialize_pem(), &[&TLS13])).await;
        let trust = ServerTrust::Ca(trusted.clone().into_bytes());
        assert_eq!(get_trusting(&trust, Protocol::Tls13, addr).await.map_err(|refusal| refusal.code), want);
    }
}

#[tokio::test]
async fn tls12_server_refused_unless_allowed_and_never_for_a_key() {
    let (genuine, thief) = (identity(), identity());
    let shown = genuine.certificate_pem();
    let addr = run_raw(showing(&shown, genuine.private_key_pem().unwrap().expose(), &[&TLS12])).await;
    assert_eq!(get_trusting(&ca(&genuine), Protocol::Tls13, addr).await.unwrap_err().code, Code::TlsFailed);
    assert_eq!(get_trusting(&ca(&genuine), Protocol::Tls12Allowed, addr).await.unwrap(), "hello");
    assert_eq!(get_trusting(&pin(&genuine), Protocol::Tls12Allowed, addr).await.unwrap_err().code, Code::TlsFailed);
    assert_eq!(connect_provisional(&addr.to_string(), SOON).await.unwrap_err().code, Code::TlsFailed);

    let addr = run_raw(showing(&shown, thief.private_key_pem().unwrap().expose(), &[&TLS12])).await;
    let refusal = get_trusting(&ca(&genuine), Protocol::Tls12Allowed, addr).await.unwrap_err();
    assert_eq!(refusal.code, Code::HandshakeSignatureInvalid);
}

#[tokio::test]
async fn provisional_connection_tells_the_peers_key_and_is_always_a_full_handshake() {
    let genuine = identity();
    let server = run(hello(), Some(server_config(&genuine).unwrap()), ServeLimits::default()).await;
    for _ in 0..2 {
        let connected = connect_provisional(&format!("localhost:{}", server.addr.port()), SOON).await.unwrap();
        assert_eq!(connected.spki, genuine.spki_der());
        let (_, session) = connected.stream.get_ref();
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
    }
}

#[tokio::test]
async fn silent_peer_times_out_and_absent_peer_is_a_network_error() {
    let (silent, absent, short) = (run_silent().await, nobody(), Duration::from_millis(100));
    let provisional = |addr: std::net::SocketAddr| async move {
        connect_provisional(&addr.to_string(), short).await.unwrap_err().code
    };
    assert_eq!(provisional(silent).await, Code::Timeout);
    assert_eq!(provisional(absent).await, Code::Network);

    let client = HttpClient::new(&ServerTrust::WebPki, false).unwrap();
    for (addr, want) in [(silent, Code::Timeout), (absent, Code::Network)] {
        let request = ::http::Request::get(format!("https://{addr}/")).body(http::empty()).unwrap();
        assert_eq!(client.send(request, short).await.unwrap_err().code, want);
    }
}
