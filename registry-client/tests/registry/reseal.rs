//! Models under another data key: opened and sealed on the way from one repository to another.

use crate::common::{NOW, code};
use crate::models::{Shelf, key, names, trust};
use axum::http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_artifact::{DataKey, SigningKey};
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_registry_client::{
    DirectorySink, Progress, Pushed, Reference, ResealOptions, SignBy, open_model, reseal_model, verify_model,
};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Result};

fn new_key() -> DataKey {
    DataKey::from_file_bytes(&[9; 32]).unwrap()
}

/// A shelf with a model, and who reseals it.
struct Archive {
    shelf: Shelf,
    signer: SigningKey,
    scratch: PathBuf,
    /// Which blobs had to be sent, by path.
    sent: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Archive {
    async fn new(sealed: bool) -> Self {
        let shelf = Shelf::new(sealed, true).await;
        let scratch = shelf.peer.folder.path().join("scratch");
        Self { shelf, signer: SigningKey::generate().unwrap(), scratch, sent: Arc::default() }
    }

    fn target(&self) -> Reference {
        self.shelf.peer.reference("m/resealed:v1")
    }

    async fn reseal(&self) -> Result<Pushed> {
        self.reseal_with("models/demo/v2", new_key()).await
    }

    async fn reseal_with(&self, id: &str, key: DataKey) -> Result<Pushed> {
        let client = &self.shelf.peer.client;
        let trusted = verify_model(client, &self.shelf.pushed.reference, &self.shelf.trust, NOW).await?;
        self.sent.lock().unwrap().clear();
        let sent = Arc::clone(&self.sent);
        let options = ResealOptions {
            seal: (ResourcePath::parse(id).unwrap(), key),
            sign: SignBy::Key(&self.signer),
            sign_simple: false,
            created: NOW,
            scratch: self.scratch.clone(),
            progress: Some(Arc::new(move |step| {
                if let Progress::Stored { path, sent: one, .. } = step {
                    sent.lock().unwrap().insert(path, one);
                }
            })),
        };
        let resealed = reseal_model(client, trusted.with_key(self.shelf.key())?, client, &self.target(), options).await;
        // What a refusal interrupted removes its scratch file as soon as it notices.
        let removed = async {
            while !names(&self.scratch).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), removed).await.expect("scratch files are removed");
        resealed
    }

