//! The security processor of a machine that has none, played by the host of an emulated guest.
//!
//! It is told what is launched as a real one would find out: the measurement is that of the very files and command line that
//! QEMU gets, as if OVMF.amdsev launched them, and HOST_DATA is the host's. The guest chooses report data alone. Only a test root
//! vouches for what it signs.

use super::Launch;
use crate::cpio::{Entry, archive, with_folders};
use crate::image::Image;
use crate::programs::BRIDGE;
use crate::{measured, tool};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::psp::Psp;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::{Refusal, Result};

/// What makes the bridge the first process; the image's own follows it.
const FIRST_PROCESS: &str = "rdinit=/emulated/init";
/// Where the bridge listens.
const SOCKET: &str = "/emulated/processor.sock";

/// Adds the test segment to the launch, and answers for the processor in a thread of its own.
///
/// # Errors
/// `io`; as `strongroom measure`.
pub(super) fn play(launch: &mut Launch, shared: &[u16], scratch: &Path) -> Result<JoinHandle<()>> {
    let with_segment = scratch.join("initramfs.cpio");
    let whole = [tool::read(&launch.archive)?, segment(&launch.image, shared)?].concat();
    tool::write(&with_segment, whole)?;
    launch.archive = with_segment;
    launch.command_line = format!("{} {FIRST_PROCESS}", launch.command_line);
    let measurement =
        measured::of_launch(&launch.image, &launch.archive, &launch.command_line, launch.vcpus, &launch.vcpu_type)?;
    crate::say(&format!("{} is what the played processor measured", hex::encode(measurement)));

    let hierarchy = Hierarchy::shared()?;
    let vek = hierarchy.issue(VekSpec::default())?;
    let guest = ReportSpec { measurement, host_data: launch.host_data.0, ..ReportSpec::default() };
    let psp = Psp::new(&hierarchy, vek, guest)?;
    let path = scratch.join("processor");
    // Of an earlier launch from the same folder.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(|e| Refusal::io(path.display(), &e))?;
    launch.processor = Some(path);
    Ok(std::thread::spawn(move || {
        // QEMU connects once, and is gone when the guest is.
        if let Ok((port, _)) = listener.accept() {
            drop(answer(&psp, port));
        }
    }))
}

/// What is appended to the image, and measured with it: the bridge, the ports that it shares, and a configuration of the enclave
/// that says where it is.
fn segment(image: &Image, shared: &[u16]) -> Result<Vec<u8>> {
    let mut configuration = tool::read(&tool::workspace()?.join("images/enclave.toml"))?;
    configuration.extend(format!("attester-socket = \"{SOCKET}\"\nlog = \"debug\"\n").into_bytes());
    let ports: String = shared.iter().map(|port| format!("{port}\n")).collect();
    let tree = with_folders([
        ("emulated/dev".to_owned(), Entry::Folder),
        ("emulated/init".to_owned(), Entry::Program(tool::read(&image.path(BRIDGE))?)),
        ("emulated/ports".to_owned(), Entry::File(ports.into_bytes())),
        ("etc/strongroom/enclave.toml".to_owned(), Entry::File(configuration)),
    ])?;
    archive(&tree, 0)
}

/// 64 bytes in; the answer behind its length out, until QEMU goes.
fn answer(psp: &Psp, mut port: UnixStream) -> core::result::Result<(), Box<dyn core::error::Error>> {
    loop {
        let mut report_data = [0; 64];
        port.read_exact(&mut report_data)?;
        let quote = psp.quote(&report_data)?.encode()?;
        port.write_all(&u32::try_from(quote.len())?.to_be_bytes())?;
        port.write_all(&quote)?;
    }
}
