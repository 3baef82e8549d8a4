//! OpenSSF Model Signing v1.0, by key, by certificate, by a key in a PKCS #11 token, and by an identity of a local Sigstore: the
//! reference client verifies our bundles, and we verify its. `@sigstore/verify` reads ours by identity too.

use crate::peers;
use crate::system::process::{Finished, Process, run};
use crate::system::{bytes, program, strongroom, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::Code;
use strongroom_wire::bytes::from_base64;
use tempfile::TempDir;

/// A model folder beside two signers' keys.
struct Model(TempDir);

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        fs::create_dir_all(model.join("naïve/目录")).unwrap();
        for (name, size) in [("config.json", 20), ("empty", 0), ("naïve/目录/重み.onnx", 300_000), ("README.md", 7)]
        {
            fs::write(model.join(name), bytes(size)).unwrap();
        }
        for signer in ["release", "stranger"] {
            strongroom(&["model", "keygen", text(&folder.path().join(signer))]).ok();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// One bit of one file.
    fn change(&self) {
        let path = self.path("model/naïve/目录/重み.onnx");
        let mut content = fs::read(&path).unwrap();
        content[150_000] ^= 1;
        fs::write(path, content).unwrap();
    }

    /// The reference client's `sign` with a private key, or `verify` with a public one.
    fn theirs(&self, verb: &str, flag: &str, key: &str) -> Option<Finished> {
        let mut command = peers::script("oms.py")?;
        command.arg(verb).args([self.path("model"), self.path("bundle")]).arg(flag).arg(self.path(key));
        Some(run(&mut command))
    }

    fn verify(&self, key: &str) -> Finished {
        let [model, bundle, key] = ["model", "bundle", key].map(|name| self.path(name));
        let arguments = ["model", "verify-bundle", text(&model), "--bundle", text(&bundle), "--public-key", text(&key)];
        strongroom(&[&arguments[..], &["--json"]].concat())
    }
}

#[test]
fn reference_client_verifies_our_signature_and_refuses_it_over_a_changed_file_or_for_another_key() {
    let model = Model::new();
    let [folder, bundle, key] = ["model", "bundle", "release.key"].map(|name| model.path(name));
    strongroom(&["model", "sign", text(&folder), "--key", text(&key), "--bundle", text(&bundle)]).ok();
    let Some(verified) = model.theirs("verify", "--pub", "release.pub") else { return };
    verified.ok();
    assert_eq!(model.theirs("verify", "--pub", "stranger.pub").unwrap().code, 1);
    model.change();
    assert_eq!(model.theirs("verify", "--pub", "release.pub").unwrap().code, 1);
}

#[test]
fn we_verify_the_reference_client_s_signature_and_refuse_it_over_a_changed_file_or_for_another_key() {
    let model = Model::new();
    let Some(signed) = model.theirs("sign", "--key", "release.key") else { return };
    signed.ok();
    model.verify("release.pub").ok();
    assert_eq!(model.verify("stranger.pub").refused(), Code::SignerUntrusted);
    model.change();
    assert_eq!(model.verify("release.pub").refused(), Code::StatementMismatch);
}

/// `openssl`, in the folder.
fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    run(command.args(arguments.split(' ')).current_dir(folder)).ok();
}

