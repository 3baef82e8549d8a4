use super::super::tests::access_at;
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use strongroom_jose::TokenSigner;
use strongroom_wire::bytes::to_base64url;
use strongroom_wire::deployment::Access as Stated;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
}

async fn authenticate(change: impl FnOnce(&mut Stated), values: &[&str]) -> Result<Authenticated> {
    let clock = Clock::of(|| NOW);
    let access = access_at(clock.clone(), change);
    access.credentials.authenticate(&headers(values), None, &clock).await
}

/// The key of an issuer, and what a document says of that one.
struct Provider(TokenSigner);

impl Provider {
    fn new() -> Self {
        Self(TokenSigner::generate().unwrap())
    }

    fn stated(&self) -> deployment::Issuer {
        let text = format!("issuer = '{ISSUER}'\naudience = 'embed'\njwks = '''{}'''", json!({"keys": [self.0.jwk()]}));
        strongroom_wire::document::parse_toml(text.as_bytes(), "issuer", 1 << 16, Code::Malformed).unwrap()
    }

    /// A token of this header and these claims.
    fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": "ES256", "kid": self.0.kid()});
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        let input = [header, claims.clone()].map(|part| to_base64url(part.to_string().as_bytes())).join(".");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.to_pkcs8().unwrap()).unwrap();
        let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", to_base64url(signature.as_ref()))
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": ["embed"], "sub": "alice", "iat": NOW - 10, "exp": NOW + 600, "groups": ["ops"]})
}

/// What a token of these claims comes to, with an issuer that `change` made another.
async fn token(change: impl FnOnce(&mut deployment::Issuer), typ: Option<&str>, with: Value) -> Result<Authenticated> {
    let provider = Provider::new();
    let mut claims = claims();
    for (name, value) in with.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let token = provider.sign(typ, &claims);
    let mut issuer = provider.stated();
    change(&mut issuer);
    let stated = |access: &mut Stated| (access.policies, access.issuers) = (Some(String::new()), vec![issuer]);
    authenticate(stated, &[&format!("Bearer {token}")]).await
}

async fn refused(with: Value) -> String {
    let refusal = token(|_| (), Some("at+jwt"), with.clone()).await.unwrap_err();
    assert_eq!(refusal.code, Code::Unauthenticated, "{with}");
    refusal.to_string()
}

#[tokio::test]
async fn bearer_key_of_a_principal_accepted() {
    for (value, name) in [("Bearer key-of-app", "app"), ("bearer  key-of-other ", "other")] {
        let identity = authenticate(|_| (), &[value]).await.unwrap().identity;
        assert_eq!((identity.kind(), identity.name()), (IdentityKind::ApiKey, name));
    }
}

#[tokio::test]
async fn unknown_absent_doubled_and_other_credentials_refused_alike() {
    let mut refused = Vec::new();
    for values in [
        &["Bearer key-of-apq"][..],
        &["Bearer key-of-ap"],
        &["Bearer "],
        &["Bearer"],
        &["Basic key-of-app"],
        &["key-of-app"],
        &[],
        &["Bearer key-of-app", "Bearer key-of-app"],
        &["Bearer a.b.c"],
    ] {
        refused.push(authenticate(|_| (), values).await.unwrap_err());
    }
    assert!(refused.iter().all(|refusal| refusal.code == Code::Unauthenticated && *refusal == refused[0]));
    assert!(!refused[0].to_string().contains("key-of"));
}

#[tokio::test]
async fn hash_of_a_key_is_not_a_key() {
    let hash = strongroom_wire::digest::Sha256::of(b"key-of-app");
    let refusal = authenticate(|_| (), &[&format!("Bearer {hash}")]).await.unwrap_err();
    assert_eq!(refusal.code, Code::Unauthenticated);
}

#[tokio::test]
async fn token_of_an_issuer_names_its_subject_with_groups_and_claims() {
    let asked = |issuer: &mut deployment::Issuer| issuer.claims = ["azp".to_owned(), "scope".to_owned()].into();
    let with = json!({"azp": "client", "email": "nobody asked"});
    let authenticated = token(asked, Some("at+jwt"), with).await.unwrap();
    assert_eq!(authenticated.identity, Identity::new(IdentityKind::Subject, "https://issuer.example#alice"));
    assert_eq!((authenticated.groups, authenticated.certificate), (vec!["ops".to_owned()], false));
    assert_eq!(authenticated.claims, BTreeMap::from([("azp".to_owned(), "client".to_owned())]));
}

