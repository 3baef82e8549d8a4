//! Whose signature makes a model trusted, and that a registry's failure is never taken for its absence.

use crate::common::{NOW, code};
use crate::models::{Shelf, trust};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_artifact::SigningKey;
use strongroom_artifact::cosign::{PREDICATE_TYPE, SIMPLE_SIGNING, referrer_manifest, sign_manifest};
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_registry_client::{Blob, SignOptions, push_model, sign_model, verify_model};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Result, limits};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

async fn verify(shelf: &Shelf, trust: &TrustFile) -> Result<Vec<String>> {
    let trusted = verify_model(&shelf.peer.client, &shelf.peer.reference("m/demo:v1"), trust, NOW).await?;
    Ok(trusted.signers().to_vec())
}

/// The parts of the signature in the registry: its referrer's manifest, and the bundle in it.
async fn parts(shelf: &Shelf) -> (Sha256, Sha256) {
    let pinned = shelf.peer.reference("m/demo").pinned(shelf.pushed.signature);
    let manifest: Value = serde_json::from_slice(&shelf.peer.client.manifest(&pinned).await.unwrap().bytes).unwrap();
    (shelf.pushed.signature, Sha256::from_oci(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn signer_of_the_trust_file_accepted_and_stranger_refused() {
    for api in [true, false] {
        let shelf = Shelf::new(true, api).await;
        assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"]);
        let stranger = SigningKey::generate().unwrap();
        let other = trust(&shelf.peer.reference("m/demo").name(), &stranger);
        assert_eq!(code(verify(&shelf, &other).await), Code::SignerUntrusted);
        let elsewhere = trust(&shelf.peer.reference("m/other").name(), &shelf.model.signer);
        assert_eq!(code(verify(&shelf, &elsewhere).await), Code::RepositoryUntrusted);
    }
}

#[tokio::test]
async fn model_whose_signature_is_hidden_is_unsigned() {
    for api in [true, false] {
        let shelf = Shelf::new(true, api).await;
        let target = Target::Referrers(shelf.pushed.manifest);
        shelf.peer.registry.faults().set(target, Times::Always, Fault::HideReferrers);
        assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::ModelUnsigned);
    }
}

#[tokio::test]
async fn failing_registry_is_never_unsigned() {
    for api in [true, false] {
        let shelf = Shelf::new(true, api).await;
        let (referrer, bundle) = parts(&shelf).await;
        for target in [Target::Referrers(shelf.pushed.manifest), Target::Manifest(referrer.oci()), Target::Blob(bundle)]
        {
            for (status, want) in [
                (StatusCode::INTERNAL_SERVER_ERROR, Code::RegistryFailed),
                (StatusCode::TOO_MANY_REQUESTS, Code::RegistryFailed),
                (StatusCode::UNAUTHORIZED, Code::RegistryUnauthorized),
                (StatusCode::BAD_REQUEST, Code::RegistryFailed),
            ] {
                let fault = Fault::Status { status, retry_after: None };
                shelf.peer.registry.faults().set(target.clone(), Times::Always, fault);
                assert_eq!(code(verify(&shelf, &shelf.trust).await), want, "{target:?} {status}, api {api}");
                shelf.peer.registry.faults().clear();
            }
        }
        for target in [Target::Manifest(referrer.oci()), Target::Blob(bundle)] {
            let fault = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
            shelf.peer.registry.faults().set(target.clone(), Times::Always, fault);
            assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::RegistryNotFound, "{target:?}");
            shelf.peer.registry.faults().clear();
        }
    }
}

#[tokio::test]
async fn changed_signature_refused() {
    let shelf = Shelf::new(true, true).await;
    let (referrer, bundle) = parts(&shelf).await;
    let flip = Fault::FlipBit { at: 30 };
    shelf.peer.registry.faults().set(Target::Manifest(referrer.oci()), Times::Always, flip.clone());
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::ManifestDigestMismatch);
    shelf.peer.registry.faults().clear();
    shelf.peer.registry.faults().set(Target::Blob(bundle), Times::Always, flip);
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::LayerDigestMismatch);
}