impl Model {
    /// An authority `ca.crt` and what it certified of the release key, `release.crt`; and a stranger's authority, `other.crt`.
    fn certify(&self) {
        let folder = self.0.path();
        fs::write(folder.join("leaf.ext"), "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n")
            .unwrap();
        for name in ["ca", "other"] {
            openssl(folder, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
            let subject = format!("-subj /CN={name} -days 30 -addext keyUsage=critical,keyCertSign -out {name}.crt");
            openssl(folder, &format!("req -x509 -new -key {name}.key {subject}"));
        }
        openssl(folder, "req -new -key release.key -subj /CN=release -out release.csr");
        let issue = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 20 -extfile leaf.ext -out release.crt";
        openssl(folder, &format!("x509 -req -in release.csr {issue}"));
    }

    /// The reference client with these arguments, in the folder.
    fn reference(&self, verb: &str, arguments: &[&str]) -> Option<Finished> {
        let mut command = peers::script("oms.py")?;
        command.arg(verb).args(["model", "bundle"]).args(arguments).current_dir(self.0.path());
        Some(run(&mut command))
    }

    /// Our command line with the folder's model and bundle. Arguments that start with `./` are files in the folder.
    fn ours(&self, verb: &str, arguments: &[&str]) -> Finished {
        let [model, bundle] = ["model", "bundle"].map(|name| text(&self.path(name)).to_owned());
        let paths: Vec<_> = arguments
            .iter()
            .map(|one| one.strip_prefix("./").map_or((*one).to_owned(), |name| text(&self.path(name)).to_owned()))
            .collect();
        let mut all = vec!["model", verb, &model, "--bundle", &bundle, "--json"];
        all.extend(paths.iter().map(String::as_str));
        strongroom(&all)
    }
}

#[test]
fn reference_client_verifies_our_certificate_s_signature_and_refuses_it_under_another_authority() {
    let model = Model::new();
    model.certify();
    let ours = ["--key", "./release.key", "--certificate", "./release.crt", "--cert-chain", "./ca.crt"];
    model.ours("sign", &ours).ok();
    let Some(verified) = model.reference("verify", &["--chain", "ca.crt"]) else { return };
    verified.ok();
    assert_eq!(model.reference("verify", &["--chain", "other.crt"]).unwrap().code, 1);
    model.change();
    assert_eq!(model.reference("verify", &["--chain", "ca.crt"]).unwrap().code, 1);
}

#[test]
fn we_verify_the_reference_client_s_certificate_signature_and_refuse_it_under_another_authority() {
    let model = Model::new();
    model.certify();
    let sign = ["--key", "release.key", "--certificate", "release.crt", "--chain", "ca.crt"];
    let Some(signed) = model.reference("sign", &sign) else { return };
    signed.ok();
    model.ours("verify-bundle", &["--cert-chain", "./ca.crt"]).ok();
    assert_eq!(model.ours("verify-bundle", &["--cert-chain", "./other.crt"]).refused(), Code::SignerCertificateInvalid);
    assert_eq!(model.ours("verify-bundle", &["--public-key", "./release.pub"]).refused(), Code::SignerUntrusted);
    model.change();
    assert_eq!(model.ours("verify-bundle", &["--cert-chain", "./ca.crt"]).refused(), Code::StatementMismatch);
}

/// A PKCS #11 token in software with the release key in it.
struct Token {
    folder: PathBuf,
    library: PathBuf,
}

impl Token {
    /// One in the model's folder.
    fn new(model: &Model) -> Option<Self> {
        let softhsm = peers::find("SOFTHSM")?;
        let folder = model.0.path().to_owned();
        fs::create_dir(folder.join("tokens")).unwrap();
        fs::write(folder.join("softhsm2.conf"), format!("directories.tokendir = {}/tokens\n", text(&folder))).unwrap();
        let token = Self { library: softhsm.join("usr/lib/softhsm/libsofthsm2.so"), folder };
        let tool = |arguments: &str| {
            let mut command = Command::new(softhsm.join("usr/bin/softhsm2-util"));
            command.args(arguments.split(' ')).args(["--module", text(&token.library)]);
            token.run(command.current_dir(&token.folder)).ok();
        };
        tool("--init-token --free --label models --pin 1234 --so-pin 5678");
        tool("--import release.key --token models --label release --id 01 --pin 1234");
        Some(token)
    }

