use crate::client::Fixture;
use http::{Method, StatusCode};
use strongroom_wire::digest::Sha256;

#[tokio::test]
async fn blob_pulled_whole_is_what_was_pushed() {
    let fixture = Fixture::start().await;
    // Over several reads of the disk, so that the stream's seams are seen.
    let content: Vec<u8> = (0..750_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = fixture.push_blob("a/b", &content).await;
    let path = format!("/v2/a/b/blobs/{}", digest.oci());
    let reply = fixture.get(&path).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.body, content);
    assert_eq!(reply.header("docker-content-digest"), Some(digest.oci().as_str()));
    assert_eq!(reply.header("content-length"), Some("3000000"));

    let head = fixture.head(&path).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, Some("3000000")));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn empty_blob_is_a_blob() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("a", b"").await;
    let reply = fixture.get(&format!("/v2/a/blobs/{}", digest.oci())).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn range_inside_the_blob_answered_in_part_and_behind_it_refused() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{}", digest.oci());
    let reply = fixture.send(Method::GET, &path, &[("range", "bytes=9-20")], b"").await;
    assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(reply.header("content-range"), Some("bytes 9-9/10"));
    assert_eq!(reply.body.as_ref(), b"9");

    let reply = fixture.send(Method::GET, &path, &[("range", "bytes=10-20")], b"").await;
    reply.assert_error(416, "SIZE_INVALID");
    assert_eq!(reply.header("content-range"), Some("bytes */10"));

    let head = fixture.send(Method::HEAD, &path, &[("range", "bytes=10-20")], b"").await;
    assert_eq!(head.status, StatusCode::OK, "a range means nothing on HEAD");
}

#[tokio::test]
async fn blob_of_another_repository_or_deleted_is_unknown() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("a", b"x").await;
    let path = format!("/v2/a/blobs/{}", digest.oci());
    fixture.get(&format!("/v2/b/blobs/{}", digest.oci())).await.assert_error(404, "BLOB_UNKNOWN");
    assert_eq!(fixture.delete(&path).await.status, StatusCode::ACCEPTED);
    fixture.get(&path).await.assert_error(404, "BLOB_UNKNOWN");
    assert_eq!(fixture.head(&path).await.status, StatusCode::NOT_FOUND);
    fixture.delete(&path).await.assert_error(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn path_out_of_the_root_refused() {
    let fixture = Fixture::start().await;
    let digest = Sha256::of(b"x").oci();
    for path in
        [format!("/v2/../blobs/{digest}"), format!("/v2/%2e%2e/blobs/{digest}"), "/v2/a/../tags/list".to_owned()]
    {
        fixture.get(&path).await.assert_error(400, "NAME_INVALID");
    }
    fixture.get("/v2/a/manifests/..").await.assert_error(400, "MANIFEST_INVALID");
    fixture.get("/v2/a/blobs/uploads/..").await.assert_error(404, "BLOB_UPLOAD_UNKNOWN");
}
