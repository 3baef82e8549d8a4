//! Signed CoRIM: what one of us wrote the other reads, the RFC's own example verifies, and one changed thing is refused.

use super::corim::{code, import, values};
use ::corim::cbor::value::Value;
use ::corim::types::corim::{CorimMetaMap, CorimSignerMap};
use ::corim::types::signed::{CoseAlgorithm, CwtClaims, SignedCorimBuilder, decode_and_validate_signed_corim_at};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use std::sync::LazyLock;
use strongroom_appraisal::{CorimPlatform, DocumentKey, ReferenceValues};
use strongroom_wire::{Code, Result};

/// Within the validity of the values, which is 990 to 1010.
const NOW: u64 = 1_000;

/// What signs with `r ‖ s`, as COSE has it, and in ASN.1 DER, as keys of ours do.
struct Signer {
    key: DocumentKey,
    fixed: Signing,
    der: Signing,
}

type Signing = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

fn ecdsa(der: &'static EcdsaSigningAlgorithm, fixed: &'static EcdsaSigningAlgorithm) -> Signer {
    let pair = EcdsaKeyPair::generate(der).unwrap();
    let twin = EcdsaKeyPair::from_pkcs8(fixed, pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
    let sign = |pair: EcdsaKeyPair| move |m: &[u8]| pair.sign(&SystemRandom::new(), m).unwrap().as_ref().to_vec();
    Signer {
        key: DocumentKey::from_der(pair.public_key().as_der().unwrap().as_ref()).unwrap(),
        fixed: Box::new(sign(twin)),
        der: Box::new(sign(pair)),
    }
}

fn p256() -> Signer {
    ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &signature::ECDSA_P256_SHA256_FIXED_SIGNING)
}

fn p384() -> Signer {
    ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, &signature::ECDSA_P384_SHA384_FIXED_SIGNING)
}

fn ed25519() -> Signer {
    let pair = || Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key = DocumentKey::from_der(pair().public_key().as_der().unwrap().as_ref()).unwrap();
    let sign = |pair: Ed25519KeyPair| move |message: &[u8]| pair.sign(message).as_ref().to_vec();
    Signer { key, fixed: Box::new(sign(pair())), der: Box::new(sign(pair())) }
}

static PUBLISHER: LazyLock<Signer> = LazyLock::new(p256);

fn written(by: &Signer) -> Vec<u8> {
    let sign = |message: &[u8]| Ok((by.der)(message));
    values().to_signed_corim(CorimPlatform::Snp, &by.key, "publisher", sign).unwrap()
}

fn read(corim: &[u8], keys: &[&Signer], now: u64) -> Result<String> {
    let keys: Vec<_> = keys.iter().map(|signer| signer.key.clone()).collect();
    let (read, signer) = ReferenceValues::from_signed_corim(corim, &keys, &import(&[]), now)?;
    let (issued, expires) = (read.issued, read.expires);
    assert_eq!(read, ReferenceValues { tdx: None, issued, expires, ..values() });
    assert!(keys.iter().any(|key| key.fingerprint() == signer.key));
    Ok(signer.name)
}

fn refusal(corim: &[u8], now: u64) -> Option<Code> {
    read(corim, &[&PUBLISHER], now).err().map(|refusal| refusal.code)
}

fn content() -> Vec<u8> {
    values().to_corim(CorimPlatform::Snp).unwrap()
}

fn meta() -> CorimMetaMap {
    let signer =
        CorimSignerMap { signer_name: "another".to_owned(), signer_uri: Some("https://example.com".to_owned()) };
    CorimMetaMap { signer, signature_validity: None }
}

/// An independent writer's, signed by the publisher after `change`.
fn of_another(algorithm: CoseAlgorithm, change: impl FnOnce(SignedCorimBuilder) -> SignedCorimBuilder) -> Vec<u8> {
    let mut builder = change(SignedCorimBuilder::new(algorithm, content()));
    let signature = (PUBLISHER.fixed)(&builder.to_be_signed(&[]).unwrap());
    builder.build_with_signature(signature).unwrap()
}

