//! Signatures by an identity, made by `@sigstore/sign` 4.1.1 against a local instance (`tests/peers/sigstore`), over a statement of
//! `cosign sign` about the digest 07…07. The instance's keys are gone; `keyless/trusted_root.json` is its root.
//!
//! `rekor-2.json` is Sigstore's own, of its staging instance and the second version of the log, over a statement that is not of
//! `cosign sign`: `a.dsse.staging-rekor-v2.txt.sigstore.json` of sigstore-python (71b63df, Apache-2.0).
//!
//! `stamped.json` has an RFC 3161 timestamp too, `other-predicate.json` is over an SBOM, `no-sct.json` is under a certificate that no
//! log vouches for, `stale.json` under one that ended a day before.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::path::Path;
use strongroom_artifact::ladder::{ManifestSignature, verify_manifest};
use strongroom_artifact::manifest::{ManifestBuilder, NewLayer};
use strongroom_artifact::{Credential, HashAlgorithm, Signers, SigningKey, TrustedRoot, cosign};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Identity, Rule, SignatureForm, Signer, TrustFile};
use strongroom_wire::{Code, Result};

const MANIFEST: Sha256 = Sha256([7; 32]);
const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "https://ci.example/acme/models/release@refs/tags/v1";

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keyless").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn root() -> Value {
    read("trusted_root.json")
}

fn identity(issuer: &str, subject: Option<&str>, pattern: Option<&str>) -> Identity {
    let [subject, subject_pattern] = [subject, pattern].map(|text| text.map(str::to_owned));
    Identity { issuer: issuer.into(), subject, subject_pattern }
}

fn verify_as(bundle: &Value, root: &Value, identity: Identity) -> Result<Credential> {
    let signers = Signers::of_identity(identity, TrustedRoot::parse(&root.to_string())?);
    cosign::verify_bundle_by(bundle.to_string().as_bytes(), &MANIFEST, &signers)
}

fn code(bundle: &Value, root: &Value) -> Option<Code> {
    verify_as(bundle, root, identity(ISSUER, Some(SUBJECT), None)).err().map(|refusal| refusal.code)
}

/// What is said of the bundle `name` after a change.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Option<Code> {
    let mut bundle = read(name);
    change(&mut bundle);
    code(&bundle, &root())
}

/// Another digit of base64 in the middle of a text.
fn flip(value: &mut Value) {
    let length = value.as_str().unwrap().len();
    flip_at(value, length / 2);
}

fn flip_at(value: &mut Value, at: usize) {
    let mut text = value.as_str().unwrap().to_owned();
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    text.replace_range(at..=at, other);
    *value = text.into();
}

#[test]
fn identity_that_was_vouched_for_accepted_and_another_one_or_issuer_refused() {
    let (bundle, root) = (read("good.json"), root());
    let want = Credential::Identity { issuer: ISSUER.into(), subject: SUBJECT.into() };
    assert_eq!(verify_as(&bundle, &root, identity(ISSUER, Some(SUBJECT), None)).unwrap(), want);
    let pattern = "https://ci.example/acme/*/release@refs/tags/*";
    assert_eq!(verify_as(&bundle, &root, identity(ISSUER, None, Some(pattern))).unwrap(), want);
    let refused = |identity| verify_as(&bundle, &root, identity).unwrap_err().code;
    let other = "https://ci.example/acme/models/release@refs/heads/main";
    assert_eq!(refused(identity(ISSUER, Some(other), None)), Code::SignerIdentityMismatch);
    assert_eq!(refused(identity(ISSUER, None, Some("https://ci.example/*"))), Code::SignerIdentityMismatch);
    assert_eq!(refused(identity("https://other.example", Some(SUBJECT), None)), Code::SignerIssuerMismatch);
}

