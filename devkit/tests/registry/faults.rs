use crate::client::{Fixture, image, referrer};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use std::time::Duration;
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_transport::http::empty;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

const CONTENT: &[u8] = b"0123456789";
/// Long enough for an answer on loopback, were it not stalled.
const SHORT: Duration = Duration::from_millis(300);

async fn with_blob() -> (Fixture, Sha256, String) {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("a", CONTENT).await;
    let path = format!("/v2/a/blobs/{}", digest.oci());
    (fixture, digest, path)
}

#[tokio::test]
async fn flipped_bit_is_where_it_was_set_also_in_a_range_and_then_gone() {
    let (fixture, digest, path) = with_blob().await;
    fixture.registry.faults().set(Target::Blob(digest), Times::Next(3), Fault::FlipBit { at: 5 });
    let whole = fixture.get(&path).await;
    assert_eq!((whole.status, whole.body.as_ref()), (StatusCode::OK, b"0123446789".as_slice()));
    assert_eq!(whole.header("docker-content-digest"), Some(digest.oci().as_str()));
    let around = fixture.send(Method::GET, &path, &[("range", "bytes=4-6")], b"").await;
    assert_eq!(around.body.as_ref(), b"446");
    let beside = fixture.send(Method::GET, &path, &[("range", "bytes=6-")], b"").await;
    assert_eq!(beside.body.as_ref(), b"6789");
    assert_eq!(fixture.registry.faults().armed(), 0);
    assert_eq!(fixture.get(&path).await.body.as_ref(), CONTENT);
}

#[tokio::test]
async fn truncated_answer_ends_after_so_many_bytes_and_can_be_resumed() {
    let (fixture, digest, path) = with_blob().await;
    fixture.registry.faults().set(Target::Blob(digest), Times::Next(1), Fault::Truncate { after: 4 });
    let request = http::Request::get(format!("{}{path}", fixture.base)).body(empty()).unwrap();
    let mut body = fixture.http.send(request, crate::client::PATIENCE).await.unwrap().into_body();
    let mut read = Vec::new();
    let broke = loop {
        match body.frame().await {
            Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broke);
    assert_eq!(read, CONTENT[..4]);
    let rest = fixture.send(Method::GET, &path, &[("range", "bytes=4-")], b"").await;
    assert_eq!([&read[..], &rest.body].concat(), CONTENT);
}

#[tokio::test]
async fn stalled_answer_comes_when_its_gate_opens_and_not_before() {
    let (fixture, digest, path) = with_blob().await;
    let gate = Gate::closed();
    fixture.registry.faults().set(Target::Blob(digest), Times::Always, Fault::Stall(gate.clone()));
    let stalled = fixture.get(&path);
    tokio::pin!(stalled);
    assert!(tokio::time::timeout(SHORT, &mut stalled).await.is_err());
    gate.open();
    assert_eq!(stalled.await.body.as_ref(), CONTENT);
    assert_eq!(fixture.get(&path).await.body.as_ref(), CONTENT, "an open gate holds nobody");
}

#[tokio::test]
async fn stalled_body_sends_its_beginning_and_the_rest_when_its_gate_opens() {
    let (fixture, digest, path) = with_blob().await;
    let gate = Gate::closed();
    let fault = Fault::StallBody { after: 4, gate: gate.clone() };
    fixture.registry.faults().set(Target::Blob(digest), Times::Next(1), fault);
    let request = http::Request::get(format!("{}{path}", fixture.base)).body(empty()).unwrap();
    let mut body = fixture.http.send(request, crate::client::PATIENCE).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.as_ref(), &CONTENT[..4]);
    assert!(tokio::time::timeout(SHORT, body.frame()).await.is_err());
    gate.open();
    assert_eq!(body.collect().await.unwrap().to_bytes().as_ref(), &CONTENT[4..]);
}

#[tokio::test]
async fn statuses_are_answered_for_the_next_requests_of_any_kind() {
    let (fixture, _, path) = with_blob().await;
    let faults = fixture.registry.faults();
    let status = |status, retry_after| Fault::Status { status, retry_after };
    let busy = status(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(7)));
    faults.set(Target::Any, Times::Next(1), busy);
    faults.set(Target::Uploads, Times::Next(1), status(StatusCode::INTERNAL_SERVER_ERROR, None));
    let reply = fixture.get(&path).await;
    reply.assert_error(429, "TOOMANYREQUESTS");
    assert_eq!(reply.header("retry-after"), Some("7"));
    let reply = fixture.get(&path).await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = fixture.send(Method::POST, "/v2/a/blobs/uploads/", &[], b"").await;
    reply.assert_error(500, "UNKNOWN");
    fixture.start_upload("a").await;
}

