//! `model keygen|seal|open|sign|verify-bundle`: without a registry.

use crate::run::{binary, finished, set_mode, strongroom, text, write_secret};
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
    write_secret(&folder.path("key"), "0a".repeat(32));
    write_secret(&folder.path("other"), "0b".repeat(32));
    write_secret(&folder.path("short"), "0b");
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
    write_secret(&folder.path("public"), std::fs::read(folder.path("signer.pub")).unwrap());
    // An encrypted key opens with the password in the environment alone.
    let encrypted = folder.path("encrypted.key");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifact/tests/keys/p256.cosign.pem");
    write_secret(&encrypted, std::fs::read(kept).unwrap());
    let sign = |password: &str| {
        let mut process = binary();
        process.current_dir(folder.0.path()).env("COSIGN_PASSWORD", password);
        process.args(["model", "sign", "model", "--key", text(&encrypted), "--bundle", "bundle"]);
        finished(process.output().unwrap())
    };
    sign("correct horse").done();
    sign("wrong horse").refused(2, "key-invalid");
    folder.run("sign", &["absent", "--key", "signer.key", "--bundle", "b"]).refused(3, "io");
    folder.run("sign", &["model", "--key", "public", "--bundle", "b"]).refused(2, "key-invalid");
}

#[test]
fn keys_that_others_can_read_warned_of_and_standard_input_taken() {
    use std::io::Write as _;
    let folder = Folder::new();
    write_secret(&folder.path("key"), "0a".repeat(32));
    let seal = |out: &str| folder.run("seal", &["model", out, "--key-file", "key"]);
    let sign = || folder.run("sign", &["model", "--key", "signer.key", "--bundle", "bundle"]);
    seal("one").done();
    sign().done();
    let warning = "others may read this key";
    assert!(!seal("private").done().stderr.contains(warning));
    for mode in [0o640, 0o604, 0o620] {
        set_mode(&folder.path("key"), mode);
        set_mode(&folder.path("signer.key"), mode);
        assert!(seal(&format!("sealed-{mode:o}")).done().stderr.contains(warning));
        assert!(sign().done().stderr.contains(warning));
    }
    let mut process = binary();
    process.current_dir(folder.0.path()).args(["model", "open", "one", "opened", "--key-file", "-", "--json"]);
    process.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = process.spawn().unwrap();
    child.stdin.take().unwrap().write_all("0a".repeat(32).as_bytes()).unwrap();
    finished(child.wait_with_output().unwrap()).done();
}