#[tokio::test]
async fn signature_of_another_model_is_none_of_this() {
    let shelf = Shelf::new(true, true).await;
    // By the right signer, about another model, attached to this one.
    let bundle = sign_manifest(&Sha256::of(b"another"), &shelf.model.signer, &BTreeMap::new()).unwrap();
    let referrer = referrer_manifest(&bundle, PREDICATE_TYPE, (TYPE, &shelf.pushed.manifest, 1), 0).unwrap();
    shelf.peer.client.push_blob("m/demo", &Blob::bytes(bundle)).await.unwrap();
    shelf.peer.client.push_referrer(&shelf.peer.reference("m/demo"), referrer.manifest.clone()).await.unwrap();
    assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"], "the good one still counts");

    let alone = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": TYPE, "digest": Sha256::of(&referrer.manifest).oci(), "size": referrer.manifest.len(),
    }]});
    let listed = || Target::Referrers(shelf.pushed.manifest);
    shelf.peer.registry.faults().set(listed(), Times::Always, Fault::Serve(alone.to_string().into()));
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::SignatureInvalid);
    shelf.peer.registry.faults().clear();
    let fault = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
    shelf.peer.registry.faults().set(Target::Manifest(shelf.pushed.signature.oci()), Times::Always, fault);
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::RegistryNotFound, "what is missing may have counted");
}

#[tokio::test]
async fn bundle_found_under_another_artifact_type_of_the_index() {
    let shelf = Shelf::new(true, false).await;
    let tagged = shelf.peer.reference(&format!("m/demo:sha256-{}", shelf.pushed.manifest));
    let index = shelf.peer.client.manifest(&tagged).await.unwrap();
    let mut index: Value = serde_json::from_slice(&index.bytes).unwrap();
    index["manifests"][0]["artifactType"] = json!("application/vnd.oci.empty.v1+json");
    let media_type = "application/vnd.oci.image.index.v1+json";
    shelf.peer.client.push_manifest(&tagged, media_type, index.to_string()).await.unwrap();
    assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"]);
}

/// Puts a signature of the old form by each of `signers` under its tag, `length` bytes long or as long as it is.
async fn sign_old(shelf: &Shelf, signers: &[&SigningKey], length: usize) {
    let client = &shelf.peer.client;
    let (name, digest) = (shelf.peer.reference("m/demo").name(), shelf.pushed.manifest.oci());
    let critical = json!({
        "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    });
    let mut payload = json!({"critical": critical, "optional": null}).to_string().into_bytes();
    payload.resize(payload.len().max(length), b' ');
    let signatures: Vec<_> = signers.iter().map(|signer| to_base64(&signer.sign(&payload).unwrap())).collect();
    let (config, payload) = (Blob::bytes("{}"), Blob::bytes(payload));
    for blob in [&config, &payload] {
        client.push_blob("m/demo", blob).await.unwrap();
    }
    let layer = |signature: String| {
        json!({
            "mediaType": SIMPLE_SIGNING, "digest": payload.digest().oci(), "size": payload.size(),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        })
    };
    let image = json!({
        "schemaVersion": 2, "mediaType": TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest().oci(), "size": 2},
        "layers": signatures.into_iter().map(layer).collect::<Vec<_>>(),
    });
    let tagged = shelf.peer.reference(&format!("m/demo:sha256-{}.sig", shelf.pushed.manifest));
    client.push_manifest(&tagged, TYPE, image.to_string()).await.unwrap();
}

#[tokio::test]
async fn signature_of_the_old_form_counts_where_no_bundle_does() {
    let shelf = Shelf::new(true, true).await;
    let target = || Target::Referrers(shelf.pushed.manifest);
    sign_old(&shelf, &[&SigningKey::generate().unwrap()], 0).await;
    shelf.peer.registry.faults().set(target(), Times::Always, Fault::HideReferrers);
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::SignerUntrusted);
    sign_old(&shelf, &[&shelf.model.signer], 0).await;
    assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"]);
    let tag = format!("sha256-{}.sig", shelf.pushed.manifest);
    let fault = Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None };
    shelf.peer.registry.faults().set(Target::Manifest(tag.clone()), Times::Always, fault);
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::RegistryFailed);
    shelf.peer.registry.faults().clear();
    shelf.peer.registry.requests().clear();
    verify(&shelf, &shelf.trust).await.unwrap();
    assert_eq!(shelf.peer.registry.requests().count(&Method::GET, &tag), 0, "not asked for where a bundle counts");
}

