//! `strongroom-bridge`: the guest's end of a security processor that the host plays, for machines without a TEE.
//!
//! It is no part of the image. A test segment brings it, which is measured with the image, and the command line that names it as
//! the first process is measured too. It passes 64 bytes from the enclave's attester socket to a virtio serial port, and the answer
//! back: the guest chooses report data and nothing else. And it gives the guest's loopback interface some services of the host's, so
//! that one document names them on both sides.

use rustix::fs::inotify;
use rustix::mount::{MountFlags, mount};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;
use strongroom_init::console::{refused, say};
use strongroom_wire::attester::LONGEST_ANSWER;
use strongroom_wire::{Refusal, Result};

/// Where the enclave's configuration of the test segment looks for the processor.
const SOCKET: &str = "/emulated/processor.sock";
/// A devtmpfs of our own: that of the image is mounted later.
const DEVICES: &str = "/emulated/dev";
/// How the one port's device is named there: this, the number of its controller among virtio devices, `p`, its own number.
const PORT: &str = "vport";
const INIT: &str = "/usr/bin/strongroom-init";
/// The ports of services of the host's, one a line.
const SHARED: &str = "/emulated/ports";
/// The host in QEMU's user-mode network.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// How long a silent enclave is listened to.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let outcome = match std::env::args_os().nth(1) {
        Some(_) => serve(),
        None => start(),
    };
    let Err(refusal) = outcome;
    refused(&refusal);
    ExitCode::FAILURE
}

/// Leaves a process behind that passes requests on, and becomes the image's own first process.
fn start() -> Result<core::convert::Infallible> {
    let io = |path: &str, e: std::io::Error| Refusal::io(path, &e);
    mount("devtmpfs", DEVICES, "devtmpfs", MountFlags::NOSUID, None).map_err(|e| io(DEVICES, e.into()))?;
    let own = "/emulated/init";
    Command::new(own).arg("serve").spawn().map_err(|e| io(own, e))?;
    say("bridge", "the security processor is the host's; only a test root vouches for it");
    Err(io(INIT, Command::new(INIT).exec()))
}

fn serve() -> Result<core::convert::Infallible> {
    let io = |e: std::io::Error| Refusal::io(SOCKET, &e);
    let shared = std::fs::read_to_string(SHARED).map_err(|e| Refusal::io(SHARED, &e))?;
    for port in shared.lines() {
        share(port.parse().map_err(|e| Refusal::malformed(SHARED, e))?)?;
    }
    let mut port = port().map_err(|e| Refusal::io(DEVICES, &e))?;
    let listener = UnixListener::bind(SOCKET).map_err(io)?;
    std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o666)).map_err(io)?;
    loop {
        let (stream, _) = listener.accept().map_err(io)?;
        // An enclave that breaks off gets no answer; the next one does.
        if let Err(error) = pass(stream, &mut port) {
            say("bridge", &error.to_string());
        }
    }
}

/// The port, which its driver makes when the host has told it of it.
fn port() -> std::io::Result<File> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, DEVICES, inotify::WatchFlags::CREATE)?;
    loop {
        let mut devices = std::fs::read_dir(DEVICES)?.filter_map(core::result::Result::ok);
        if let Some(port) = devices.find(|device| device.file_name().to_string_lossy().starts_with(PORT)) {
            return OpenOptions::new().read(true).write(true).open(port.path());
        }
        let mut events = [0_u8; 4096];
        rustix::io::read(&watch, &mut events[..])?;
    }
}

/// One request: 64 bytes to the host, and from it the answer behind its length.
fn pass(mut enclave: UnixStream, port: &mut File) -> std::io::Result<()> {
    enclave.set_read_timeout(Some(PATIENCE))?;
    let mut report_data = [0; 64];
    enclave.read_exact(&mut report_data)?;
    port.write_all(&report_data)?;
    let mut length = [0; 4];
    port.read_exact(&mut length)?;
    let length = u64::from(u32::from_be_bytes(length)).min(u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX));
    std::io::copy(&mut port.take(length), &mut enclave)?;
    Ok(())
}

/// Takes connections at a port of the guest's, and passes them on to the same port of the host's.
fn share(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|e| Refusal::io(port, &e))?;
    std::thread::spawn(move || {
        for inside in listener.incoming() {
            // Either side may be gone at any time; the other one notices.
            drop(inside.and_then(|inside| relay(inside, TcpStream::connect((HOST, port))?)));
        }
    });
    Ok(())
}

fn relay(inside: TcpStream, outside: TcpStream) -> std::io::Result<()> {
    for (mut from, mut to) in [(inside.try_clone()?, outside.try_clone()?), (outside, inside)] {
        std::thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        });
    }
    Ok(())
}
