//! Referrers: the registry's list, and the fallback index where it keeps none.

use crate::common::{Peer, client_at, code, serve_router};
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_registry_client::{Access, Blob, Reference, Referrer};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

async fn push(peer: &Peer, subject: Sha256, number: u32) -> Sha256 {
    try_push(peer, subject, number).await.unwrap()
}

async fn try_push(peer: &Peer, subject: Sha256, number: u32) -> Result<Sha256> {
    let empty = Blob::bytes("{}");
    peer.client.push_blob("a/b", &empty).await.unwrap();
    let descriptor =
        format!(r#"{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}}"#, empty.digest().oci());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{TYPE}","artifactType":"{BUNDLE}","config":{descriptor},"layers":[],
        "subject":{{"mediaType":"{TYPE}","digest":"{}","size":7}},"annotations":{{"number":"{number}"}}}}"#,
        subject.oci()
    );
    peer.client.push_referrer(&peer.reference("a/b"), manifest.into_bytes()).await
}

fn digests(referrers: &[Referrer]) -> Vec<String> {
    let mut digests: Vec<_> = referrers.iter().map(|referrer| referrer.digest.clone()).collect();
    digests.sort();
    digests
}

#[tokio::test]
async fn referrers_found_with_and_without_the_api() {
    for api in [true, false] {
        let peer = Peer::with(|config| {
            config.referrers_api = api;
            config.limits.page = 2;
        })
        .await;
        let subject = Sha256::of(b"subject");
        assert_eq!(peer.client.referrers(&peer.reference("a/b"), subject).await.unwrap(), []);
        let mut pushed = Vec::new();
        for number in 0..5 {
            pushed.push(push(&peer, subject, number).await.oci());
        }
        push(&peer, Sha256::of(b"another"), 0).await;
        assert_eq!(push(&peer, subject, 4).await.oci(), pushed[4], "twice is once");
        pushed.sort();
        let found = peer.client.referrers(&peer.reference("a/b"), subject).await.unwrap();
        assert_eq!(digests(&found), pushed, "api {api}");
        assert!(found.iter().all(|referrer| referrer.artifact_type.as_deref() == Some(BUNDLE)));

        let tag = format!("/manifests/sha256-{subject}");
        assert_eq!(peer.registry.requests().count(&Method::PUT, &tag) > 0, !api);
    }
}

#[tokio::test]
async fn entries_of_others_stay_in_the_fallback_index() {
    let peer = Peer::with(|config| config.referrers_api = false).await;
    let subject = Sha256::of(b"subject");
    let first = push(&peer, subject, 1).await;
    let tagged = peer.reference(&format!("a/b:sha256-{subject}"));
    let index = peer.client.manifest(&tagged).await.unwrap();
    // As other tools write it: another artifactType, and members of their own.
    let text = String::from_utf8(index.bytes.to_vec()).unwrap();
    let foreign = text.replacen(BUNDLE, "application/vnd.oci.empty.v1+json", 1).replacen('{', r#"{"x":1,"#, 1);
    peer.client.push_manifest(&tagged, INDEX, foreign).await.unwrap();
    let second = push(&peer, subject, 2).await;
    let found = peer.client.referrers(&peer.reference("a/b"), subject).await.unwrap();
    let mut both = [first.oci(), second.oci()];
    both.sort();
    assert_eq!(digests(&found), both, "reading does not filter by artifactType");
    let index = peer.client.manifest(&tagged).await.unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index.bytes).unwrap();
    assert_eq!(index["x"], 1);
    assert_eq!(index["manifests"][1]["artifactType"], BUNDLE);
    assert_eq!(index["manifests"][1]["annotations"]["number"], "2");
}

#[tokio::test]
async fn failing_registry_is_not_an_empty_list() {
    for api in [true, false] {
        let peer = Peer::with(|config| config.referrers_api = api).await;
        let subject = Sha256::of(b"subject");
        push(&peer, subject, 1).await;
        for (status, want) in [
            (StatusCode::INTERNAL_SERVER_ERROR, Code::RegistryFailed),
            (StatusCode::FORBIDDEN, Code::RegistryUnauthorized),
            (StatusCode::METHOD_NOT_ALLOWED, Code::RegistryFailed),
        ] {
            let fault = Fault::Status { status, retry_after: None };
            peer.registry.faults().set(Target::Referrers(subject), Times::Always, fault);
            let found = peer.client.referrers(&peer.reference("a/b"), subject).await;
            assert_eq!(code(found), want, "{status}, api {api}");
            peer.registry.faults().clear();
        }
    }
}

#[tokio::test]
async fn tag_that_holds_something_else_than_an_index_neither_read_nor_overwritten() {
    let peer = Peer::with(|config| config.referrers_api = false).await;
    let subject = Sha256::of(b"subject");
    let tag = format!("sha256-{subject}");
    let config = Blob::bytes("{}");
    peer.client.push_blob("a/b", &config).await.unwrap();
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{}","size":2}},"layers":[]}}"#,
        config.digest().oci()
    );
    peer.client.push_manifest(&peer.reference(&format!("a/b:{tag}")), TYPE, image).await.unwrap();
    assert_eq!(code(peer.client.referrers(&peer.reference("a/b"), subject).await), Code::RegistryFailed);
    assert_eq!(code(try_push(&peer, subject, 1).await), Code::RegistryFailed);
    assert_eq!(peer.registry.requests().count(&Method::PUT, &tag), 1, "the image's own");
}

#[tokio::test]
async fn manifest_without_subject_not_pushed_as_referrer() {
    let peer = Peer::start().await;
    let pushed = peer.client.push_referrer(&peer.reference("a/b"), b"{\"schemaVersion\":2}".to_vec()).await;
    assert_eq!(code(pushed), Code::Malformed);
}

/// A registry with two pages of referrers, whose second is on `elsewhere` or its own, and how often that page was asked for.
async fn paged(elsewhere: Option<SocketAddr>) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let answer = move |request: Request| {
        let next = match elsewhere {
            Some(addr) => format!("<http://{addr}/v2/a/b/referrers/next>; rel=\"next\""),
            None => "</v2/a/b/referrers/next>; rel=\"next\"".to_owned(),
        };
        let entry = |digest: &str| format!(r#"{{"manifests":[{{"digest":"{digest}","size":1}}]}}"#);
        let response = match request.uri().path() {
            path if path.ends_with("/next") => {
                counted.fetch_add(1, Ordering::Relaxed);
                entry("sha256:second").into_response()
            }
            path if path.contains("/referrers/") => ([(header::LINK, next)], entry("sha256:first")).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
        async move { response }
    };
    (serve_router(Router::new().fallback(get(answer))).await, asked)
}

#[tokio::test]
async fn next_page_on_the_registry_read_and_on_another_host_refused_unasked() {
    let subject = Sha256::of(b"subject");
    let (own, asked) = paged(None).await;
    for (elsewhere, want) in [(None, None), (Some(own), Some(Code::RegistryFailed))] {
        let (registry, _) = paged(elsewhere).await;
        let reference = Reference::parse(&format!("{registry}/a/b")).unwrap();
        let found = client_at(registry, Access::default()).referrers(&reference, subject).await;
        match want {
            None => assert_eq!(digests(&found.unwrap()), ["sha256:first", "sha256:second"]),
            Some(want) => assert_eq!(code(found), want),
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