#[test]
fn certificate_that_a_log_holds_accepted_and_without_its_word_or_of_another_authority_refused() {
    assert_eq!(changed("good.json", |_| ()), None);
    assert_eq!(changed("no-sct.json", |_| ()), Some(Code::SctInvalid));
    assert_eq!(
        changed("good.json", |bundle| flip(&mut bundle["verificationMaterial"]["certificate"]["rawBytes"])),
        Some(Code::SignerCertificateInvalid)
    );
    let mut stranger = root();
    // Some certificate of an authority, and not that of Fulcio.
    let other = stranger["timestampAuthorities"][0]["certChain"]["certificates"][1].clone();
    stranger["certificateAuthorities"][0]["certChain"]["certificates"][0] = other;
    assert_eq!(code(&read("good.json"), &stranger), Some(Code::SignerCertificateInvalid));
}

#[test]
fn certificate_valid_when_it_signed_accepted_and_ended_before_refused() {
    assert_eq!(changed("good.json", |_| ()), None);
    assert_eq!(changed("stale.json", |_| ()), Some(Code::SignerCertificateExpired));
}

#[test]
fn entry_of_the_log_accepted_and_none_a_broken_proof_promise_or_checkpoint_or_another_s_refused() {
    let entry = |change: fn(&mut Value)| {
        changed("good.json", |bundle| change(&mut bundle["verificationMaterial"]["tlogEntries"][0]))
    };
    assert_eq!(entry(|_| ()), None);
    let none = changed("good.json", |bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([]));
    assert_eq!(none, Some(Code::LogProofInvalid));
    assert_eq!(entry(|entry| flip(&mut entry["inclusionProof"]["rootHash"])), Some(Code::LogProofInvalid));
    assert_eq!(entry(|entry| entry["inclusionProof"]["treeSize"] = json!("2")), Some(Code::LogProofInvalid));
    assert_eq!(
        entry(|entry| flip(&mut entry["inclusionPromise"]["signedEntryTimestamp"])),
        Some(Code::LogEntryInvalid)
    );
    // The time is under the log's promise.
    assert_eq!(entry(|entry| entry["integratedTime"] = json!("1700000000")), Some(Code::LogEntryInvalid));
    assert_eq!(entry(|entry| flip(&mut entry["logId"]["keyId"])), Some(Code::LogEntryInvalid));
    let others = read("stamped.json")["verificationMaterial"]["tlogEntries"][0].clone();
    let another_s = changed("good.json", |bundle| bundle["verificationMaterial"]["tlogEntries"][0] = others);
    assert_eq!(another_s, Some(Code::LogEntryInvalid));
    // Another log of the same kind.
    let mut unknown = root();
    unknown["tlogs"][0] = unknown["ctlogs"][0].clone();
    assert_eq!(code(&read("good.json"), &unknown), Some(Code::LogEntryInvalid));
}

#[test]
fn timestamp_of_an_authority_accepted_and_changed_or_out_of_the_authority_s_time_refused() {
    let stamp = |change: &dyn Fn(&mut Value)| {
        changed("stamped.json", |bundle| {
            let all = &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
            change(&mut all[0]["signedTimestamp"]);
        })
    };
    // The authority's signature is at the end.
    let signature = |stamp: &mut Value| {
        let length = stamp.as_str().unwrap().len();
        flip_at(stamp, length - 20);
    };
    assert_eq!(changed("stamped.json", |_| ()), None);
    assert_eq!(stamp(&signature), Some(Code::TimestampInvalid));
    let mut outside = root();
    outside["timestampAuthorities"][0]["validFor"] =
        json!({"start": "2020-01-01T00:00:00Z", "end": "2020-02-01T00:00:00Z"});
    assert_eq!(code(&read("stamped.json"), &outside), Some(Code::TimestampOutsideValidity));
    assert_eq!(code(&read("good.json"), &outside), None, "it has no timestamp of that authority");
}

