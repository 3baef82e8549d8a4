//! What is around a guest: a fake vendor, a registry, a verifier, signing keys.

use super::process::{Finished, Process, run};
use super::{program, root, strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_devkit::vendors::Vendors;
use strongroom_wire::Root;
use strongroom_wire::deployment::{self, Attester, Deployment, Settings};
use strongroom_wire::digest::{Sha256, sha384};
use strongroom_wire::trust::{PromotionRule, Rule, Signer, TrustFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The bearer key of the only caller.
pub(crate) const API_KEY: &str = "bearer-canary-5e1f6a0c9d7b4e3380aa";

/// A verifier process.
pub(crate) struct Verifier {
    pub(crate) process: Process,
    /// `host:port` of the KBS protocol and of the admin API.
    pub(crate) kbs: String,
    pub(crate) admin: String,
    pub(crate) pin: Sha256,
    pub(crate) token_key: String,
    log_key: String,
    state: PathBuf,
}

/// A model in the registry.
pub(crate) struct Published {
    /// The name that requests use.
    pub(crate) name: String,
    /// `host/repo@sha256:…`.
    pub(crate) reference: String,
    pub(crate) manifest: Sha256,
    /// The id and the value of its data key.
    pub(crate) key: String,
    pub(crate) key_value: [u8; 32],
}

/// All of it. The folder holds everything that its processes write.
pub(crate) struct World {
    pub(crate) verifier: Verifier,
    pub(crate) registry: String,
    pub(crate) hierarchy: Hierarchy,
    /// What guests are approved by: that of our program, where nothing else is said.
    pub(crate) measurement: [u8; 48],
    /// What the trust file demands of promotions.
    pub(crate) promotion: Option<PromotionRule>,
    /// AMD's service, where the verifier may ask one.
    pub(crate) vendors: Option<Vendors>,
    /// What the operator keeps elsewhere: signing and data keys.
    pub(crate) office: TempDir,
    folder: TempDir,
    /// Serves the registry as long as it lives.
    pub(crate) shelves: RunningRegistry,
    _runtime: Runtime,
}

impl World {
    /// Starts registry and verifier, in a test realm.
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    /// The same; the verifier may ask a service of AMD's, which knows nothing yet, where it is to have one.
    pub(crate) fn start_with(vendors: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let registry = RunningRegistry::start(Config::new(folder.path().join("registry")));
        let registry = runtime.block_on(registry).unwrap();
        let address = registry.addr().to_string();
        let hierarchy = Hierarchy::shared().unwrap();
        fs::write(folder.path().join("ark.pem"), hierarchy.ark.certificate_pem().unwrap()).unwrap();
        let vendors = vendors.then(|| runtime.block_on(Vendors::start()).unwrap());
        let verifier = Verifier::start(folder.path(), &address, vendors.as_ref());
        let office = tempfile::tempdir().unwrap();
        strongroom(&["model", "keygen", text(&office.path().join("release"))]).ok();
        let (promotion, measurement) = (None, measurement());
        let (shelves, _runtime) = (registry, runtime);
        let world = Self {
            verifier,
            registry: address,
            hierarchy,
            measurement,
            promotion,
            vendors,
            office,
            folder,
            shelves,
            _runtime,
        };
        let example = root().join("docs/examples/authorization.cedar");
        world.administer(&["policy", "authorization", "put", text(&example)]).ok();
        world
    }

    /// The folder of everything that runs.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Signs, seals and pushes a model, and hands its key to the verifier.
    pub(crate) fn publish(&self, directory: &Path, name: &str) -> Published {
        self.publish_version(directory, name, "v1", "release")
    }

    /// The same as one version of several, signed with the key that is called so.
    pub(crate) fn publish_version(&self, directory: &Path, name: &str, version: &str, signer: &str) -> Published {
        let key = format!("models/{name}/{version}");
        let key_value = Sha256::of(format!("{name} {version} {}", self.registry).as_bytes()).0;
        let key_file = self.office.path().join(format!("{name}-{version}.datakey"));
        fs::write(&key_file, key_value).unwrap();
        self.administer(&["key", "put", &key, "--key-file", text(&key_file)]).ok();
        let repository = format!("{}/models/{name}", self.registry);
        let tagged = format!("{repository}:{version}");
        let sign_key = self.office.path().join(format!("{signer}.key"));
        let mut push = vec!["model", "push", text(directory), &tagged, "--plain-http", "--json"];
        push.extend(["--sign-key", text(&sign_key), "--seal", "--key-id", &key, "--key-file", text(&key_file)]);
        let pushed = strongroom(&push).ok().json();
        let manifest = Sha256::from_oci(pushed["manifest"].as_str().unwrap()).unwrap();
        Published {
            name: name.to_owned(),
            reference: format!("{repository}@{}", manifest.oci()),
            manifest,
            key,
            key_value,
        }
    }

    /// Lets the verifier release a model's key to guests of our measurement with this document.
    pub(crate) fn approve(&self, model: &Published, document: &[u8]) {
        #[derive(serde::Serialize)]
        struct Release {
            release: Trust,
        }
        #[derive(serde::Serialize)]
        struct Trust {
            trust: TrustFile,
        }
        let release = toml::to_string(&Release { release: Trust { trust: self.trust() } }).unwrap();
        let policy = self.file("release.toml", format!("{}\n{release}", self.snp_policy(document)));
        self.administer(&["policy", "set", &model.key, text(&policy)]).ok();
    }

    /// A command of the tools to this verifier's admin API.
    pub(crate) fn administer(&self, arguments: &[&str]) -> Finished {
        let (url, pin) = (format!("https://{}", self.verifier.admin), self.verifier.pin.to_string());
        let token = self.verifier.state.join("admin-token");
        let flags = ["--verifier", &url, "--verifier-pin", &pin, "--admin-token-file", text(&token)];
        strongroom(&[arguments, &flags].concat())
    }

    /// The deployment document of a guest that serves one model with that runtime library.
    pub(crate) fn document(&self, model: &Published, onnxruntime: Sha256) -> Vec<u8> {
        self.document_with(model, onnxruntime, |_| ())
    }

    /// The same with what `change` makes of it.
    pub(crate) fn document_with(
        &self,
        model: &Published,
        onnxruntime: Sha256,
        change: impl FnOnce(&mut Settings),
    ) -> Vec<u8> {
        let key_sha256 = Sha256::of(API_KEY.as_bytes());
        let mut settings = Settings {
            version: 1,
            root: Root::Test(self.hierarchy.ark.key_digest().unwrap()),
            attester: Attester::Socket,
            max_unleased: None,
            verifier: deployment::Verifier {
                url: format!("https://{}", self.verifier.kbs),
                pin: self.verifier.pin,
                token_key: self.verifier.token_key.clone(),
                log_key: Some(self.verifier.log_key.clone()),
            },
            runtime: deployment::Runtime { onnxruntime },
            registries: vec![deployment::Registry { host: self.registry.clone(), plain_http: true, ca: None }],
            models: vec![deployment::Model {
                name: model.name.clone(),
                reference: model.reference.clone(),
                replaceable: false,
            }],
            trust: self.trust(),
            principals: vec![deployment::Principal { name: "tests".into(), key_sha256 }],
            access: Default::default(),
        };
        change(&mut settings);
        Deployment::render(&settings).unwrap()
    }

    /// What a client demands of such a guest.
    pub(crate) fn client_policy(&self, model: &Published, document: &[u8]) -> PathBuf {
        let model = format!("[model]\nmanifest = {{ exactly = \"{}\" }}\n", model.manifest.oci());
        self.file("client.toml", self.snp_policy(document) + &model)
    }

    /// What a client demands that takes whatever the release key signed.
    pub(crate) fn client_policy_of_signer(&self, document: &[u8]) -> PathBuf {
        let pem = fs::read_to_string(self.office.path().join("release.pub")).unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let signer = Sha256::of(&strongroom_wire::bytes::from_base64(&der, "key").unwrap());
        let model = format!("[model]\nsigner = {{ exactly = \"{signer}\" }}\n");
        self.file("client-signer.toml", self.snp_policy(document) + &model)
    }

    /// Lets the release key sign what is under `models/`.
    pub(crate) fn trust(&self) -> TrustFile {
        let key = fs::read_to_string(self.office.path().join("release.pub")).unwrap();
        let signers = vec![Signer::with_key("release", key)];
        let repository = format!("{}/models/*", self.registry);
        TrustFile::new(vec![Rule { promotion: self.promotion.clone(), ..Rule::new(repository, signers) }])
    }

    fn snp_policy(&self, document: &[u8]) -> String {
        let tcb = VekSpec::default().tcb;
        format!(
            "version = 1\n[snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ at-least = {{ bootloader = {}, tee = {}, snp = {}, microcode = {} }} }}\n\
             product = {{ exactly = \"Milan\" }}\n\
             chip = {{ any = {{ because = \"a machine without a TEE has no chip\" }} }}\n",
            hex::encode(self.measurement),
            Sha256::of(document),
            tcb.bootloader,
            tcb.tee,
            tcb.snp,
            tcb.microcode,
        )
    }
}

/// SHA-384 of the enclave's program: what the fake processor measures.
pub(crate) fn measurement() -> [u8; 48] {
    sha384(&fs::read(program("strongroom-enclave")).unwrap())
}

impl Verifier {
    fn start(folder: &Path, registry: &str, vendors: Option<&Vendors>) -> Self {
        let state = folder.join("verifier");
        let [state_text, root] = [&state, &folder.join("ark.pem")].map(|path| text(path).to_owned());
        let endorsements =
            |vendors: &Vendors| format!("[endorsements]\nkds = '{}'\nplain-http = true\n", vendors.url());
        let endorsements = vendors.map(endorsements).unwrap_or_default();
        let config = format!(
            "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nstate = '{state_text}'\nnames = ['127.0.0.1']\n\
             master-key = '{state_text}/master-key'\nadmin-token = '{state_text}/admin-token'\ntest-root = '{root}'\n\
             log = 'debug'\n[[registry]]\nhost = '{registry}'\nplain-http = true\n\
             {endorsements}[leases]\nseconds = 30\nnetworks = ['127.0.0.0/8']\n",
        );
        let config_path = folder.join("verifier.toml");
        fs::write(&config_path, config).unwrap();
        let command = || {
            let mut command = Command::new(program("strongroom-verifier"));
            command.arg("--config").arg(&config_path).current_dir(folder);
            command
        };
        let identity: Value = run(command().arg("--identity")).ok().json();
        let process = Process::start(&mut command());
        let (admin, kbs) = (process.address("admin "), process.address(""));
        let pin = Sha256::from_hex(identity["pin"].as_str().unwrap()).unwrap();
        let [token_key, log_key] = ["token_key", "log_key"].map(|name| identity[name].as_str().unwrap().to_owned());
        Self { process, kbs, admin, pin, token_key, log_key, state }
    }

    /// Its TLS certificate, PEM.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.state.join("tls.pem")
    }

    /// The administrator's token.
    pub(crate) fn admin_token(&self) -> String {
        fs::read_to_string(self.state.join("admin-token")).unwrap().trim().to_owned()
    }
}