#[tokio::test]
async fn signature_of_the_old_form_written_where_asked_for_and_added_to_those_that_are_there() {
    for api in [true, false] {
        let shelf = Shelf::new(true, api).await;
        let pinned = shelf.peer.reference("m/demo").pinned(shelf.pushed.manifest);
        let tagged = shelf.peer.reference(&format!("m/demo:sha256-{}.sig", shelf.pushed.manifest));
        assert_eq!(code(shelf.peer.client.manifest(&tagged).await), Code::RegistryNotFound, "not asked for");
        let second = SigningKey::generate().unwrap();
        let sign = async |key: &SigningKey, simple| {
            let options = SignOptions { key, simple, created: 0 };
            sign_model(&shelf.peer.client, &pinned, options).await.unwrap();
        };
        let layers = async || {
            let fetched = shelf.peer.client.manifest(&tagged).await.unwrap();
            serde_json::from_slice::<Value>(&fetched.bytes).unwrap()["layers"].as_array().unwrap().len()
        };
        sign(&second, true).await;
        assert_eq!(layers().await, 1);
        sign(&shelf.model.signer, false).await;
        assert_eq!(layers().await, 1);
        sign(&shelf.model.signer, true).await;
        sign(&shelf.model.signer, true).await;
        assert_eq!(layers().await, 2, "one for each signer");
        let target = Target::Referrers(shelf.pushed.manifest);
        shelf.peer.registry.faults().set(target, Times::Always, Fault::HideReferrers);
        assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"]);
        assert_eq!(verify(&shelf, &trust(&pinned.name(), &second)).await.unwrap(), ["release"]);
    }
}

#[tokio::test]
async fn another_signer_s_signature_brings_the_threshold_and_a_tag_is_not_signed() {
    let shelf = Shelf::new(true, true).await;
    let second = SigningKey::generate().unwrap();
    let mut both = shelf.trust.clone();
    let other = trust("host/m", &second).rules[0].signers[0].clone();
    both.rules[0].signers.push(strongroom_wire::trust::Signer { name: "second".into(), ..other });
    both.rules[0].threshold = 2;
    assert_eq!(code(verify(&shelf, &both).await), Code::SignerUntrusted);
    let options = SignOptions { key: &second, simple: false, created: 0 };
    let tagged = sign_model(&shelf.peer.client, &shelf.peer.reference("m/demo:v1"), options).await;
    assert_eq!(code(tagged), Code::ReferenceInvalid);
    let pinned = shelf.peer.reference("m/demo").pinned(shelf.pushed.manifest);
    sign_model(&shelf.peer.client, &pinned, options).await.unwrap();
    assert_eq!(verify(&shelf, &both).await.unwrap(), ["release", "second"]);
}

#[tokio::test]
async fn tag_that_the_registry_turned_to_another_model_is_caught_by_the_digest() {
    let shelf = Shelf::new(true, true).await;
    let old = shelf.pushed.manifest;
    std::fs::write(shelf.peer.folder.path().join("source/config.json"), b"{\"v\":2}").unwrap();
    let options = shelf.model.options(true, shelf.peer.folder.path());
    let source = shelf.peer.folder.path().join("source");
    let reference = shelf.peer.reference("m/demo:v1");
    let new = push_model(&shelf.peer.client, &source, &reference, options).await.unwrap();
    for name in ["v1".to_owned(), new.manifest.oci()] {
        shelf.peer.registry.faults().set(Target::Manifest(name), Times::Always, Fault::AnswerWith(old));
    }
    let by_tag = verify_model(&shelf.peer.client, &reference, &shelf.trust, NOW).await.unwrap();
    assert_eq!(by_tag.manifest_digest(), old, "a tag is the registry's word");
    let by_digest = verify_model(&shelf.peer.client, &new.reference, &shelf.trust, NOW).await;
    assert_eq!(code(by_digest), Code::ManifestDigestMismatch);
}