#[test]
fn signature_over_the_statement_accepted_and_over_another_payload_predicate_or_digest_refused() {
    let signature = changed("good.json", |bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"]));
    assert!(matches!(signature, Some(Code::SignatureInvalid | Code::LogEntryInvalid)), "{signature:?}");
    let payload = read("other-predicate.json")["dsseEnvelope"]["payload"].clone();
    let swapped = changed("good.json", |bundle| bundle["dsseEnvelope"]["payload"] = payload);
    assert_eq!(swapped, Some(Code::SignatureInvalid));
    // An SBOM by the right identity is no signature.
    assert_eq!(changed("other-predicate.json", |_| ()), Some(Code::SignatureInvalid));
    let signers =
        Signers::of_identity(identity(ISSUER, Some(SUBJECT), None), TrustedRoot::parse(&root().to_string()).unwrap());
    let bundle = read("good.json").to_string();
    let other = cosign::verify_bundle_by(bundle.as_bytes(), &Sha256([8; 32]), &signers).unwrap_err();
    assert_eq!(other.code, Code::SignatureInvalid);
}

#[test]
fn root_that_is_there_accepted_and_one_that_is_none_refused() {
    assert!(TrustedRoot::public().is_ok());
    for bad in ["", "{}", "[]", "{\"mediaType\":\"x\"}"] {
        assert_eq!(TrustedRoot::parse(bad).unwrap_err().code, Code::TrustedRootInvalid, "{bad}");
    }
    for member in ["certificateAuthorities", "ctlogs", "tlogs"] {
        let mut empty = root();
        empty[member] = json!([]);
        assert_eq!(TrustedRoot::parse(&empty.to_string()).unwrap_err().code, Code::TrustedRootInvalid, "{member}");
    }
    let mut broken = root();
    broken["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"] = json!("AAAA");
    assert_eq!(TrustedRoot::parse(&broken.to_string()).unwrap_err().code, Code::TrustedRootInvalid);
    // Signed against another instance than the public one.
    let signers = Signers::of_identity(identity(ISSUER, Some(SUBJECT), None), TrustedRoot::public().unwrap());
    assert!(cosign::verify_bundle_by(read("good.json").to_string().as_bytes(), &MANIFEST, &signers).is_err());
}

/// A plain model of one file, its digest, and a rule for it.
fn model(signers: Vec<Signer>) -> (Vec<u8>, Sha256, TrustFile) {
    let mut builder = ManifestBuilder::new(None, HashAlgorithm::Sha256);
    let (digest, size) = (Sha256([1; 32]), 3);
    builder.push(NewLayer { path: "a".into(), part: 1, parts: 1, plain_size: size, digest, size });
    let manifest = builder.build().unwrap().manifest;
    let trust = TrustFile { trusted_root: Some(root().to_string()), rules: vec![Rule::new("h/m", signers)] };
    (manifest.raw().to_vec(), manifest.digest(), trust)
}

#[test]
fn model_signed_by_key_and_in_a_form_that_is_allowed_accepted_and_in_another_form_refused() {
    let key = SigningKey::generate().unwrap();
    let named = Signer::with_identity("ci", identity(ISSUER, Some(SUBJECT), None));
    let (manifest, digest, mut trust) = model(vec![named, Signer::with_key("release", key.public().pem())]);
    let by_key = ManifestSignature::Bundle(cosign::sign_manifest(&digest, &key, &[].into()).unwrap());
    let by_another_s_identity = ManifestSignature::Bundle(read("good.json").to_string().into_bytes());
    let signatures = [by_another_s_identity.clone(), by_key];
    let judge = |signatures: &[ManifestSignature], trust: &TrustFile| {
        verify_manifest(&manifest, &digest, "h/m", signatures, trust)
            .and_then(|signed| signed.promoted(0))
            .map(|trusted| trusted.signers())
    };
    assert_eq!(judge(&signatures, &trust).unwrap(), ["release"]);
    // The right identity, about another manifest.
    let alone = judge(&[by_another_s_identity], &trust).unwrap_err();
    assert_eq!(alone.code, Code::SignatureInvalid);
    trust.rules[0].forms = vec![SignatureForm::Sig];
    assert_eq!(judge(&signatures, &trust).unwrap_err().code, Code::SignatureFormRefused);
}

/// Sigstore's staging instance, whose log is of the second version.
fn staging() -> Value {
    serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT).unwrap()
}

