//! Where models are tampered with: a registry that does what it is told, and models in it.

use crate::model_signing::{ISSUER, SUBJECT, Sigstore};
use crate::system::process::Finished;
use crate::system::{bytes, strongroom, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_artifact::SigningKey;
use strongroom_artifact::cosign::sign_manifest;
use strongroom_artifact::manifest::OCI_MANIFEST;
use strongroom_artifact::promotion::{Action, Statement};
use strongroom_devkit::registry::{Config, Fault, RunningRegistry, Target, Times};
use strongroom_registry_client::{Access, Blob, Reference, RegistryClient, attach_bundle};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, Identity, PromotionRule, Rule, Signer, TrustFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Length of each of the two files of weights: three segments of a sealed stream.
pub(super) const WEIGHTS: usize = 2_100_000;

/// The sequence of the promotion that counts.
pub(super) const SEQUENCE: u64 = 5;

/// A model in the registry, as it was pushed.
pub(super) struct Model {
    repository: &'static str,
    pub(super) digest: Sha256,
    pub(super) manifest: Value,
    /// The one signature that refers to it.
    pub(super) bundle: Vec<u8>,
}

/// The layer of a file in a manifest.
pub(super) fn layer<'a>(manifest: &'a mut Value, path: &str) -> &'a mut Value {
    let mut layers = manifest["layers"].as_array_mut().unwrap().iter_mut();
    layers.find(|layer| layer["annotations"]["org.cncf.model.filepath"] == path).unwrap()
}

/// Gives the layer of a file another blob.
pub(super) fn point(manifest: &mut Value, path: &str, digest: Sha256, size: usize) {
    let layer = layer(manifest, path);
    (layer["digest"], layer["size"]) = (digest.oci().into(), size.into());
}

impl Model {
    /// The digest of the blob of a file.
    pub(super) fn blob(&self, path: &str) -> Sha256 {
        Sha256::from_oci(layer(&mut self.manifest.clone(), path)["digest"].as_str().unwrap()).unwrap()
    }

    /// The manifest after a change.
    pub(super) fn with(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut manifest = self.manifest.clone();
        change(&mut manifest);
        assert_ne!(manifest, self.manifest);
        manifest
    }
}

/// A registry that lies, two signers, and models that the one who is trusted signed.
pub(super) struct Stage {
    runtime: Runtime,
    registry: RunningRegistry,
    client: RegistryClient,
    folder: TempDir,
    sigstore: Option<Sigstore>,
    pub(super) release: SigningKey,
    pub(super) stranger: SigningKey,
    /// Sealed.
    pub(super) sealed: Model,
    /// Sealed under the same data key, which no two models should share, with other files of the same names and lengths.
    pub(super) twin: Model,
    /// Not sealed.
    pub(super) plain: Model,
    /// Not sealed, with other files of the same names and lengths.
    pub(super) other: Model,
    /// One that must be promoted, with a sequence of at least [`SEQUENCE`].
    pub(super) promoted: Model,
    /// What was in its place before.
    pub(super) older: Model,
    pub(super) promoter: SigningKey,
}

