//! Models: pushed, verified and pulled, sealed and plain, from registries that lie, stall and cut.

use crate::common::{NOW, PATIENCE, Peer, client, code, pattern};
use axum::http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use strongroom_artifact::{DataKey, HashAlgorithm, SigningKey, VerifiedModel};
use strongroom_devkit::registry::{Credentials as Required, Fault, Target, Times};
use strongroom_registry_client::{
    Access, Credentials, DirectorySink, FileSink, Filled, ModelSink, Password, Progress, PushOptions, Pushed,
    RegistryClient, SignBy, open_model, push_model, verify_model,
};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Refusal, Result};

const KEY: [u8; 32] = [7; 32];

pub(crate) fn key() -> DataKey {
    DataKey::from_file_bytes(&KEY).unwrap()
}

/// A model in a folder, whose weights are longer than a segment of the sealing and than a chunk of the transport.
pub(crate) struct Model {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) signer: SigningKey,
}

impl Model {
    pub(crate) fn write(folder: &Path) -> Self {
        let files = BTreeMap::from([
            ("config.json".to_owned(), b"{}".to_vec()),
            ("empty.txt".to_owned(), Vec::new()),
            ("onnx/model.onnx".to_owned(), pattern(2_500_000)),
            ("onnx/model.onnx_data".to_owned(), pattern(1 << 20)),
        ]);
        for (path, bytes) in &files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Self { files, signer: SigningKey::generate().unwrap() }
    }

    pub(crate) fn options(&self, sealed: bool, scratch: &Path) -> PushOptions<'_> {
        PushOptions {
            sign: SignBy::Key(&self.signer),
            sign_simple: false,
            sign_statement: SignBy::Key(&self.signer),
            statement_hash: HashAlgorithm::Sha256,
            seal: sealed.then(|| (ResourcePath::parse("models/demo/v1").unwrap(), key())),
            created: NOW,
            mount_from: None,
            scratch: scratch.to_owned(),
            progress: None,
        }
    }
}

/// Trusts `signer` for what is below `repository`.
pub(crate) fn trust(repository: &str, signer: &SigningKey) -> TrustFile {
    let pem = signer.public().pem();
    let text = format!("[[rule]]\nrepository = '{repository}'\n[[rule.signer]]\nname = 'release'\nkey = '''{pem}'''\n");
    TrustFile::parse(text.as_bytes()).unwrap()
}

/// A registry with a model in it.
pub(crate) struct Shelf {
    pub(crate) peer: Peer,
    pub(crate) model: Model,
    pub(crate) pushed: Pushed,
    pub(crate) trust: TrustFile,
    out: PathBuf,
    sealed: bool,
}

impl Shelf {
    pub(crate) async fn new(sealed: bool, api: bool) -> Self {
        let peer = Peer::with(|config| config.referrers_api = api).await;
        let source = peer.folder.path().join("source");
        let (out, scratch) = (peer.folder.path().join("out"), peer.folder.path().join("scratch"));
        [&source, &out, &scratch].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let model = Model::write(&source);
        let options = model.options(sealed, &scratch);
        let pushed = push_model(&peer.client, &source, &peer.reference("m/demo:v1"), options).await.unwrap();
        assert!(names(&scratch).is_empty(), "scratch files are removed");
        let trust = trust(&peer.reference("m/demo").name(), &model.signer);
        peer.registry.requests().clear();
        Self { peer, model, pushed, trust, out, sealed }
    }

    /// Verifies and pulls into `out/model`, as a user does.
    async fn pull(&self) -> Result<VerifiedModel> {
        self.pull_with(&self.peer.client, self.sealed.then(key)).await
    }

    pub(crate) async fn pull_with(&self, client: &RegistryClient, key: Option<DataKey>) -> Result<VerifiedModel> {
        self.pull_to(client, key, "model").await
    }

    /// Pulls into `out/<name>`.
    pub(crate) async fn pull_into(&self, client: &RegistryClient, name: &str) -> Result<VerifiedModel> {
        self.pull_to(client, self.key(), name).await
    }

