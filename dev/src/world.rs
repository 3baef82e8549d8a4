//! Everything around a guest, on one machine: a fresh test root, a registry, a verifier and the tools, each a process of its
//! own on loopback, in a folder that is removed at the end.

use crate::kds::Kds;
use crate::process::{Finished, Process, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_wire::deployment::{self, Attester, Deployment, Settings};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, PromotionRule, Rule, Signer, TrustFile};
use strongroom_wire::{Code, Refusal, Result, Root};
use tempfile::TempDir;

/// The bearer key of the demo's only caller.
pub(crate) const API_KEY: &str = "demo-key-c0ffee-0123456789abcdef";

/// The Cedar policies that the documentation begins with.
const AUTHORIZATION: &str = include_str!("../../docs/examples/authorization.cedar");

/// What models are promoted to.
pub(crate) const PRODUCTION: &str = "production";

/// What the demo needs from set-up.
pub(crate) struct Inputs {
    /// The ONNX Runtime shared library.
    pub(crate) onnxruntime: PathBuf,
    /// The sample model.
    pub(crate) model: PathBuf,
    /// A small model for the refusals.
    pub(crate) small_model: PathBuf,
}

/// A verifier process.
pub(crate) struct Verifier {
    process: Process,
    /// `https://…` of the key broker.
    pub(crate) url: String,
    admin_url: String,
    /// SHA-256 of its TLS key's SPKI.
    pub(crate) pin: Sha256,
    token_key: String,
    log_key: String,
    admin_token: PathBuf,
}

/// The whole surroundings.
pub(crate) struct World {
    folder: TempDir,
    /// What set-up brought.
    pub(crate) inputs: Inputs,
    /// The fake vendor.
    pub(crate) hierarchy: Hierarchy,
    /// Its service, which the verifier may ask.
    pub(crate) kds: Kds,
    registry_process: Process,
    /// `host:port` of the registry.
    pub(crate) registry: String,
    /// The verifier that trusts the test root.
    pub(crate) verifier: Verifier,
    /// SHA-384 of the enclave's program: what the security processor measures here.
    pub(crate) measurement: [u8; 48],
    onnxruntime: Sha256,
}

