//! Blobs: pushed, pulled, resumed, and refused where they are not what their digest says.

use crate::common::{PATIENCE, Peer, client, client_at, code, pattern, serve_router};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use std::time::{Duration, Instant};
use strongroom_devkit::registry::{Config, Credentials as Required, Fault, Gate, Registry, Target, Times};
use strongroom_registry_client::{Access, Blob, Credentials, Password, Patience, RegistryClient};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result};

const LENGTH: usize = 3_000_000;

async fn pushed(peer: &Peer) -> Blob {
    let path = peer.folder.path().join("blob");
    let bytes = pattern(LENGTH);
    std::fs::write(&path, &bytes).unwrap();
    let blob = Blob::file(path, 0, bytes.len() as u64, Sha256::of(&bytes));
    assert!(peer.client.push_blob("a/b", &blob).await.unwrap());
    peer.registry.requests().clear();
    blob
}

async fn pull(peer: &Peer, blob: &Blob) -> Result<Vec<u8>> {
    let bytes = peer.client.blob("a/b", blob.digest(), blob.size(), LENGTH).await?;
    Ok(bytes.to_vec())
}

fn ranges(peer: &Peer) -> Vec<Option<String>> {
    peer.registry.requests().all().into_iter().map(|request| request.range).collect()
}

#[tokio::test]
async fn blob_comes_back_as_it_was_pushed() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    assert_eq!(pull(&peer, &blob).await.unwrap(), pattern(LENGTH));
    assert_eq!(ranges(&peer), [None]);
}

#[tokio::test]
async fn blob_that_is_there_not_pushed_again() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    assert!(!peer.client.push_blob("a/b", &blob).await.unwrap());
    assert!(peer.registry.requests().all().iter().all(|request| request.method == Method::HEAD));
    assert!(peer.client.push_blob("a/c", &blob).await.unwrap(), "another repository has its own");
}

#[tokio::test]
async fn empty_blob_pushed_and_pulled() {
    let peer = Peer::start().await;
    let blob = Blob::bytes("");
    assert!(peer.client.push_blob("a/b", &blob).await.unwrap());
    assert_eq!(pull(&peer, &blob).await.unwrap(), b"");
}

#[tokio::test]
async fn blob_cut_anywhere_resumed_from_there() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    for after in [0, 1, 65_536, 1_500_000, LENGTH as u64 - 1] {
        peer.registry.requests().clear();
        peer.registry.faults().set(Target::Blob(blob.digest()), Times::Next(1), Fault::Truncate { after });
        assert_eq!(pull(&peer, &blob).await.unwrap(), pattern(LENGTH), "cut after {after}");
        let range = (after > 0).then(|| format!("bytes={after}-"));
        assert_eq!(ranges(&peer), [None, range], "cut after {after}");
    }
}

#[tokio::test]
async fn blob_cut_more_often_than_attempted_but_each_time_further_comes() {
    let peer = Peer::start().await;
    let bytes = pattern(9 << 20);
    let blob = Blob::bytes(bytes.clone());
    peer.client.push_blob("a/b", &blob).await.unwrap();
    let faults = peer.registry.faults();
    for _ in 0..PATIENCE.attempts + 2 {
        faults.set(Target::Blob(blob.digest()), Times::Next(1), Fault::Truncate { after: 3 << 19 });
    }
    assert_eq!(peer.client.blob("a/b", blob.digest(), blob.size(), 9 << 20).await.unwrap(), bytes);
    assert_eq!(faults.armed(), 0);
}

#[tokio::test]
async fn blob_always_cut_at_its_start_given_up() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    peer.registry.faults().set(Target::Blob(blob.digest()), Times::Always, Fault::Truncate { after: 10 });
    assert_eq!(code(pull(&peer, &blob).await), Code::Network);
    assert_eq!(ranges(&peer).len(), PATIENCE.attempts as usize);
}

#[tokio::test]
async fn flipped_bit_refused_also_behind_a_resume() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    let target = || Target::Blob(blob.digest());
    for at in [0, 1_499_999, LENGTH as u64 - 1] {
        peer.registry.faults().set(target(), Times::Next(1), Fault::FlipBit { at });
        assert_eq!(code(pull(&peer, &blob).await), Code::LayerDigestMismatch, "{at}");
    }
    peer.registry.faults().set(target(), Times::Next(1), Fault::Truncate { after: 1000 });
    peer.registry.faults().set(target(), Times::Next(1), Fault::FlipBit { at: 2000 });
    assert_eq!(code(pull(&peer, &blob).await), Code::LayerDigestMismatch);
    assert_eq!(pull(&peer, &blob).await.unwrap(), pattern(LENGTH));
}

