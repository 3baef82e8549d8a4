//! JWE and tokens from both ends, and everything in between that somebody might change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests"
)]

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use strongroom_jose::{
    Algorithm, RecipientKey, SKEW, TeeKey, TokenSigner, TokenVerifier, Types, encrypt, thumbprint, verify_passport,
};
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::kbs::{Jwe, TeePubKey};
use strongroom_wire::{Code, limits};

fn flipped(text: &str, byte: usize) -> String {
    let mut bytes = from_base64url(text, "test").unwrap();
    bytes[byte] ^= 1;
    to_base64url(&bytes)
}

fn header(jwe: &Jwe) -> Value {
    serde_json::from_slice(&from_base64url(&jwe.protected, "test").unwrap()).unwrap()
}

fn with_header(jwe: &Jwe, header: &Value) -> Jwe {
    Jwe { protected: to_base64url(header.to_string().as_bytes()), ..jwe.clone() }
}

#[test]
fn resource_opens_with_the_key_it_was_encrypted_to() {
    for key in [TeeKey::generate_p256().unwrap(), TeeKey::generate_p521().unwrap()] {
        for resource in [&b""[..], b"s", &[7; 32], &[9; limits::RESOURCE]] {
            let jwe = encrypt(resource, key.public()).unwrap();
            assert_eq!(key.decrypt(&jwe).unwrap().as_slice(), resource);
        }
    }
}

#[test]
fn resource_does_not_open_with_another_key() {
    let (key, other) = (TeeKey::generate_p256().unwrap(), TeeKey::generate_p256().unwrap());
    let jwe = encrypt(b"secret", key.public()).unwrap();
    assert_eq!(other.decrypt(&jwe).unwrap_err().code, Code::WrappedKeyInvalid);
}

#[test]
fn resource_over_the_limit_refused() {
    let key = TeeKey::generate_p256().unwrap();
    assert_eq!(encrypt(&[0; limits::RESOURCE + 1], key.public()).unwrap_err().code, Code::TooLarge);
    let jwe = Jwe { ciphertext: "A".repeat(limits::KBS_ANSWER), ..encrypt(b"", key.public()).unwrap() };
    assert_eq!(key.decrypt(&jwe).unwrap_err().code, Code::TooLarge);
}