#[test]
fn corim_signed_by_each_kind_of_key_accepted_and_by_another_key_refused() {
    let p521 = ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING, &signature::ECDSA_P521_SHA512_FIXED_SIGNING);
    let stranger = p256();
    for signer in [p256(), p384(), p521, ed25519()] {
        let corim = written(&signer);
        assert_eq!(read(&corim, &[&signer], NOW).unwrap(), "publisher");
        assert_eq!(read(&corim, &[&stranger, &signer], NOW).unwrap(), "publisher");
        for others in [&[&stranger][..], &[]] {
            assert_eq!(read(&corim, others, NOW).unwrap_err().code, Code::SignatureInvalid);
        }
    }
}

#[test]
fn independent_reader_sees_signer_validity_and_the_same_signed_bytes() {
    let (envelope, payload) = decode_and_validate_signed_corim_at(&written(&PUBLISHER), None, 1_000).unwrap();
    let meta = envelope.protected().corim_meta.clone().unwrap();
    let validity = meta.signature_validity.unwrap();
    assert_eq!(meta.signer.signer_name, "publisher");
    assert_eq!(validity.not_before.map(|moment| moment.epoch_secs()), Some(990));
    assert_eq!((validity.not_after.epoch_secs(), payload.comids.len()), (1_010, 2));
    assert_eq!(envelope.protected().kid.as_deref(), Some(PUBLISHER.key.fingerprint().0.as_slice()));
    let pair = p384();
    let (envelope, _) = decode_and_validate_signed_corim_at(&written(&pair), None, 1_000).unwrap();
    assert_eq!((envelope.protected().alg, envelope.signature.len()), (CoseAlgorithm::Es384, 96));
    assert!(decode_and_validate_signed_corim_at(&written(&pair), None, 1_011).is_err());
}

#[test]
fn independent_writer_s_corim_accepted_under_the_algorithm_s_old_and_new_name() {
    for algorithm in [CoseAlgorithm::Es256, CoseAlgorithm::Esp256] {
        let with_meta = of_another(algorithm, |builder| builder.set_corim_meta(meta()));
        assert_eq!(read(&with_meta, &[&PUBLISHER], NOW).unwrap(), "another");
        let with_claims = of_another(algorithm, |builder| builder.set_cwt_claims(CwtClaims::new("issuer")));
        assert_eq!(read(&with_claims, &[&PUBLISHER], NOW).unwrap(), "issuer");
    }
    for algorithm in [CoseAlgorithm::Es384, CoseAlgorithm::EdDsa, CoseAlgorithm::Unknown(0)] {
        let misnamed = of_another(algorithm, |builder| builder.set_corim_meta(meta()));
        assert_eq!(refusal(&misnamed, NOW), Some(Code::SignatureInvalid), "{algorithm}");
    }
}

#[test]
fn signature_accepted_within_its_validity_and_refused_a_second_outside() {
    let ours = written(&PUBLISHER);
    let claims = CwtClaims::new("issuer").with_nbf(990).with_exp(1_011);
    let claims = of_another(CoseAlgorithm::Es256, |builder| builder.set_cwt_claims(claims));
    for corim in [ours, claims] {
        assert_eq!([990, 1_010].map(|now| refusal(&corim, now)), [None, None]);
        assert_eq!(refusal(&corim, 989), Some(Code::ReferenceValuesNotYetValid));
        assert_eq!(refusal(&corim, 1_011), Some(Code::ReferenceValuesExpired));
    }
    // Beside metadata that never ends, claims that do.
    let both = |claims: CwtClaims| {
        of_another(CoseAlgorithm::Es256, |builder| builder.set_corim_meta(meta()).set_cwt_claims(claims))
    };
    assert_eq!(refusal(&both(CwtClaims::new("another").with_exp(1_001)), NOW), None);
    assert_eq!(refusal(&both(CwtClaims::new("another").with_exp(1_000)), NOW), Some(Code::ReferenceValuesExpired));
    for odd in [0, -1] {
        let odd = both(CwtClaims::new("another").with_exp(odd));
        assert_eq!(refusal(&odd, NOW), Some(Code::ReferenceValuesInvalid));
    }
}

