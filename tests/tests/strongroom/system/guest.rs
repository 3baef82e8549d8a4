//! A guest: the enclave's real program, beside a security processor that was told what was launched.

use super::process::Process;
use super::world::{World, measurement};
use super::{program, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::digest::Sha256;

/// A guest that serves, and the proxy of a client that verified it.
pub(crate) struct Guest {
    pub(crate) process: Process,
    /// `host:port`.
    pub(crate) address: String,
    /// Its working folder.
    pub(crate) folder: PathBuf,
    _hardware: PspServer,
}

/// The processor of an honest launch: it measured our program, and HOST_DATA names the document.
pub(crate) fn hardware(world: &World, document: &[u8]) -> PspServer {
    let guest = ReportSpec { measurement: measurement(), host_data: Sha256::of(document).0, ..ReportSpec::default() };
    let vek = world.hierarchy.issue(VekSpec::default()).unwrap();
    Psp::new(&world.hierarchy, vek, guest).unwrap().serve(&world.path().join("processor.sock")).unwrap()
}

/// Launches the enclave with that document, and waits until it serves.
pub(crate) fn boot(world: &World, document: &[u8], onnxruntime: &Path) -> Guest {
    let hardware = hardware(world, document);
    let document = world.file("deployment.toml", document);
    let folder = world.path().join("guest");
    fs::create_dir(&folder).unwrap();
    let [document, socket, library] = [&document, hardware.path(), onnxruntime].map(text);
    let config = world.file(
        "enclave.toml",
        format!(
            "listen = '127.0.0.1:0'\nnames = ['127.0.0.1']\nlog = 'debug'\ndeployment = '{document}'\n\
             attester-socket = '{socket}'\nonnxruntime = '{library}'\n"
        ),
    );
    // As if the operator wanted cores: that there are none is the enclave's own doing.
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -c unlimited 2>/dev/null; exec "$0" "$@""#]);
    command.arg(program("strongroom-enclave")).arg("--config").arg(config);
    let process = Process::start(command.current_dir(&folder).env("TMPDIR", &folder));
    let address = process.address("");
    Guest { process, address, folder, _hardware: hardware }
}

/// `strongroom proxy` in front of it: the process, and its `http://host:port`.
pub(crate) fn proxy(world: &World, guest: &Guest, policy: &Path) -> (Process, String) {
    let mut command = Command::new(program("strongroom"));
    command.args(["proxy", "--listen", "127.0.0.1:0", "--to"]).arg(format!("https://{}", guest.address));
    command.arg("--policy").arg(policy).arg("--root").arg(world.path().join("ark.pem"));
    let process = Process::start(&mut command);
    let url = format!("http://{}", process.address(""));
    (process, url)
}