impl World {
    /// Starts everything.
    pub(crate) fn start(inputs: Inputs) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("strongroom-demo-")
            .tempdir()
            .map_err(|e| Refusal::io("temporary folder", &e))?;
        let path = folder.path();
        let hierarchy = Hierarchy::generate("Milan")?;
        write(&path.join("ark.pem"), hierarchy.ark.certificate_pem()?.as_bytes())?;
        let storage = path.join("registry");
        let arguments = ["registry", "--listen", "127.0.0.1:0", "--root", text(&storage)?];
        let mut registry_process = Process::start("registry", &program("strongroom-dev")?, &arguments)?;
        let registry = registry_process.address("")?;
        let kds = Kds::start()?;
        let verifier = Verifier::start(path, "verifier", Some((&path.join("ark.pem"), &kds)), &registry)?;
        let measurement = strongroom_wire::digest::sha384(&read(&program("strongroom-enclave")?)?);
        let onnxruntime = Sha256::of(&read(&inputs.onnxruntime)?);
        Ok(Self { folder, inputs, hierarchy, kds, registry_process, registry, verifier, measurement, onnxruntime })
    }

    /// A second verifier that knows only AMD's own roots.
    pub(crate) fn verifier_of_vendors(&self) -> Result<Verifier> {
        Verifier::start(self.path(), "verifier-of-vendors", None, &self.registry)
    }

    /// The folder that holds all of it.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        write(&path, content.as_ref())?;
        Ok(path)
    }

    /// The root that evidence ends at.
    pub(crate) fn root(&self) -> Result<Root> {
        Ok(Root::Test(self.hierarchy.ark.key_digest()?))
    }

    /// The chip that guests run on.
    pub(crate) fn chip(&self) -> VekSpec {
        VekSpec::default()
    }

    /// Runs `strongroom …`, which must exit 0, and gives the JSON it prints.
    pub(crate) fn strongroom(&self, arguments: &[&str]) -> Result<Value> {
        let finished = self.strongroom_ends(arguments)?;
        if finished.code != 0 {
            return Err(Refusal::new(Code::Internal, format!("strongroom {}", arguments.join(" ")))
                .got(format!("exit {}: {}{}", finished.code, finished.stdout, finished.stderr)));
        }
        Ok(serde_json::from_str(&finished.stdout).unwrap_or(Value::Null))
    }

    /// Runs `strongroom …` to its end, whatever that is.
    pub(crate) fn strongroom_ends(&self, arguments: &[&str]) -> Result<Finished> {
        run(&program("strongroom")?, arguments)
    }

    /// Signing keys under `name`: made by `strongroom model keygen`.
    pub(crate) fn signer(&self, name: &str) -> Result<PathBuf> {
        let prefix = self.path().join(name);
        self.strongroom(&["model", "keygen", text(&prefix)?])?;
        Ok(prefix.with_extension("key"))
    }

    /// A trust file that lets the release key sign everything under `models/`, where operations promote it to production.
    pub(crate) fn trust(&self) -> Result<TrustFile> {
        let signer = |name: &str| {
            let key = read(&self.path().join(name).with_extension("pub"))?;
            Ok::<_, Refusal>(Signer::with_key(name, String::from_utf8_lossy(&key)))
        };
        let promotion = PromotionRule::new(Environment::parse(PRODUCTION)?, vec![signer("operations")?]);
        let rule = Rule::new(format!("{}/models/*", self.registry), vec![signer("release")?]);
        Ok(TrustFile::new(vec![Rule { promotion: Some(promotion), ..rule }]))
    }

    /// `strongroom model promote`, to registry and verifier; gives the sequence.
    pub(crate) fn promote(&self, reference: &str) -> Result<u64> {
        let said = self.say(&["model", "promote", reference, "--to", PRODUCTION])?;
        Ok(said.get("sequence").and_then(Value::as_u64).unwrap_or_default())
    }

    /// `strongroom model demote`; gives the digest of what was attached in the registry.
    pub(crate) fn demote(&self, reference: &str) -> Result<String> {
        let said = self.say(&["model", "demote", reference, "--from", PRODUCTION, "--reason", "a demonstration"])?;
        Ok(said.get("attached").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn say(&self, what: &[&str]) -> Result<Value> {
        let key = self.path().join("operations.key");
        let mut arguments = [what, &["--sign-key", text(&key)?, "--plain-http", "--json"]].concat();
        let admin = self.verifier.admin()?;
        arguments.extend(admin.iter().map(String::as_str));
        self.strongroom(&arguments)
    }

    /// The deployment document of a guest that serves one model and asks `verifier` for its key.
    pub(crate) fn document(&self, name: &str, reference: &str, verifier: &Verifier) -> Result<Vec<u8>> {
        Deployment::render(&Settings {
            version: 1,
            root: self.root()?,
            attester: Attester::Socket,
            max_unleased: None,
            verifier: deployment::Verifier {
                url: verifier.url.clone(),
                pin: verifier.pin,
                token_key: verifier.token_key.clone(),
                log_key: Some(verifier.log_key.clone()),
            },
            runtime: deployment::Runtime { onnxruntime: self.onnxruntime },
            registries: vec![deployment::Registry { host: self.registry.clone(), plain_http: true, ca: None }],
            models: vec![deployment::Model { name: name.into(), reference: reference.into(), replaceable: false }],
            trust: self.trust()?,
            principals: vec![deployment::Principal { name: "demo".into(), key_sha256: Sha256::of(API_KEY.as_bytes()) }],
            access: deployment::Access::default(),
        })
    }

    /// The `[snp]` section that approves guests of this measurement with one of these documents.
    pub(crate) fn snp_policy(&self, documents: &[&[u8]]) -> String {
        let tcb = self.chip().tcb;
        let documents: Vec<String> = documents.iter().map(|document| format!("\"{}\"", Sha256::of(document))).collect();
        format!(
            "version = 1\n[snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ one-of = [{}] }}\n\
             tcb = {{ at-least = {{ bootloader = {}, tee = {}, snp = {}, microcode = {} }} }}\n\
             product = {{ exactly = \"Milan\" }}\n\
             chip = {{ any = {{ because = \"a machine without a TEE has no chip\" }} }}\n",
            hex::encode(self.measurement),
            documents.join(", "),
            tcb.bootloader,
            tcb.tee,
            tcb.snp,
            tcb.microcode,
        )
    }

    /// A release policy for `key`: this measurement, these documents, models signed as the trust file says.
    pub(crate) fn allow(&self, verifier: &Verifier, key: &str, documents: &[&[u8]]) -> Result<()> {
        let trust = toml::to_string(&Release { release: ReleaseTrust { trust: self.trust()? } });
        let trust = trust.map_err(|e| Refusal::new(Code::Internal, "release policy").because(e))?;
        let file = self.file("release-policy.toml", format!("{}\n{trust}", self.snp_policy(documents)))?;
        self.administer(verifier, &["policy", "set", key, text(&file)?])
    }

    /// Puts the Cedar policies of the documentation into force: which accepted guests may have which key.
    pub(crate) fn authorize(&self, verifier: &Verifier) -> Result<()> {
        let file = self.file("authorization.cedar", AUTHORIZATION)?;
        self.administer(verifier, &["policy", "authorization", "put", text(&file)?])
    }

    /// Says what a key is called by.
    pub(crate) fn label(&self, key: &str, labels: &[&str]) -> Result<()> {
        let flags = labels.iter().flat_map(|label| ["--label", label]).collect::<Vec<_>>();
        self.administer(&self.verifier, &[&["key", "label", key], flags.as_slice()].concat())
    }

    /// Delivers a data key to a verifier.
    pub(crate) fn put_key(&self, verifier: &Verifier, key: &str, file: &Path) -> Result<()> {
        self.administer(verifier, &["key", "put", key, "--key-file", text(file)?])
    }

    fn administer(&self, verifier: &Verifier, what: &[&str]) -> Result<()> {
        let admin = verifier.admin()?;
        let admin: Vec<&str> = admin.iter().map(String::as_str).collect();
        self.strongroom(&[what, &admin].concat()).map(drop)
    }

    /// The audit log's rows after row `after`, without those that reading it and other administration leave, and those of guests that
    /// serve, which renew their leases when it is time to.
    pub(crate) fn audit(&self, verifier: &Verifier, after: u64) -> Result<Vec<Value>> {
        let after = after.to_string();
        let mut arguments = vec!["audit", "show", "--after", &after, "--limit", "1000", "--json"];
        let admin = verifier.admin()?;
        arguments.extend(admin.iter().map(String::as_str));
        match self.strongroom(&arguments)? {
            Value::Array(mut rows) => {
                rows.retain(|row| {
                    let kind = row.get("kind").and_then(Value::as_str);
                    let purpose = row.pointer("/detail/purpose").and_then(Value::as_str);
                    !matches!(kind, Some("admin" | "lease")) && purpose != Some("lease")
                });
                Ok(rows)
            }
            other => Err(Refusal::new(Code::Internal, "audit rows").got(other)),
        }
    }

    /// Stops registry and verifier and removes the folder.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.verifier.process.stop()?;
        self.registry_process.stop()?;
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct Release {
    release: ReleaseTrust,
}

#[derive(serde::Serialize)]
struct ReleaseTrust {
    trust: TrustFile,
}

impl Verifier {
    fn start(folder: &Path, name: &str, vendor: Option<(&Path, &Kds)>, registry: &str) -> Result<Self> {
        let state = folder.join(name);
        let file = |file: &str| state.join(file);
        let (root, endorsements) = match vendor {
            Some((path, kds)) => (
                format!("test-root = {}\n", quoted(path)?),
                format!("[endorsements]\nkds = \"{}\"\nplain-http = true\n", kds.url()),
            ),
            None => Default::default(),
        };
        let config = format!(
            "listen = \"127.0.0.1:0\"\nadmin-listen = \"127.0.0.1:0\"\nstate = {}\nmaster-key = {}\nadmin-token = {}\n\
             names = [\"127.0.0.1\"]\n{root}[[registry]]\nhost = \"{registry}\"\nplain-http = true\n\
             {endorsements}",
            quoted(&state)?,
            quoted(&file("master-key"))?,
            quoted(&file("admin-token"))?,
        );
        let config_path = folder.join(format!("{name}.toml"));
        write(&config_path, config.as_bytes())?;
        let program = program("strongroom-verifier")?;
        let identity = run(&program, &["--config", text(&config_path)?, "--identity"])?;
        let identity: Value = serde_json::from_str(&identity.stdout)
            .map_err(|e| Refusal::new(Code::Internal, format!("verifier identity: {}", identity.stderr)).because(e))?;
        let member = |name: &str| identity.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut process = Process::start(name, &program, &["--config", text(&config_path)?])?;
        let mut url = None;
        let mut admin = None;
        while url.is_none() || admin.is_none() {
            let (is_admin, address) = process.wait_for("listening on", |line| {
                let admin = line.strip_prefix("admin listening on ").map(|address| (true, address.to_owned()));
                admin.or_else(|| line.strip_prefix("listening on ").map(|address| (false, address.to_owned())))
            })?;
            *if is_admin { &mut admin } else { &mut url } = Some(format!("https://{address}"));
        }
        Ok(Self {
            process,
            url: url.unwrap_or_default(),
            admin_url: admin.unwrap_or_default(),
            pin: Sha256::from_hex(&member("pin"))?,
            token_key: member("token_key"),
            log_key: member("log_key"),
            admin_token: file("admin-token"),
        })
    }

    /// The flags by which the tools reach its administration.
    pub(crate) fn admin(&self) -> Result<[String; 6]> {
        let flag = |name: &str| name.to_owned();
        let token = text(&self.admin_token)?.to_owned();
        Ok([
            flag("--verifier"),
            self.admin_url.clone(),
            flag("--verifier-pin"),
            self.pin.to_string(),
            flag("--admin-token-file"),
            token,
        ])
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// A program that stands beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| Refusal::io("own program", &e))?;
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Refusal::new(Code::Io, format!("`{}`", path.display())).got("absent").want("built beside strongroom-dev"))
}

/// A path as command-line text.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Refusal::new(Code::Usage, "path that is not UTF-8"))
}

fn quoted(path: &Path) -> Result<String> {
    Ok(toml::Value::String(text(path)?.to_owned()).to_string())
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Refusal::io(path.display(), &e))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content).map_err(|e| Refusal::io(path.display(), &e))
}

/// 32 random bytes as hex.
pub(crate) fn random_hex() -> Result<String> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|e| Refusal::new(Code::Internal, "randomness").because(e))?;
    Ok(hex::encode(random))
}
