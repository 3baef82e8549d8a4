//! Models in registries that have the referrers API (the devkit's) and that have it not (Debian's docker-registry 2.8):
//! `oras` fetches them, `cosign` verifies them, and so do our own tools.

use crate::model_signing::{ISSUER, SUBJECT, Sigstore};
use crate::peers;
use crate::system::http::Http;
use crate::system::process::{Finished, Process, run};
use crate::system::{bytes, strongroom, text};
use http::Method;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Identity, Rule, Signer, TrustFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const FILES: [(&str, usize); 4] = [("config.json", 40), ("empty.txt", 0), ("model.onnx", 2_100_000), ("sub/a.md", 9)];

/// What answers on the socket.
enum Running {
    Devkit { _registry: RunningRegistry, _runtime: Runtime },
    Docker { _process: Process },
}

/// A registry with a folder of its own, and a model folder beside two signers' keys.
struct Place {
    address: String,
    folder: TempDir,
    _running: Running,
}

impl Place {
    fn devkit() -> Self {
        let folder = Self::folder();
        let runtime = Runtime::new().unwrap();
        let registry = runtime.block_on(RunningRegistry::start(Config::new(folder.path().join("storage")))).unwrap();
        let address = registry.addr().to_string();
        Self { address, folder, _running: Running::Devkit { _registry: registry, _runtime: runtime } }
    }

    fn docker() -> Option<Self> {
        let program = peers::find("DOCKER_REGISTRY")?;
        let folder = Self::folder();
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            text(&storage)
        );
        let config_path = folder.path().join("registry.yml");
        fs::write(&config_path, config).unwrap();
        let process = Process::start(Command::new(program).arg("serve").arg(config_path));
        let address = process.wait_for(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(['"', ' ']).next().map(str::to_owned)
        });
        Some(Self { address, folder, _running: Running::Docker { _process: process } })
    }

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, size) in FILES {
            let path = folder.path().join("model").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes(size)).unwrap();
        }
        for signer in ["release", "stranger"] {
            strongroom(&["model", "keygen", text(&folder.path().join(signer))]).ok();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn reference(&self, tag: &str) -> String {
        format!("{}/models/tiny:{tag}", self.address)
    }

    /// Pushes the model as `tag`, signed by the release key, and gives its reference by digest.
    fn push(&self, tag: &str, sealing: &[&str]) -> String {
        let (model, key, reference) = (self.path("model"), self.path("release.key"), self.reference(tag));
        let push = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--json"];
        let pushed = strongroom(&[&push[..], sealing].concat()).ok().json();
        format!("{}/models/tiny@{}", self.address, pushed["manifest"].as_str().unwrap())
    }

    /// Gives the tag to the same manifest with a newline behind it: nothing else changed, and nobody signed it.
    fn change(&self, pinned: &str, tag: &str) {
        let url = |reference: &str| format!("http://{}/v2/models/tiny/manifests/{reference}", self.address);
        let (http, (_, digest)) = (Http::plain(), pinned.split_once('@').unwrap());
        let mut manifest = http.send(Method::GET, &url(digest), &[("accept", OCI_MANIFEST)], "").body;
        manifest.push(b'\n');
        let answer = http.send(Method::PUT, &url(tag), &[("content-type", OCI_MANIFEST)], manifest);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Flips one bit of the largest file that the registry keeps.
    fn corrupt(&self) {
        let (digest, size) = (Sha256::of(&bytes(2_100_000)), 2_100_000);
        let mut folders = vec![self.path("storage")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.metadata().unwrap().len() == size {
                    let mut content = fs::read(&path).unwrap();
                    assert_eq!(Sha256::of(&content), digest);
                    content[1_000_000] ^= 1;
                    fs::write(path, content).unwrap();
                    return;
                }
            }
        }
        panic!("the registry keeps no such file");
    }

    fn trust(&self, signer: &str) -> PathBuf {
        let key = fs::read_to_string(self.path(&format!("{signer}.pub"))).unwrap();
        let signers = vec![Signer::with_key(signer, key)];
        let repository = format!("{}/models/*", self.address);
        let rules = vec![Rule::new(repository, signers)];
        let path = self.path(&format!("{signer}.toml"));
        fs::write(&path, toml::to_string(&TrustFile::new(rules)).unwrap()).unwrap();
        path
    }

    fn verify(&self, reference: &str, signer: &str) -> Finished {
        let trust = self.trust(signer);
        strongroom(&["model", "verify", reference, "--trust", text(&trust), "--plain-http", "--json"])
    }

    fn pull(&self, reference: &str, out: &str, key: &[&str]) -> Finished {
        let (trust, out) = (self.trust("release"), self.path(out));
        let pull = ["model", "pull", reference, text(&out), "--trust", text(&trust), "--plain-http", "--json"];
        strongroom(&[&pull[..], key].concat())
    }

    /// A peer, in a home of its own.
    fn peer(&self, program: &Path, arguments: &[&str]) -> Finished {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        run(&mut command)
    }

    #[track_caller]
    fn assert_model_at(&self, out: &str) {
        for (name, size) in FILES {
            assert!(fs::read(self.path(out).join(name)).unwrap() == bytes(size), "`{name}` differs");
        }
    }
}