#[tokio::test]
async fn other_bytes_of_the_same_and_of_another_length_refused() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    for (length, want) in [
        (LENGTH, Code::LayerDigestMismatch),
        (LENGTH - 1, Code::LayerSizeMismatch),
        (LENGTH + 1, Code::LayerSizeMismatch),
    ] {
        let fault = Fault::Serve(vec![7; length].into());
        peer.registry.faults().set(Target::Blob(blob.digest()), Times::Next(1), fault);
        assert_eq!(code(pull(&peer, &blob).await), want, "{length}");
    }
}

#[tokio::test]
async fn content_length_that_is_not_the_descriptors_refused() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    for length in [0, LENGTH as u64 - 1, LENGTH as u64 + 1] {
        let fault = Fault::ContentLength(length);
        peer.registry.faults().set(Target::Blob(blob.digest()), Times::Next(1), fault);
        assert_eq!(code(pull(&peer, &blob).await), Code::LayerSizeMismatch, "{length}");
    }
}

#[tokio::test]
async fn descriptor_of_another_length_refused() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    for size in [1, blob.size() - 1, blob.size() + 1] {
        let pulled = peer.client.blob("a/b", blob.digest(), size, LENGTH + 1).await;
        assert_eq!(code(pulled), Code::LayerSizeMismatch, "{size}");
    }
    let pulled = peer.client.blob("a/b", blob.digest(), blob.size(), LENGTH - 1).await;
    assert_eq!(code(pulled), Code::TooLarge);
}

#[tokio::test]
async fn statuses_that_pass_are_repeated_and_others_are_not() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    let status = |status, times| {
        let fault = Fault::Status { status, retry_after: None };
        peer.registry.requests().clear();
        peer.registry.faults().set(Target::Blob(blob.digest()), times, fault);
    };
    for passing in [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY] {
        status(passing, Times::Next(2));
        assert_eq!(pull(&peer, &blob).await.unwrap(), pattern(LENGTH));
        status(passing, Times::Always);
        assert_eq!(code(pull(&peer, &blob).await), Code::RegistryFailed);
        assert_eq!(ranges(&peer).len(), PATIENCE.attempts as usize);
        peer.registry.faults().clear();
    }
    for (other, want) in [
        (StatusCode::NOT_FOUND, Code::RegistryNotFound),
        (StatusCode::FORBIDDEN, Code::RegistryUnauthorized),
        (StatusCode::UNAUTHORIZED, Code::RegistryUnauthorized),
        (StatusCode::IM_A_TEAPOT, Code::RegistryFailed),
    ] {
        status(other, Times::Next(1));
        assert_eq!(code(pull(&peer, &blob).await), want);
        assert_eq!(ranges(&peer).len(), 1, "{other}");
    }
}

#[tokio::test]
async fn retry_after_honoured_up_to_our_patience() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    let fault = |seconds| Fault::Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(Duration::from_secs(seconds)),
    };
    let patience = Patience { longest_wait: Duration::from_secs(2), ..PATIENCE };
    let address = peer.registry.addr().to_string();
    let access = Access { plain_http: true, patience, ..Access::default() };
    let patient = RegistryClient::new(&address, access).unwrap();
    for (client, seconds, least, most) in [(&patient, 1, 1000, 60_000), (&peer.client, 3600, 50, 60_000)] {
        peer.registry.faults().set(Target::Blob(blob.digest()), Times::Next(1), fault(seconds));
        let start = Instant::now();
        client.blob("a/b", blob.digest(), blob.size(), LENGTH).await.unwrap();
        let waited = start.elapsed().as_millis();
        assert!((least..most).contains(&waited), "{waited} ms");
    }
}

#[tokio::test]
async fn silent_registry_given_up() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    let gate = Gate::closed();
    peer.registry.faults().set(Target::Blob(blob.digest()), Times::Always, Fault::Stall(gate.clone()));
    let patience = Patience { attempts: 2, answer: Duration::from_millis(100), ..PATIENCE };
    let access = Access { plain_http: true, patience, ..Access::default() };
    let client = RegistryClient::new(&peer.registry.addr().to_string(), access).unwrap();
    assert_eq!(code(client.blob("a/b", blob.digest(), blob.size(), LENGTH).await), Code::Timeout);
    gate.open();
}

