//! `model keygen|seal|open|sign|verify-bundle`: without a registry.

use crate::run::{binary, finished, strongroom, text};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

struct Folder(tempfile::TempDir);

impl Folder {
    /// With a model and a pair of keys, `signer.key` and `signer.pub`.
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(this.path("model/sub")).unwrap();
        std::fs::write(this.path("model/weights.onnx"), vec![9; 1_500_000]).unwrap();
        std::fs::write(this.path("model/sub/config.json"), "{}").unwrap();
        strongroom(["model", "keygen", text(&this.path("signer"))]).done();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, command: &str, arguments: &[&str]) -> crate::run::Run {
        let mut process = binary();
        process.current_dir(self.0.path()).args(["model", command]).args(arguments).arg("--json");
        finished(process.output().unwrap())
    }
}

#[test]
fn key_pair_is_private_and_never_written_over() {
    let folder = Folder::new();
    let key = folder.path("signer.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(std::fs::read_to_string(folder.path("signer.pub")).unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let before = std::fs::read(&key).unwrap();
    folder.run("keygen", &["signer"]).refused(2, "usage");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    assert_eq!(folder.run("keygen", &["second"]).done().json()["public"], "second.pub");
}

#[test]
fn sealed_directory_opens_with_its_key_and_with_no_other() {
    let folder = Folder::new();
    std::fs::write(folder.path("key"), "0a".repeat(32)).unwrap();
    std::fs::write(folder.path("other"), "0b".repeat(32)).unwrap();
    std::fs::write(folder.path("short"), "0b").unwrap();
    folder.run("seal", &["model", "sealed", "--key-file", "absent"]).refused(3, "io");
    folder.run("seal", &["model", "sealed", "--key-file", "short"]).refused(2, "key-invalid");
    let index = folder.run("seal", &["model", "sealed", "--key-file", "key"]).done().json();
    assert_eq!(index["files"].as_array().unwrap().len(), 2);
    assert!(folder.path("sealed/strongroom-seal.json").exists() && folder.path("sealed/weights.onnx.sealed").exists());

    folder.run("open", &["sealed", "opened", "--key-file", "other"]).refused(1, "key-commitment-mismatch");
    assert!(!folder.path("opened").exists());
    folder.run("open", &["sealed", "opened", "--key-file", "key"]).done();
    let (opened, model) = (folder.path("opened/weights.onnx"), folder.path("model/weights.onnx"));
    assert!(std::fs::read(opened).unwrap() == std::fs::read(model).unwrap());

    let sealed = folder.path("sealed/weights.onnx.sealed");
    let mut bytes = std::fs::read(&sealed).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&sealed, bytes).unwrap();
    folder.run("open", &["sealed", "again", "--key-file", "key"]).refused(1, "seal-invalid");
    assert!(!folder.path("again").exists());
}

#[test]
fn signed_directory_verifies_until_a_file_changes() {
    let folder = Folder::new();
    for (bundle, more) in [("model/model.sig", &[][..]), ("model/other.sig", &["--hash", "blake3"])] {
        let sign = [&["model", "--key", "signer.key", "--bundle", bundle], more].concat();
        assert_eq!(folder.run("sign", &sign).done().json()["files"], 2);
        let verify = ["model", "--bundle", bundle, "--public-key", "signer.pub"];
        let verified = folder.run("verify-bundle", &verify).done().json();
        assert_eq!((&verified["verdict"], &verified["name"]), (&"verified".into(), &"model".into()));

        folder.run("keygen", &[&format!("stranger-of-{}", bundle.replace('/', "-"))]).done();
        let stranger = format!("stranger-of-{}.pub", bundle.replace('/', "-"));
        folder
            .run("verify-bundle", &["model", "--bundle", bundle, "--public-key", &stranger])
            .refused(1, "signer-untrusted");

        std::fs::write(folder.path("model/extra"), "x").unwrap();
        folder.run("verify-bundle", &verify).refused(1, "statement-mismatch");
        std::fs::remove_file(folder.path("model/extra")).unwrap();
        std::fs::write(folder.path("model/sub/config.json"), "{ }").unwrap();
        folder.run("verify-bundle", &verify).refused(1, "statement-mismatch");
        std::fs::write(folder.path("model/sub/config.json"), "{}").unwrap();
        folder.run("verify-bundle", &verify).done();
        // The next form of bundle is to stand alone.
        std::fs::remove_file(folder.path(bundle)).unwrap();
    }
    // An encrypted key opens with the password in the environment alone.
    let encrypted = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifact/tests/keys/p256.cosign.pem");
    let sign = |password: &str| {
        let mut process = binary();
        process.current_dir(folder.0.path()).env("COSIGN_PASSWORD", password);
        process.args(["model", "sign", "model", "--key", encrypted, "--bundle", "bundle"]);
        finished(process.output().unwrap())
    };
    sign("correct horse").done();
    sign("wrong horse").refused(2, "key-invalid");
    folder.run("sign", &["absent", "--key", "signer.key", "--bundle", "b"]).refused(3, "io");
    folder.run("sign", &["model", "--key", "signer.pub", "--bundle", "b"]).refused(2, "key-invalid");
}
