//! JOSE: tokens, encrypted resources and keys. What was changed is never taken for what was signed or encrypted.

use super::super::mutation::Script;
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_jose::{RecipientKey, TeeKey, TokenSigner, TokenVerifier, encrypt, thumbprint};
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::kbs::{Jwe, TeePubKey};

/// Seconds since 1970 at which the token is verified.
const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "strongroom-kbs";
/// What is encrypted.
const SECRET: [u8; 32] = [0x5e; 32];

static SIGNER: LazyLock<TokenSigner> = LazyLock::new(|| TokenSigner::generate().unwrap());
static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| TokenVerifier::new(SIGNER.spki_der()).unwrap());
static KEYS: LazyLock<[TeeKey; 2]> =
    LazyLock::new(|| [TeeKey::generate_p256().unwrap(), TeeKey::generate_p521().unwrap()]);
static SEALED: LazyLock<[Jwe; 2]> =
    LazyLock::new(|| [0, 1].map(|curve| encrypt(&SECRET, KEYS[curve].public()).unwrap()));

pub fn run(input: &[u8]) {
    super::choose(input, &[token, changed_token, changed_payload, jwe, changed_jwe, key, verifier_key]);
}

fn claims() -> Value {
    json!({"aud": AUDIENCE, "iat": NOW, "exp": NOW + 300, "sub": "somebody"})
}

fn verify(token: &[u8]) -> Option<Value> {
    VERIFIER.verify(core::str::from_utf8(token).ok()?, NOW, AUDIENCE).ok()
}

fn token(input: &[u8]) {
    assert!(verify(input).is_none(), "a token of nobody's");
}

/// A valid token as text.
fn changed_token(input: &[u8]) {
    let sound = SIGNER.sign(&claims()).unwrap();
    let mut token = [sound.clone().into_bytes()];
    Script::new(input).change(&mut token, &[sound.as_bytes()]);
    assert!(verify(&token[0]).is_none_or(|got| got == claims()));
}

/// A valid token's three parts, decoded and encoded again; the header may say anything, also `none`.
fn changed_payload(input: &[u8]) {
    let sound = SIGNER.sign(&claims()).unwrap();
    let mut parts: Vec<Vec<u8>> = sound.split('.').map(|part| from_base64url(part, "part").unwrap()).collect();
    let header = parts[0].clone();
    Script::new(input).change(&mut parts, &[br#"{"alg":"none"}"#, br#"{"alg":"HS256"}"#, &header]);
    let token = parts.iter().map(|part| to_base64url(part)).collect::<Vec<_>>().join(".");
    assert!(verify(token.as_bytes()).is_none_or(|got| got == claims()));
}

fn jwe(input: &[u8]) {
    let Ok(jwe) = serde_json::from_slice::<Jwe>(input) else { return };
    assert!(KEYS.iter().all(|key| key.decrypt(&jwe).is_err()), "a resource of nobody's");
}

fn changed_jwe(input: &[u8]) {
    let mut script = Script::new(input);
    let curve = usize::from(script.byte() % 2);
    let sealed = &SEALED[curve];
    let texts = [&sealed.protected, &sealed.encrypted_key, &sealed.iv, &sealed.ciphertext, &sealed.tag];
    let mut parts: Vec<Vec<u8>> = texts.map(|text| from_base64url(text, "part").unwrap()).into();
    let others: Vec<Vec<u8>> = parts.clone();
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    script.change(&mut parts, &others);
    let mut texts = parts.into_iter().map(|part| to_base64url(&part).into_bytes()).collect::<Vec<_>>();
    script.change(&mut texts, &others);
    let mut texts = texts.into_iter().map(|text| String::from_utf8_lossy(&text).into_owned());
    let mut next = || texts.next().unwrap();
    let (protected, encrypted_key, iv, ciphertext, tag) = (next(), next(), next(), next(), next());
    let jwe = Jwe { protected, encrypted_key, iv, ciphertext, tag };
    if KEYS[curve].decrypt(&jwe).is_ok() {
        assert_eq!(jwe, *sealed, "opened after it was changed");
    }
    assert!(KEYS[1 - curve].decrypt(&jwe).is_err(), "opened with another key");
}

fn key(input: &[u8]) {
    let Ok(key) = serde_json::from_slice::<TeePubKey>(input) else { return };
    let _ = thumbprint(&key);
    if let Ok(recipient) = RecipientKey::parse(&key) {
        let jwe = recipient.encrypt(&SECRET).unwrap();
        assert!(KEYS.iter().all(|key| key.decrypt(&jwe).is_err()));
    }
}

fn verifier_key(input: &[u8]) {
    if TokenVerifier::new(input).is_ok() {
        assert_eq!(input.len(), SIGNER.spki_der().len());
    }
}
