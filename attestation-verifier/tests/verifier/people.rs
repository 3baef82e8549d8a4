//! People who administer, what they come in by, and the issuer and authority that vouch for them.

use crate::world::{START, World};
use axum::Router;
use axum::routing::get;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strongroom_jose::TokenSigner;
use strongroom_transport::{HttpClient, ServeLimits, ServerIdentity, ServerTrust, bind, serve, server_config};

/// What tokens say in `iss` and `aud`.
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "strongroom";

/// Somebody who calls.
pub(crate) struct Person {
    pub(crate) http: HttpClient,
    pub(crate) token: Option<String>,
}

impl Person {
    /// Who has nothing to show.
    pub(crate) fn nobody(world: &World) -> Self {
        Self { http: HttpClient::new(&trust(world), false).unwrap(), token: None }
    }

    pub(crate) fn with_token(world: &World, token: String) -> Self {
        Self { token: Some(token), ..Self::nobody(world) }
    }
}

fn trust(world: &World) -> ServerTrust {
    ServerTrust::Pin(world.identity.pin.0)
}

/// An authority whose certificates name people, from 2027-01-01 to 2027-02-01.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = dated();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The holder of a fresh certificate with this URI.
    pub(crate) fn person(&self, world: &World, uri: &str) -> Person {
        let mut params = dated();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        let identity = ServerIdentity::load_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Person { http: HttpClient::named(&identity, &trust(world)).unwrap(), token: None }
    }
}

fn dated() -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 1), date_time_ymd(2027, 2, 1));
    params
}

/// Claims of a token of [`ISSUER`] that lasts an hour.
pub(crate) fn claims(subject: &str, groups: &[&str]) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "groups": groups, "iat": START, "exp": START + 3600 })
}

/// An issuer that serves its keys over TLS, and counts how often it is asked for them.
pub(crate) struct Provider {
    pub(crate) url: String,
    pub(crate) ca: String,
    set: Arc<Mutex<Value>>,
    asked: Arc<AtomicU64>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let identity = ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        let (set, asked) = (Arc::new(Mutex::new(json!({ "keys": [] }))), Arc::new(AtomicU64::new(0)));
        let (served, counted) = (Arc::clone(&set), Arc::clone(&asked));
        let route = get(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            core::future::ready(served.lock().unwrap().to_string())
        });
        let bound = bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/jwks", bound.local_addr().port());
        let (router, tls) = (Router::new().route("/jwks", route), server_config(&identity).unwrap());
        tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), core::future::pending()));
        Self { url, ca: identity.certificate_pem(), set, asked }
    }

    /// Signs with these keys from now on.
    pub(crate) fn publish(&self, signers: &[&TokenSigner]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.set.lock().unwrap() = json!({ "keys": keys });
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}