#[tokio::test]
async fn token_of_another_audience_issuer_time_or_about_nobody_refused() {
    assert!(token(|_| (), Some("at+jwt"), json!({"aud": "embed", "nbf": NOW})).await.is_ok());
    for (with, named) in [
        (json!({"aud": "other"}), "aud"),
        (json!({"exp": NOW}), "expired"),
        (json!({"nbf": NOW + 61}), "not valid yet"),
        (json!({"iat": NOW + 61}), "iat"),
        (json!({"exp": NOW + 12 * 60 * 60}), "exp"),
        (json!({"sub": ""}), "sub"),
        (json!({"sub": null}), "sub"),
        (json!({"events": {}}), "events"),
        (json!({"groups": 7}), "groups"),
        (json!({"groups": vec!["g"; 257]}), "groups"),
        (json!({"groups": ["g".repeat(1025)]}), "groups"),
    ] {
        let said = refused(with).await;
        assert!(said.contains(named), "{said}");
    }
    // One that names another issuer is no token of this one, and no key either.
    let other = refused(json!({"iss": "https://other.example"})).await;
    assert!(other.contains("bearer key"), "{other}");
}

#[tokio::test]
async fn token_that_is_for_something_else_refused() {
    let of = async |types: &[&str], typ: Option<&str>| {
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        token(|issuer| issuer.types = types, typ, json!({})).await.is_ok()
    };
    assert!(of(&["at+jwt"], Some("at+jwt")).await && of(&["at+jwt"], Some("application/AT+JWT")).await);
    assert!(!of(&["at+jwt"], Some("JWT")).await && !of(&["at+jwt"], None).await, "an ID token");
    assert!(of(&["JWT"], None).await && of(&["jwt"], Some("JWT")).await && !of(&["JWT"], Some("logout+jwt")).await);
}

#[tokio::test]
async fn token_by_another_key_or_an_algorithm_that_is_not_the_issuer_s_refused() {
    let only = |algorithm| move |issuer: &mut deployment::Issuer| issuer.algorithms = [algorithm].into();
    assert!(token(only(TokenAlgorithm::Es256), Some("at+jwt"), json!({})).await.is_ok());
    let (one, other) = (Provider::new(), Provider::new());
    let issuer = one.stated();
    let stated = |access: &mut Stated| (access.policies, access.issuers) = (Some(String::new()), vec![issuer]);
    let token = other.sign(Some("at+jwt"), &claims());
    let refusal = authenticate(stated, &[&format!("Bearer {token}")]).await.unwrap_err();
    assert_eq!(refusal.code, Code::Unauthenticated);
    // A document whose issuer has no key for what it may sign by is refused as a whole.
    let mut issuer = one.stated();
    issuer.algorithms = [TokenAlgorithm::Rs256].into();
    let refusal = super::issuer(&issuer).unwrap_err();
    assert_eq!(refusal.code, Code::KeyInvalid);
}

#[tokio::test]
async fn token_that_is_bound_to_a_certificate_names_nobody_without_it() {
    for cnf in [json!({"x5t#S256": to_base64url(&[1; 32])}), json!({"jkt": "thumbprint"}), json!({}), json!(7)] {
        let said = refused(json!({"cnf": cnf})).await;
        assert!(said.contains("cnf"), "{said}");
    }
}

#[tokio::test]
async fn token_refused_where_nobody_knows_what_time_it_is() {
    let clock = Clock::of(|| NOW - 1000);
    clock.raise(NOW);
    let provider = Provider::new();
    let (issuer, token) = (provider.stated(), provider.sign(Some("at+jwt"), &claims()));
    let access = access_at(clock.clone(), |access| {
        (access.policies, access.issuers) = (Some(String::new()), vec![issuer]);
    });
    let authenticate = async |value: &str| access.credentials.authenticate(&headers(&[value]), None, &clock).await;
    assert_eq!(authenticate(&format!("Bearer {token}")).await.unwrap_err().code, Code::ClockBehind);
    assert!(authenticate("Bearer key-of-app").await.is_ok(), "a key hangs on no time");
}
