//! `model push|pull|verify` against a registry on loopback.

mod interrupted;

use crate::admin::Service;
use crate::run::{Run, binary, finished, set_mode, strongroom, text, write_secret};
use axum::http::Method;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_devkit::registry::{Config, Credentials, Fault, RunningRegistry, Target, Times};
use strongroom_transport::ServerIdentity;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;

/// A registry, a model, a signer and a trust file. All ends with its test.
pub(crate) struct Publisher {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) registry: RunningRegistry,
    _runtime: tokio::runtime::Runtime,
}

/// More than one segment of a sealed stream.
const WEIGHTS: usize = 3_000_000;

impl Publisher {
    pub(crate) fn new() -> Self {
        Self::beside(|config| config)
    }

    /// With a registry that is as `configure` makes it.
    fn beside(configure: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let registry = RunningRegistry::start(configure(Config::new(folder.path().join("registry"))));
        let registry = runtime.block_on(registry).unwrap();
        let this = Self { folder, registry, _runtime: runtime };
        std::fs::create_dir_all(this.path("model/onnx")).unwrap();
        std::fs::write(this.path("model/onnx/model.onnx"), vec![7; WEIGHTS]).unwrap();
        std::fs::write(this.path("model/config.json"), "{}").unwrap();
        strongroom(["model", "keygen", text(&this.path("release"))]).done();
        strongroom(["model", "keygen", text(&this.path("stranger"))]).done();
        this.trust("trust.toml", "release");
        this.trust("strangers.toml", "stranger");
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/models/{rest}", self.registry.addr())
    }

    /// A trust file that names one signer for all models of this registry.
    fn trust(&self, file: &str, signer: &str) {
        let key = std::fs::read_to_string(self.path(&format!("{signer}.pub"))).unwrap();
        let rule = format!("[[rule]]\nrepository = \"{}/models/*\"\n", self.registry.addr());
        let text = format!("{rule}[[rule.signer]]\nname = \"{signer}\"\nkey = \"\"\"{key}\"\"\"\n");
        std::fs::write(self.path(file), text).unwrap();
    }

    pub(crate) fn push(&self, reference: &str, more: &[&str]) -> Run {
        let (model, reference) = (self.path("model"), self.reference(reference));
        let key = self.path("release.key");
        let first = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--json"];
        strongroom(first.iter().chain(more))
    }

    pub(crate) fn pull(&self, reference: &str, out: &str, trust: &str, more: &[&str]) -> Run {
        let (reference, out, trust) = (self.reference(reference), self.path(out), self.path(trust));
        let first = ["model", "pull", &reference, text(&out), "--trust", text(&trust), "--plain-http", "--json"];
        strongroom(first.iter().chain(more))
    }

    pub(crate) fn verify(&self, reference: &str, trust: &str) -> Run {
        let (reference, trust) = (self.reference(reference), self.path(trust));
        strongroom(["model", "verify", &reference, "--trust", text(&trust), "--plain-http", "--json"])
    }