fn oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(place: &Place) {
    let Some(oras) = peers::find("ORAS") else { return };
    let pull = |reference: &str, out: &str| place.peer(&oras, &["pull", "--plain-http", reference, "-o", out]);
    let plain = place.push("plain", &["--no-seal"]);
    pull(&plain, "fetched").ok();
    place.assert_model_at("fetched");

    let key = place.path("data.key");
    let sealing = ["--seal", "--key-id", "models/tiny/v1", "--key-file", text(&key)];
    let sealed = place.push("sealed", &sealing);
    pull(&sealed, "ciphertext").ok();
    let fetched = fs::read(place.path("ciphertext/model.onnx.sealed")).unwrap();
    let (header, tags) = (40, 3 * 16);
    assert_eq!(fetched.len(), header + 2_100_000 + tags);
    let prefix = &bytes(2_100_000)[..64];
    assert!(!fetched.windows(64).any(|window| window == prefix), "plaintext in a sealed file");
    place.pull(&sealed, "opened", &["--key-file", text(&key)]).ok();
    place.assert_model_at("opened");

    place.corrupt();
    let refused = pull(&plain, "corrupted");
    assert!(refused.code != 0, "oras took a corrupted layer");
}

#[test]
fn oras_fetches_a_model_from_the_devkit_s_registry() {
    oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(&Place::devkit());
}

#[test]
fn oras_fetches_a_model_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(&place);
}

fn cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(place: &Place) {
    let Some(cosign) = peers::find("COSIGN3") else { return };
    let verify = |reference: &str, key: &str| {
        let flags = ["verify", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", reference];
        place.peer(&cosign, &flags)
    };
    let pinned = place.push("v1", &["--no-seal"]);
    let tagged = place.reference("v1");
    verify(&pinned, "release.pub").ok();
    verify(&tagged, "release.pub").ok();
    let stranger = verify(&pinned, "stranger.pub");
    assert!(stranger.code != 0 && stranger.stderr.contains("failed to verify signature"), "{}", stranger.stderr);
    place.change(&pinned, "v1");
    let unsigned = verify(&tagged, "release.pub");
    assert!(unsigned.code != 0 && unsigned.stderr.contains("no signatures found"), "{}", unsigned.stderr);
    verify(&pinned, "release.pub").ok();
}

#[test]
fn cosign_3_verifies_a_model_in_the_devkit_s_registry() {
    cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(&Place::devkit());
}

#[test]
fn cosign_3_verifies_a_model_in_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(&place);
}

fn cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(place: &Place) {
    let Some(cosign) = peers::find("COSIGN2") else { return };
    let verify = |reference: &str, key: &str| {
        let flags = ["verify", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", reference];
        place.peer(&cosign, &flags)
    };
    let pinned = place.push("v1", &["--no-seal"]);
    verify(&pinned, "release.pub").ok();
    verify(&place.reference("v1"), "release.pub").ok();
    let stranger = verify(&pinned, "stranger.pub");
    assert!(stranger.code != 0 && stranger.stderr.contains("no matching signatures"), "{}", stranger.stderr);
    let without = place.push("v2", &["--no-seal", "--no-sig-tag"]);
    let unsigned = verify(&without, "release.pub");
    assert!(unsigned.code != 0 && unsigned.stderr.contains("no signatures found"), "{}", unsigned.stderr);

    // Another signer of ours beside the first, and both still count.
    let key = place.path("stranger.key");
    strongroom(&["model", "countersign", &pinned, "--sign-key", text(&key), "--plain-http"]).ok();
    verify(&pinned, "stranger.pub").ok();
    verify(&pinned, "release.pub").ok();
}

#[test]
fn cosign_2_verifies_a_model_in_the_devkit_s_registry() {
    cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(&Place::devkit());
}

#[test]
fn cosign_2_verifies_a_model_in_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(&place);
}