    /// Pulls what was resealed; whose statement is then whose the trust file names.
    async fn open(&self, key: DataKey) -> Result<BTreeMap<String, Vec<u8>>> {
        let client = &self.shelf.peer.client;
        let mut trust = trust(&self.target().name(), &self.signer);
        // The statement is still by who signed it first.
        let first = crate::models::trust("x", &self.shelf.model.signer).rules[0].signers.clone();
        trust.rules[0].statement_signers = first;
        let trusted = verify_model(client, &self.target(), &trust, NOW).await?;
        let out = self.shelf.peer.folder.path().join("resealed");
        open_model(client, trusted.with_key(Some(key))?, DirectorySink::new(&out)?).await?;
        let found = crate::models::tree(&out);
        std::fs::remove_dir_all(&out).unwrap();
        Ok(found)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resealed_model_is_the_same_under_its_new_key_alone() {
    for sealed in [true, false] {
        let archive = Archive::new(sealed).await;
        archive.shelf.pull_into(&archive.shelf.peer.client, "model").await.unwrap();
        let statement = std::fs::read(archive.shelf.peer.folder.path().join("out/model/model.sig")).unwrap();
        let resealed = archive.reseal().await.unwrap();
        assert_ne!(resealed.manifest, archive.shelf.pushed.manifest);
        assert_ne!(resealed.sealing.as_ref().map(|s| s.id), archive.shelf.pushed.sealing.as_ref().map(|s| s.id));
        let mut found = archive.open(new_key()).await.unwrap();
        assert_eq!(found.remove("model.sig").unwrap(), statement, "the statement comes along as it is");
        assert_eq!(found, archive.shelf.model.files, "sealed {sealed}");
        assert_eq!(code(archive.open(key()).await), Code::KeyCommitmentMismatch);
        // No signature of the old manifest counts for the new one.
        let old_signer = trust(&archive.target().name(), &archive.shelf.model.signer);
        let verified = verify_model(&archive.shelf.peer.client, &archive.target(), &old_signer, NOW).await;
        assert_eq!(code(verified), Code::SignerUntrusted);
        // The old one stays.
        archive.shelf.pull_into(&archive.shelf.peer.client, "again").await.unwrap();
    }
}

#[tokio::test]
async fn key_or_key_id_that_the_model_has_refused_before_anything_is_fetched() {
    let archive = Archive::new(true).await;
    let weights = archive.shelf.blob("onnx/model.onnx").await;
    for (id, key, want) in [
        ("models/demo/v1", new_key(), Some(Code::KeyExists)),
        ("models/demo/v2", key(), Some(Code::KeyInvalid)),
        ("models/demo/v2", new_key(), None),
    ] {
        archive.shelf.peer.registry.requests().clear();
        let resealed = archive.reseal_with(id, key).await;
        assert_eq!(resealed.err().map(|refusal| refusal.code), want);
        let fetched = archive.shelf.peer.registry.requests().count(&Method::GET, &format!("/blobs/{}", weights.oci()));
        assert_eq!(fetched, usize::from(want.is_none()), "once, or not at all");
    }
}

#[tokio::test]
async fn resealing_that_was_interrupted_sends_only_what_is_missing() {
    let archive = Archive::new(true).await;
    let whole = archive.reseal().await.unwrap();
    assert!(archive.sent.lock().unwrap().values().all(|sent| *sent));
    // As after an interruption: the layers of an earlier run are there. Another key makes others.
    let again = archive.reseal().await.unwrap();
    assert_eq!(again.manifest, whole.manifest);
    assert!(archive.sent.lock().unwrap().values().all(|sent| !*sent), "{:?}", archive.sent);
    let other = archive.reseal_with("models/demo/v3", DataKey::generate().unwrap()).await.unwrap();
    assert_ne!(other.manifest, whole.manifest);

    // One that fails at its uploads leaves no tag, and the next goes on.
    let archive = Archive::new(true).await;
    let failed = Fault::Status { status: StatusCode::FORBIDDEN, retry_after: None };
    archive.shelf.peer.registry.faults().set(Target::Uploads, Times::Always, failed);
    assert_eq!(code(archive.reseal().await), Code::RegistryUnauthorized);
    archive.shelf.peer.registry.faults().clear();
    let trust = trust(&archive.target().name(), &archive.signer);
    let verified = verify_model(&archive.shelf.peer.client, &archive.target(), &trust, NOW).await;
    assert_eq!(code(verified), Code::RegistryNotFound);
    archive.reseal().await.unwrap();
    archive.open(new_key()).await.unwrap();
}

#[tokio::test]
async fn layer_that_is_not_the_one_that_was_signed_is_not_resealed() {
    for sealed in [true, false] {
        let archive = Archive::new(sealed).await;
        let weights: Sha256 = archive.shelf.blob("onnx/model.onnx").await;
        for (fault, want) in [
            (Fault::FlipBit { at: 1_500_000 }, Code::LayerDigestMismatch),
            (Fault::Serve("".into()), Code::LayerSizeMismatch),
            (Fault::Truncate { after: 0 }, Code::Network),
        ] {
            archive.shelf.peer.registry.faults().set(Target::Blob(weights), Times::Always, fault);
            assert_eq!(code(archive.reseal().await), want, "sealed {sealed}");
            assert_eq!(archive.sent.lock().unwrap().get("onnx/model.onnx"), None);
            archive.shelf.peer.registry.faults().clear();
        }
        let manifests = archive.shelf.peer.registry.requests();
        assert_eq!(manifests.count(&Method::PUT, "/manifests/v1"), 0, "nothing was published");
        archive.reseal().await.unwrap();
    }
}