#[test]
fn what_is_imported_is_valid_within_content_and_signature_and_no_longer_whatever_the_caller_says() {
    let keys = [PUBLISHER.key.clone()];
    let signed = of_another(CoseAlgorithm::Es256, |builder| {
        builder.set_cwt_claims(CwtClaims::new("issuer").with_nbf(995).with_exp(2_000))
    });
    let read = |validity, now| {
        let import = strongroom_appraisal::CorimImport { validity, ..import(&[]) };
        let read = ReferenceValues::from_signed_corim(&signed, &keys, &import, now);
        read.map(|(values, _)| (values.issued, values.expires)).map_err(|refusal| refusal.code)
    };
    assert_eq!([read(None, NOW), read(Some((995, 1_010)), NOW)], [Ok((995, 1_010)); 2]);
    for beyond in [(994, 1_010), (995, 1_011)] {
        assert_eq!(read(Some(beyond), NOW), Err(Code::ReferenceValuesInvalid));
    }
    // The content ends before its signature.
    assert_eq!(read(Some((995, 1_010)), 1_011), Err(Code::ReferenceValuesExpired));
}

#[test]
fn header_that_names_two_signers_refused() {
    let both = |issuer: &str| {
        let claims = CwtClaims::new(issuer);
        refusal(&of_another(CoseAlgorithm::Es256, |builder| builder.set_corim_meta(meta()).set_cwt_claims(claims)), NOW)
    };
    assert_eq!((both("another"), both("issuer")), (None, Some(Code::ReferenceValuesInvalid)));
}

#[test]
fn header_with_one_thing_wrong_refused_though_its_signature_holds() {
    let with = |change: &dyn Fn(SignedCorimBuilder) -> SignedCorimBuilder| {
        refusal(&of_another(CoseAlgorithm::Es256, |builder| change(builder.set_corim_meta(meta()))), NOW)
    };
    assert_eq!(with(&|builder| builder), None);
    // A label that nobody calls critical may be unknown.
    assert_eq!(with(&|builder| builder.add_protected(1_000_i64, Value::Bool(true))), None);
    assert_eq!(with(&|builder| builder.add_unprotected(Value::Integer(1_000), Value::Bool(true))), None);
    let invalid = Some(Code::ReferenceValuesInvalid);
    assert_eq!(with(&|builder| builder.set_content_type("application/cbor")), invalid);
    assert_eq!(with(&|builder| builder.add_protected(2_i64, Value::Array(vec![Value::Integer(8)]))), invalid);
    for name in ["", "a\u{1b}[2J"] {
        let named = CorimSignerMap { signer_name: name.to_owned(), signer_uri: None };
        let meta = CorimMetaMap { signer: named, signature_validity: None };
        assert_eq!(with(&|builder| builder.set_corim_meta(meta.clone())), invalid, "{name:?}");
    }
    let twice = with(&|builder| builder.add_unprotected(Value::Integer(4), Value::Bytes(vec![1])).kid(vec![2]));
    assert_eq!(twice, Some(Code::Malformed), "one label in both headers");
}

