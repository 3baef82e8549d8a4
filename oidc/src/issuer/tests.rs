use super::*;
use axum::Router;
use axum::routing::get;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strongroom_jose::TokenSigner;
use strongroom_transport::{ServeLimits, ServerIdentity, ServerTrust, bind, serve, server_config};

const NOW: u64 = 1_800_000_000;

fn expected() -> Expected {
    Expected {
        issuer: "https://i".into(),
        audience: "a".into(),
        algorithms: vec![Algorithm::Es256],
        types: None,
        groups_claim: "groups".into(),
        claims: Vec::new(),
    }
}

fn token(signer: &TokenSigner, now: u64) -> String {
    let claims = json!({"iss": "https://i", "aud": "a", "sub": "s", "iat": now, "exp": now + 60});
    signer.sign(&claims).unwrap()
}

#[test]
fn subject_is_short_and_can_be_read() {
    assert!(is_subject("248289761001") && is_subject(&"ä".repeat(255)));
    assert!(!is_subject("") && !is_subject(&"a".repeat(256)) && !is_subject("a\nb"));
}

#[test]
fn certificate_that_a_token_is_bound_to_accepted_and_any_other_proof_refused() {
    let (own, other) = (Sha256([1; 32]), Sha256([2; 32]));
    let stated = json!({"x5t#S256": strongroom_wire::bytes::to_base64url(&own.0)});
    let code = |cnf: Option<&Value>, shown| is_bound(cnf, shown).map_err(|refusal| refusal.code);
    assert_eq!(code(None, None), Ok(false));
    assert_eq!(code(None, Some(own)), Ok(false));
    assert_eq!(code(Some(&stated), Some(own)), Ok(true));
    assert_eq!(code(Some(&stated), Some(other)), Err(Code::TokenInvalid));
    assert_eq!(code(Some(&stated), None), Err(Code::TokenInvalid));
    assert_eq!(code(Some(&json!({"jkt": "t"})), Some(own)), Err(Code::TokenInvalid));
    assert_eq!(code(Some(&json!({"x5t#S256": "="})), Some(own)), Err(Code::TokenInvalid));
    let mut both = stated.clone();
    both["jkt"] = "t".into();
    assert_eq!(code(Some(&both), Some(own)), Err(Code::TokenInvalid), "bound to something else, too");
}

#[test]
fn keys_over_plain_http_or_at_no_address_refused() {
    let code = |url: &str| {
        let source = Source::At { url: url.into(), trust: ServerTrust::WebPki };
        Issuer::new(expected(), source).err().map(|refusal| refusal.code)
    };
    assert_eq!(code("https://i/jwks"), None);
    for wrong in ["http://i/jwks", "", "/jwks"] {
        assert_eq!(code(wrong), Some(Code::ConfigurationInvalid), "{wrong}");
    }
}

/// An issuer that serves its keys over TLS, and counts how often it is asked.
struct Provider {
    source: Source,
    set: Arc<Mutex<Value>>,
    asked: Arc<AtomicU64>,
}

impl Provider {
    async fn start() -> Self {
        let identity = ServerIdentity::generate(&[]).unwrap();
        let (set, asked) = (Arc::new(Mutex::new(json!({}))), Arc::new(AtomicU64::new(0)));
        let (served, counted) = (Arc::clone(&set), Arc::clone(&asked));
        let route = get(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            core::future::ready(served.lock().unwrap().to_string())
        });
        let bound = bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/jwks", bound.local_addr());
        let (router, tls) = (Router::new().route("/jwks", route), server_config(&identity).unwrap());
        tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), core::future::pending()));
        Self { source: Source::At { url, trust: ServerTrust::Pin(identity.spki_sha256()) }, set, asked }
    }

    fn publish(&self, signers: &[&TokenSigner]) {
        *self.set.lock().unwrap() = json!({"keys": signers.iter().map(|one| one.jwk()).collect::<Vec<_>>()});
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn keys_are_fetched_when_a_token_names_another_and_not_more_than_once_a_minute() {
    let (provider, [one, two]) = (Provider::start().await, [(), ()].map(|()| TokenSigner::generate().unwrap()));
    let issuer = Issuer::new(expected(), provider.source.clone()).unwrap();
    let accepted = async |signer: &TokenSigner, now: u64| issuer.subject(&token(signer, now), None, now).await.is_ok();
    assert!(!accepted(&one, NOW).await, "an answer that is no set");
    provider.publish(&[&one]);
    assert!(!accepted(&one, NOW + 59).await);
    assert!(accepted(&one, NOW + 60).await);
    assert_eq!(provider.asked(), 2);
    assert!(accepted(&one, NOW + 61).await && !accepted(&two, NOW + 61).await);
    assert_eq!(provider.asked(), 2, "not asked again at once");
    provider.publish(&[&one, &two]);
    assert!(accepted(&two, NOW + 120).await);
    assert_eq!(provider.asked(), 3);
}

#[tokio::test]
async fn keys_that_cannot_be_had_again_are_believed_for_a_working_day() {
    let (provider, one) = (Provider::start().await, TokenSigner::generate().unwrap());
    provider.publish(&[&one]);
    let issuer = Issuer::new(expected(), provider.source.clone()).unwrap();
    let accepted = async |now: u64| issuer.subject(&token(&one, now), None, now).await.is_ok();
    assert!(accepted(NOW).await);
    *provider.set.lock().unwrap() = json!("out of order");
    let day = 8 * 60 * 60;
    assert!(accepted(NOW + day - 1).await && provider.asked() == 2);
    assert!(!accepted(NOW + day).await);
}

#[tokio::test]
async fn keys_arrive_though_whoever_asked_for_them_first_goes_away() {
    let (provider, one) = (Provider::start().await, TokenSigner::generate().unwrap());
    provider.publish(&[&one]);
    let issuer = Issuer::new(expected(), provider.source.clone()).unwrap();
    let token = token(&one, NOW);
    tokio::select! {
        biased;
        _ = issuer.subject(&token, None, NOW) => panic!("keys without a question"),
        () = core::future::ready(()) => {}
    }
    assert!(issuer.subject(&token, None, NOW).await.is_ok());
    assert_eq!(provider.asked(), 1);
}
