//! Manifests: by tag and by digest.

use crate::common::{Peer, code};
use axum::http::StatusCode;
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_registry_client::Blob;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

async fn push(peer: &Peer, name: &str, content: &'static str) -> Sha256 {
    let blob = Blob::bytes(content);
    peer.client.push_blob("a/b", &blob).await.unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{TYPE}","config":{{"mediaType":"x/y","digest":"{}","size":{}}},"layers":[]}}"#,
        blob.digest().oci(),
        blob.size()
    );
    peer.client.push_manifest(&peer.reference(name), TYPE, manifest).await.unwrap().digest
}

#[tokio::test]
async fn manifest_found_by_tag_and_by_digest() {
    let peer = Peer::start().await;
    let digest = push(&peer, "a/b:v1", "one").await;
    let by_tag = peer.client.manifest(&peer.reference("a/b:v1")).await.unwrap();
    assert_eq!(by_tag.digest, digest);
    let by_digest = peer.client.manifest(&peer.reference("a/b").pinned(digest)).await.unwrap();
    assert_eq!(by_digest, by_tag);
    assert_eq!(code(peer.client.manifest(&peer.reference("a/b:v2")).await), Code::RegistryNotFound);
}

#[tokio::test]
async fn other_manifest_than_the_digests_refused() {
    let peer = Peer::start().await;
    let (old, new) = (push(&peer, "a/b:v1", "one").await, push(&peer, "a/b:v1", "two").await);
    let pinned = peer.reference("a/b").pinned(new);
    for fault in [Fault::FlipBit { at: 3 }, Fault::AnswerWith(old), Fault::Serve("{}".into())] {
        peer.registry.faults().set(Target::Manifest(new.oci()), Times::Next(1), fault);
        assert_eq!(code(peer.client.manifest(&pinned).await), Code::ManifestDigestMismatch);
    }
    assert_eq!(peer.client.manifest(&pinned).await.unwrap().digest, new);
}

#[tokio::test]
async fn manifest_over_the_limit_refused() {
    let peer = Peer::start().await;
    let digest = push(&peer, "a/b:v1", "one").await;
    let long = vec![b' '; strongroom_wire::limits::MANIFEST + 1];
    peer.registry.faults().set(Target::Manifest(digest.oci()), Times::Next(1), Fault::Serve(long.into()));
    assert_eq!(code(peer.client.manifest(&peer.reference("a/b").pinned(digest)).await), Code::TooLarge);
}

#[tokio::test]
async fn manifest_that_names_missing_content_or_another_digest_not_pushed() {
    let peer = Peer::start().await;
    let missing = Sha256::of(b"missing").oci();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{TYPE}","config":{{"mediaType":"x/y","digest":"{missing}","size":7}},"layers":[]}}"#
    );
    let pushed = peer.client.push_manifest(&peer.reference("a/b:v1"), TYPE, manifest.clone()).await;
    assert_eq!(code(pushed), Code::RegistryFailed);
    let pinned = peer.reference("a/b").pinned(Sha256::of(b"other"));
    assert_eq!(code(peer.client.push_manifest(&pinned, TYPE, manifest).await), Code::ManifestDigestMismatch);
}

#[tokio::test]
async fn failing_registry_is_not_absence() {
    let peer = Peer::start().await;
    for (status, want) in
        [(StatusCode::INTERNAL_SERVER_ERROR, Code::RegistryFailed), (StatusCode::FORBIDDEN, Code::RegistryUnauthorized)]
    {
        peer.registry.faults().set(Target::Any, Times::Always, Fault::Status { status, retry_after: None });
        assert_eq!(code(peer.client.manifest(&peer.reference("a/b:v1")).await), want);
        peer.registry.faults().clear();
    }
}

#[tokio::test]
async fn reference_to_another_registry_refused() {
    let peer = Peer::start().await;
    let other = strongroom_registry_client::Reference::parse("other.example/a/b:v1").unwrap();
    assert_eq!(code(peer.client.manifest(&other).await), Code::Internal);
}