#[tokio::test]
async fn content_length_over_the_content_breaks_and_under_it_cuts() {
    let (fixture, digest, path) = with_blob().await;
    let faults = fixture.registry.faults();
    faults.set(Target::Blob(digest), Times::Next(1), Fault::ContentLength(11));
    let broken = fixture.try_send(Method::GET, &path, &[], Bytes::new()).await.unwrap_err();
    assert_eq!(broken.code, Code::Network);
    faults.set(Target::Blob(digest), Times::Next(1), Fault::ContentLength(3));
    assert_eq!(fixture.get(&path).await.body.as_ref(), &CONTENT[..3]);
    faults.set(Target::Blob(digest), Times::Next(1), Fault::ContentLength(3));
    assert_eq!(fixture.head(&path).await.header("content-length"), Some("3"));
}

#[tokio::test]
async fn other_bytes_are_served_under_the_same_digest() {
    let (fixture, digest, path) = with_blob().await;
    let other = Bytes::from_static(b"abcdefghijkl");
    fixture.registry.faults().set(Target::Blob(digest), Times::Next(3), Fault::Serve(other.clone()));
    let reply = fixture.get(&path).await;
    assert_eq!((reply.status, &reply.body), (StatusCode::OK, &other));
    assert_eq!(reply.header("docker-content-digest"), Some(digest.oci().as_str()));
    let reply = fixture.send(Method::GET, &path, &[("range", "bytes=8-9")], b"").await;
    assert_eq!((reply.status, reply.body.as_ref()), (StatusCode::PARTIAL_CONTENT, b"ij".as_slice()));
    assert_eq!(fixture.head(&path).await.header("content-length"), Some("12"));
    assert_eq!(fixture.get(&path).await.body.as_ref(), CONTENT);
}

#[tokio::test]
async fn tag_is_answered_with_an_older_manifest_and_the_digest_is_not() {
    let fixture = Fixture::start().await;
    for blob in [b"{}".as_slice(), b"old", b"new"] {
        fixture.push_blob("a", blob).await;
    }
    let old = fixture.push_manifest("a", Some("latest"), &image(b"old")).await;
    let new = fixture.push_manifest("a", Some("latest"), &image(b"new")).await;
    fixture.registry.faults().set(Target::Manifest("latest".to_owned()), Times::Always, Fault::AnswerWith(old));
    let by_tag = fixture.get("/v2/a/manifests/latest").await;
    assert_eq!(by_tag.header("docker-content-digest"), Some(old.oci().as_str()));
    assert_eq!(Sha256::of(&by_tag.body), old);
    let by_digest = fixture.get(&format!("/v2/a/manifests/{}", new.oci())).await;
    assert_eq!(Sha256::of(&by_digest.body), new);
}

#[tokio::test]
async fn hidden_referrers_are_in_neither_the_list_nor_the_fallback_tag() {
    let fixture = Fixture::start().await;
    for blob in [b"{}".as_slice(), b"layer", b"signature"] {
        fixture.push_blob("a", blob).await;
    }
    let subject = fixture.push_manifest("a", None, &image(b"layer")).await;
    let tag = format!("sha256-{subject}");
    fixture.push_manifest("a", Some(&tag), &referrer(subject, "application/s")).await;
    let (list, fallback) = (format!("/v2/a/referrers/{}", subject.oci()), format!("/v2/a/manifests/{tag}"));
    fixture.registry.faults().set(Target::Referrers(subject), Times::Always, Fault::HideReferrers);
    let reply = fixture.get(&list).await;
    assert_eq!((reply.status, &reply.json()["manifests"]), (StatusCode::OK, &json!([])));
    fixture.get(&fallback).await.assert_error(404, "MANIFEST_UNKNOWN");

    fixture.registry.faults().clear();
    assert_eq!(fixture.get(&list).await.json()["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.get(&fallback).await.status, StatusCode::OK);
}
