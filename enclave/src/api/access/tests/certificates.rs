//! Certificates and what is bound to them, over TLS.

use super::*;
use core::time::Duration;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::Value;
use strongroom_jose::TokenSigner;
use strongroom_svid::Bundle;
use strongroom_transport::http::full;
use strongroom_transport::{
    HttpClient, ServeLimits, ServerIdentity, ServerTrust, bind, read_body, serve, server_config_asking,
};
use strongroom_wire::bytes::to_base64url;
use strongroom_wire::spiffe::TrustDomain;
use tokio::sync::oneshot;

/// The authority of a trust domain.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Somebody with a key and a certificate.
struct Bearer {
    identity: ServerIdentity,
    thumbprint: Sha256,
}

impl Authority {
    fn new(domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn domain(&self, name: &str) -> deployment::TrustedDomain {
        let name = TrustDomain::parse(name).unwrap();
        let bundle = Bundle::new(name.clone(), vec![self.0.der().to_vec()], 1, 300).to_json().unwrap();
        deployment::TrustedDomain { name, bundle: String::from_utf8(bundle).unwrap() }
    }

    fn issue(&self, uri: &str, purpose: ExtendedKeyUsagePurpose) -> Bearer {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let identity = ServerIdentity::load_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Bearer { identity, thumbprint: Sha256::of(certificate.der()) }
    }

    fn client(&self, uri: &str) -> Bearer {
        self.issue(uri, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// An enclave's API behind TLS that asks for certificates; it ends with this.
struct Served {
    url: String,
    trust: ServerTrust,
    _stop: oneshot::Sender<()>,
}

impl Served {
    async fn with(change: impl FnOnce(&mut deployment::Access)) -> Self {
        let server = ServerIdentity::generate(&[]).unwrap();
        let bound = bind("127.0.0.1:0").await.unwrap();
        let (url, trust) = (format!("https://{}", bound.local_addr()), ServerTrust::Pin(server.spki_sha256()));
        let (stop, stopped) = oneshot::channel::<()>();
        let tls = server_config_asking(&server).unwrap();
        tokio::spawn(serve(bound, Some(tls), router(change), ServeLimits::default(), async { drop(stopped.await) }));
        Self { url, trust, _stop: stop }
    }

    /// What a request for an embedding comes to.
    async fn ask(&self, bearer: Option<&Bearer>, authorization: Option<&str>) -> (u16, String) {
        let http = match bearer {
            Some(bearer) => HttpClient::named(&bearer.identity, &self.trust).unwrap(),
            None => HttpClient::new(&self.trust, false).unwrap(),
        };
        let mut request = Request::post(format!("{}/v1/embeddings", self.url));
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = http.send(request.body(full(ASK)).unwrap(), Duration::from_secs(20)).await.unwrap();
        let status = answer.status().as_u16();
        let body = read_body(answer.into_body(), 1 << 20, "answer").await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body["error"]["code"].as_str().unwrap_or("ok").to_owned())
    }
}

const PERMIT: &str = r#"
    @id("workloads") permit (principal in Strongroom::Folder::"spiffe://a.test/apps", action, resource) when { context.certificate };
    @id("keys") permit (principal is Strongroom::ApiKey, action, resource);
    @id("people") permit (principal is Strongroom::Subject, action, resource);
"#;

/// An API for workloads of `a.test`, whose authority this is.
async fn served(authority: &Authority) -> Served {
    let domain = authority.domain("a.test");
    Served::with(move |access| {
        (access.policies, access.trust_domains) = (Some(PERMIT.into()), vec![domain]);
    })
    .await
}

fn unauthenticated() -> (u16, String) {
    said(401, "unauthenticated")
}

#[tokio::test]
async fn workload_of_a_trust_domain_served_and_one_that_no_policy_permits_not() {
    let authority = Authority::new("a.test");
    let served = served(&authority).await;
    let [indexer, other] = ["spiffe://a.test/apps/indexer", "spiffe://a.test/other"].map(|uri| authority.client(uri));
    assert_eq!(served.ask(Some(&indexer), None).await, said(200, "ok"));
    assert_eq!(served.ask(Some(&other), None).await, said(403, "policy-denied"));
    assert_eq!(served.ask(None, None).await, unauthenticated());
}

#[tokio::test]
async fn certificate_of_another_authority_domain_or_purpose_refused() {
    let (authority, stranger) = (Authority::new("a.test"), Authority::new("a.test"));
    let served = served(&authority).await;
    let id = "spiffe://a.test/apps/indexer";
    assert_eq!(served.ask(Some(&authority.client(id)), None).await, said(200, "ok"));
    assert_eq!(served.ask(Some(&stranger.client(id)), None).await, unauthenticated());
    assert_eq!(served.ask(Some(&authority.client("spiffe://b.test/apps/indexer")), None).await, unauthenticated());
    assert_eq!(served.ask(Some(&authority.client("https://a.test/apps/indexer")), None).await, unauthenticated());
    let server = authority.issue(id, ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(served.ask(Some(&server), None).await, unauthenticated());
}

#[tokio::test]
async fn two_credentials_that_name_two_refused_and_either_alone_accepted() {
    let authority = Authority::new("a.test");
    let served = served(&authority).await;
    let indexer = authority.client("spiffe://a.test/apps/indexer");
    assert_eq!(served.ask(Some(&indexer), None).await, said(200, "ok"));
    assert_eq!(served.ask(None, Some(KEY.1)).await, said(200, "ok"));
    assert_eq!(served.ask(Some(&indexer), Some(KEY.1)).await, unauthenticated());
    // Where the document knows nobody by certificates, one says nothing.
    let keys = Served::with(|_| ()).await;
    assert_eq!(keys.ask(Some(&indexer), Some(KEY.1)).await, said(200, "ok"));
    assert_eq!(keys.ask(Some(&indexer), None).await, unauthenticated());
}

#[tokio::test]
async fn token_that_is_bound_to_a_certificate_is_its_bearer_s_alone() {
    let (signer, authority) = (TokenSigner::generate().unwrap(), Authority::new("a.test"));
    let [alice, mallory] = ["alice", "mallory"].map(|name| authority.client(&format!("spiffe://a.test/apps/{name}")));
    let now = crate::clock::now();
    let text = format!(
        "issuer = 'https://i'\naudience = 'embed'\ntypes = ['JWT']\njwks = '''{}'''",
        json!({"keys": [signer.jwk()]})
    );
    let issuer = strongroom_wire::document::parse_toml(text.as_bytes(), "issuer", 1 << 16, Code::Malformed).unwrap();
    let domain = authority.domain("a.test");
    let served = Served::with(move |access| {
        (access.policies, access.issuers, access.trust_domains) = (Some(PERMIT.into()), vec![issuer], vec![domain]);
    })
    .await;
    let mut claims = json!({"iss": "https://i", "aud": "embed", "sub": "alice", "iat": now, "exp": now + 60});
    let free = format!("Bearer {}", signer.sign(&claims).unwrap());
    claims["cnf"] = json!({"x5t#S256": to_base64url(&alice.thumbprint.0)});
    let bound = format!("Bearer {}", signer.sign(&claims).unwrap());
    assert_eq!(served.ask(Some(&alice), Some(&bound)).await, said(200, "ok"));
    assert_eq!(served.ask(Some(&mallory), Some(&bound)).await, unauthenticated());
    assert_eq!(served.ask(None, Some(&bound)).await, unauthenticated());
    assert_eq!(served.ask(None, Some(&free)).await, said(200, "ok"));
    assert_eq!(served.ask(Some(&alice), Some(&free)).await, unauthenticated(), "two");
}