#[tokio::test]
async fn right_user_accepted_wrong_and_no_user_refused() {
    let peer = Peer::with(|config| config.credentials = Some(Required::new("anna", "geheim"))).await;
    let as_user = |password: &str| {
        let password = Password::new(password.to_owned());
        let credentials = Some(Credentials { username: "anna".to_owned(), password });
        client(&peer.registry, Access { credentials, ..Access::default() })
    };
    let blob = Blob::bytes("content");
    assert_eq!(code(peer.client.push_blob("a/b", &blob).await), Code::RegistryUnauthorized);
    assert_eq!(code(as_user("other").push_blob("a/b", &blob).await), Code::RegistryUnauthorized);
    let right = as_user("geheim");
    assert!(right.push_blob("a/b", &blob).await.unwrap());
    assert_eq!(right.blob("a/b", blob.digest(), blob.size(), 100).await.unwrap(), "content");
    assert_eq!(code(pull(&peer, &blob).await), Code::RegistryUnauthorized);
}

#[tokio::test]
async fn upload_repeated_after_passing_failures() {
    let peer = Peer::start().await;
    let blob = Blob::bytes(pattern(LENGTH));
    let fault = Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
    peer.registry.faults().set(Target::Uploads, Times::Next(2), fault.clone());
    assert!(peer.client.push_blob("a/b", &blob).await.unwrap());
    peer.registry.faults().set(Target::Uploads, Times::Always, fault);
    assert_eq!(code(peer.client.push_blob("a/c", &blob).await), Code::RegistryFailed);
}

#[tokio::test]
async fn upload_in_chunks_where_a_proxy_takes_no_whole_body() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(&Config::new(folder.path().join("registry"))).unwrap();
    let limited = middleware::from_fn(|request: Request, next: Next| async move {
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length.and_then(|text| text.parse::<u64>().ok()) {
            Some(length) if length > 10_000_000 => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            _ => next.run(request).await,
        }
    });
    let client = client_at(serve_router(registry.router().layer(limited)).await, Access::default());
    let bytes = pattern(20 << 20);
    let path = folder.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let blob = Blob::file(path, 0, bytes.len() as u64, Sha256::of(&bytes));
    assert!(client.push_blob("a/b", &blob).await.unwrap());
    let patches = registry.requests().all().iter().filter(|request| request.method == Method::PATCH).count();
    assert_eq!(patches, 3, "of 8 MiB");
    assert_eq!(client.blob("a/b", blob.digest(), blob.size(), 20 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn file_that_changed_since_it_was_hashed_refused() {
    let peer = Peer::start().await;
    let path = peer.folder.path().join("blob");
    std::fs::write(&path, b"content").unwrap();
    let blob = Blob::file(path.clone(), 0, 7, Sha256::of(b"content"));
    std::fs::write(&path, b"CONTENT").unwrap();
    assert_eq!(code(peer.client.push_blob("a/b", &blob).await), Code::RegistryFailed);
    std::fs::write(&path, b"cont").unwrap();
    assert_eq!(code(peer.client.push_blob("a/b", &blob).await), Code::Io);
}

#[tokio::test]
async fn upload_that_was_interrupted_goes_on_from_what_the_registry_has() {
    let peer = Peer::start().await;
    let bytes = pattern(20 << 20);
    let blob = Blob::bytes(bytes.clone());
    let faults = peer.registry.faults();
    // The whole body, and then two chunks, fail after a part.
    for taken in [1 << 20, 3 << 20, 5 << 20] {
        faults.set(Target::Uploads, Times::Next(1), Fault::TakePart { bytes: taken });
    }
    assert!(peer.client.push_blob("a/b", &blob).await.unwrap());
    assert_eq!(faults.armed(), 0);
    let requests = peer.registry.requests();
    let sessions = requests.count(&Method::POST, "/blobs/uploads/");
    assert_eq!(sessions, 2, "one for the whole, one for all of the chunks");
    assert_eq!(peer.client.blob("a/b", blob.digest(), blob.size(), 20 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn upload_that_never_gets_further_given_up() {
    let peer = Peer::start().await;
    peer.registry.faults().set(Target::Uploads, Times::Always, Fault::TakePart { bytes: 100 });
    assert_eq!(code(peer.client.push_blob("a/b", &Blob::bytes(pattern(20 << 20))).await), Code::RegistryFailed);
}

#[tokio::test]
async fn blob_of_another_repository_mounted_and_not_sent() {
    let peer = Peer::start().await;
    let blob = pushed(&peer).await;
    assert!(!peer.client.push_blob("c/d", &blob.clone().mountable_from("a/b")).await.unwrap());
    let methods: Vec<_> = peer.registry.requests().all().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, [Method::HEAD, Method::POST]);
    assert_eq!(peer.client.blob("c/d", blob.digest(), blob.size(), LENGTH).await.unwrap(), pattern(LENGTH));
    assert!(peer.client.push_blob("e/f", &blob.mountable_from("not/there")).await.unwrap(), "sent instead");
}