    /// Runs a command that finds the token.
    fn run(&self, command: &mut Command) -> Finished {
        run(command.env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf")))
    }

    /// Names a key of the token.
    fn uri(&self, object: &str, pin: &str) -> String {
        format!("pkcs11:token=models;object={object}?module-path={}&{pin}", text(&self.library))
    }
}

#[test]
fn reference_client_verifies_the_signature_of_our_key_in_a_token() {
    let model = Model::new();
    let Some(token) = Token::new(&model) else { return };
    let folder = model.0.path();
    strongroom_private(folder, "pin", "1234\n");
    strongroom_private(folder, "wrong", "4321\n");
    let sign = |object: &str, pin: &str| {
        let uri = token.uri(object, &format!("pin-source=file:{}", text(&folder.join(pin))));
        let mut command = Command::new(program("strongroom"));
        command.args(["model", "sign", text(&model.path("model")), "--bundle", text(&model.path("bundle")), "--json"]);
        token.run(command.args(["--key", &uri]))
    };
    assert_eq!(sign("release", "wrong").refused(), Code::KeyInvalid);
    assert_eq!(sign("nobody", "pin").refused(), Code::TokenFailed);
    sign("release", "pin").ok();
    model.verify("release.pub").ok();
    assert_eq!(model.verify("stranger.pub").refused(), Code::SignerUntrusted);
    let Some(verified) = model.theirs("verify", "--pub", "release.pub") else { return };
    verified.ok();
}

#[test]
fn we_verify_the_signature_of_the_reference_client_s_key_in_a_token_and_refuse_it_for_another_key() {
    let model = Model::new();
    let (Some(token), Some(mut command)) = (Token::new(&model), peers::script("oms.py")) else { return };
    // The reference client finds a key by its id, and reads the PIN of nobody who is not in the URI.
    let uri = token.uri("release;id=%01", "pin-value=1234");
    command.args(["sign", "model", "bundle", "--token-key", &uri]).current_dir(model.0.path());
    token.run(&mut command).ok();
    model.verify("release.pub").ok();
    assert_eq!(model.verify("stranger.pub").refused(), Code::SignerUntrusted);
    model.change();
    assert_eq!(model.verify("release.pub").refused(), Code::StatementMismatch);
}

/// Writes a file that its owner alone may read.
fn strongroom_private(folder: &Path, name: &str, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const SUBJECT: &str = "https://ci.example/acme/models/release@refs/tags/v1";

/// A Sigstore on loopback.
pub(crate) struct Sigstore {
    pub(crate) url: String,
    scripts: PathBuf,
    _process: Process,
}

impl Sigstore {
    /// Starts one with its files in `folder`.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let scripts = peers::find("SIGSTORE_JS")?;
        let process = Process::start(Command::new("node").arg(scripts.join("serve.mjs")).arg(folder));
        let url = process.wait_for(|line| line.strip_prefix("listening on ").map(str::to_owned));
        Some(Self { url, scripts, _process: process })
    }

    /// `@sigstore/verify`, of the bundle in `folder`.
    pub(crate) fn verify(&self, folder: &Path, subject: &str) -> i32 {
        let [bundle, root] = ["bundle", "trusted_root.json"].map(|name| folder.join(name));
        let mut command = Command::new("node");
        command.arg(self.scripts.join("verify.mjs")).args([bundle, root]).args([ISSUER, subject]);
        run(&mut command).code
    }

    /// Python's `sigstore` as a library, of the bundle in `folder` over a statement about `digest`.
    pub(crate) fn verify_in_python(&self, folder: &Path, subject: &str, digest: &str) -> Option<i32> {
        let mut command = peers::script("sigstore_verify.py")?;
        command.args(["bundle", "client_trust_config.json", ISSUER, subject, digest]);
        Some(run(command.current_dir(folder)).code)
    }
}

/// Python's `sigstore` as a command, of the model's bundle.
fn sigstore_command(model: &Model, subject: &str) -> Option<i32> {
    let bundle: Value = serde_json::from_slice(&fs::read(model.path("bundle")).unwrap()).unwrap();
    let payload = from_base64(bundle["dsseEnvelope"]["payload"].as_str().unwrap(), "payload").unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let digest = format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap());
    let mut command = Command::new(peers::find("PEERS_PYTHON")?);
    command.args(["-m", "sigstore", "--trust-config", "client_trust_config.json", "verify", "identity", "--offline"]);
    command.args(["--bundle", "bundle", "--cert-identity", subject, "--cert-oidc-issuer", ISSUER, &digest]);
    Some(run(command.current_dir(model.0.path())).code)
}

#[test]
fn signature_of_our_identity_verified_by_us_by_sigstore_of_javascript_and_python_and_by_the_reference_client() {
    let model = Model::new();
    let Some(sigstore) = Sigstore::start(model.0.path()) else { return };
    let (url, stamps) = (&sigstore.url, format!("{}/api/v1/timestamp", sigstore.url));
    let token = ["--keyless", "--identity-token-file", "./id_token", "--trusted-root", "./trusted_root.json"];
    let sign = |more: &[&str]| model.ours("sign", &[&token[..], more].concat());
    let verify = |subject: &str, issuer: &str| {
        let who = ["--identity", subject, "--issuer", issuer, "--trusted-root", "./trusted_root.json"];
        model.ours("verify-bundle", &who)
    };
    for stamp in [&[][..], &["--timestamp", &stamps]] {
        sign(&[&["--fulcio", url, "--rekor", url][..], stamp].concat()).ok();
        verify(SUBJECT, ISSUER).ok();
        assert_eq!(verify("https://ci.example/other", ISSUER).refused(), Code::SignerIdentityMismatch);
        assert_eq!(verify(SUBJECT, "https://other.example").refused(), Code::SignerIssuerMismatch);
        assert_eq!(sigstore.verify(model.0.path(), SUBJECT), 0);
        assert_eq!(sigstore.verify(model.0.path(), "https://ci.example/other"), 1);
        let config = ["--trust-config", "client_trust_config.json", "--identity", SUBJECT, "--issuer", ISSUER];
        if let Some(verified) = model.reference("verify", &config) {
            verified.ok();
            assert_eq!(sigstore_command(&model, SUBJECT), Some(0));
            assert_eq!(sigstore_command(&model, "https://ci.example/other"), Some(1));
        }
    }
    // Services that give something wrong are found out before the bundle is written.
    for (prefix, want) in [("/no-sct", Code::SctInvalid), ("/stale", Code::SignerCertificateExpired)] {
        let fulcio = format!("{url}{prefix}");
        assert_eq!(sign(&["--fulcio", &fulcio, "--rekor", url]).refused(), want);
    }
    let nowhere = format!("{url}/nowhere");
    assert_eq!(sign(&["--fulcio", &nowhere, "--rekor", url]).refused(), Code::SigningServiceFailed);
}

#[test]
fn we_verify_the_reference_client_s_signature_of_an_identity_and_refuse_another() {
    let model = Model::new();
    let Some(_sigstore) = Sigstore::start(model.0.path()) else { return };
    let Some(signed) = model.reference("sign", &["--trust-config", "client_trust_config.json", "--token", "id_token"])
    else {
        return;
    };
    signed.ok();
    let verify = |subject: &str| {
        let who = ["--identity", subject, "--issuer", ISSUER, "--trusted-root", "./trusted_root.json"];
        model.ours("verify-bundle", &who)
    };
    verify(SUBJECT).ok();
    assert_eq!(verify("https://ci.example/other").refused(), Code::SignerIdentityMismatch);
    model.change();
    assert_eq!(verify(SUBJECT).refused(), Code::StatementMismatch);
}