/// What the staging instance's root says of its bundle after a change.
fn rekor_2(change: impl FnOnce(&mut Value)) -> Option<Code> {
    rekor_2_under(&staging(), change)
}

fn rekor_2_under(root: &Value, change: impl FnOnce(&mut Value)) -> Option<Code> {
    let mut bundle = read("rekor-2.json");
    change(&mut bundle["verificationMaterial"]);
    let verified = TrustedRoot::parse(&root.to_string()).unwrap().verify_made(bundle.to_string().as_bytes());
    verified.err().map(|refusal| refusal.code)
}

#[test]
fn entry_of_the_log_s_second_version_accepted_by_its_checkpoint_alone_and_with_none_or_a_broken_one_refused() {
    let entry = |change: fn(&mut Value)| rekor_2(|material| change(&mut material["tlogEntries"][0]));
    // It has no promise, which is what the first version signs.
    assert_eq!(entry(|entry| assert!(entry["inclusionPromise"].is_null())), None);
    assert_eq!(rekor_2(|material| material["tlogEntries"] = json!([])), Some(Code::LogProofInvalid));
    assert_eq!(entry(|entry| drop(entry["inclusionProof"].take())), Some(Code::LogProofInvalid));
    let bare = entry(|entry| drop(entry["inclusionProof"].as_object_mut().unwrap().remove("checkpoint")));
    assert_eq!(bare, Some(Code::LogProofInvalid));
    assert_eq!(entry(|entry| flip(&mut entry["inclusionProof"]["hashes"][3])), Some(Code::LogProofInvalid));
    let checkpoint = |from: &'static str, to: &'static str| {
        rekor_2(|material| {
            let envelope = &mut material["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"];
            let changed = envelope.as_str().unwrap().replacen(from, to, 1);
            assert_ne!(*envelope, changed);
            *envelope = changed.into();
        })
    };
    assert_eq!(checkpoint("4026479", "4026480"), Some(Code::LogProofInvalid));
    // The log's own signature; behind it are those of witnesses, which nobody here counts.
    assert_eq!(checkpoint("KEpZcKqo", "KEpZcKqp"), Some(Code::LogProofInvalid));
    assert_eq!(entry(|entry| flip(&mut entry["canonicalizedBody"])), Some(Code::LogProofInvalid));
    // Another log's key, and a root that knows none of that name.
    let mut other = staging();
    let keys: Vec<_> = other["tlogs"].as_array().unwrap().iter().map(|log| log["publicKey"].clone()).collect();
    for log in other["tlogs"].as_array_mut().unwrap() {
        log["publicKey"] = keys[0].clone();
    }
    assert_eq!(rekor_2_under(&other, |_| ()), Some(Code::LogProofInvalid));
    let mut unknown = staging();
    unknown["tlogs"].as_array_mut().unwrap().truncate(1);
    assert_eq!(rekor_2_under(&unknown, |_| ()), Some(Code::LogUntrusted));
}

#[test]
fn entry_without_a_time_of_its_own_accepted_with_an_authority_s_and_without_one_refused() {
    let stamps = |change: fn(&mut Value)| {
        rekor_2(|material| change(&mut material["timestampVerificationData"]["rfc3161Timestamps"]))
    };
    assert_eq!(stamps(|stamps| assert_eq!(stamps.as_array().unwrap().len(), 1)), None);
    assert_eq!(stamps(|stamps| *stamps = json!([])), Some(Code::SigningTimeMissing));
    // Nobody vouches for what the entry itself says.
    let said = rekor_2(|material| {
        material["timestampVerificationData"]["rfc3161Timestamps"] = json!([]);
        material["tlogEntries"][0]["integratedTime"] = json!("1767225600");
    });
    assert_eq!(said, Some(Code::SigningTimeMissing));
    assert_eq!(stamps(|stamps| flip(&mut stamps[0]["signedTimestamp"])), Some(Code::TimestampInvalid));
    let mut nobody = staging();
    nobody["timestampAuthorities"] = json!([]);
    assert_eq!(rekor_2_under(&nobody, |_| ()), Some(Code::TimestampInvalid));
}