    async fn pull_to(&self, client: &RegistryClient, key: Option<DataKey>, name: &str) -> Result<VerifiedModel> {
        let trusted = verify_model(client, &self.peer.reference("m/demo:v1"), &self.trust, NOW).await?;
        let sink = DirectorySink::new(&self.out.join(name))?;
        let (verified, ()) = open_model(client, trusted.with_key(key)?, sink).await?;
        Ok(verified)
    }

    /// The key that opens the model, if it is sealed.
    pub(crate) fn key(&self) -> Option<DataKey> {
        self.sealed.then(key)
    }

    /// The model was pulled as it was pushed; makes room for another pull.
    pub(crate) fn assert_pulled_and_clear(&self) {
        let mut found = tree(&self.out.join("model"));
        found.remove("model.sig");
        assert_eq!(found, self.model.files);
        std::fs::remove_dir_all(self.out.join("model")).unwrap();
    }

    /// The length of the blob of a file.
    pub(crate) async fn size(&self, path: &str) -> u64 {
        let trusted = verify_model(&self.peer.client, &self.pushed.reference, &self.trust, NOW).await.unwrap();
        trusted.manifest().layers().iter().find(|layer| layer.path == path).unwrap().size
    }

    /// The digest of the blob of a file.
    pub(crate) async fn blob(&self, path: &str) -> Sha256 {
        let trusted = verify_model(&self.peer.client, &self.pushed.reference, &self.trust, NOW).await.unwrap();
        let layer = trusted.manifest().layers().iter().find(|layer| layer.path == path).unwrap();
        layer.digest
    }

