//! The cache: downloads that go on where a process ended, blobs that are not fetched twice, and nothing wrong in it.

use crate::common::{PATIENCE, Peer, client, code, pattern, serve_router};
use crate::models::{Shelf, key};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_registry_client::{Access, Cache, CacheLimits, Mirror, RegistryClient};
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

const WEIGHTS: &str = "onnx/model.onnx";
const ROOMY: CacheLimits = CacheLimits { blobs: 1 << 30, partial: 1 << 30 };

fn root(peer: &Peer) -> PathBuf {
    peer.folder.path().join("cache")
}

/// A client as another process would have it.
fn another(peer: &Peer, limits: CacheLimits) -> RegistryClient {
    let cache = Cache::open(&root(peer), limits).unwrap();
    client(&peer.registry, Access { cache: Some(cache), ..Access::default() })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Breaks the connection after so many bytes of the blob, and answers nothing more.
fn interrupt(shelf: &Shelf, blob: Sha256, after: u64) {
    let faults = shelf.peer.registry.faults();
    let down = Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
    faults.set(Target::Blob(blob), Times::Next(1), Fault::Truncate { after });
    faults.set(Target::Blob(blob), Times::Always, down);
}

async fn pull(shelf: &Shelf, limits: CacheLimits) -> Result<(), Code> {
    let pulled = shelf.pull_with(&another(&shelf.peer, limits), shelf.key()).await;
    pulled.map(|_| shelf.assert_pulled_and_clear()).map_err(|refusal| refusal.code)
}

fn asked(shelf: &Shelf, blob: Sha256) -> Vec<Option<String>> {
    let all = shelf.peer.registry.requests().all();
    let of_blob = all.into_iter().filter(|one| one.method == Method::GET && one.path.ends_with(&blob.to_string()));
    of_blob.map(|one| one.range).collect()
}

#[tokio::test]
async fn download_interrupted_at_every_quarter_goes_on_from_the_disk() {
    for sealed in [true, false] {
        let shelf = Shelf::new(sealed, true).await;
        let blob = shelf.blob(WEIGHTS).await;
        for quarter in 1..4 {
            let after = quarter * 625_000;
            interrupt(&shelf, blob, after);
            assert_eq!(pull(&shelf, ROOMY).await, Err(Code::RegistryFailed));
            shelf.assert_nothing_left("interrupted");
            shelf.peer.registry.faults().clear();
            shelf.peer.registry.requests().clear();
            assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
            assert_eq!(asked(&shelf, blob), [Some(format!("bytes={after}-"))], "sealed {sealed}");
            assert!(files(&root(&shelf.peer).join("partial")).is_empty());
            std::fs::remove_dir_all(root(&shelf.peer)).unwrap();
        }
    }
}

#[tokio::test]
async fn beginning_that_changed_on_the_disk_comes_again() {
    let shelf = Shelf::new(true, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    interrupt(&shelf, blob, 1_000_000);
    assert_eq!(pull(&shelf, ROOMY).await, Err(Code::RegistryFailed));
    shelf.peer.registry.faults().clear();
    shelf.peer.registry.requests().clear();
    let path = root(&shelf.peer).join("partial").join(blob.to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[999_999] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
    assert_eq!(asked(&shelf, blob), [None]);
}

#[tokio::test]
async fn lie_that_was_interrupted_is_found_and_the_truth_fetched() {
    let shelf = Shelf::new(false, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    let lie = pattern(2_500_001)[1..].to_vec();
    let faults = shelf.peer.registry.faults();
    faults.set(Target::Blob(blob), Times::Next(1), Fault::Serve(lie.into()));
    assert_eq!(pull(&shelf, ROOMY).await, Err(Code::LayerDigestMismatch));
    assert!(!root(&shelf.peer).join("partial").join(blob.to_string()).exists(), "what was wrong is not kept");
    assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
    assert_eq!(faults.armed(), 0);
}

/// A mirror that has every blob, as these bytes, and does not say how many they are.
async fn mirror_of(content: &[u8]) -> SocketAddr {
    let content = Bytes::copy_from_slice(content);
    let answer = move |request: Request| async move {
        match request.uri().path().contains("/blobs/") {
            true => Response::new(Body::from_stream(stream::iter([Ok::<_, std::io::Error>(content)]))),
            false => StatusCode::NOT_FOUND.into_response(),
        }
    };
    serve_router(Router::new().fallback(answer)).await
}

fn behind(peer: &Peer, mirror: SocketAddr, cached: bool) -> RegistryClient {
    let access = Access { plain_http: true, patience: PATIENCE, ..Access::default() };
    let mirrors = vec![Mirror::new(&mirror.to_string(), access).unwrap()];
    let cache = cached.then(|| Cache::open(&root(peer), ROOMY).unwrap());
    client(&peer.registry, Access { cache, mirrors, ..Access::default() })
}

#[tokio::test]
async fn registry_asked_for_all_of_it_where_a_mirror_ends_in_good_order_with_less() {
    for sealed in [true, false] {
        let shelf = Shelf::new(sealed, true).await;
        let blob = shelf.blob(WEIGHTS).await;
        shelf.peer.registry.requests().clear();
        let mirror = mirror_of(&vec![7; 1_000_000]).await;
        shelf.pull_with(&behind(&shelf.peer, mirror, true), shelf.key()).await.unwrap();
        shelf.assert_pulled_and_clear();
        assert_eq!(asked(&shelf, blob), [None], "sealed {sealed}");
        assert!(files(&root(&shelf.peer).join("partial")).is_empty());
    }
}

#[tokio::test]
async fn what_a_mirror_gave_too_little_of_is_not_gone_on_from() {
    let shelf = Shelf::new(false, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    let down = Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
    shelf.peer.registry.faults().set(Target::Blob(blob), Times::Always, down);
    let mirror = mirror_of(&vec![7; 1_000_000]).await;
    let pulled = shelf.pull_with(&behind(&shelf.peer, mirror, true), shelf.key()).await;
    assert_eq!(code(pulled), Code::RegistryFailed);
    assert!(!root(&shelf.peer).join("partial").join(blob.to_string()).exists());
    shelf.peer.registry.faults().clear();
    shelf.peer.registry.requests().clear();
    assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
    assert_eq!(asked(&shelf, blob), [None]);
}

#[tokio::test]
async fn mirror_that_lies_ends_a_pull_without_a_cache() {
    let shelf = Shelf::new(false, true).await;
    let pulled = shelf.pull_with(&behind(&shelf.peer, mirror_of(&[7; 1]).await, false), shelf.key()).await;
    assert_eq!(code(pulled), Code::LayerSizeMismatch);
    shelf.assert_nothing_left("lie of a mirror");
    shelf.pull_with(&behind(&shelf.peer, mirror_of(&[7; 1]).await, true), shelf.key()).await.unwrap();
    shelf.assert_pulled_and_clear();
}

#[tokio::test]
async fn cached_blobs_not_asked_for_again_and_changed_ones_fetched() {
    let shelf = Shelf::new(true, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
    shelf.peer.registry.requests().clear();
    assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
    assert!(asked(&shelf, blob).is_empty());
    let path = root(&shelf.peer).join("blobs").join(blob.to_string());
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[1_234_567] ^= 1;
    for changed in [flipped, whole[1..].to_vec(), Vec::new()] {
        std::fs::write(&path, changed).unwrap();
        shelf.peer.registry.requests().clear();
        assert_eq!(pull(&shelf, ROOMY).await, Ok(()));
        assert_eq!(asked(&shelf, blob), [None]);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_downloaded_once_for_all_who_want_it() {
    let shelf = Shelf::new(true, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    let gate = Gate::closed();
    let stall = Fault::StallBody { after: 1_000_000, gate: gate.clone() };
    shelf.peer.registry.faults().set(Target::Blob(blob), Times::Next(1), stall);
    let clients = [another(&shelf.peer, ROOMY), another(&shelf.peer, ROOMY), another(&shelf.peer, ROOMY)];
    let pulls = clients.iter().zip(["x", "y", "z"]).map(|(client, name)| shelf.pull_into(client, name));
    let opened = async {
        while asked(&shelf, blob).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        gate.open();
    };
    let (pulled, ()) = futures_util::future::join(futures_util::future::join_all(pulls), opened).await;
    assert!(pulled.iter().all(Result::is_ok), "{pulled:?}");
    assert_eq!(asked(&shelf, blob), [None]);
}

#[tokio::test]
async fn cache_for_interrupted_downloads_keeps_no_whole_blob() {
    let shelf = Shelf::new(true, true).await;
    let limits = CacheLimits { blobs: 0, partial: 1 << 30 };
    assert_eq!(pull(&shelf, limits).await, Ok(()));
    for folder in ["blobs", "partial", "locks"] {
        assert_eq!(files(&root(&shelf.peer).join(folder)), Vec::<PathBuf>::new(), "{folder}");
    }
    let blob = shelf.blob(WEIGHTS).await;
    interrupt(&shelf, blob, 1_000_000);
    assert_eq!(pull(&shelf, limits).await, Err(Code::RegistryFailed));
    // Beside it, there may be others that were on their way when it failed.
    let bytes = root(&shelf.peer).join("partial").join(blob.to_string());
    assert_eq!(std::fs::metadata(&bytes).unwrap().len(), 1_000_000);
    assert!(bytes.with_extension("journal").exists());
    let none = CacheLimits { blobs: 0, partial: 0 };
    assert!(Cache::open(&root(&shelf.peer), none).unwrap().collect().unwrap().bytes >= 1_000_000);
    assert!(!bytes.exists() && !bytes.with_extension("journal").exists());
}

#[tokio::test]
async fn model_pulled_without_a_cache_that_cannot_be_written() {
    let shelf = Shelf::new(true, true).await;
    let client = another(&shelf.peer, ROOMY);
    let blob = shelf.blob(WEIGHTS).await;
    std::fs::create_dir(root(&shelf.peer).join("partial").join(blob.to_string())).unwrap();
    shelf.pull_with(&client, shelf.key()).await.unwrap();
    shelf.assert_pulled_and_clear();
}

#[test]
fn cache_that_others_may_look_into_refused_and_a_new_one_is_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/cache");
    Cache::open(&root, ROOMY).unwrap();
    let set = |mode| std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    for mode in [0o701, 0o750, 0o755] {
        set(mode);
        assert_eq!(code(Cache::open(&root, ROOMY)), Code::FileModeUnsafe, "{mode:o}");
    }
    set(0o700);
    assert!(Cache::open(&root, ROOMY).is_ok());
}

#[tokio::test]
async fn listener_told_of_every_byte_that_came_or_was_there() {
    let shelf = Shelf::new(true, true).await;
    let blob = shelf.blob(WEIGHTS).await;
    let told = || {
        let told = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&told);
        let listener: strongroom_registry_client::BlobListener = Arc::new(move |digest, bytes| {
            if digest == blob {
                *counted.lock().unwrap() += bytes;
            }
        });
        (told, listener)
    };
    let size = shelf.size(WEIGHTS).await;
    let plain = client(&shelf.peer.registry, Access::default());
    for client in [plain, another(&shelf.peer, ROOMY), another(&shelf.peer, ROOMY)] {
        let (told, listener) = told();
        shelf.pull_with(&client.with_listener(listener), Some(key())).await.unwrap();
        shelf.assert_pulled_and_clear();
        assert_eq!(*told.lock().unwrap(), size);
    }
}
