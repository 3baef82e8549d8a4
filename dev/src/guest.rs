//! A guest: a security processor that was told what was launched, and the enclave's real program.

use crate::process::Process;
use crate::world::{World, program, text};
use std::path::PathBuf;
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How a host launches a guest.
#[derive(Clone)]
pub(crate) struct Launch {
    /// The deployment document that the guest is handed.
    pub(crate) document: Vec<u8>,
    /// What the hardware was told: measurement, HOST_DATA, guest policy.
    pub(crate) hardware: ReportSpec,
    /// Whether the host hands its guest the chip's certificates; where not, AMD's service has them.
    pub(crate) certificates: bool,
}

/// A guest that serves.
pub(crate) struct Guest {
    process: Process,
    /// The hardware's socket; answers as long as this lives.
    pub(crate) hardware: PspServer,
    /// `host:port`.
    pub(crate) address: String,
}

impl Launch {
    /// An honest launch: the hardware names the very document, and measures the very program.
    pub(crate) fn honest(world: &World, document: &[u8]) -> Self {
        let host_data = Sha256::of(document).0;
        let hardware = ReportSpec { measurement: world.measurement, host_data, ..ReportSpec::default() };
        Self { document: document.to_vec(), hardware, certificates: true }
    }

    /// The hardware alone, at a socket.
    pub(crate) fn hardware(&self, world: &World, name: &str) -> Result<PspServer> {
        let vek = world.hierarchy.issue(world.chip())?;
        if !self.certificates {
            world.kds.know(&world.hierarchy, &vek)?;
        }
        let psp = Psp::new(&world.hierarchy, vek, self.hardware.clone())?;
        let psp = if self.certificates { psp } else { psp.without_certificates() };
        psp.serve(&world.path().join(format!("{name}.sock")))
    }

    /// Launches the enclave and waits until it serves, or gives the refusal that it ended with.
    pub(crate) fn boot(&self, world: &World, name: &str) -> Result<Guest> {
        let hardware = self.hardware(world, name)?;
        let document = world.file(&format!("{name}.deployment.toml"), &self.document)?;
        let quoted = |path: &PathBuf| text(path).map(|text| toml::Value::String(text.to_owned()).to_string());
        let config = format!(
            "listen = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\ndeployment = {}\nattester-socket = {}\nonnxruntime = {}\n",
            quoted(&document)?,
            quoted(&hardware.path().to_owned())?,
            quoted(&world.inputs.onnxruntime)?,
        );
        let config = world.file(&format!("{name}.toml"), config)?;
        let mut process = Process::start(name, &program("strongroom-enclave")?, &["--config", text(&config)?])?;
        let outcome = process.wait_for("listening on, or a refusal", |line| {
            let listening = line.strip_prefix("listening on ").map(|address| Ok(address.trim().to_owned()));
            listening.or_else(|| refusal(line).map(Err))
        })?;
        match outcome {
            Ok(address) => Ok(Guest { process, hardware, address }),
            Err(refusal) => {
                let status = process.wait()?;
                let want = i32::from(refusal.fault().exit_code());
                if status.code() == Some(want) {
                    return Err(refusal);
                }
                Err(Refusal::new(Code::Internal, "exit code of a refused enclave").got(status).want(want))
            }
        }
    }
}

impl Guest {
    /// `https://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it; a clean stop exits 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.process.stop()?;
        if status.success() {
            return Ok(());
        }
        Err(Refusal::new(Code::Internal, "enclave on SIGTERM").got(status).want("exit 0"))
    }
}

/// `{"refused":{…}}` on one line.
pub(crate) fn refusal(line: &str) -> Option<Refusal> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    serde_json::from_value(value.get("refused")?.clone()).ok()
}