    pub(crate) fn assert_nothing_left(&self, context: &str) {
        assert!(names(&self.out).is_empty(), "{context}: {:?}", names(&self.out));
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn model_comes_back_as_it_was_pushed() {
    for (sealed, api) in [(true, true), (true, false), (false, true), (false, false)] {
        let shelf = Shelf::new(sealed, api).await;
        let verified = shelf.pull().await.unwrap();
        assert_eq!(verified.manifest_digest(), shelf.pushed.manifest);
        assert_eq!(verified.trusted().signers(), ["release"]);
        assert_eq!(verified.statement().unwrap().name(), "source");
        let mut found = tree(&shelf.out.join("model"));
        assert!(found.remove("model.sig").is_some());
        assert_eq!(found, shelf.model.files, "sealed {sealed}, api {api}");
        assert_eq!(names(&shelf.out), ["model"]);
        let layers = verified.manifest().layers();
        assert_eq!(layers.len(), 5);
        for layer in layers {
            let path = format!("/blobs/{}", layer.digest.oci());
            assert_eq!(shelf.peer.registry.requests().count(&Method::GET, &path), usize::from(layer.size > 0), "once");
        }
    }
}

#[tokio::test]
async fn model_comes_back_on_a_single_thread_and_under_blake3() {
    let peer = Peer::start().await;
    let source = peer.folder.path().join("source");
    let model = Model::write(&source);
    let options = PushOptions { statement_hash: HashAlgorithm::Blake3, ..model.options(true, peer.folder.path()) };
    push_model(&peer.client, &source, &peer.reference("m/demo:v1"), options).await.unwrap();
    let trust = trust(&format!("{}/m/*", peer.registry.addr()), &model.signer);
    let trusted = verify_model(&peer.client, &peer.reference("m/demo:v1"), &trust, NOW).await.unwrap();
    let sink = DirectorySink::new(&peer.folder.path().join("model")).unwrap();
    let (verified, ()) = open_model(&peer.client, trusted.with_key(Some(key())).unwrap(), sink).await.unwrap();
    assert_eq!(verified.statement().unwrap().hash_type(), HashAlgorithm::Blake3);
    assert_eq!(tree(&peer.folder.path().join("model")).len(), 5);
}

#[tokio::test]
async fn registry_holds_no_plaintext_of_a_sealed_model() {
    for (sealed, found) in [(true, false), (false, true)] {
        let shelf = Shelf::new(sealed, true).await;
        let known = pattern(2_500_000);
        let known = &known[1_500_000..1_500_064];
        let stored = tree(&shelf.peer.folder.path().join("registry"));
        let shows = stored.values().any(|bytes| bytes.windows(known.len()).any(|window| window == known));
        assert_eq!(shows, found, "sealed {sealed}");
    }
}

#[tokio::test]
async fn second_push_sends_what_is_new() {
    let shelf = Shelf::new(false, true).await;
    let source = shelf.peer.folder.path().join("source");
    let done = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&done);
    let progress: strongroom_registry_client::ProgressListener = Arc::new(move |step| seen.lock().unwrap().push(step));
    std::fs::write(source.join("config.json"), b"{ }").unwrap();
    let options = PushOptions {
        progress: Some(progress),
        ..shelf.model.options(false, &shelf.peer.folder.path().join("scratch"))
    };
    push_model(&shelf.peer.client, &source, &shelf.peer.reference("m/demo:v2"), options).await.unwrap();
    let done = done.lock().unwrap();
    assert_eq!(done[0], Progress::Listed { files: 4, bytes: 3 + 2_500_000 + (1 << 20) });
    let sent = |wanted: &str| {
        done.iter().find_map(|step| match step {
            Progress::Stored { path, sent, .. } if path == wanted => Some(*sent),
            _ => None,
        })
    };
    assert_eq!(sent("config.json"), Some(true));
    assert_eq!(sent("onnx/model.onnx"), Some(false));
}

#[tokio::test]
async fn tag_set_after_the_signature_is_there() {
    for api in [true, false] {
        let peer = Peer::with(|config| config.referrers_api = api).await;
        let source = peer.folder.path().join("source");
        let model = Model::write(&source);
        let options = model.options(false, peer.folder.path());
        push_model(&peer.client, &source, &peer.reference("m/demo:v1"), options).await.unwrap();
        let requests = peer.registry.requests().all();
        let last = requests.iter().rfind(|request| request.method == Method::PUT).unwrap();
        assert!(last.path.ends_with("/manifests/v1"), "{}", last.path);
        let puts = |end: &str| peer.registry.requests().count(&Method::PUT, end);
        assert_eq!(puts("/manifests/v1"), 1);
    }
}

#[tokio::test]
async fn reference_with_digest_and_directories_that_are_no_model_not_pushed() {
    let shelf = Shelf::new(false, true).await;
    let (peer, folder) = (&shelf.peer, shelf.peer.folder.path());
    let options = || shelf.model.options(false, folder);
    let push = |directory: PathBuf| {
        let reference = peer.reference("m/demo:v2");
        async move { push_model(&peer.client, &directory, &reference, options()).await }
    };
    let pinned = push_model(&peer.client, &folder.join("source"), &shelf.pushed.reference, options()).await;
    assert_eq!(code(pinned), Code::ReferenceInvalid);
    assert_eq!(code(push(folder.join("missing")).await), Code::Io);
    std::fs::create_dir(folder.join("nothing")).unwrap();
    assert_eq!(code(push(folder.join("nothing")).await), Code::ModelEmpty);
    std::os::unix::fs::symlink("config.json", folder.join("source/link")).unwrap();
    assert_eq!(code(push(folder.join("source")).await), Code::ModelNotPlain);
}

#[tokio::test]
async fn layer_cut_at_any_offset_resumed_and_opened() {
    for sealed in [true, false] {
        let shelf = Shelf::new(sealed, true).await;
        let blob = shelf.blob("onnx/model.onnx").await;
        for after in [0, 39, 1 << 20, (1 << 20) + 1, 2_000_000] {
            shelf.peer.registry.requests().clear();
            shelf.peer.registry.faults().set(Target::Blob(blob), Times::Next(1), Fault::Truncate { after });
            shelf.pull().await.unwrap();
            let requests = shelf.peer.registry.requests().all();
            let range = requests.iter().find_map(|request| request.range.clone());
            assert_eq!(range, (after > 0).then(|| format!("bytes={after}-")), "sealed {sealed}");
            assert_eq!(std::fs::read(shelf.out.join("model/onnx/model.onnx")).unwrap(), pattern(2_500_000));
            std::fs::remove_dir_all(shelf.out.join("model")).unwrap();
        }
    }
}

#[tokio::test]
async fn other_key_and_no_key_refused_before_a_layer_is_fetched() {
    let shelf = Shelf::new(true, true).await;
    let other = DataKey::from_file_bytes(&[8; 32]).unwrap();
    let client = &shelf.peer.client;
    assert_eq!(code(shelf.pull_with(client, Some(other)).await), Code::KeyCommitmentMismatch);
    assert_eq!(code(shelf.pull_with(client, None).await), Code::KeyMissing);
    shelf.assert_nothing_left("no key");
    let model = shelf.blob("onnx/model.onnx").await;
    assert_eq!(shelf.peer.registry.requests().count(&Method::GET, &model.to_string()), 0);
}

#[tokio::test]
async fn directory_that_is_in_use_refused_and_left_alone() {
    let shelf = Shelf::new(false, true).await;
    let target = shelf.out.join("model");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("mine"), b"mine").unwrap();
    assert_eq!(code(shelf.pull().await), Code::Usage);
    assert_eq!(names(&target), ["mine"]);
}

