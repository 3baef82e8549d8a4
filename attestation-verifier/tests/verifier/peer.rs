//! An independent client of the protocol, written in Python from its notes: skipped, with a message, where its interpreter
//! is not set up (`PEERS_PYTHON`).

use crate::world::{KEY, KEY_VALUE, World};
use std::path::PathBuf;
use std::process::Output;
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::digest::Sha256;

struct Peer<'a> {
    world: &'a World,
    psp: PspServer,
    document: PathBuf,
    python: String,
}

impl<'a> Peer<'a> {
    fn launch(world: &'a World, document: &[u8], python: String) -> Self {
        let guest = ReportSpec { host_data: Sha256::of(document).0, ..ReportSpec::default() };
        let vek = world.hierarchy.issue(VekSpec::default()).unwrap();
        let psp = Psp::new(&world.hierarchy, vek, guest).unwrap().serve(&world.folder.path().join("psp")).unwrap();
        let path = world.folder.path().join("deployment.toml");
        std::fs::write(&path, document).unwrap();
        Self { world, psp, document: path, python }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/rcar.py");
        let mut command = tokio::process::Command::new(&self.python);
        command.arg(script).args(["--url", &self.world.kbs_url(), "--resource", KEY]);
        command.arg("--attester").arg(self.psp.path()).arg("--init-data").arg(&self.document);
        command.arg("--insecure-pin").arg(self.world.folder.path().join("state/tls.pem"));
        command.args(arguments).output().await.unwrap()
    }
}

fn python() -> Option<String> {
    let python = std::env::var("PEERS_PYTHON").ok();
    if python.is_none() {
        eprintln!("skipped: PEERS_PYTHON is not set");
    }
    python
}

#[tokio::test]
async fn independent_client_gets_the_key_in_every_mode_with_every_kind_of_key() {
    let Some(python) = python() else { return };
    let (world, document) = World::ready().await;
    let peer = Peer::launch(&world, &document, python);
    for mode in ["cookie", "bearer"] {
        for key in ["P-256", "P-521", "RSA"] {
            let output = peer.run(&["--mode", mode, "--key", key]).await;
            let got = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            assert_eq!(got, hex::encode(KEY_VALUE), "{mode} {key}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[tokio::test]
async fn independent_client_that_cheats_is_refused() {
    let Some(python) = python() else { return };
    let (world, document) = World::ready().await;
    let peer = Peer::launch(&world, &document, python);
    for (arguments, code) in [
        (&["--wrong-nonce"][..], "nonce-mismatch"),
        (&["--swap-key"], "report-data-mismatch"),
        (&["--no-cookie"], "session-unknown"),
        (&["--version", "0.2.0"], "version-unsupported"),
        (&["--tee", "sample"], "platform-unsupported"),
    ] {
        let output = peer.run(arguments).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(code), "{arguments:?}: {said}");
    }
    // This one goes on with its accepted session afterwards, as it may.
    let output = peer.run(&["--repeat-attest", "--json"]).await;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["repeat"]["status"], &said["repeat"]["code"]), (&401.into(), &"nonce-used".into()), "{said}");
    assert_eq!(said["resource"], hex::encode(KEY_VALUE));
}
