//! What an enclave needs around it.

use crate::setup::setup;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use strongroom_artifact::{HashAlgorithm, SigningKey};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_devkit::report::ReportSpec;
use strongroom_registry_client::{Access, PushOptions, Reference, RegistryClient, SignBy, push_model};
use strongroom_wire::deployment::{Attester, Deployment, Model, Principal, Registry, Runtime, Settings, Verifier};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Rule, Signer, TrustFile};
use strongroom_wire::{Code, Refusal, Root};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A registry with the small model in it, signed, and a vendor's hierarchy.
pub(crate) struct World {
    folder: tempfile::TempDir,
    hierarchy: Hierarchy,
    _registry: RunningRegistry,
    settings: Settings,
    library: PathBuf,
}

/// Makes a document another.
type Change = Box<dyn FnOnce(&mut Settings)>;

/// What is other than it should be.
#[derive(Default)]
pub(crate) struct Boot {
    pub(crate) host_data: Option<[u8; 32]>,
    pub(crate) change: Option<Change>,
}

/// An enclave that serves.
pub(crate) struct Enclave {
    pub(crate) address: String,
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    log: String,
    _processor: PspServer,
}

/// The program.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_strongroom-enclave"))
}

pub(crate) fn trust_somebody_else(settings: &mut Settings) {
    let signer = &mut settings.trust.rules[0].signers[0];
    *signer = Signer::with_key(signer.name.clone(), SigningKey::generate().unwrap().public().pem());
}

/// What `openssl` made for a workload.
pub(crate) struct Workload {
    /// DER of who vouches for it.
    pub(crate) authority: Vec<u8>,
    /// PEM file of its certificate.
    pub(crate) certificate: String,
    /// PEM file of its key.
    pub(crate) key: String,
}