struct Full;

impl ModelSink for Full {
    type File = Full;
    type Kept = ();

    fn create(&mut self, _: &str, _: u64) -> Result<Self> {
        Ok(Self)
    }

    fn keep(self, _: Filled<'_>) -> Result<()> {
        panic!("kept what was not opened")
    }
}

impl FileSink for Full {
    fn write_at(&self, offset: u64, _: &[u8]) -> Result<()> {
        if offset > 0 { Err(Refusal::new(Code::Io, "disk full")) } else { Ok(()) }
    }
}

#[tokio::test]
async fn refusal_of_the_sink_ends_the_pull() {
    let shelf = Shelf::new(true, true).await;
    let trusted = verify_model(&shelf.peer.client, &shelf.pushed.reference, &shelf.trust, NOW).await.unwrap();
    let model = trusted.with_key(Some(key())).unwrap();
    assert_eq!(code(open_model(&shelf.peer.client, model, Full).await), Code::Io);
}

#[tokio::test]
async fn push_and_pull_with_credentials() {
    let peer = Peer::with(|config| config.credentials = Some(Required::new("anna", "geheim"))).await;
    let password = Password::new("geheim".to_owned());
    let credentials = Some(Credentials { username: "anna".to_owned(), password });
    let anna = client(&peer.registry, Access { credentials, ..Access::default() });
    let source = peer.folder.path().join("source");
    let model = Model::write(&source);
    let reference = peer.reference("m/demo:v1");
    let options = || model.options(true, peer.folder.path());
    assert_eq!(code(push_model(&peer.client, &source, &reference, options()).await), Code::RegistryUnauthorized);
    push_model(&anna, &source, &reference, options()).await.unwrap();
    let trust = trust(&reference.name(), &model.signer);
    assert!(verify_model(&anna, &reference, &trust, NOW).await.is_ok());
    assert_eq!(code(verify_model(&peer.client, &reference, &trust, NOW).await), Code::RegistryUnauthorized);
}

#[tokio::test]
async fn failing_registry_asked_as_often_as_patience_allows() {
    let shelf = Shelf::new(false, true).await;
    let blob = shelf.blob("onnx/model.onnx").await;
    shelf.peer.registry.requests().clear();
    let fault = Fault::Status { status: StatusCode::BAD_GATEWAY, retry_after: None };
    shelf.peer.registry.faults().set(Target::Blob(blob), Times::Always, fault);
    assert_eq!(code(shelf.pull().await), Code::RegistryFailed);
    let asked = shelf.peer.registry.requests().count(&Method::GET, &blob.to_string());
    assert_eq!(asked, PATIENCE.attempts as usize);
}