impl Stage {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let config = Config::new(folder.path().join("registry"));
        let registry = runtime.block_on(RunningRegistry::start(config)).unwrap();
        let access = Access { plain_http: true, ..Access::default() };
        let client = RegistryClient::new(&registry.addr().to_string(), access).unwrap();
        let [release, stranger] = ["release", "stranger"].map(|name| {
            strongroom(&["model", "keygen", text(&folder.path().join(name))]).ok();
            let pem = fs::read(folder.path().join(format!("{name}.key"))).unwrap();
            SigningKey::from_pem(&pem, None).unwrap()
        });
        for (model, first) in [("one", 0), ("two", 1)] {
            let path = folder.path().join(model);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("config.json"), b"{}").unwrap();
            fs::write(path.join("a.bin"), &bytes(WEIGHTS + 8)[first..WEIGHTS + first]).unwrap();
            fs::write(path.join("b.bin"), &bytes(WEIGHTS + 8)[first + 4..WEIGHTS + first + 4]).unwrap();
        }
        let key = folder.path().join("data.key");
        let seal = ["--seal", "--key-id", "models/tampered/v1", "--key-file", text(&key)];
        let push = |source, repository, flags| push(&runtime, &client, folder.path(), source, repository, flags);
        let [sealed, twin] = ["one", "two"].map(|source| push(source, "models/sealed", &seal));
        let [plain, other] = ["one", "two"].map(|source| push(source, "models/plain", &["--no-seal"]));
        let [promoted, older] = ["one", "two"].map(|source| push(source, "models/promoted", &["--no-seal"]));
        let (sigstore, promoter) = (Sigstore::start(folder.path()), SigningKey::generate().unwrap());
        #[rustfmt::skip]
        let stage = Self {
            runtime, registry, client, folder, sigstore, release, stranger, sealed, twin, plain, other, promoted, older, promoter,
        };
        stage.write_trust();
        stage
    }

    pub(super) fn registry(&self) -> &RunningRegistry {
        &self.registry
    }

    pub(super) fn has_identity(&self) -> bool {
        self.sigstore.is_some()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The reference of a model by its digest.
    pub(super) fn pinned(&self, model: &Model) -> String {
        self.at(model.repository, model.digest).to_string()
    }

    fn at(&self, repository: &str, digest: Sha256) -> Reference {
        Reference::parse(&format!("{}/{repository}", self.registry.addr())).unwrap().pinned(digest)
    }

    /// The bytes of a blob.
    pub(super) fn fetch(&self, model: &Model, path: &str) -> Vec<u8> {
        let mut manifest = model.manifest.clone();
        let size = layer(&mut manifest, path)["size"].as_u64().unwrap();
        let blob = self.client.blob(model.repository, model.blob(path), size, 2 * WEIGHTS);
        self.runtime.block_on(blob).unwrap().to_vec()
    }

    /// Puts a blob beside those of a model.
    pub(super) fn store(&self, model: &Model, content: Vec<u8>) -> Sha256 {
        let blob = Blob::bytes(content);
        self.runtime.block_on(self.client.push_blob(model.repository, &blob)).unwrap();
        blob.digest()
    }

    /// Puts a manifest beside that of a model, which nobody signed.
    pub(super) fn unsigned(&self, model: &Model, manifest: impl Into<Vec<u8>>) -> Sha256 {
        let manifest = manifest.into();
        let digest = Sha256::of(&manifest);
        let pinned = self.at(model.repository, digest);
        self.runtime.block_on(self.client.push_manifest(&pinned, OCI_MANIFEST, manifest)).unwrap();
        digest
    }

    /// Has a tag point to a manifest.
    pub(super) fn tag(&self, model: &Model, tag: &str, manifest: impl Into<Vec<u8>>) -> String {
        let tagged = Reference::parse(&format!("{}/{}:{tag}", self.registry.addr(), model.repository)).unwrap();
        self.runtime.block_on(self.client.push_manifest(&tagged, OCI_MANIFEST, manifest.into())).unwrap();
        tagged.to_string()
    }

    /// A changed manifest, to which the signature of the true one was moved.
    pub(super) fn moved(&self, model: &Model, manifest: &Value) -> String {
        let digest = self.unsigned(model, manifest.to_string());
        self.present(model, digest, std::slice::from_ref(&model.bundle))
    }

    /// A changed manifest that the trusted signer signed.
    pub(super) fn signed(&self, model: &Model, manifest: &Value) -> String {
        let digest = self.unsigned(model, manifest.to_string());
        let bundle = sign_manifest(&digest, &self.release, &BTreeMap::new()).unwrap();
        self.present(model, digest, &[bundle])
    }

    /// Lists these signatures as those that refer to a manifest, and no other.
    pub(super) fn present(&self, model: &Model, digest: Sha256, bundles: &[Vec<u8>]) -> String {
        let reference = self.at(model.repository, digest);
        let entries: Vec<_> = bundles
            .iter()
            .map(|bundle| {
                let attached =
                    self.runtime.block_on(attach_bundle(&self.client, &reference, bundle.clone(), 0)).unwrap();
                let referrer = self.runtime.block_on(self.client.manifest(&reference.pinned(attached))).unwrap();
                json!({"mediaType": OCI_MANIFEST, "digest": attached.oci(), "size": referrer.bytes.len()})
            })
            .collect();
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        });
        let lie = Fault::Serve(index.to_string().into());
        self.registry.faults().set(Target::Referrers(digest), Times::Always, lie);
        reference.to_string()
    }

    /// A manifest of ours that the trusted signer signed in cosign 2's form alone, and the image of that signature after a change.
    pub(super) fn old_form(&self, change: impl FnOnce(&mut Value)) -> String {
        let noted = self.plain.with(|manifest| manifest["annotations"]["note"] = "in cosign 2's form".into());
        let digest = self.unsigned(&self.plain, noted.to_string());
        let (pinned, key) = (self.present(&self.plain, digest, &[]), self.path("release.key"));
        strongroom(&["model", "countersign", &pinned, "--sign-key", text(&key), "--plain-http"]).ok();
        let tag = format!("sha256-{digest}.sig");
        let tagged = Reference::parse(&format!("{}/models/plain:{tag}", self.registry.addr())).unwrap();
        let image = self.runtime.block_on(self.client.manifest(&tagged)).unwrap().bytes;
        let mut image = serde_json::from_slice(&image).unwrap();
        change(&mut image);
        self.tag(&self.plain, &tag, image.to_string());
        pinned
    }

    /// A promotion of a model from a minute ago.
    pub(super) fn promotion(&self, model: &Model, sequence: u64) -> Statement {
        let issued = now() - 60;
        Statement {
            manifest: model.digest,
            repository: self.at(model.repository, model.digest).name(),
            environment: production(),
            sequence,
            issued,
            action: Action::Promote { expires: issued + 3600, policy: None },
        }
    }

    /// The model that must be promoted, with its signature and these statements.
    pub(super) fn stated(&self, statements: &[Vec<u8>]) -> String {
        self.present(
            &self.promoted,
            self.promoted.digest,
            &[std::slice::from_ref(&self.promoted.bundle), statements].concat(),
        )
    }

    /// The tag of the model that must be promoted, which leads to what was there before.
    pub(super) fn rolled_back(&self) -> String {
        let lie = Fault::AnswerWith(self.older.digest);
        self.registry.faults().set(Target::Manifest("one".to_owned()), Times::Always, lie);
        format!("{}/models/promoted:one", self.registry.addr())
    }

    /// A signature over the sealed model as an identity, with an authority's timestamp.
    pub(super) fn identity_bundle(&self) -> Value {
        let url = &self.sigstore.as_ref().unwrap().url;
        let (stamps, pinned) = (format!("{url}/api/v1/timestamp"), self.pinned(&self.sealed));
        let [token, root] = ["id_token", "trusted_root.json"].map(|name| self.path(name));
        let sign = ["model", "countersign", &pinned, "--plain-http", "--json", "--keyless", "--fulcio", url];
        let services = ["--rekor", url, "--timestamp", &stamps, "--trusted-root", text(&root)];
        let signed = [&sign[..], &services, &["--identity-token-file", text(&token)]].concat();
        let attached = Sha256::from_oci(strongroom(&signed).ok().json()["signature"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bundle_of(&self.runtime, &self.client, &self.at("models/sealed", attached))).unwrap()
    }

    pub(super) fn verify(&self, reference: &str) -> Finished {
        let trust = self.path("trust.toml");
        strongroom(&["model", "verify", reference, "--trust", text(&trust), "--plain-http", "--json"])
    }

    pub(super) fn pull(&self, reference: &str, out: &str) -> Finished {
        let [trust, key, out] = ["trust.toml", "data.key", out].map(|name| self.path(name));
        let pull = ["model", "pull", reference, text(&out), "--trust", text(&trust), "--key-file", text(&key)];
        strongroom(&[&pull[..], &["--no-cache", "--plain-http", "--json"]].concat())
    }

    pub(super) fn open(&self, folder: &str, out: &str) -> Finished {
        let (key, out) = (self.path("data.key"), self.path(out));
        strongroom(&["model", "open", folder, text(&out), "--key-file", text(&key), "--json"])
    }

    /// That a folder has the files of another one, and removes it.
    pub(super) fn assert_same(&self, folder: &str, source: &str, files: &[&str]) {
        for file in files {
            let [got, want] = [folder, source].map(|folder| fs::read(self.path(folder).join(file)).unwrap());
            assert!(got == want, "`{file}` differs");
        }
        fs::remove_dir_all(self.path(folder)).unwrap();
    }

    /// That the models, with nothing changed, are accepted, and so is what else a row could be refused for.
    pub(super) fn assert_untouched_accepted(&self) {
        for (model, source) in [(&self.sealed, "one"), (&self.twin, "two"), (&self.plain, "one"), (&self.other, "two")]
        {
            self.pull(&self.pinned(model), "untouched").ok();
            self.assert_same("untouched", source, &["config.json", "a.bin", "b.bin"]);
        }
        // Of the config blob nothing is read.
        let config = Sha256::from_oci(self.plain.manifest["config"]["digest"].as_str().unwrap()).unwrap();
        self.registry.faults().set(Target::Blob(config), Times::Always, Fault::Serve("{}".into()));
        self.pull(&self.pinned(&self.plain), "untouched").ok();
        fs::remove_dir_all(self.path("untouched")).unwrap();
        // A manifest of the adversary's making that the trusted signer did sign, and the identity's signature alone.
        let changed = self.plain.with(|manifest| manifest["annotations"]["note"] = "x".into());
        self.verify(&self.signed(&self.plain, &changed)).ok();
        self.verify(&self.old_form(|_| ())).ok();
        let promotion = self.promotion(&self.promoted, SEQUENCE).sign(&self.promoter).unwrap();
        self.verify(&self.stated(&[promotion])).ok();
        if self.has_identity() {
            let bundle = self.identity_bundle().to_string().into_bytes();
            self.verify(&self.present(&self.sealed, self.sealed.digest, &[bundle])).ok();
        }
        self.registry.faults().clear();
    }

    fn write_trust(&self) {
        let mut signers = vec![Signer::with_key("release", self.release.public().pem())];
        let trusted_root = self.sigstore.as_ref().map(|_| {
            let identity = Identity { issuer: ISSUER.into(), subject: Some(SUBJECT.into()), subject_pattern: None };
            signers.push(Signer::with_identity("ci", identity));
            fs::read_to_string(self.path("trusted_root.json")).unwrap()
        });
        let promoters = vec![Signer::with_key("operations", self.promoter.public().pem())];
        let rule = PromotionRule { minimum_sequence: SEQUENCE, ..PromotionRule::new(production(), promoters) };
        let repository = |rest: &str| format!("{}/models/{rest}", self.registry.addr());
        let promoted = Rule { promotion: Some(rule), ..Rule::new(repository("promoted"), signers.clone()) };
        let rules = vec![promoted, Rule::new(repository("*"), signers)];
        fs::write(self.path("trust.toml"), toml::to_string(&TrustFile { trusted_root, rules }).unwrap()).unwrap();
    }
}