/// The output of a program; `None`, with a message, where there is no such program.
async fn output(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new(program).args(arguments).stderr(Stdio::inherit()).output().await {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("{program} {arguments:?}: {}", output.status),
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

/// What `curl` prints.
pub(crate) async fn curl(arguments: &[&str]) -> Option<String> {
    let printed = output("curl", &[&["-sS", "--max-time", "20"], arguments].concat()).await?;
    Some(String::from_utf8(printed).unwrap())
}

/// A workload of that SPIFFE id under an authority of its own, made by `openssl` in `folder`.
pub(crate) async fn workload(folder: &Path, name: &str, id: &str) -> Option<Workload> {
    let path = |what: &str| folder.join(format!("{name}-{what}")).display().to_string();
    let (ca, ca_key, der) = (path("ca.pem"), path("ca.key"), path("ca.der"));
    let (certificate, key) = (path("leaf.pem"), path("leaf.key"));
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
    let subject = format!("/CN={name}");
    let authority = ["-subj", &subject, "-addext", "keyUsage=critical,keyCertSign", "-keyout", &ca_key, "-out", &ca];
    output("openssl", &[&new[..], &authority].concat()).await?;
    let san = format!("subjectAltName=critical,URI:{id}");
    let usages =
        ["keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth", "basicConstraints=critical,CA:FALSE"];
    let extensions: Vec<&str> = usages.iter().chain([&san.as_str()]).flat_map(|one| ["-addext", one]).collect();
    let leaf = ["-subj", "/CN=workload", "-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &certificate];
    output("openssl", &[&new[..], &leaf, &extensions].concat()).await?;
    output("openssl", &["x509", "-in", &ca, "-outform", "DER", "-out", &der]).await?;
    Some(Workload { authority: std::fs::read(der).unwrap(), certificate, key })
}

impl World {
    /// `None`, with a message, where the set-up was not run.
    pub(crate) async fn new() -> Option<Self> {
        let (library, model) = (setup("ORT_LIB")?, setup("MODEL_TINY")?);
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy::shared().unwrap();
        let registry = RunningRegistry::start(Config::new(folder.path().join("registry"))).await.unwrap();
        let host = registry.addr().to_string();
        let access = Access { plain_http: true, ..Access::default() };
        let client = RegistryClient::new(&host, access).unwrap();
        let key = SigningKey::generate().unwrap();
        let options = PushOptions {
            sign: SignBy::Key(&key),
            sign_simple: false,
            sign_statement: SignBy::Key(&key),
            statement_hash: HashAlgorithm::Sha256,
            seal: None,
            created: 1_700_000_000,
            mount_from: None,
            scratch: folder.path().to_owned(),
            progress: None,
        };
        let reference = Reference::parse(&format!("{host}/models/tiny:1")).unwrap();
        let pushed = push_model(&client, &model, &reference, options).await.unwrap();
        let settings = Settings {
            version: 1,
            root: Root::Test(hierarchy.ark.key_digest().unwrap()),
            attester: Attester::Socket,
            max_unleased: None,
            verifier: Verifier {
                url: "https://127.0.0.1:1".into(),
                pin: Sha256([2; 32]),
                token_key: String::new(),
                log_key: None,
            },
            runtime: Runtime { onnxruntime: Sha256::of(&std::fs::read(&library).unwrap()) },
            registries: vec![Registry { host: host.clone(), plain_http: true, ca: None }],
            models: vec![Model {
                name: "tiny".into(),
                reference: format!("{host}/models/tiny@{}", pushed.manifest.oci()),
                replaceable: false,
            }],
            trust: TrustFile::new(vec![Rule::new(
                format!("{host}/models/*"),
                vec![Signer::with_key("release", key.public().pem())],
            )]),
            principals: vec![Principal { name: "app".into(), key_sha256: Sha256::of(b"key-of-app") }],
            access: Default::default(),
        };
        Some(Self { folder, hierarchy, _registry: registry, settings, library })
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    pub(crate) fn manifest(&self) -> Sha256 {
        self.settings.models[0].repository_and_digest().unwrap().1.unwrap()
    }

    fn processor(&self, host_data: [u8; 32]) -> PspServer {
        let vek = self.hierarchy.issue(VekSpec::default()).unwrap();
        let guest = ReportSpec { host_data, ..ReportSpec::default() };
        Psp::new(&self.hierarchy, vek, guest).unwrap().serve(&self.folder.path().join("psp")).unwrap()
    }

    /// Starts the program and waits until it serves, or gives what it refused with, and its exit code.
    pub(crate) async fn boot(&self, boot: Boot) -> Result<Enclave, (Code, i32)> {
        let mut settings = self.settings();
        if let Some(change) = boot.change {
            change(&mut settings);
        }
        let document = Deployment::render(&settings).unwrap();
        let processor = self.processor(boot.host_data.unwrap_or(Sha256::of(&document).0));
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("deployment.toml"), document).unwrap();
        let config = format!(
            "listen = '127.0.0.1:0'\ndeployment = '{}'\nattester-socket = '{}'\nonnxruntime = '{}'\nlog = 'debug'\nmetrics-listen = '127.0.0.1:0'\n",
            path("deployment.toml").display(),
            processor.path().display(),
            self.library.display()
        );
        std::fs::write(path("enclave.toml"), config).unwrap();
        let mut child = program()
            .arg("--config")
            .arg(path("enclave.toml"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            log.push_str(&line);
            log.push('\n');
            if let Some(address) = line.strip_prefix("listening on ") {
                return Ok(Enclave { address: address.to_owned(), child, lines, log, _processor: processor });
            }
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(refused) = line.get("refused") {
                let refusal: Refusal = serde_json::from_value(refused.clone()).unwrap();
                return Err((refusal.code, child.wait().await.unwrap().code().unwrap()));
            }
        }
        panic!("neither served nor refused:\n{log}");
    }
}

impl Enclave {
    /// Where its metrics are.
    pub(crate) fn metrics(&self) -> String {
        let lines = self.log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = lines.into_iter().find(|line| line["message"] == "metrics").unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends SIGTERM, demands a clean end, and gives all that was logged.
    pub(crate) async fn stop(mut self) -> String {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
        self.log
    }
}