    #[track_caller]
    pub(crate) fn assert_same(&self, out: &str) {
        for file in ["onnx/model.onnx", "config.json"] {
            let (got, want) = (std::fs::read(self.path(out).join(file)), std::fs::read(self.path("model").join(file)));
            assert!(got.unwrap() == want.unwrap(), "{file}");
        }
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn plain_model_pushed_verified_and_pulled() {
    let publisher = Publisher::new();
    let pushed = publisher.push("embed:v1", &["--no-seal"]).done().json();
    assert_eq!((&pushed["sealed"], &pushed["key"]), (&false.into(), &serde_json::Value::Null));
    let verified = publisher.verify("embed:v1", "trust.toml").done().json();
    assert_eq!((&verified["manifest"], &verified["signers"][0]), (&pushed["manifest"], &"release".into()));
    let digest = pushed["manifest"].as_str().unwrap();
    publisher.verify(&format!("embed@{digest}"), "trust.toml").done();

    let pulled = publisher.pull("embed:v1", "out", "trust.toml", &[]).done().json();
    assert_eq!((&pulled["verdict"], &pulled["manifest"]), (&"verified".into(), &pushed["manifest"]));
    assert!(pulled["statement"].is_string());
    publisher.assert_same("out");
    // It is not written over.
    publisher.pull("embed:v1", "out", "trust.toml", &[]).refused(2, "usage");
}

#[test]
fn model_without_tag_is_found_without_tag() {
    let publisher = Publisher::new();
    publisher.push("embed", &["--no-seal", "--oms-hash", "blake3"]).done();
    publisher.pull("embed", "out", "trust.toml", &[]).done();
    publisher.assert_same("out");
}

#[test]
fn strangers_and_uncovered_and_missing_models_refused_and_nothing_written() {
    let publisher = Publisher::new();
    publisher.push("embed:v1", &["--no-seal"]).done();
    publisher.verify("embed:v1", "strangers.toml").refused(1, "signer-untrusted");
    publisher.pull("embed:v1", "out", "strangers.toml", &[]).refused(1, "signer-untrusted");
    publisher.verify("embed:v2", "trust.toml").refused(3, "registry-not-found");
    publisher.verify("embed:v1", "model/config.json").refused(2, "configuration-invalid");
    let trust = std::fs::read_to_string(publisher.path("trust.toml")).unwrap();
    std::fs::write(publisher.path("other.toml"), trust.replace("/models/", "/others/")).unwrap();
    publisher.verify("embed:v1", "other.toml").refused(1, "repository-untrusted");
    let leftovers = std::fs::read_dir(publisher.folder.path()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.contains("out").then_some(name)
    });
    assert_eq!(leftovers.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn sealed_model_opens_with_its_key_alone() {
    let publisher = Publisher::new();
    let key = publisher.path("data.key");
    let seal = ["--seal", "--key-id", "models/embed/v1", "--key-file", text(&key)];
    let pushed = publisher.push("embed:v1", &seal).done().json();
    assert_eq!((&pushed["sealed"], &pushed["key"]), (&true.into(), &"kbs:///models/embed/v1".into()));
    assert_eq!((mode(&key), std::fs::read(&key).unwrap().len()), (0o600, 65));

    let verified = publisher.verify("embed:v1", "trust.toml").done().json();
    assert_eq!(verified["key"], "kbs:///models/embed/v1");
    publisher.pull("embed:v1", "out", "trust.toml", &[]).refused(2, "key-missing");
    let other = publisher.path("other.key");
    write_secret(&other, "ab".repeat(32));
    let with_other = ["--key-file", text(&other)];
    publisher.pull("embed:v1", "out", "trust.toml", &with_other).refused(1, "key-commitment-mismatch");
    assert!(!publisher.path("out").exists());
    publisher.pull("embed:v1", "out", "trust.toml", &["--key-file", text(&key)]).done();
    publisher.assert_same("out");
}

#[test]
fn push_that_would_lose_the_key_or_leave_open_whether_to_seal_refused() {
    let publisher = Publisher::new();
    publisher.push("embed:v1", &[]).refused(2, "usage");
    publisher.push("embed:v1", &["--seal", "--key-id", "a/b/c"]).refused(2, "usage");
    publisher.push("embed:v1", &["--seal", "--key-file", "/nonexistent/key"]).refused(2, "usage");
    publisher.push("embed:v1", &["--seal", "--no-seal"]).refused(2, "usage");
    publisher.push("embed:v1", &["--no-seal", "--key-id", "a/b/c"]).refused(2, "usage");
    let digest = format!("embed@sha256:{}", "ab".repeat(32));
    publisher.push(&digest, &["--no-seal"]).refused(2, "usage");
    assert!(publisher.registry.requests().all().is_empty());
}

#[test]
fn fresh_key_reaches_the_verifier_and_opens_the_model() {
    let (publisher, service) = (Publisher::new(), Service::start());
    let seal = ["--seal", "--key-id", "models/embed/v1"];
    publisher.push("embed:v1", &[&seal[..], &service.flags()].concat()).done();
    let keys = service.keys();
    let [(id, value)] = keys.as_slice() else { panic!("{} keys", keys.len()) };
    assert_eq!((id.as_str(), value.len()), ("models/embed/v1", 32));
    write_secret(&publisher.path("kept.key"), value);
    publisher.pull("embed:v1", "out", "trust.toml", &["--key-file", text(&publisher.path("kept.key"))]).done();
    publisher.assert_same("out");
}

#[test]
fn model_has_no_tag_where_the_verifier_does_not_take_its_key() {
    let (publisher, service) = (Publisher::new(), Service::start());
    let seal = ["--seal", "--key-id", "models/embed/v1"];
    publisher.push("embed:v1", &[&seal[..], &service.flags()].concat()).done();
    // The id has another model's key.
    publisher.push("embed:v2", &[&seal[..], &service.flags()].concat()).refused(2, "key-exists");
    publisher.verify("embed:v2", "trust.toml").refused(3, "registry-not-found");
    publisher.verify("embed:v1", "trust.toml").done();
    assert_eq!(service.keys().len(), 1);
}

#[test]
fn taken_key_id_is_found_before_anything_is_uploaded() {
    let (publisher, service) = (Publisher::new(), Service::start());
    let seal = |id: &'static str, file: &str| {
        let (key, flags) = (publisher.path(file), service.flags());
        publisher.push("embed", &[&["--seal", "--key-id", id, "--key-file", text(&key)], &flags[..]].concat())
    };
    for (file, id) in [("same", "a/b/c"), ("disabled", "a/b/d")] {
        write_secret(&publisher.path(file), file.repeat(8).get(..32).unwrap_or_default().as_bytes());
        let key = publisher.path(file);
        strongroom(["key", "put", id, "--key-file", text(&key)].into_iter().chain(service.flags())).done();
    }
    service.disable("a/b/d");
    seal("a/b/c", "fresh").refused(2, "key-exists");
    seal("a/b/d", "disabled").refused(1, "key-disabled");
    assert!(publisher.registry.requests().all().is_empty());
    // The id has this very key already.
    seal("a/b/c", "same").done();
}

#[test]
fn key_file_that_is_used_again_warned_of_and_a_fresh_one_not() {
    let publisher = Publisher::new();
    let key = publisher.path("data.key");
    let seal = ["--seal", "--key-id", "models/embed/v1", "--key-file", text(&key)];
    let warning = "no two artifacts should share one";
    assert!(!publisher.push("embed:v1", &seal).done().stderr.contains(warning));
    assert_eq!(mode(&key), 0o600);
    assert!(publisher.push("embed:v2", &seal).done().stderr.contains(warning));
}

#[test]
fn verifier_gets_no_key_for_a_model_that_the_registry_does_not_take() {
    let (publisher, service) = (Publisher::new(), Service::start());
    let push = [&["--seal", "--key-id", "models/embed/v1"][..], &service.flags()].concat();
    let fault = Fault::Status { status: http::StatusCode::FORBIDDEN, retry_after: None };
    publisher.registry.faults().set(Target::Uploads, Times::Always, fault);
    publisher.push("embed:v1", &push).refused(3, "registry-unauthorized");
    assert!(service.keys().is_empty());
    // The id is still free for the next attempt.
    publisher.registry.faults().clear();
    publisher.push("embed:v1", &push).done();
    assert_eq!(service.keys().len(), 1);
}

#[test]
fn statement_of_another_signer_verified_by_that_signers_key() {
    let publisher = Publisher::new();
    publisher.push("embed:v1", &["--no-seal", "--oms-key", text(&publisher.path("stranger.key"))]).done();
    publisher.pull("embed:v1", "out", "trust.toml", &[]).refused(1, "signer-untrusted");
    let key = std::fs::read_to_string(publisher.path("stranger.pub")).unwrap();
    let trust = std::fs::read_to_string(publisher.path("trust.toml")).unwrap();
    let more = format!("{trust}[[rule.statement-signer]]\nname = \"training\"\nkey = \"\"\"{key}\"\"\"\n");
    std::fs::write(publisher.path("both.toml"), more).unwrap();
    publisher.pull("embed:v1", "out", "both.toml", &[]).done();
}

#[test]
fn each_file_is_a_line_where_nobody_asked_for_json() {
    let publisher = Publisher::new();
    let (model, key, reference) =
        (publisher.path("model"), publisher.path("release.key"), publisher.reference("embed"));
    let arguments = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--no-seal"];
    let pushed = strongroom(arguments).done();
    assert!(pushed.stderr.contains("2.86 MiB  sent onnx/model.onnx"), "{}", pushed.stderr);
    assert!(pushed.stdout.contains("@sha256:") && pushed.stdout.contains("not sealed"), "{}", pushed.stdout);
    let (out, trust) = (publisher.path("out"), publisher.path("trust.toml"));
    let pulled = strongroom(["model", "pull", &reference, text(&out), "--trust", text(&trust), "--plain-http"]).done();
    assert!(pulled.stderr.contains("2.86 MiB  onnx/model.onnx"), "{}", pulled.stderr);
    assert!(pulled.stdout.contains("signed by release"), "{}", pulled.stdout);
}

#[test]
fn registry_with_its_own_authority_reached_with_its_certificate_alone() {
    let identity = Arc::new(ServerIdentity::generate(&["127.0.0.1".to_owned()]).unwrap());
    let publisher = Publisher::beside(|config| Config { tls: Some(Arc::clone(&identity)), ..config });
    let ca = publisher.path("ca.pem");
    std::fs::write(&ca, identity.certificate_pem()).unwrap();
    let (model, reference, key) =
        (publisher.path("model"), publisher.reference("embed"), publisher.path("release.key"));
    let push = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--no-seal", "--json"];
    strongroom(push).refused(1, "tls-failed");
    strongroom(push.iter().chain(&["--ca", text(&ca)])).done();
}

#[test]
fn credentials_that_another_tool_wrote_are_used() {
    let publisher =
        Publisher::beside(|config| Config { credentials: Some(Credentials::new("anna", "secret")), ..config });
    publisher.push("embed", &["--no-seal"]).refused(3, "registry-unauthorized");
    let auth = to_base64(b"anna:secret");
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, publisher.registry.addr());
    std::fs::write(publisher.path("config.json"), login).unwrap();
    let (model, reference, key) =
        (publisher.path("model"), publisher.reference("embed"), publisher.path("release.key"));
    let mut push = binary();
    push.args(["model", "push", text(&model), &reference, "--sign-key", text(&key), "--no-seal", "--plain-http"]);
    finished(push.env("DOCKER_CONFIG", publisher.folder.path()).output().unwrap()).done();
}

#[test]
fn cache_that_is_named_serves_the_next_pull_and_no_cache_none() {
    let publisher = Publisher::new();
    publisher.push("embed", &["--no-seal"]).done();
    let cache = publisher.path("cache");
    let pull = |more: &[&str]| {
        publisher.pull("embed", "out", "trust.toml", more).done();
        std::fs::remove_dir_all(publisher.path("out")).unwrap();
        let requests = publisher.registry.requests().all();
        publisher.registry.requests().clear();
        requests.iter().filter(|request| request.path.contains(&Sha256::of(&vec![7; WEIGHTS]).to_string())).count()
    };
    publisher.registry.requests().clear();
    assert_eq!(pull(&["--cache", text(&cache)]), 1);
    assert_eq!(pull(&["--cache", text(&cache)]), 0);
    assert_eq!(pull(&["--no-cache"]), 1);
    assert_eq!(pull(&["--cache", text(&cache), "--cache-size", "0"]), 0);
    assert_eq!(pull(&["--cache", text(&cache)]), 1, "nothing was left of it");
    publisher.pull("embed", "out", "trust.toml", &["--cache", "x", "--no-cache"]).refused(2, "usage");
}

#[test]
fn mirror_asked_for_layers_and_credential_helper_for_the_password() {
    let mirror = Publisher::new();
    let publisher =
        Publisher::beside(|config| Config { credentials: Some(Credentials::new("anna", "geheim")), ..config });
    let docker = publisher.path("docker");
    std::fs::create_dir(&docker).unwrap();
    let config = format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, publisher.registry.addr());
    std::fs::write(docker.join("config.json"), config).unwrap();
    let helper = docker.join("docker-credential-test");
    std::fs::write(&helper, "#!/bin/sh\necho '{\"Username\":\"anna\",\"Secret\":\"geheim\"}'\n").unwrap();
    set_mode(&helper, 0o700);
    let path = std::env::join_paths([docker.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let run = |arguments: &[&str]| {
        let mut run = binary();
        run.env("PATH", &path).args(arguments).args(["--plain-http", "--json", "--docker-config", text(&docker)]);
        finished(run.output().unwrap())
    };
    let (model, key, reference) =
        (publisher.path("model"), publisher.path("release.key"), publisher.reference("embed"));
    run(&["model", "push", text(&model), &reference, "--sign-key", text(&key), "--no-seal"]).done();
    // The same bytes at the mirror, under the same name.
    mirror.push("embed", &["--no-seal"]).done();
    [&mirror, &publisher].into_iter().for_each(|one| one.registry.requests().clear());
    let (out, trust, place) = (publisher.path("out"), publisher.path("trust.toml"), mirror.registry.addr().to_string());
    run(&["model", "pull", &reference, text(&out), "--trust", text(&trust), "--mirror", &place]).done();
    publisher.assert_same("out");
    let weights = Sha256::of(&vec![7; WEIGHTS]).to_string();
    let count = |one: &Publisher| one.registry.requests().count(&Method::GET, &weights);
    assert_eq!((count(&mirror), count(&publisher)), (1, 0));
}
