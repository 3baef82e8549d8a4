//! A registry on loopback, beside a model and two signers.

use crate::peers;
use crate::system::http::Http;
use crate::system::process::{Finished, Process, run};
use crate::system::{bytes, strongroom, text};
use http::Method;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Rule, SignatureForm, Signer, TrustFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const FILES: [(&str, usize); 4] =
    [("config.json", 40), ("empty.txt", 0), ("model.onnx", 2_100_000), ("sub/a.md", 9)];

/// What answers on the socket.
enum Running {
    Devkit { _registry: RunningRegistry, _runtime: Runtime },
    Docker { _process: Process },
}

/// A registry with a folder of its own, and a model folder beside two signers' keys.
pub(super) struct Place {
    pub(super) address: String,
    pub(super) folder: TempDir,
    _running: Running,
}

impl Place {
    pub(super) fn devkit() -> Self {
        let folder = Self::folder();
        let runtime = Runtime::new().unwrap();
        let registry = runtime.block_on(RunningRegistry::start(Config::new(folder.path().join("storage")))).unwrap();
        let address = registry.addr().to_string();
        Self { address, folder, _running: Running::Devkit { _registry: registry, _runtime: runtime } }
    }

    pub(super) fn docker() -> Option<Self> {
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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn reference(&self, tag: &str) -> String {
        format!("{}/models/tiny:{tag}", self.address)
    }

    /// Pushes the model as `tag`, signed by the release key, and gives its reference by digest.
    pub(super) fn push(&self, tag: &str, sealing: &[&str]) -> String {
        let (model, key, reference) = (self.path("model"), self.path("release.key"), self.reference(tag));
        let push = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--json"];
        let pushed = strongroom(&[&push[..], sealing].concat()).ok().json();
        format!("{}/models/tiny@{}", self.address, pushed["manifest"].as_str().unwrap())
    }

    /// Gives the tag to the same manifest with a newline behind it: nothing else changed, and nobody signed it.
    pub(super) fn change(&self, pinned: &str, tag: &str) {
        let (_, digest) = pinned.split_once('@').unwrap();
        let mut manifest = self.manifest(digest);
        manifest.push(b'\n');
        let url = format!("http://{}/v2/models/tiny/manifests/{tag}", self.address);
        let answer = Http::plain().send(Method::PUT, &url, &[("content-type", OCI_MANIFEST)], manifest);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// The manifest of the model under a tag or a digest.
    pub(super) fn manifest(&self, reference: &str) -> Vec<u8> {
        self.fetch(&format!("manifests/{reference}"))
    }

    /// What the registry has of the model under `path`.
    pub(super) fn fetch(&self, path: &str) -> Vec<u8> {
        let url = format!("http://{}/v2/models/tiny/{path}", self.address);
        let answer = Http::plain().send(Method::GET, &url, &[("accept", &format!("{OCI_MANIFEST}, {OCI_INDEX}"))], "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    /// Flips one bit of the largest file that the registry keeps.
    pub(super) fn corrupt(&self) {
        let (digest, size) = (Sha256::of(&bytes(2_100_000)), 2_100_000);
        let (mut folders, mut changed) = (vec![self.path("storage")], 0);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.metadata().unwrap().len() == size {
                    let mut content = fs::read(&path).unwrap();
                    assert_eq!(Sha256::of(&content), digest);
                    content[1_000_000] ^= 1;
                    fs::write(path, content).unwrap();
                    changed += 1;
                }
            }
        }
        assert!(changed > 0, "the registry keeps no such file");
    }

    pub(super) fn trust(&self, signer: &str) -> PathBuf {
        self.trust_at(&self.address, signer, &[SignatureForm::Bundle, SignatureForm::Sig])
    }

    /// Trust in one of our signers for the models of the registry at `address`, where they are signed in one of these forms.
    pub(super) fn trust_at(&self, address: &str, signer: &str, forms: &[SignatureForm]) -> PathBuf {
        let key = fs::read_to_string(self.path(&format!("{signer}.pub"))).unwrap();
        let signers = vec![Signer::with_key(signer, key)];
        let rule = Rule { forms: forms.to_vec(), ..Rule::new(format!("{address}/models/*"), signers) };
        let path = self.path(&format!("{signer}.toml"));
        fs::write(&path, toml::to_string(&TrustFile::new(vec![rule])).unwrap()).unwrap();
        path
    }

    pub(super) fn verify(&self, reference: &str, signer: &str) -> Finished {
        let trust = self.trust(signer);
        strongroom(&["model", "verify", reference, "--trust", text(&trust), "--plain-http", "--json"])
    }

    pub(super) fn pull(&self, reference: &str, out: &str, key: &[&str]) -> Finished {
        let (trust, out) = (self.trust("release"), self.path(out));
        let pull = ["model", "pull", reference, text(&out), "--trust", text(&trust), "--plain-http", "--json"];
        strongroom(&[&pull[..], key].concat())
    }

    /// A peer, in a home of its own.
    pub(super) fn peer(&self, program: &Path, arguments: &[&str]) -> Finished {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        run(&mut command)
    }

    #[track_caller]
    pub(super) fn assert_model_at(&self, out: &str) {
        for (name, size) in FILES {
            assert!(fs::read(self.path(out).join(name)).unwrap() == bytes(size), "`{name}` differs");
        }
    }
}
