//! What can go wrong on the way from a registry, at each thing that is fetched: `docs/faults.md`, held here. What passes is
//! waited for; what lasts, or lies, ends the pull with its code. In no case is there a file afterwards that should not be.

use crate::common::{PATIENCE, client, client_at};
use crate::models::Shelf;
use axum::http::StatusCode;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_registry_client::{Access, Cache, CacheLimits, Pace, Patience, RegistryClient};
use strongroom_wire::Code::{self, *};
use strongroom_wire::digest::Sha256;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// Of what is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Manifest,
    /// As a registry lists what refers to the model.
    Referrers,
    /// The same as a tag, where a registry keeps no list.
    Index,
    Signature,
    Bundle,
    Layer,
}
use Place::{Bundle, Index, Layer, Manifest, Referrers, Signature};

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// So many quarters come, and then the connection is cut.
    Cut(u64),
    Status(StatusCode),
    /// As long as it should be.
    Garbage,
    OneByteMore,
    OneByteLess,
    Nothing,
    /// `Content-Length` says one less.
    ShortLength,
    OneBit,
    SilentHead,
    SilentBody,
}
use Wrong::{Cut, Garbage, Nothing, OneBit, OneByteLess, OneByteMore, ShortLength, SilentBody, SilentHead, Status};

impl Wrong {
    fn text(self) -> String {
        match self {
            Cut(0) => "connection cut at the start".to_owned(),
            Cut(quarters) => format!("connection cut after {quarters} of 4 quarters"),
            Status(status) => format!("status {}", status.as_u16()),
            Garbage => "other bytes".to_owned(),
            OneByteMore => "one byte more".to_owned(),
            OneByteLess => "one byte less".to_owned(),
            Nothing => "no bytes".to_owned(),
            ShortLength => "a length that is one less than what comes".to_owned(),
            OneBit => "one bit changed".to_owned(),
            SilentHead => "no answer".to_owned(),
            SilentBody => "an answer that stops after a quarter".to_owned(),
        }
    }

    fn fault(self, content: &[u8], gate: &Gate) -> Fault {
        let length = content.len() as u64;
        match self {
            Cut(quarters) => Fault::Truncate { after: quarters * length / 4 },
            Status(status) => Fault::Status { status, retry_after: None },
            Garbage => Fault::Serve(vec![b'x'; content.len()].into()),
            OneByteMore => Fault::Serve([content, b"x"].concat().into()),
            OneByteLess => Fault::Serve(content[1..].to_vec().into()),
            Nothing => Fault::Serve("".into()),
            ShortLength => Fault::ContentLength(length - 1),
            OneBit => Fault::FlipBit { at: length / 2 },
            SilentHead => Fault::Stall(gate.clone()),
            SilentBody => Fault::StallBody { after: length / 4, gate: gate.clone() },
        }
    }

    const fn is_silence(self) -> bool {
        matches!(self, SilentHead | SilentBody)
    }
}

/// Where, what, what a pull comes to that meets it once, and one that meets it always. `None`: the model.
type Row = (Place, Wrong, Option<Code>, Option<Code>);

const NOT_FOUND: Wrong = Status(StatusCode::NOT_FOUND);
const UNAUTHORIZED: Wrong = Status(StatusCode::UNAUTHORIZED);
const TOO_MANY: Wrong = Status(StatusCode::TOO_MANY_REQUESTS);
const BROKEN: Wrong = Status(StatusCode::INTERNAL_SERVER_ERROR);

