use crate::client::{Fixture, OCI_MANIFEST};
use http::{Method, StatusCode};
use std::fs;
use strongroom_wire::digest::Sha256;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

fn incoming(fixture: &Fixture) -> usize {
    fs::read_dir(fixture.root.path().join("incoming")).unwrap().count()
}

#[tokio::test]
async fn blob_pushed_in_one_request_is_there() {
    let fixture = Fixture::start().await;
    let digest = Sha256::of(b"x").oci();
    // Go's clients escape the colon.
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest.replace(':', "%3A"));
    let reply = fixture.send(Method::POST, &path, &[], b"x").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("location"), Some(format!("/v2/a/blobs/{digest}").as_str()));
    assert_eq!(fixture.get(&format!("/v2/a/blobs/{digest}")).await.body.as_ref(), b"x");
}

#[tokio::test]
async fn chunks_in_order_accepted_and_out_of_order_refused_with_where_it_stands() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    let status = fixture.get(&session).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, Some("0-0")));

    let reply = fixture.send(Method::PATCH, &session, &[("content-range", "0-4")], b"01234").await;
    assert_eq!((reply.status, reply.header("range")), (StatusCode::ACCEPTED, Some("0-4")));
    let reply = fixture.send(Method::PATCH, &session, &[("content-range", "6-7")], b"67").await;
    reply.assert_error(416, "BLOB_UPLOAD_INVALID");
    assert_eq!((reply.header("range"), reply.header("location")), (Some("0-4"), Some(session.as_str())));
    assert_eq!(fixture.get(&session).await.header("range"), Some("0-4"));
    let reply = fixture.send(Method::PATCH, &session, &[("content-range", "5-7")], b"567").await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);

    let digest = Sha256::of(b"0123456789").oci();
    let path = format!("{session}?digest={digest}");
    let reply = fixture.send(Method::PUT, &path, &[("content-range", "8-9")], b"89").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(fixture.get(&format!("/v2/a/blobs/{digest}")).await.body.as_ref(), b"0123456789");
    fixture.get(&session).await.assert_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(incoming(&fixture), 0);
}

#[tokio::test]
async fn chunk_of_another_length_than_it_says_refused() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    let short = fixture.send(Method::PATCH, &session, &[("content-range", "0-4")], b"0123").await;
    short.assert_error(400, "SIZE_INVALID");
    assert_eq!(fixture.get(&session).await.header("range"), Some("0-3"), "what arrived counts");
    let long = fixture.send(Method::PATCH, &session, &[("content-range", "4-4")], b"45").await;
    long.assert_error(413, "SIZE_INVALID");
    let odd = fixture.send(Method::PATCH, &session, &[("content-range", "bytes 4-4/9")], b"4").await;
    odd.assert_error(400, "BLOB_UPLOAD_INVALID");
}

#[tokio::test]
async fn chunk_cut_off_by_its_connection_is_resumed_where_it_broke() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    let mut stream = TcpStream::connect(fixture.registry.addr()).await.unwrap();
    let request = format!("PATCH {session} HTTP/1.1\r\nhost: registry\r\ncontent-length: 10\r\n\r\n0123");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    // The session's status waits for the chunk to end, as it does with the connection.
    while fixture.registry.requests().count(&Method::PATCH, &session) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.get(&session).await.header("range"), Some("0-3"));
    let digest = Sha256::of(b"0123456789").oci();
    let path = format!("{session}?digest={digest}");
    let reply = fixture.send(Method::PUT, &path, &[("content-range", "4-9")], b"456789").await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test]
async fn content_of_another_digest_refused_and_not_kept() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    let digest = Sha256::of(b"x").oci();
    fixture
        .send(Method::PUT, &format!("{session}?digest={digest}"), &[], b"y")
        .await
        .assert_error(400, "DIGEST_INVALID");
    fixture.get(&format!("/v2/a/blobs/{digest}")).await.assert_error(404, "BLOB_UNKNOWN");
    fixture.get(&session).await.assert_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(incoming(&fixture), 0);
}

#[tokio::test]
async fn upload_without_a_digest_or_with_a_foreign_one_refused_and_still_open() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    fixture.send(Method::PUT, &session, &[], b"").await.assert_error(400, "DIGEST_INVALID");
    let foreign = format!("{session}?digest=sha512:{}", "0".repeat(128));
    fixture.send(Method::PUT, &foreign, &[], b"").await.assert_error(400, "DIGEST_INVALID");
    assert_eq!(fixture.get(&session).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn upload_belongs_to_its_repository_and_ends_when_cancelled() {
    let fixture = Fixture::start().await;
    let session = fixture.start_upload("a").await;
    let elsewhere = session.replace("/v2/a/", "/v2/b/");
    fixture.get(&elsewhere).await.assert_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(incoming(&fixture), 1);
    assert_eq!(fixture.delete(&session).await.status, StatusCode::NO_CONTENT);
    fixture.get(&session).await.assert_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(incoming(&fixture), 0);
}

#[tokio::test]
async fn mount_of_a_known_blob_made_and_of_an_unknown_one_becomes_an_upload() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("from", b"x").await.oci();
    let reply = fixture.send(Method::POST, &format!("/v2/to/blobs/uploads/?mount={digest}&from=from"), &[], b"").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(fixture.get(&format!("/v2/to/blobs/{digest}")).await.body.as_ref(), b"x");

    let unknown = Sha256::of(b"y").oci();
    let reply = fixture.send(Method::POST, &format!("/v2/to/blobs/uploads/?mount={unknown}&from=from"), &[], b"").await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert!(reply.header("location").unwrap().starts_with("/v2/to/blobs/uploads/"));
}

#[tokio::test]
async fn blob_and_manifest_at_their_limit_accepted_and_over_it_refused() {
    let manifest = br#"{"schemaVersion":2,"manifests":[]}"#;
    let fixture = Fixture::with(|config| {
        config.limits.blob = 4;
        config.limits.manifest = manifest.len();
    })
    .await;
    fixture.push_blob("a", b"0123").await;
    let session = fixture.start_upload("a").await;
    fixture.send(Method::PATCH, &session, &[], b"01234").await.assert_error(413, "SIZE_INVALID");

    let index = "application/vnd.oci.image.index.v1+json";
    assert_eq!(fixture.put_manifest("a", "t", index, manifest).await.status, StatusCode::CREATED);
    let longer = [manifest.as_slice(), b" "].concat();
    fixture.put_manifest("a", "t", index, &longer).await.assert_error(413, "SIZE_INVALID");
    fixture.put_manifest("a", "t", OCI_MANIFEST, b"no").await.assert_error(400, "MANIFEST_INVALID");
}

#[tokio::test]
async fn uploads_over_their_number_refused_until_one_ends() {
    let fixture = Fixture::with(|config| config.limits.uploads = 1).await;
    let session = fixture.start_upload("a").await;
    let refused = fixture.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await;
    refused.assert_error(429, "TOOMANYREQUESTS");
    fixture.delete(&session).await;
    fixture.start_upload("a").await;
}