fn cosign_s_signature_counts_as_ours(place: &Place, peer: &str, flags: &[&str]) {
    // cosign 2 imports no key of PKCS #8.
    let (Some(cosign), Some(importer)) = (peers::find(peer), peers::find("COSIGN3")) else { return };
    let pinned = place.push("v1", &["--no-seal"]);
    assert_eq!(place.verify(&pinned, "stranger").refused(), Code::SignerUntrusted);
    let private = text(&place.path("stranger.key")).to_owned();
    let import = ["import-key-pair", "--key", &private, "--output-key-prefix", "imported"];
    let imported =
        Command::new(&importer).args(import).current_dir(place.folder.path()).env("COSIGN_PASSWORD", "").output();
    assert!(imported.unwrap().status.success());
    let mut sign = Command::new(&cosign);
    sign.args(["sign", "--yes", "--key", "imported.key", "--tlog-upload=false", "--allow-http-registry"]);
    sign.args(flags).arg(&pinned).current_dir(place.folder.path());
    run(sign.env("COSIGN_PASSWORD", "").env("HOME", place.folder.path())).ok();
    place.verify(&pinned, "stranger").ok();
    place.verify(&pinned, "release").ok();
}

/// By default cosign 3 asks a service of its makers where to log.
const COSIGN_3: [&str; 1] = ["--use-signing-config=false"];

#[test]
fn signature_added_by_cosign_3_is_accepted_from_the_devkit_s_registry() {
    cosign_s_signature_counts_as_ours(&Place::devkit(), "COSIGN3", &COSIGN_3);
}

#[test]
fn signature_added_by_cosign_3_is_accepted_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_s_signature_counts_as_ours(&place, "COSIGN3", &COSIGN_3);
}

#[test]
fn signature_added_by_cosign_2_is_accepted_from_the_devkit_s_registry() {
    cosign_s_signature_counts_as_ours(&Place::devkit(), "COSIGN2", &[]);
}

#[test]
fn signature_added_by_cosign_2_is_accepted_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_s_signature_counts_as_ours(&place, "COSIGN2", &[]);
}

#[test]
fn model_signed_by_an_identity_counts_for_the_trust_file_that_names_it() {
    let place = Place::devkit();
    let Some(sigstore) = Sigstore::start(place.folder.path()) else { return };
    let pinned = place.push("v1", &["--no-seal"]);
    let [token, root] = ["id_token", "trusted_root.json"].map(|name| place.path(name));
    let trust = |subject: &str| {
        let subject = Some(subject.to_owned());
        let identity = Identity { issuer: ISSUER.into(), subject, subject_pattern: None };
        let rule = Rule::new(format!("{}/models/*", place.address), vec![Signer::with_identity("ci", identity)]);
        let trusted_root = Some(fs::read_to_string(&root).unwrap());
        let path = place.path("identity.toml");
        fs::write(&path, toml::to_string(&TrustFile { trusted_root, rules: vec![rule] }).unwrap()).unwrap();
        let path = text(&path);
        strongroom(&["model", "verify", &pinned, "--trust", path, "--plain-http", "--json"])
    };
    assert_eq!(trust(SUBJECT).refused(), Code::SignerUntrusted);
    let (url, token, root) = (sigstore.url.as_str(), text(&token), text(&root));
    let services = ["--fulcio", url, "--rekor", url, "--trusted-root", root, "--identity-token-file", token];
    let sign = ["model", "countersign", &pinned, "--plain-http", "--keyless"];
    strongroom(&[&sign[..], &services].concat()).ok();
    let verified = trust(SUBJECT).ok().json();
    assert_eq!(verified["signers"], serde_json::json!(["ci"]));
    assert_eq!(verified["signed_by"], serde_json::json!([format!("{SUBJECT} (vouched for by {ISSUER})")]));
    assert_eq!(trust("https://ci.example/other").refused(), Code::SignerIdentityMismatch);
    place.verify(&pinned, "release").ok();

    let Some(cosign) = peers::find("COSIGN3") else { return };
    let verify = |subject: &str| {
        let who = ["--certificate-identity", subject, "--certificate-oidc-issuer", ISSUER, "--trusted-root", root];
        place.peer(&cosign, &[&["verify", "--allow-http-registry"][..], &who, &[&pinned]].concat())
    };
    verify(SUBJECT).ok();
    assert!(verify("https://ci.example/other").code != 0);
}

fn our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(place: &Place) {
    let pinned = place.push("v1", &["--no-seal"]);
    let tagged = place.reference("v1");
    place.verify(&tagged, "release").ok();
    assert_eq!(place.verify(&tagged, "stranger").refused(), Code::SignerUntrusted);
    place.pull(&tagged, "pulled", &[]).ok();
    place.assert_model_at("pulled");

    place.change(&pinned, "v1");
    assert_eq!(place.verify(&tagged, "release").refused(), Code::ModelUnsigned);
    place.verify(&pinned, "release").ok();

    place.corrupt();
    assert_eq!(place.pull(&pinned, "corrupted", &[]).refused(), Code::LayerDigestMismatch);
    assert!(!place.path("corrupted/model.onnx").exists());
}

#[test]
fn our_tools_verify_and_pull_from_the_devkit_s_registry() {
    our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(&Place::devkit());
}

#[test]
fn our_tools_verify_and_pull_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(&place);
}