fn production() -> Environment {
    Environment::parse("production").unwrap()
}

/// Seconds of Unix time.
pub(super) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Pushes the folder `source` with the release key.
fn push(
    runtime: &Runtime,
    client: &RegistryClient,
    folder: &Path,
    source: &str,
    repository: &'static str,
    flags: &[&str],
) -> Model {
    let (reference, key) = (format!("{}/{repository}:{source}", client.host()), folder.join("release.key"));
    let (source, sign) = (folder.join(source), ["--sign-key", text(&key), "--no-sig-tag", "--plain-http", "--json"]);
    let push = [&["model", "push", text(&source), &reference][..], &sign, flags].concat();
    let pushed = strongroom(&push).ok().json();
    let digest = |member: &str| Sha256::from_oci(pushed[member].as_str().unwrap()).unwrap();
    let named = Reference::parse(&reference).unwrap();
    let manifest = runtime.block_on(client.manifest(&named)).unwrap().bytes;
    let bundle = bundle_of(runtime, client, &named.pinned(digest("signature")));
    let manifest = serde_json::from_slice(&manifest).unwrap();
    Model { repository, digest: digest("manifest"), manifest, bundle }
}

/// The bundle that a manifest attaches.
fn bundle_of(runtime: &Runtime, client: &RegistryClient, attached: &Reference) -> Vec<u8> {
    let manifest = runtime.block_on(client.manifest(attached)).unwrap().bytes;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = &manifest["layers"][0];
    let digest = Sha256::from_oci(layer["digest"].as_str().unwrap()).unwrap();
    let blob = client.blob(attached.repository(), digest, layer["size"].as_u64().unwrap(), 1 << 20);
    runtime.block_on(blob).unwrap().to_vec()
}