#[test]
fn content_that_is_detached_or_hashed_or_unsigned_refused() {
    let mut builder = SignedCorimBuilder::new(CoseAlgorithm::Es256, content()).set_corim_meta(meta());
    let signature = (PUBLISHER.fixed)(&builder.to_be_signed(&[]).unwrap());
    let detached = builder.build_detached_with_signature(signature).unwrap();
    assert_eq!(refusal(&detached, NOW), Some(Code::Malformed));
    assert_eq!(refusal(&content(), NOW), Some(Code::Malformed), "not signed at all");
    assert_eq!(
        code(&written(&PUBLISHER), &import(&[])),
        Some(Code::ReferenceValuesInvalid),
        "signed, where nobody verifies"
    );
    assert!(ReferenceValues::is_signed_corim(&written(&PUBLISHER)));
    assert!(!ReferenceValues::is_signed_corim(&content()) && !ReferenceValues::is_signed_corim(b""));
}

#[test]
fn signature_is_verified_before_the_content_is_read() {
    let signed = |by: &Signer| {
        let mut builder =
            SignedCorimBuilder::new(CoseAlgorithm::Es256, b"no CBOR \xff".to_vec()).set_corim_meta(meta());
        let signature = (by.fixed)(&builder.to_be_signed(&[]).unwrap());
        builder.build_with_signature(signature).unwrap()
    };
    assert_eq!(refusal(&signed(&p256()), NOW), Some(Code::SignatureInvalid));
    assert_eq!(refusal(&signed(&PUBLISHER), NOW), Some(Code::Malformed));
}

#[test]
fn every_changed_byte_and_every_cut_refused() {
    let corim = written(&PUBLISHER);
    for at in 0..corim.len() {
        let mut changed = corim.clone();
        changed[at] ^= 1;
        let code = refusal(&changed, NOW);
        assert!(matches!(code, Some(Code::SignatureInvalid | Code::Malformed)), "{at}: {code:?}");
        assert_eq!(refusal(&corim[..at], NOW), Some(Code::Malformed), "{at}");
    }
    let longer = [corim.as_slice(), &[0]].concat();
    assert_eq!(refusal(&longer, NOW), Some(Code::Malformed));
}

#[test]
fn nothing_is_written_under_another_key_s_signature_or_a_name_that_cannot_be_shown() {
    let (stranger, write) = (p256(), |name: &str, by: &Signer| {
        let sign = |message: &[u8]| Ok((by.der)(message));
        values().to_signed_corim(CorimPlatform::Snp, &PUBLISHER.key, name, sign).map_err(|refusal| refusal.code)
    });
    assert!(write("publisher", &PUBLISHER).is_ok());
    assert_eq!(write("publisher", &stranger).unwrap_err(), Code::KeyInvalid);
    assert_eq!(write("a\nb", &PUBLISHER).unwrap_err(), Code::ReferenceValuesInvalid);
    let not_der = values().to_signed_corim(CorimPlatform::Snp, &PUBLISHER.key, "a", |_| Ok(vec![0; 64]));
    assert_eq!(not_der.unwrap_err().code, Code::KeyInvalid);
}

/// RFC 9052, appendix C.2.1: ES256 over `This is the content.`, which is no CoRIM.
#[test]
fn signature_of_the_rfc_s_example_verifies_and_a_changed_one_does_not() {
    let example = hex::decode(
        "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c0831\
         06c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36",
    )
    .unwrap();
    let spki = hex::decode(
        "3059301306072a8648ce3d020106082a8648ce3d030107034200\
         04bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff\
         20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e",
    )
    .unwrap();
    let keys = [DocumentKey::from_der(&spki).unwrap()];
    let code = |corim: &[u8]| ReferenceValues::from_signed_corim(corim, &keys, &import(&[]), NOW).unwrap_err().code;
    assert_eq!(code(&example), Code::ReferenceValuesInvalid, "its content type");
    let mut changed = example.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(code(&changed), Code::SignatureInvalid);
    let message = hex::decode("846a5369676e61747572653143a101264054546869732069732074686520636f6e74656e742e").unwrap();
    let point = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &spki[26..]);
    assert!(point.verify(&message, &example[example.len() - 64..]).is_ok());
}