/// Has the registry list `count` bundles by strangers for the model, and no other.
async fn flood(shelf: &Shelf, count: usize) {
    let stranger = SigningKey::generate().unwrap();
    let bundle = sign_manifest(&shelf.pushed.manifest, &stranger, &BTreeMap::new()).unwrap();
    let subject = (TYPE, &shelf.pushed.manifest, 1);
    shelf.peer.client.push_blob("m/demo", &Blob::bytes(bundle.clone())).await.unwrap();
    let mut listed = Vec::new();
    for created in 0..count {
        let manifest =
            referrer_manifest(&bundle, PREDICATE_TYPE, subject, created.try_into().unwrap()).unwrap().manifest;
        let (digest, size) = (Sha256::of(&manifest), manifest.len());
        shelf.peer.client.push_manifest(&shelf.peer.reference("m/demo").pinned(digest), TYPE, manifest).await.unwrap();
        listed.push(json!({"mediaType": TYPE, "digest": digest.oci(), "size": size}));
    }
    let index = json!({"schemaVersion": 2, "manifests": listed}).to_string();
    let target = Target::Referrers(shelf.pushed.manifest);
    shelf.peer.registry.faults().set(target, Times::Always, Fault::Serve(index.into()));
}

#[tokio::test]
async fn bundles_of_strangers_leave_room_for_a_signature_of_the_old_form() {
    for count in [limits::SIGNATURES, limits::SIGNATURES + 1] {
        let shelf = Shelf::new(true, true).await;
        flood(&shelf, count).await;
        sign_old(&shelf, &[&shelf.model.signer], 0).await;
        assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"], "{count}");
    }
}

#[tokio::test]
async fn list_that_was_cut_is_too_large_and_not_untrusted() {
    let shelf = Shelf::new(true, true).await;
    for (count, want) in [(limits::SIGNATURES, Code::SignerUntrusted), (limits::SIGNATURES + 1, Code::TooLarge)] {
        flood(&shelf, count).await;
        assert_eq!(code(verify(&shelf, &shelf.trust).await), want, "{count} bundles");
        shelf.peer.registry.faults().clear();
    }
    let target = Target::Referrers(shelf.pushed.manifest);
    shelf.peer.registry.faults().set(target, Times::Always, Fault::HideReferrers);
    let stranger = SigningKey::generate().unwrap();
    let mut signers = vec![&stranger; limits::SIGNATURES];
    sign_old(&shelf, &signers, 0).await;
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::SignerUntrusted);
    signers.push(&shelf.model.signer);
    sign_old(&shelf, &signers, 0).await;
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::TooLarge, "what was cut off may have counted");
}

#[tokio::test]
async fn signature_up_to_the_limit_accepted_and_over_it_refused() {
    let shelf = Shelf::new(true, true).await;
    let target = Target::Referrers(shelf.pushed.manifest);
    shelf.peer.registry.faults().set(target, Times::Always, Fault::HideReferrers);
    sign_old(&shelf, &[&shelf.model.signer], limits::SIGNATURE).await;
    assert_eq!(verify(&shelf, &shelf.trust).await.unwrap(), ["release"]);
    sign_old(&shelf, &[&shelf.model.signer], limits::SIGNATURE + 1).await;
    assert_eq!(code(verify(&shelf, &shelf.trust).await), Code::TooLarge);

    // The same of a bundle.
    let shelf = Shelf::new(true, true).await;
    let bundle = sign_manifest(&shelf.pushed.manifest, &shelf.model.signer, &BTreeMap::new()).unwrap();
    for (length, want) in [(limits::SIGNATURE, None), (limits::SIGNATURE + 1, Some(Code::TooLarge))] {
        let mut bundle = bundle.clone();
        bundle.resize(length, b' ');
        let referrer =
            referrer_manifest(&bundle, PREDICATE_TYPE, (TYPE, &shelf.pushed.manifest, 1), 0).unwrap().manifest;
        let digest = Sha256::of(&referrer);
        let listed = json!({"mediaType": TYPE, "digest": digest.oci(), "size": referrer.len()});
        let index = json!({"schemaVersion": 2, "manifests": [listed]}).to_string();
        shelf.peer.client.push_blob("m/demo", &Blob::bytes(bundle)).await.unwrap();
        let pinned = shelf.peer.reference("m/demo").pinned(digest);
        shelf.peer.client.push_manifest(&pinned, TYPE, referrer).await.unwrap();
        let target = Target::Referrers(shelf.pushed.manifest);
        shelf.peer.registry.faults().set(target, Times::Always, Fault::Serve(index.into()));
        assert_eq!(verify(&shelf, &shelf.trust).await.err().map(|refusal| refusal.code), want, "{length} bytes");
        shelf.peer.registry.faults().clear();
    }
}
