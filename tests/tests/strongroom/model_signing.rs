//! OpenSSF Model Signing v1.0: the reference client verifies our bundles, and we verify its.

use crate::peers;
use crate::system::process::{Finished, run};
use crate::system::{bytes, strongroom, text};
use std::fs;
use std::path::PathBuf;
use strongroom_wire::Code;
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
