//! A guest under QEMU: the same image on a machine of each kind, with the arguments that its measurement takes for granted.

mod arguments;
mod emulated;

use crate::image::Image;
use crate::tool;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::Stdio;
use strongroom_transport::shutdown_signal;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// How a guest is launched.
#[derive(Args)]
pub(crate) struct Run {
    /// The machine. `emulated` runs anywhere, and `kvm` where there is KVM: the host plays the security processor, under a root
    /// that nobody but tests trust. `snp` and `tdx` have a real one.
    machine: Machine,
    /// The built image.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    image: PathBuf,
    /// The deployment document.
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// What the hardware is told that the document's SHA-256 is; by default what it is.
    #[arg(long, value_name = "HEX", value_parser = Sha256::from_hex)]
    host_data: Option<Sha256>,
    /// How the guest is handed the document. Nobody trusts either way.
    #[arg(long, value_name = "HOW", default_value = "fw-cfg")]
    delivery: Delivery,
    /// The host's `address:port` through which the guest's port 8443 is reached.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    forward: String,
    /// The guest's memory, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// How many vCPUs; part of SEV-SNP's measurement.
    #[arg(long, value_name = "N", default_value_t = 2)]
    vcpus: u32,
    /// The kind of the vCPUs, which is part of SEV-SNP's measurement too.
    #[arg(long, value_name = "TYPE", default_value = "EPYC-Milan")]
    vcpu_type: String,
    /// More for the kernel's command line, which is measured.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,
    /// Of `emulated` and `kvm`: the port of a service on this machine's loopback interface, which the guest then has on its own.
    /// Repeatable.
    #[arg(long = "share", value_name = "PORT")]
    shared: Vec<u16>,
    /// The Unix socket on which QEMU takes commands (QMP), such as to press the power button; by default none.
    #[arg(long, value_name = "PATH")]
    monitor: Option<PathBuf>,
    /// The folder for what is made for this launch; by default a temporary one.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Print QEMU's command line and end.
    #[arg(long)]
    print: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Machine {
    Emulated,
    Kvm,
    Snp,
    Tdx,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Delivery {
    /// A file of QEMU's firmware configuration.
    FwCfg,
    /// The first virtio disk.
    Disk,
}

/// What QEMU is told, however it is run.
pub(crate) struct Launch {
    pub(crate) machine: Machine,
    pub(crate) image: Image,
    pub(crate) archive: PathBuf,
    pub(crate) command_line: String,
    pub(crate) document: PathBuf,
    pub(crate) delivery: Delivery,
    pub(crate) host_data: Sha256,
    pub(crate) forward: String,
    pub(crate) memory: u32,
    pub(crate) vcpus: u32,
    pub(crate) vcpu_type: String,
    /// Where QEMU takes commands.
    pub(crate) monitor: Option<PathBuf>,
    /// Where the host plays the security processor.
    pub(crate) processor: Option<PathBuf>,
}

/// Launches a guest, and stays until it ends or is told to.
///
/// # Errors
/// `io`: QEMU cannot be run, or failed.
pub(crate) fn run(arguments: &Run) -> Result<()> {
    let image = Image::at(&arguments.image);
    let digest = Sha256::of(&tool::read(&arguments.document)?);
    let extra = arguments.append.as_deref().map_or_else(String::new, |extra| format!(" {extra}"));
    let temporary = tempfile::tempdir().map_err(|e| Refusal::io("temporary folder", &e))?;
    let scratch = arguments.scratch.as_deref().unwrap_or(temporary.path());
    let mut launch = Launch {
        machine: arguments.machine,
        archive: image.path("initramfs.cpio"),
        command_line: format!("{}{extra}", image.command_line()?),
        document: arguments.document.clone(),
        delivery: arguments.delivery,
        host_data: arguments.host_data.unwrap_or(digest),
        forward: arguments.forward.clone(),
        memory: arguments.memory,
        vcpus: arguments.vcpus,
        vcpu_type: arguments.vcpu_type.clone(),
        monitor: arguments.monitor.clone(),
        processor: None,
        image,
    };
    let played = matches!(arguments.machine, Machine::Emulated | Machine::Kvm);
    let _processor = if played {
        Some(emulated::play(&mut launch, &arguments.shared, scratch)?)
    } else if arguments.shared.is_empty() {
        None
    } else {
        return Err(Refusal::new(Code::Usage, "--share").want("`emulated` or `kvm`"));
    };
    let qemu = arguments::of(&launch)?;
    if arguments.print {
        crate::say(&qemu.join(" "));
        return Ok(());
    }
    supervise(&qemu)
}

/// The console goes to standard error, as every service's log. QEMU ends with this process, and this with QEMU.
fn supervise(arguments: &[String]) -> Result<()> {
    let name = arguments::PROGRAM;
    let io = |e: std::io::Error| Refusal::io(name, &e).want("Debian package qemu-system-x86");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    runtime.block_on(async {
        let stop = shutdown_signal();
        let mut qemu = tokio::process::Command::new(name);
        qemu.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
        let mut qemu = qemu.spawn().map_err(io)?;
        tokio::select! {
            ended = qemu.wait() => {
                let status = ended.map_err(io)?;
                if status.success() { Ok(()) } else { Err(Refusal::new(Code::Io, name).got(status).want("success")) }
            }
            () = stop => qemu.kill().await.map_err(io),
        }
    })
}
