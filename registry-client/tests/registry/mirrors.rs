//! Mirrors: asked first for what has a digest, believed in nothing, and told nothing that is another host's.

use crate::common::{PATIENCE, Peer, client_at, code, pattern, serve_router};
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use std::sync::{Arc, Mutex};
use strongroom_devkit::registry::{Credentials as Required, Fault, Target, Times};
use strongroom_registry_client::{Access, Blob, Credentials, Mirror, Password, RegistryClient};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result};

const LENGTH: usize = 300_000;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn access() -> Access {
    Access { plain_http: true, patience: PATIENCE, ..Access::default() }
}

struct Mirrored {
    origin: Peer,
    mirror: Peer,
    blob: Blob,
    client: RegistryClient,
}

impl Mirrored {
    /// A registry and its mirror, which calls `a/b` `proxy/a/b`, with the same blob in both.
    async fn start() -> Self {
        let (origin, mirror) = (Peer::start().await, Peer::start().await);
        let blob = Blob::bytes(pattern(LENGTH));
        origin.client.push_blob("a/b", &blob).await.unwrap();
        mirror.client.push_blob("proxy/a/b", &blob).await.unwrap();
        let place = Mirror::new(&format!("{}/proxy", mirror.registry.addr()), access()).unwrap();
        let client = client_at(origin.registry.addr(), Access { mirrors: vec![place], ..Access::default() });
        [&origin, &mirror].into_iter().for_each(|peer| peer.registry.requests().clear());
        Self { origin, mirror, blob, client }
    }

    async fn pull(&self) -> Result<Vec<u8>> {
        let (digest, size) = (self.blob.digest(), self.blob.size());
        Ok(self.client.blob("a/b", digest, size, LENGTH).await?.to_vec())
    }
}

fn ranges(peer: &Peer) -> Vec<Option<String>> {
    peer.registry.requests().all().into_iter().map(|request| request.range).collect()
}

#[tokio::test]
async fn blob_comes_from_the_mirror_that_has_it() {
    let mirrored = Mirrored::start().await;
    assert_eq!(mirrored.pull().await.unwrap(), pattern(LENGTH));
    assert_eq!((ranges(&mirrored.mirror), ranges(&mirrored.origin)), (vec![None], vec![]));
}

#[tokio::test]
async fn registry_asked_where_the_mirror_fails_or_lies() {
    let status = |status| Fault::Status { status, retry_after: None };
    for fault in [
        status(StatusCode::NOT_FOUND),
        status(StatusCode::UNAUTHORIZED),
        status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Serve(vec![7; LENGTH].into()),
        Fault::Serve(vec![7; 10].into()),
        Fault::FlipBit { at: 100 },
        Fault::ContentLength(1),
    ] {
        let mirrored = Mirrored::start().await;
        let context = format!("{fault:?}");
        mirrored.mirror.registry.faults().set(Target::Any, Times::Always, fault);
        assert_eq!(mirrored.pull().await.unwrap(), pattern(LENGTH), "{context}");
        assert_eq!(ranges(&mirrored.origin), [None], "{context}");
    }
}

#[tokio::test]
async fn registry_goes_on_where_the_mirror_was_cut_for_good() {
    let mirrored = Mirrored::start().await;
    let target = || Target::Blob(mirrored.blob.digest());
    let faults = mirrored.mirror.registry.faults();
    faults.set(target(), Times::Next(1), Fault::Truncate { after: 100_000 });
    faults.set(target(), Times::Always, Fault::Truncate { after: 0 });
    assert_eq!(mirrored.pull().await.unwrap(), pattern(LENGTH));
    assert_eq!(ranges(&mirrored.origin), [Some("bytes=100000-".to_owned())]);
}

#[tokio::test]
async fn tag_resolved_by_the_registry_alone_and_digest_by_the_mirror() {
    let mirrored = Mirrored::start().await;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"a/b","digest":"{}","size":{LENGTH}}},"layers":[]}}"#,
        mirrored.blob.digest().oci()
    );
    for (peer, name) in [(&mirrored.origin, "a/b:v1"), (&mirrored.mirror, "proxy/a/b:v1")] {
        peer.client.push_manifest(&peer.reference(name), MANIFEST, manifest.clone()).await.unwrap();
        peer.registry.requests().clear();
    }
    let tagged = mirrored.client.manifest(&mirrored.origin.reference("a/b:v1")).await.unwrap();
    assert_eq!(tagged.digest, Sha256::of(manifest.as_bytes()));
    assert!(ranges(&mirrored.mirror).is_empty());
    mirrored.origin.registry.requests().clear();
    let pinned = mirrored.origin.reference("a/b").pinned(tagged.digest);
    assert_eq!(mirrored.client.manifest(&pinned).await.unwrap(), tagged);
    assert!(ranges(&mirrored.origin).is_empty());
    let lie = Fault::Serve("{}".into());
    mirrored.mirror.registry.faults().set(Target::Any, Times::Always, lie);
    assert_eq!(mirrored.client.manifest(&pinned).await.unwrap(), tagged);
    assert_eq!(mirrored.origin.registry.requests().count(&Method::GET, &tagged.digest.to_string()), 1);
}

#[tokio::test]
async fn credentials_of_the_registry_not_shown_to_the_mirror() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mirror = serve_router(Router::new().fallback(move |request: Request| {
        log.lock().unwrap().push(request.headers().get(header::AUTHORIZATION).cloned());
        async { (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")]) }
    }))
    .await;
    let origin = Peer::with(|config| config.credentials = Some(Required::new("anna", "geheim"))).await;
    let password = Password::new("geheim".to_owned());
    let credentials = Some(Credentials { username: "anna".to_owned(), password });
    let mirrors = vec![Mirror::new(&mirror.to_string(), access()).unwrap()];
    let client = client_at(origin.registry.addr(), Access { credentials, mirrors, ..Access::default() });
    let blob = Blob::bytes("content");
    assert!(client.push_blob("a/b", &blob).await.unwrap());
    assert_eq!(client.blob("a/b", blob.digest(), blob.size(), 100).await.unwrap(), "content");
    assert_eq!(*seen.lock().unwrap(), [None]);
}

#[tokio::test]
async fn nobody_who_has_it_is_the_registrys_answer() {
    let mirrored = Mirrored::start().await;
    let pulled = mirrored.client.blob("a/c", mirrored.blob.digest(), mirrored.blob.size(), LENGTH).await;
    assert_eq!(code(pulled), Code::RegistryNotFound);
}