const ROWS: &[Row] = &[
    (Manifest, Cut(0), None, Some(Network)),
    (Manifest, Cut(2), None, Some(Network)),
    (Manifest, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Manifest, NOT_FOUND, Some(RegistryNotFound), Some(RegistryNotFound)),
    (Manifest, TOO_MANY, None, Some(RegistryFailed)),
    (Manifest, BROKEN, None, Some(RegistryFailed)),
    (Manifest, Garbage, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Manifest, OneBit, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Manifest, Nothing, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Manifest, ShortLength, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Manifest, SilentHead, None, Some(Timeout)),
    (Referrers, Cut(0), None, Some(Network)),
    (Referrers, Cut(2), None, Some(Network)),
    (Referrers, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Referrers, NOT_FOUND, Some(ModelUnsigned), Some(ModelUnsigned)),
    (Referrers, TOO_MANY, None, Some(RegistryFailed)),
    (Referrers, BROKEN, None, Some(RegistryFailed)),
    (Referrers, Garbage, Some(RegistryFailed), Some(RegistryFailed)),
    (Referrers, OneByteLess, Some(RegistryFailed), Some(RegistryFailed)),
    (Referrers, Nothing, Some(RegistryFailed), Some(RegistryFailed)),
    (Referrers, SilentHead, None, Some(Timeout)),
    (Index, Cut(0), None, Some(Network)),
    (Index, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Index, NOT_FOUND, Some(ModelUnsigned), Some(ModelUnsigned)),
    (Index, TOO_MANY, None, Some(RegistryFailed)),
    (Index, BROKEN, None, Some(RegistryFailed)),
    (Index, Garbage, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Index, Nothing, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Index, SilentHead, None, Some(Timeout)),
    (Signature, Cut(0), None, Some(Network)),
    (Signature, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Signature, NOT_FOUND, Some(RegistryNotFound), Some(RegistryNotFound)),
    (Signature, TOO_MANY, None, Some(RegistryFailed)),
    (Signature, BROKEN, None, Some(RegistryFailed)),
    (Signature, Garbage, Some(ManifestDigestMismatch), Some(ManifestDigestMismatch)),
    (Signature, SilentHead, None, Some(Timeout)),
    (Bundle, Cut(0), None, Some(Network)),
    (Bundle, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Bundle, NOT_FOUND, Some(RegistryNotFound), Some(RegistryNotFound)),
    (Bundle, TOO_MANY, None, Some(RegistryFailed)),
    (Bundle, BROKEN, None, Some(RegistryFailed)),
    (Bundle, Garbage, Some(LayerDigestMismatch), Some(LayerDigestMismatch)),
    (Bundle, OneByteMore, Some(LayerDigestMismatch), Some(LayerDigestMismatch)),
    (Bundle, SilentHead, None, Some(Timeout)),
    (Bundle, SilentBody, None, Some(Timeout)),
    (Layer, Cut(0), None, Some(Network)),
    (Layer, Cut(1), None, Some(Network)),
    (Layer, Cut(2), None, None),
    (Layer, Cut(3), None, None),
    (Layer, UNAUTHORIZED, Some(RegistryUnauthorized), Some(RegistryUnauthorized)),
    (Layer, NOT_FOUND, Some(RegistryNotFound), Some(RegistryNotFound)),
    (Layer, TOO_MANY, None, Some(RegistryFailed)),
    (Layer, BROKEN, None, Some(RegistryFailed)),
    (Layer, Garbage, Some(LayerDigestMismatch), Some(LayerDigestMismatch)),
    (Layer, OneBit, Some(LayerDigestMismatch), Some(LayerDigestMismatch)),
    (Layer, OneByteMore, Some(LayerSizeMismatch), Some(LayerSizeMismatch)),
    (Layer, OneByteLess, Some(LayerSizeMismatch), Some(LayerSizeMismatch)),
    (Layer, Nothing, Some(LayerSizeMismatch), Some(LayerSizeMismatch)),
    (Layer, ShortLength, Some(LayerSizeMismatch), Some(LayerSizeMismatch)),
    (Layer, SilentHead, None, Some(Timeout)),
    (Layer, SilentBody, None, Some(Timeout)),
];

/// What a row's line says of a pull.
fn said(outcome: Option<Code>) -> String {
    outcome.map_or_else(|| "goes on".to_owned(), |code| format!("`{code}`"))
}

fn line((place, wrong, once, always): &Row) -> String {
    let place = match place {
        Manifest => "manifest",
        Referrers => "list of what refers to it",
        Index => "the same under a tag",
        Signature => "manifest of a signature",
        Bundle => "signature",
        Layer => "layer",
    };
    format!("| {place} | {} | {} | {} |", wrong.text(), said(*once), said(*always))
}

/// A place in a shelf: the requests for it, and what is there.
async fn place(shelf: &Shelf, place: Place) -> (Target, Vec<u8>) {
    let manifest = |digest: Sha256| async move {
        let pinned = shelf.peer.reference("m/demo").pinned(digest);
        shelf.peer.client.manifest(&pinned).await.unwrap().bytes.to_vec()
    };
    let blob = |digest: Sha256, size: u64| async move {
        let bytes = shelf.peer.client.blob("m/demo", digest, size, 10_000_000).await.unwrap();
        (Target::Blob(digest), bytes.to_vec())
    };
    match place {
        Manifest => (Target::Manifest("v1".to_owned()), manifest(shelf.pushed.manifest).await),
        Referrers => (Target::Referrers(shelf.pushed.manifest), vec![b'['; 700]),
        Index => (Target::Manifest(format!("sha256-{}", shelf.pushed.manifest)), vec![b'['; 700]),
        Signature => (Target::Manifest(shelf.pushed.signature.oci()), manifest(shelf.pushed.signature).await),
        Bundle => {
            let signature: Value = serde_json::from_slice(&manifest(shelf.pushed.signature).await).unwrap();
            let layer = &signature["layers"][0];
            blob(Sha256::from_oci(layer["digest"].as_str().unwrap()).unwrap(), layer["size"].as_u64().unwrap()).await
        }
        Layer => {
            let path = "onnx/model.onnx";
            blob(shelf.blob(path).await, shelf.size(path).await).await
        }
    }
}

