//! A guest: the enclave's real program, beside a security processor that was told what was launched.

use super::process::Process;
use super::world::{Published, World, measurement};
use super::{program, text};
use crate::peers;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

/// A guest that serves a model, in a world made for it.
pub(crate) struct Deployed {
    // Before the world, in whose folder its processor's socket is.
    pub(crate) guest: Guest,
    pub(crate) world: World,
    pub(crate) model: Published,
    /// The client's policy that accepts it.
    pub(crate) policy: PathBuf,
}

/// A guest that serves.
pub(crate) struct Guest {
    pub(crate) process: Process,
    /// `host:port`.
    pub(crate) address: String,
    /// Its working folder.
    pub(crate) folder: PathBuf,
    _hardware: Arc<PspServer>,
}

impl Deployed {
    /// Publishes the model in the folder that `variable` names, approves its deployment and boots it. `None` where the
    /// set-up is not there.
    pub(crate) fn start(variable: &str) -> Option<Self> {
        let (runtime, folder) = (peers::find("ORT_LIB")?, peers::find(variable)?);
        let world = World::start();
        let model = world.publish(&folder, "model");
        let document = world.document(&model, Sha256::of(&fs::read(&runtime).unwrap()));
        world.approve(&model, &document);
        let guest = launch(&world, hardware(&world, &document).into(), &document, &runtime).unwrap();
        let policy = world.client_policy(&model, &document);
        Some(Self { guest, world, model, policy })
    }

    /// `strongroom proxy` in front of it: the process, and its `http://host:port`.
    pub(crate) fn proxy(&self) -> (Process, String) {
        let mut command = Command::new(program("strongroom"));
        command.args(["proxy", "--listen", "127.0.0.1:0", "--to"]).arg(format!("https://{}", self.guest.address));
        command.arg("--policy").arg(&self.policy).arg("--root").arg(self.world.path().join("ark.pem"));
        let process = Process::start(&mut command);
        let url = format!("http://{}", process.address(""));
        (process, url)
    }
}

/// The processor of an honest launch: it measured our program, and HOST_DATA names the document.
pub(crate) fn hardware(world: &World, document: &[u8]) -> PspServer {
    let guest = ReportSpec { measurement: measurement(), host_data: Sha256::of(document).0, ..ReportSpec::default() };
    let vek = world.hierarchy.issue(VekSpec::default()).unwrap();
    Psp::new(&world.hierarchy, vek, guest).unwrap().serve(&world.path().join("processor.sock")).unwrap()
}

/// Launches the enclave with that document, and waits until it serves, or gives the code that it refuses with.
pub(crate) fn launch(
    world: &World,
    hardware: Arc<PspServer>,
    document: &[u8],
    onnxruntime: &Path,
) -> Result<Guest, Code> {
    launch_named("guest", "listen = '127.0.0.1:0'\n", world, hardware, document, onnxruntime)
}

/// The same under a name of its own, with what its configuration says of where it listens.
pub(crate) fn launch_named(
    name: &str,
    at: &str,
    world: &World,
    hardware: Arc<PspServer>,
    document: &[u8],
    onnxruntime: &Path,
) -> Result<Guest, Code> {
    let document = world.file("deployment.toml", document);
    let folder = world.path().join(name);
    fs::create_dir_all(&folder).unwrap();
    let [document, socket, library] = [&document, hardware.path(), onnxruntime].map(text);
    let config = world.file(
        &format!("{name}.toml"),
        format!(
            "{at}names = ['127.0.0.1']\nlog = 'debug'\ndeployment = '{document}'\n\
             attester-socket = '{socket}'\nonnxruntime = '{library}'\n"
        ),
    );
    // As if the operator wanted cores: that there are none is the enclave's own doing.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"ulimit -c unlimited 2>/dev/null; exec "$0" "$@""#]);
    command.arg(program("strongroom-enclave")).arg("--config").arg(config);
    // A guest is born with no environment, and this one's home is where it can be looked through.
    command.env_clear().env("HOME", &folder).env("TMPDIR", &folder).current_dir(&folder);
    let process = Process::start(&mut command);
    let address = process.wait_for(|line| {
        let listening = line.strip_prefix("listening on ").map(|address| Ok(address.to_owned()));
        let refused = || serde_json::from_str::<Value>(line).ok()?["refused"]["code"].as_str().and_then(Code::parse);
        listening.or_else(|| refused().map(Err))
    })?;
    Ok(Guest { process, address, folder, _hardware: hardware })
}