/// The form that Confidential Containers' client computes its AAD from: it serialises the parsed header again.
#[test]
fn header_is_the_text_that_serde_gives_the_peer() {
    let key = TeeKey::generate_p256().unwrap();
    let jwe = encrypt(b"secret", key.public()).unwrap();
    let text = String::from_utf8(from_base64url(&jwe.protected, "test").unwrap()).unwrap();
    let (start, rest) =
        text.split_at(r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":""#.len());
    assert_eq!(start, r#"{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":""#);
    assert_eq!(rest.len(), 43 + r#"","y":""#.len() + 43 + r#""}}"#.len());
}

#[test]
fn every_changed_part_of_an_encrypted_resource_refused() {
    let key = TeeKey::generate_p256().unwrap();
    let jwe = encrypt(b"secret", key.public()).unwrap();
    assert!(key.decrypt(&jwe).is_ok());
    for changed in [
        Jwe { encrypted_key: flipped(&jwe.encrypted_key, 0), ..jwe.clone() },
        Jwe { encrypted_key: String::new(), ..jwe.clone() },
        Jwe { iv: flipped(&jwe.iv, 11), ..jwe.clone() },
        Jwe { iv: String::new(), ..jwe.clone() },
        Jwe { ciphertext: flipped(&jwe.ciphertext, 5), ..jwe.clone() },
        Jwe { ciphertext: String::new(), ..jwe.clone() },
        Jwe { tag: flipped(&jwe.tag, 0), ..jwe.clone() },
        Jwe { tag: jwe.tag[..20].to_owned(), ..jwe.clone() },
        Jwe { tag: String::new(), ..jwe.clone() },
        Jwe { tag: format!("{}=", jwe.tag), ..jwe.clone() },
        Jwe { protected: String::new(), ..jwe.clone() },
    ] {
        assert_eq!(key.decrypt(&changed).unwrap_err().code, Code::WrappedKeyInvalid, "{changed:?}");
    }
}

#[test]
fn header_with_the_same_meaning_in_other_characters_refused() {
    let key = TeeKey::generate_p256().unwrap();
    let jwe = encrypt(b"secret", key.public()).unwrap();
    let spaced = serde_json::to_string_pretty(&header(&jwe)).unwrap();
    let jwe = Jwe { protected: to_base64url(spaced.as_bytes()), ..jwe };
    assert_eq!(key.decrypt(&jwe).unwrap_err().code, Code::WrappedKeyInvalid);
}

#[test]
fn header_that_chooses_another_algorithm_or_key_refused() {
    let key = TeeKey::generate_p256().unwrap();
    let jwe = encrypt(b"secret", key.public()).unwrap();
    for (member, value) in [
        ("alg", json!("dir")),
        ("alg", json!("RSA1_5")),
        ("enc", json!("A128GCM")),
        ("epk", json!(null)),
        ("epk", json!({"kty": "EC", "crv": "P-521", "x": "", "y": ""})),
        ("epk", json!({"kty": "OKP", "crv": "P-256", "x": "", "y": ""})),
        ("crit", json!(["exp"])),
        ("zip", json!("DEF")),
        ("apu", json!("QWxpY2U")),
    ] {
        let mut changed = header(&jwe);
        changed[member] = value;
        let refusal = key.decrypt(&with_header(&jwe, &changed)).unwrap_err();
        assert_eq!(refusal.code, Code::WrappedKeyInvalid, "{changed}");
        // By the header itself, not because it no longer authenticates.
        assert!(!refusal.what.contains("belong together"), "{refusal}");
    }
}

#[test]
fn ephemeral_key_beside_the_curve_refused_before_any_agreement() {
    let key = TeeKey::generate_p256().unwrap();
    let jwe = encrypt(b"secret", key.public()).unwrap();
    let mut changed = header(&jwe);
    changed["epk"]["y"] = json!(flipped(changed["epk"]["y"].as_str().unwrap(), 31));
    let refusal = key.decrypt(&with_header(&jwe, &changed)).unwrap_err();
    assert_eq!(refusal.code, Code::WrappedKeyInvalid);
    assert!(refusal.what.contains("not a point"), "{refusal}");
}

#[test]
fn guest_s_key_beside_the_curve_or_of_another_curve_refused() {
    let key = TeeKey::generate_p256().unwrap();
    let TeePubKey::Ec { crv, alg, x, y } = key.public().clone() else { panic!("not EC") };
    let with = |crv: &str, alg: &str, x: &str, y: &str| {
        RecipientKey::parse(&TeePubKey::Ec { crv: crv.into(), alg: alg.into(), x: x.into(), y: y.into() })
            .map(drop)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(with(&crv, &alg, &x, &y), Ok(()));
    assert_eq!(with(&crv, &alg, &x, &flipped(&y, 31)), Err(Code::KeyInvalid));
    let zero = to_base64url(&[0; 32]);
    assert_eq!(with(&crv, &alg, &zero, &zero), Err(Code::KeyInvalid));
    assert_eq!(with("P-521", &alg, &x, &y), Err(Code::KeyInvalid));
    assert_eq!(with("P-384", &alg, &x, &y), Err(Code::KeyInvalid));
    assert_eq!(with(&crv, "ECDH-ES", &x, &y), Err(Code::KeyInvalid));
    assert_eq!(with(&crv, &alg, &x[1..], &y), Err(Code::KeyInvalid));
}

fn rsa() -> (PrivateDecryptingKey, TeePubKey) {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let der = private.as_der().unwrap();
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(der.as_ref()).unwrap();
    // RSAPublicKey (RFC 8017 A.1.1) of a 2048-bit key: nine bytes of headers, the modulus, a header, the exponent.
    let der = pair.public_key().as_ref();
    let (n, e) = (to_base64url(&der[9..265]), to_base64url(&der[267..]));
    (private, TeePubKey::Rsa { alg: "RSA-OAEP-256".into(), n, e })
}

#[test]
fn resource_for_an_rsa_key_opens_with_it() {
    let (private, public) = rsa();
    let jwe = encrypt(b"secret", &public).unwrap();
    assert_eq!(header(&jwe), json!({"alg": "RSA-OAEP-256", "enc": "A256GCM"}));

    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let mut key = vec![0; private.min_output_size()];
    let wrapped = from_base64url(&jwe.encrypted_key, "test").unwrap();
    let key = private.decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut key, None).unwrap();
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, key).unwrap();
    let iv: [u8; 12] = from_base64url(&jwe.iv, "test").unwrap().try_into().unwrap();
    let mut text = from_base64url(&(jwe.ciphertext.clone()), "test").unwrap();
    text.extend(from_base64url(&jwe.tag, "test").unwrap());
    let opened = aws_lc_rs::aead::LessSafeKey::new(key)
        .open_in_place(
            aws_lc_rs::aead::Nonce::assume_unique_for_key(iv),
            aws_lc_rs::aead::Aad::from(jwe.protected.as_bytes()),
            &mut text,
        )
        .unwrap();
    assert_eq!(opened, b"secret");
}

#[test]
fn rsa_key_that_is_short_or_asks_for_pkcs1_refused() {
    let (_, public) = rsa();
    let TeePubKey::Rsa { n, e, .. } = public else { panic!("not RSA") };
    let with = |alg: &str, n: &str, e: &str| {
        RecipientKey::parse(&TeePubKey::Rsa { alg: alg.into(), n: n.into(), e: e.into() })
            .map(drop)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(with("RSA-OAEP-256", &n, &e), Ok(()));
    assert_eq!(with("RSA1_5", &n, &e), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP", &n, &e), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", &n, &to_base64url(&[1])), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", &n, &to_base64url(&[0xff; 4])), Ok(()));
    assert_eq!(with("RSA-OAEP-256", &n, &to_base64url(&[1, 0, 1, 0x5d, 0xd7])), Err(Code::KeyInvalid));
    let mut even = from_base64url(&n, "n").unwrap();
    *even.last_mut().unwrap() ^= 1;
    assert_eq!(with("RSA-OAEP-256", &to_base64url(&even), &e), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", &n, &to_base64url(&[0, 0, 1])), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", &n, &to_base64url(&[1, 0, 0])), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", &to_base64url(&[0xff; 128]), &e), Err(Code::KeyInvalid));
    assert_eq!(with("RSA-OAEP-256", "", ""), Err(Code::KeyInvalid));
}

// ── Tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const NOW: u64 = 1_800_000_000;

fn claims() -> Value {
    json!({ "aud": "a", "iat": NOW, "exp": NOW + 300, "sub": "s" })
}

fn signed_by_hand(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let input =
        format!("{}.{}", to_base64url(header.to_string().as_bytes()), to_base64url(claims.to_string().as_bytes()));
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", to_base64url(signature.as_ref()))
}

fn pair_and_verifier() -> (EcdsaKeyPair, TokenVerifier) {
    let signer = TokenSigner::generate().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &signer.to_pkcs8().unwrap()).unwrap();
    (pair, TokenVerifier::new(signer.spki_der()).unwrap())
}

fn code(result: strongroom_wire::Result<Value>) -> Result<Value, Code> {
    result.map_err(|refusal| refusal.code)
}

#[test]
fn token_of_a_kind_that_is_asked_for_accepted_and_of_another_refused() {
    let (pair, verifier) = pair_and_verifier();
    let of = |typ: Option<&str>, types: Types<'_>| {
        let mut header = json!({ "alg": "ES256" });
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        code(verifier.verify_typed(&signed_by_hand(&pair, &header, &claims()), NOW, "a", types))
    };
    let [access, id] = ["at+jwt", "JWT"].map(|name| [name.to_owned()]);
    for typ in [None, Some("JWT"), Some("anything")] {
        assert_eq!(of(typ, Types::Any), Ok(claims()), "{typ:?}");
    }
    for (typ, types) in
        [(Some("application/AT+jwt"), &access), (Some("at+jwt"), &access), (None, &id), (Some("jwt"), &id)]
    {
        assert_eq!(of(typ, Types::OneOf(types)), Ok(claims()), "{typ:?}");
    }
    for (typ, types) in [(None, &access), (Some("JWT"), &access), (Some("at+jwt"), &id), (Some("logout+jwt"), &id)] {
        assert_eq!(of(typ, Types::OneOf(types)), Err(Code::TokenInvalid), "{typ:?}");
    }
}

#[test]
fn token_of_the_issuer_accepted_and_of_another_refused() {
    let signer = TokenSigner::generate().unwrap();
    let again = TokenSigner::from_pkcs8(&signer.to_pkcs8().unwrap()).unwrap();
    let verifier = TokenVerifier::new(again.spki_der()).unwrap();
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(code(verifier.verify(&token, NOW, "a")), Ok(claims()));
    let foreign = TokenSigner::generate().unwrap().sign(&claims()).unwrap();
    assert_eq!(code(verifier.verify(&foreign, NOW, "a")), Err(Code::TokenInvalid));
}

#[test]
fn token_outside_its_time_or_for_another_audience_refused() {
    let (pair, verifier) = pair_and_verifier();
    let token = signed_by_hand(&pair, &json!({"alg": "ES256"}), &claims());
    for now in [NOW - SKEW, NOW, NOW + 299] {
        assert!(verifier.verify::<Value>(&token, now, "a").is_ok(), "{now}");
    }
    for now in [0, NOW - SKEW - 1, NOW + 300, u64::MAX] {
        assert_eq!(code(verifier.verify(&token, now, "a")), Err(Code::TokenInvalid), "{now}");
    }
    assert_eq!(code(verifier.verify(&token, NOW, "b")), Err(Code::TokenInvalid));
    for missing in ["aud", "iat", "exp"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(missing);
        let token = signed_by_hand(&pair, &json!({"alg": "ES256"}), &claims);
        assert_eq!(code(verifier.verify(&token, NOW, "a")), Err(Code::TokenInvalid), "{missing}");
    }
}

#[test]
fn token_with_another_algorithm_or_a_critical_extension_refused() {
    let (pair, verifier) = pair_and_verifier();
    assert!(verifier.verify::<Value>(&signed_by_hand(&pair, &json!({"alg": "ES256"}), &claims()), NOW, "a").is_ok());
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES384"}),
        json!({"alg": "es256"}),
        json!({}),
        json!({"alg": "ES256", "crit": ["b64"], "b64": false}),
    ] {
        let token = signed_by_hand(&pair, &header, &claims());
        assert_eq!(code(verifier.verify(&token, NOW, "a")), Err(Code::TokenInvalid), "{header}");
    }
    let unsigned = format!("{}.{}.", to_base64url(br#"{"alg":"none"}"#), to_base64url(claims().to_string().as_bytes()));
    assert_eq!(code(verifier.verify(&unsigned, NOW, "a")), Err(Code::TokenInvalid));
}

/// The classic confusion: HMAC with the public key as its secret.
#[test]
fn token_under_hmac_of_the_public_key_refused() {
    let signer = TokenSigner::generate().unwrap();
    let verifier = TokenVerifier::new(signer.spki_der()).unwrap();
    let input = format!("{}.{}", to_base64url(br#"{"alg":"HS256"}"#), to_base64url(claims().to_string().as_bytes()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, signer.spki_der());
    let token = format!("{input}.{}", to_base64url(aws_lc_rs::hmac::sign(&key, input.as_bytes()).as_ref()));
    assert_eq!(code(verifier.verify(&token, NOW, "a")), Err(Code::TokenInvalid));
}

#[test]
fn token_that_brings_its_own_key_is_verified_with_ours() {
    let (_, verifier) = pair_and_verifier();
    let stranger = TokenSigner::generate().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &stranger.to_pkcs8().unwrap()).unwrap();
    assert_eq!(pair.public_key().as_ref().len(), 65);
    let header = json!({"alg": "ES256", "jwk": stranger.jwk()});
    let token = signed_by_hand(&pair, &header, &claims());
    assert_eq!(code(verifier.verify(&token, NOW, "a")), Err(Code::TokenInvalid));
    let own = TokenVerifier::new(stranger.spki_der()).unwrap();
    assert_eq!(code(own.verify(&token, NOW, "a")), Ok(claims()));
}

#[test]
fn every_flipped_byte_of_a_token_refused() {
    let (pair, verifier) = pair_and_verifier();
    let token = signed_by_hand(&pair, &json!({"alg": "ES256"}), &claims());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(code(verifier.verify(&changed, NOW, "a")), Err(Code::TokenInvalid), "byte {at}");
    }
    for at in 0..token.len() {
        assert_eq!(code(verifier.verify(&token[..at], NOW, "a")), Err(Code::TokenInvalid), "{at} bytes");
    }
    assert_eq!(code(verifier.verify(&format!("{token}A"), NOW, "a")), Err(Code::TokenInvalid));
}

#[test]
fn key_set_names_the_key_by_the_thumbprint_in_the_header() {
    let signer = TokenSigner::generate().unwrap();
    let key = &signer.jwk();
    let member = |name: &str| key[name].as_str().unwrap().to_owned();
    let jwk = TeePubKey::Ec { crv: member("crv"), alg: member("alg"), x: member("x"), y: member("y") };
    assert_eq!(member("kid"), thumbprint(&jwk).unwrap());
    let token = signer.sign(&claims()).unwrap();
    let header: Value =
        serde_json::from_slice(&from_base64url(token.split('.').next().unwrap(), "test").unwrap()).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": member("kid"), "typ": "JWT"}));
}

#[test]
fn token_is_verified_with_the_key_of_the_set_that_it_names() {
    let (one, two) = (TokenSigner::generate().unwrap(), TokenSigner::generate().unwrap());
    let set = |keys: Vec<Value>| TokenVerifier::of_jwks(json!({"keys": keys}).to_string().as_bytes());
    let both = set(vec![one.jwk(), json!({"kty": "RSA", "kid": "r", "n": "AQ", "e": "AQAB"}), two.jwk()]).unwrap();
    for signer in [&one, &two] {
        assert_eq!(code(both.verify(&signer.sign(&claims()).unwrap(), NOW, "a")), Ok(claims()));
    }
    // Changed over: the key of before is out of the set.
    let after = set(vec![two.jwk()]).unwrap();
    assert_eq!(code(after.verify(&one.sign(&claims()).unwrap(), NOW, "a")), Err(Code::TokenInvalid));
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &two.to_pkcs8().unwrap()).unwrap();
    for header in [json!({"alg": "ES256"}), json!({"alg": "ES256", "kid": "other"})] {
        assert_eq!(code(after.verify(&signed_by_hand(&pair, &header, &claims()), NOW, "a")), Err(Code::TokenInvalid));
    }
}

#[test]
fn key_set_without_a_key_for_tokens_or_with_too_many_refused() {
    let key = TokenSigner::generate().unwrap().jwk();
    let code = |set: Value| TokenVerifier::of_jwks(set.to_string().as_bytes()).err().map(|refusal| refusal.code);
    assert_eq!(code(json!({"keys": vec![key.clone(); 16]})), None);
    assert_eq!(code(json!({"keys": vec![key.clone(); 17]})), Some(Code::TooLarge));
    assert_eq!(code(json!({"keys": []})), Some(Code::KeyInvalid));
    let mut off = key.clone();
    off["y"] = off["x"].clone();
    assert_eq!(code(json!({"keys": [off]})), Some(Code::KeyInvalid));
    let mut nameless = key;
    nameless.as_object_mut().unwrap().remove("kid");
    assert_eq!(code(json!({"keys": [nameless]})), Some(Code::KeyInvalid));
    assert_eq!(code(json!([])), Some(Code::Malformed));
    let long = vec![b' '; limits::JWKS + 1];
    assert_eq!(TokenVerifier::of_jwks(&long).unwrap_err().code, Code::TooLarge);
}

/// A token by hand: `sign` makes the signature.
fn token_by(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input =
        format!("{}.{}", to_base64url(header.to_string().as_bytes()), to_base64url(claims.to_string().as_bytes()));
    format!("{input}.{}", to_base64url(&sign(input.as_bytes())))
}

/// An issuer with a key of each kind, its set, and its tokens by each.
struct Issuer {
    ec: TokenSigner,
    rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    const ALL: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa];

    fn generate() -> Self {
        Self {
            ec: TokenSigner::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn rsa_jwk(&self) -> Value {
        // RSAPublicKey (RFC 8017 §A.1.1): two heads and a zero, then 2048 bits.
        let n = &self.rsa.public_key().as_ref()[9..265];
        json!({"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": to_base64url(n), "e": "AQAB"})
    }

    fn ed_jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": to_base64url(self.ed.public_key().as_ref())})
    }

    fn verifier(&self, algorithms: &[Algorithm]) -> TokenVerifier {
        let set = json!({"keys": [self.ec.jwk(), self.rsa_jwk(), self.ed_jwk()]});
        TokenVerifier::of_issuer(set.to_string().as_bytes(), algorithms).unwrap()
    }

    fn sign_rsa(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    fn by_rsa(&self, alg: &str) -> String {
        token_by(&json!({"alg": alg, "kid": "rsa"}), &claims(), |message| self.sign_rsa(message))
    }

    fn by_ed(&self, alg: &str) -> String {
        token_by(&json!({"alg": alg, "kid": "ed"}), &claims(), |message| self.ed.sign(message).as_ref().to_vec())
    }
}

#[test]
fn token_by_each_kind_of_key_accepted_where_it_is_named_and_refused_where_it_is_not() {
    let issuer = Issuer::generate();
    let tokens = [issuer.ec.sign(&claims()).unwrap(), issuer.by_rsa("RS256"), issuer.by_ed("EdDSA")];
    let all = issuer.verifier(&Issuer::ALL);
    for (token, algorithm) in tokens.iter().zip(Issuer::ALL) {
        assert_eq!(code(all.verify(token, NOW, "a")), Ok(claims()), "{algorithm:?}");
        assert!(all.knows_key_of(token));
        let others: Vec<_> = Issuer::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let without = issuer.verifier(&others);
        assert_eq!(code(without.verify(token, NOW, "a")), Err(Code::TokenInvalid), "{algorithm:?}");
        assert!(!without.knows_key_of(token), "{algorithm:?}");
        let mut changed = token.clone();
        let last = changed.pop().unwrap();
        let at = changed.len() - 20;
        changed.replace_range(at..=at, if changed[at..].starts_with('A') { "B" } else { "A" });
        changed.push(last);
        assert_eq!(code(all.verify(&changed, NOW, "a")), Err(Code::TokenInvalid), "{algorithm:?}");
    }
    assert!(all.knows_key_of("no token") && all.knows_key_of("!.!.!"), "nothing that could be asked for");
}

/// Each key is for the algorithm of its type: a header that names another one, or a public half that is taken for a secret, is nothing.
#[test]
fn token_that_confuses_the_kinds_of_keys_refused() {
    let issuer = Issuer::generate();
    let all = issuer.verifier(&Issuer::ALL);
    for alg in ["ES256", "EdDSA", "RS384", "PS256", "HS256", "none", "rs256"] {
        assert_eq!(code(all.verify(&issuer.by_rsa(alg), NOW, "a")), Err(Code::TokenInvalid), "{alg}");
    }
    for alg in ["ES256", "RS256", "Ed25519", "HS256", "none"] {
        assert_eq!(code(all.verify(&issuer.by_ed(alg), NOW, "a")), Err(Code::TokenInvalid), "{alg}");
    }
    let secrets =
        [to_base64url(issuer.ed.public_key().as_ref()).into_bytes(), issuer.rsa_jwk().to_string().into_bytes()];
    for (secret, kid) in secrets.iter().zip(["ed", "rsa"]) {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let sign = |message: &[u8]| aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec();
        let token = token_by(&json!({"alg": "HS256", "kid": kid}), &claims(), sign);
        assert_eq!(code(all.verify(&token, NOW, "a")), Err(Code::TokenInvalid), "{kid}");
    }
    // By one key under the name of another.
    let named = token_by(&json!({"alg": "RS256", "kid": "ed"}), &claims(), |message| issuer.sign_rsa(message));
    assert_eq!(code(all.verify(&named, NOW, "a")), Err(Code::TokenInvalid));
}

#[test]
fn keys_that_are_weak_or_for_something_else_are_no_keys_of_an_issuer() {
    let issuer = Issuer::generate();
    let of = |change: &dyn Fn(&mut Value)| {
        let mut jwk = issuer.rsa_jwk();
        change(&mut jwk);
        let set = json!({"keys": [jwk]}).to_string();
        TokenVerifier::of_issuer(set.as_bytes(), &Issuer::ALL).err().map(|refusal| refusal.code)
    };
    assert_eq!(of(&|_| ()), None);
    for (name, value) in [
        ("e", json!("AQ")),
        ("e", json!("Aw")),
        ("n", json!(to_base64url(&[0xff; 128]))),
        ("n", json!(to_base64url(&[0xff; 1025]))),
        ("n", json!("")),
        ("use", json!("enc")),
        ("alg", json!("PS256")),
        ("kty", json!("oct")),
    ] {
        assert_eq!(of(&|jwk| jwk[name] = value.clone()), Some(Code::KeyInvalid), "{name} {value}");
    }
}

#[test]
fn token_before_its_own_beginning_refused() {
    let (pair, verifier) = pair_and_verifier();
    let mut claims = claims();
    claims["nbf"] = json!(NOW + 100);
    let token = signed_by_hand(&pair, &json!({"alg": "ES256"}), &claims);
    assert_eq!(code(verifier.verify(&token, NOW + 100 - SKEW, "a")), Ok(claims));
    assert_eq!(code(verifier.verify(&token, NOW + 99 - SKEW, "a")), Err(Code::TokenInvalid));
}

#[test]
fn passport_is_good_for_the_key_it_is_about_for_five_minutes_and_where_all_is_affirmed() {
    let (issuer, holder) = (TokenSigner::generate().unwrap(), TokenSigner::generate().unwrap());
    let verifier = TokenVerifier::new(issuer.spki_der()).unwrap();
    let claims = |lasts: u64, status: &str, jkt: &str| {
        json!({
            "eat_profile": "p", "iss": "i", "aud": "a", "sub": "s", "jti": "j", "iat": NOW, "exp": NOW + lasts,
            "root": "amd", "cnf": {"jkt": jkt}, "ear.verifier-id": {"developer": "d", "build": "b"},
            "submods": {"cpu0": {
                "ear.status": status, "ear.trustworthiness-vector": {}, "ear.appraisal-policy-id": "p",
                "ear.veraison.annotated-evidence": {
                    "report_data": "", "init_data": "", "snp": {},
                    "runtime_data_claims": {
                        "additional-evidence": "", "nonce": "", "tee-pubkey": {"kty": "RSA", "alg": "", "n": "", "e": ""},
                    },
                },
            }},
        })
    };
    let judged = |claims: &Value| {
        let token = issuer.sign(claims).unwrap();
        verify_passport(&verifier, &token, "a", NOW, holder.spki_der()).map(drop).map_err(|refusal| refusal.code)
    };
    let sound = claims(300, "affirming", holder.kid());
    assert_eq!(judged(&sound), Ok(()));
    let mut nothing = sound;
    nothing["submods"] = json!({});
    for refused in [
        claims(301, "affirming", holder.kid()),
        claims(300, "warning", holder.kid()),
        claims(300, "none", holder.kid()),
        claims(300, "affirming", issuer.kid()),
        nothing,
    ] {
        assert_eq!(judged(&refused), Err(Code::TokenInvalid), "{refused}");
    }
}

#[test]
fn token_key_that_is_not_a_p256_key_refused() {
    let signer = TokenSigner::generate().unwrap();
    let mut changed = signer.spki_der().to_vec();
    assert!(TokenVerifier::new(&changed).is_ok());
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(TokenVerifier::new(&changed).unwrap_err().code, Code::KeyInvalid);
    assert_eq!(TokenVerifier::new(&[]).unwrap_err().code, Code::KeyInvalid);
    assert_eq!(TokenSigner::from_pkcs8(b"no key").unwrap_err().code, Code::KeyInvalid);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    assert_eq!(format!("{:?}", TeeKey::generate_p256().unwrap()), "TeeKey");
    let signer = TokenSigner::generate().unwrap();
    assert!(format!("{signer:?}").starts_with("TokenSigner { kid: "));
}

proptest! {
    #[test]
    fn arbitrary_tokens_never_panic(token in "\\PC*", parts in prop::array::uniform3(".*")) {
        let verifier = TokenVerifier::new(TokenSigner::generate().unwrap().spki_der()).unwrap();
        prop_assert!(verifier.verify::<Value>(&token, NOW, "a").is_err());
        let parts = parts.map(|part| to_base64url(part.as_bytes())).join(".");
        prop_assert!(verifier.verify::<Value>(&parts, NOW, "a").is_err());
    }

    #[test]
    fn arbitrary_jwe_never_panics(protected: Vec<u8>, texts in prop::array::uniform4(".{0,60}"), keep: bool) {
        let key = TeeKey::generate_p256().unwrap();
        let honest = encrypt(b"secret", key.public()).unwrap();
        let [encrypted_key, iv, ciphertext, tag] = texts.map(|text| to_base64url(text.as_bytes()));
        let protected = if keep { honest.protected } else { to_base64url(&protected) };
        let jwe = Jwe { protected, encrypted_key, iv, ciphertext, tag };
        prop_assert!(key.decrypt(&jwe).is_err());
    }

    #[test]
    fn arbitrary_keys_never_panic(texts in prop::array::uniform4(".{0,100}")) {
        let [crv, alg, x, y] = texts;
        let _ = encrypt(b"", &TeePubKey::Ec { crv: crv.clone(), alg, x: x.clone(), y: y.clone() });
        let known = TeePubKey::Ec { crv: "P-256".into(), alg: "ECDH-ES+A256KW".into(), x: x.clone(), y: y.clone() };
        prop_assert!(encrypt(b"", &known).is_err());
        let rsa = TeePubKey::Rsa { alg: "RSA-OAEP-256".into(), n: x, e: y };
        prop_assert!(encrypt(b"", &rsa).is_err());
    }
}
