//! The key release protocol with a guest of another make: `tests/peers/rcar.py`, written from the protocol's notes alone.

use crate::peers;
use crate::system::guest::hardware;
use crate::system::process::{Finished, run};
use crate::system::text;
use crate::system::world::{Published, World};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use strongroom_devkit::psp::PspServer;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

/// A verifier that approved a model's deployment, and the processor of a guest launched with it.
struct Stage {
    // Before the world, in whose folder its socket is.
    hardware: PspServer,
    world: World,
    model: Published,
    document: PathBuf,
}

impl Stage {
    fn set() -> Self {
        let world = World::start();
        let folder = world.path().join("model");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("model.onnx"), b"weights").unwrap();
        let model = world.publish(&folder, "tiny");
        let document = world.document(&model, Sha256([7; 32]));
        world.approve(&model, &document);
        let hardware = hardware(&world, &document);
        let document = world.file("deployment.toml", document);
        Self { hardware, world, model, document }
    }

    /// A guest that behaves, but for the flags that it is given.
    fn guest(&self, flags: &[&str]) -> Option<Finished> {
        let mut command = peers::script("rcar.py")?;
        let (url, certificate) = (format!("https://{}", self.world.verifier.kbs), self.world.verifier.certificate());
        command.args(["--url", &url, "--resource", &self.model.key, "--insecure-pin", text(&certificate), "--json"]);
        command.arg("--attester").arg(self.hardware.path());
        // Given first, so that a flag may name another document.
        command.arg("--init-data").arg(&self.document).args(flags);
        Some(run(&mut command))
    }

    #[track_caller]
    fn assert_released(&self, finished: Finished) -> Value {
        let got = finished.ok().json();
        assert_eq!(got["resource"].as_str(), Some(hex::encode(self.model.key_value).as_str()));
        got
    }
}

#[test]
fn foreign_guest_gets_the_key_by_cookie_and_by_token_for_each_kind_of_key() {
    let stage = Stage::set();
    for key in ["P-256", "P-521", "RSA"] {
        for mode in ["cookie", "bearer"] {
            let Some(finished) = stage.guest(&["--key", key, "--mode", mode]) else { return };
            stage.assert_released(finished);
        }
    }
}

#[test]
fn foreign_guest_that_misbehaves_in_one_thing_gets_nothing() {
    let stage = Stage::set();
    let doctored = fs::read_to_string(&stage.document).unwrap() + "\n";
    let doctored = stage.world.file("doctored.toml", doctored);
    let kept = stage.world.path().join("nonce");
    for (flags, step, code) in [
        (&["--wrong-nonce"][..], "attest", Code::NonceMismatch),
        (&["--swap-key"], "attest", Code::ReportDataMismatch),
        (&["--no-cookie"], "attest", Code::SessionUnknown),
        (&["--init-data", text(&doctored)], "attest", Code::DeploymentMismatch),
        (&["--tee", "sample"], "auth", Code::PlatformUnsupported),
        (&["--version", "0.2.0"], "auth", Code::VersionUnsupported),
        (&["--resource", "models/other/v1"], "resource", Code::KeyUnknown),
    ] {
        let Some(finished) = stage.guest(flags) else { return };
        assert_eq!(finished.code, 1, "{flags:?}: {}{}", finished.stdout, finished.stderr);
        let answer = finished.json();
        let told = [&answer["step"], &answer["body"]["code"]].map(Value::as_str);
        assert_eq!(told, [Some(step), Some(code.as_str())], "{flags:?}: {answer}");
        assert_eq!(answer["status"], 401, "{flags:?}: {answer}");
    }
    // A nonce that was drawn in another session, which its own guest used well.
    let reuse = || stage.guest(&["--reuse-nonce", text(&kept)]).unwrap();
    stage.assert_released(reuse());
    let again = reuse().json();
    assert_eq!(again["body"]["code"].as_str(), Some(Code::NonceMismatch.as_str()), "{again}");
}

#[test]
fn second_attestation_in_a_session_is_refused_and_the_first_still_holds() {
    let stage = Stage::set();
    let Some(finished) = stage.guest(&["--repeat-attest"]) else { return };
    let got = stage.assert_released(finished);
    let repeat = &got["repeat"];
    assert_eq!(
        (repeat["status"].as_u64(), repeat["code"].as_str()),
        (Some(401), Some(Code::NonceUsed.as_str())),
        "{got}"
    );
    assert_eq!(repeat["same_token"], false);
}