/// A client as a process has it that starts now.
fn fresh(shelf: &Shelf, wrong: Wrong, times: Times, cached: bool) -> RegistryClient {
    let root = shelf.peer.folder.path().join("cache");
    drop(std::fs::remove_dir_all(&root));
    let cache = cached.then(|| Cache::open(&root, CacheLimits { blobs: 1 << 30, partial: 1 << 30 }).unwrap());
    let mut access = Access { cache, ..Access::default() };
    if wrong.is_silence() {
        // A busy machine may be silent too, and only what lasts is to be given up.
        let attempts = if times == Times::Always { 2 } else { 6 };
        access.patience = Patience { attempts, answer: Duration::from_millis(400), ..PATIENCE };
        access.pace = Pace { patience: Duration::from_millis(400), bytes_per_second: 1 };
        access.plain_http = true;
        return RegistryClient::new(&shelf.peer.registry.addr().to_string(), access).unwrap();
    }
    client(&shelf.peer.registry, access)
}

/// Tries all rows of some places, and gives what went otherwise than they say.
async fn try_rows(shelf: &Shelf, places: &[Place], cached: bool, context: &str) -> Vec<String> {
    let mut otherwise = Vec::new();
    // What comes is waited for in one place, with and without a cache.
    let rows = ROWS.iter().filter(|row| places.contains(&row.0) && !(cached && row.1.is_silence()));
    for row @ (at, wrong, once, always) in rows {
        let (target, content) = place(shelf, *at).await;
        for (times, want) in [(Times::Next(1), once), (Times::Always, always)] {
            let gate = Gate::closed();
            let faults = shelf.peer.registry.faults();
            faults.set(target.clone(), times, wrong.fault(&content, &gate));
            let client = fresh(shelf, *wrong, times, cached);
            let got = shelf.pull_with(&client, shelf.key()).await.err().map(|refusal| refusal.code);
            let met = times == Times::Always || faults.armed() == 0;
            faults.clear();
            gate.open();
            if got != *want || !met {
                otherwise.push(format!("{context}, {times:?}: {} and not {}: met {met}", said(got), line(row)));
            }
            match got {
                None => shelf.assert_pulled_and_clear(),
                Some(_) => shelf.assert_nothing_left(&line(row)),
            }
        }
    }
    otherwise
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_of_a_layer_that_passes_is_waited_for_and_one_that_lasts_or_lies_has_its_code() {
    for (sealed, cached) in [(true, false), (true, true), (false, false), (false, true)] {
        let shelf = Shelf::new(sealed, true).await;
        let otherwise = try_rows(&shelf, &[Layer], cached, &format!("sealed {sealed}, cached {cached}")).await;
        assert!(otherwise.is_empty(), "{}", otherwise.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_before_the_layers_that_passes_is_waited_for_and_one_that_lasts_or_lies_has_its_code() {
    for (api, places) in [(true, &[Manifest, Referrers, Signature, Bundle][..]), (false, &[Index])] {
        let shelf = Shelf::new(false, api).await;
        let otherwise = try_rows(&shelf, places, false, &format!("referrers API {api}")).await;
        assert!(otherwise.is_empty(), "{}", otherwise.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_that_fails_ends_the_pull_though_another_one_does_not_move() {
    let shelf = Shelf::new(true, true).await;
    let (gate, faults) = (Gate::closed(), shelf.peer.registry.faults());
    let stalled = Fault::StallBody { after: 0, gate: gate.clone() };
    faults.set(Target::Blob(shelf.blob("onnx/model.onnx").await), Times::Always, stalled);
    let gone = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
    faults.set(Target::Blob(shelf.blob("onnx/model.onnx_data").await), Times::Always, gone);
    // The longest two, which are opened at the same time wherever it is. Nobody opens the gate.
    let client = client(
        &shelf.peer.registry,
        Access { pace: Pace { patience: Duration::MAX, bytes_per_second: 1 }, ..Access::default() },
    );
    assert_eq!(shelf.pull_with(&client, shelf.key()).await.unwrap_err().code, RegistryNotFound);
}

/// A listener that says this to whoever connects, and closes.
async fn speaks(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Whoever was refused may be gone.
            drop(stream.write_all(words).await);
        }
    });
    addr
}

#[tokio::test]
async fn what_speaks_no_http_or_is_not_there_is_a_failure_of_the_network() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let [nothing, garbage] = [speaks(b"").await, speaks(b"SSH-2.0-OpenSSH_9.2\r\n").await];
    for addr in [gone, nothing, garbage] {
        let digest = Sha256::of(b"x");
        let pulled = client_at(addr, Access::default()).blob("a/b", digest, 1, 1).await;
        assert_eq!(pulled.unwrap_err().code, Network);
    }
}

#[test]
fn table_of_faults_is_what_is_tried() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/faults.md");
    let document = std::fs::read_to_string(document).unwrap();
    let tried: Vec<_> = ROWS.iter().map(line).collect();
    let lines = document.lines().filter(|line| line.starts_with("| ")).skip(1);
    assert_eq!(lines.collect::<Vec<_>>(), tried, "docs/faults.md should have:\n{}", tried.join("\n"));
}
