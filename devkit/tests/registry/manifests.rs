use crate::client::{Fixture, OCI_INDEX, OCI_MANIFEST, descriptor, image, referrer};
use http::StatusCode;
use serde_json::json;
use strongroom_wire::digest::Sha256;

async fn with_layer() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.push_blob("a", b"{}").await;
    fixture.push_blob("a", b"layer").await;
    fixture
}

#[tokio::test]
async fn manifest_by_tag_and_by_digest_is_the_very_bytes_and_type() {
    let fixture = with_layer().await;
    let bytes = serde_json::to_vec_pretty(&image(b"layer")).unwrap();
    let digest = Sha256::of(&bytes).oci();
    let reply = fixture.put_manifest("a", "v1", OCI_MANIFEST, &bytes).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(reply.header("oci-subject"), None);
    for reference in ["v1", &digest] {
        let path = format!("/v2/a/manifests/{reference}");
        for reply in [fixture.get(&path).await, fixture.head(&path).await] {
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.header("content-type"), Some(OCI_MANIFEST));
            assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(reply.header("content-length"), Some(bytes.len().to_string().as_str()));
        }
        assert_eq!(fixture.get(&path).await.body, bytes);
    }
}

#[tokio::test]
async fn manifest_under_its_own_digest_accepted_and_under_another_refused() {
    let fixture = with_layer().await;
    let bytes = image(b"layer").to_string();
    let own = Sha256::of(bytes.as_bytes()).oci();
    assert_eq!(fixture.put_manifest("a", &own, OCI_MANIFEST, bytes.as_bytes()).await.status, StatusCode::CREATED);
    let other = Sha256::of(b"other").oci();
    let reply = fixture.put_manifest("a", &other, OCI_MANIFEST, bytes.as_bytes()).await;
    reply.assert_error(400, "DIGEST_INVALID");
    fixture.get(&format!("/v2/a/manifests/{other}")).await.assert_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn manifest_before_its_blobs_refused_and_after_them_accepted() {
    let fixture = Fixture::start().await;
    fixture.push_blob("a", b"{}").await;
    fixture.push_blob("b", b"layer").await;
    let bytes = image(b"layer").to_string();
    let reply = fixture.put_manifest("a", "v1", OCI_MANIFEST, bytes.as_bytes()).await;
    reply.assert_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(reply.json()["errors"][0]["detail"], Sha256::of(b"layer").oci());
    fixture.push_blob("a", b"layer").await;
    assert_eq!(fixture.put_manifest("a", "v1", OCI_MANIFEST, bytes.as_bytes()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn index_of_a_known_manifest_accepted_and_of_an_unknown_one_refused() {
    let fixture = with_layer().await;
    let document = image(b"layer");
    fixture.push_manifest("a", None, &document).await;
    let index =
        |content: &str| json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, content.as_bytes())]});
    let known = index(&document.to_string()).to_string();
    assert_eq!(fixture.put_manifest("a", "i", OCI_INDEX, known.as_bytes()).await.status, StatusCode::CREATED);
    let unknown = index("unknown").to_string();
    fixture.put_manifest("a", "i", OCI_INDEX, unknown.as_bytes()).await.assert_error(400, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn subject_is_confirmed_with_the_referrers_api_and_not_without() {
    for referrers_api in [true, false] {
        let fixture = Fixture::with(|config| config.referrers_api = referrers_api).await;
        fixture.push_blob("a", b"{}").await;
        fixture.push_blob("a", b"signature").await;
        // It need not exist.
        let subject = Sha256::of(b"subject");
        let bytes = referrer(subject, "application/s").to_string();
        let reply = fixture.put_manifest("a", "s", OCI_MANIFEST, bytes.as_bytes()).await;
        assert_eq!(reply.status, StatusCode::CREATED);
        assert_eq!(reply.header("oci-subject"), referrers_api.then_some(subject.oci()).as_deref());
    }
}

#[tokio::test]
async fn deleted_tag_leaves_its_manifest_and_deleted_manifest_takes_its_tags() {
    let fixture = with_layer().await;
    let digest = fixture.push_manifest("a", Some("v1"), &image(b"layer")).await.oci();
    fixture.push_manifest("a", Some("v2"), &image(b"layer")).await;
    assert_eq!(fixture.delete("/v2/a/manifests/v1").await.status, StatusCode::ACCEPTED);
    fixture.get("/v2/a/manifests/v1").await.assert_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(fixture.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    assert_eq!(fixture.delete(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::ACCEPTED);
    fixture.get(&format!("/v2/a/manifests/{digest}")).await.assert_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(fixture.get("/v2/a/tags/list").await.json()["tags"], json!([]));
    fixture.delete("/v2/a/manifests/v2").await.assert_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn tag_moves_to_what_was_pushed_last() {
    let fixture = with_layer().await;
    fixture.push_manifest("a", Some("latest"), &image(b"layer")).await;
    fixture.push_blob("a", b"newer").await;
    let newer = fixture.push_manifest("a", Some("latest"), &image(b"newer")).await.oci();
    let reply = fixture.head("/v2/a/manifests/latest").await;
    assert_eq!(reply.header("docker-content-digest"), Some(newer.as_str()));
}
