//! The file systems of a guest without a disk, and what of them is closed again before the enclave starts.

use crate::confine::{GROUP, USER};
use rustix::fs::{Gid, Uid, chown};
use rustix::mount::{MountFlags, mount as mount_one, mount_remount};
use std::ffi::CStr;
use std::fs;
use std::io;
use strongroom_wire::{Refusal, Result};

/// What the kernel was started with; a line of at most [`strongroom_wire::limits::COMMAND_LINE`].
const COMMAND_LINE: &str = "/proc/cmdline";
const CONFIGFS: &str = "/sys/kernel/config";
const SYSRQ: &str = "/proc/sys/kernel/sysrq";
/// What asks the security processor, where the guest has one.
const REPORTS: &str = "/sys/kernel/config/tsm/report";

/// Written when nothing more is to be loaded: values that the kernel takes back from nobody come last.
const CLOSED: [(&str, &str); 9] = [
    ("/proc/sys/kernel/core_pattern", "\n"),
    ("/proc/sys/kernel/dmesg_restrict", "1"),
    ("/proc/sys/kernel/kptr_restrict", "2"),
    ("/proc/sys/kernel/unprivileged_bpf_disabled", "1"),
    ("/proc/sys/user/max_user_namespaces", "0"),
    ("/proc/sys/vm/memfd_noexec", "1"),
    ("/proc/sys/kernel/yama/ptrace_scope", "3"),
    ("/proc/sys/kernel/kexec_load_disabled", "1"),
    ("/proc/sys/kernel/modules_disabled", "1"),
];

fn harmless() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC
}

/// Mounts what the kernel shows, and memory to write to: `/run` for us, `/dev/shm` for the enclave.
///
/// # Errors
/// `io`.
pub fn mount() -> Result<()> {
    on("proc", "/proc", harmless(), None)?;
    on("sysfs", "/sys", harmless(), None)?;
    // The console's keys are the host's: what they may ask of the kernel is shut off first.
    fs::write(SYSRQ, "0").map_err(|e| Refusal::io(SYSRQ, &e))?;
    on("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0755"))?;
    on("tmpfs", "/run", harmless(), Some(c"mode=0755,size=16m"))?;
    fs::create_dir_all("/dev/shm").map_err(|e| Refusal::io("/dev/shm", &e))?;
    on("tmpfs", "/dev/shm", harmless(), Some(c"mode=1777"))
}

/// Mounts configfs, which a module brings, and lets the enclave's user make requests for reports in it.
///
/// # Errors
/// `io`.
pub fn mount_configfs() -> Result<()> {
    on("configfs", CONFIGFS, harmless(), None)?;
    match chown(REPORTS, Some(Uid::from_raw(USER)), Some(Gid::from_raw(GROUP))) {
        // Not a confidential guest: the enclave will say so.
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Refusal::io(REPORTS, &error.into())),
    }
}

fn on(source: &str, target: &str, flags: MountFlags, data: Option<&CStr>) -> Result<()> {
    mount_one(source, target, source, flags, data).map_err(|e| Refusal::io(target, &e.into()))
}

/// The measured command line.
///
/// # Errors
/// `io`.
pub fn command_line() -> Result<String> {
    fs::read_to_string(COMMAND_LINE).map_err(|e| Refusal::io(COMMAND_LINE, &e))
}

/// Takes back what only the start needs: modules, another kernel, namespaces, cores; and writing to the image's tree, to
/// what the kernel shows and to what the enclave was given.
///
/// # Errors
/// `io`.
pub fn close() -> Result<()> {
    for (path, value) in CLOSED {
        fs::write(path, value).map_err(|e| Refusal::io(path, &e))?;
    }
    let read_only = ["/sys", "/proc", "/run"].map(|path| (path, harmless()));
    for (path, flags) in read_only.into_iter().chain([("/", MountFlags::NODEV | MountFlags::NOSUID)]) {
        let flags = flags | MountFlags::RDONLY | MountFlags::BIND;
        mount_remount(path, flags, "").map_err(|e| Refusal::io(path, &io::Error::from(e)))?;
    }
    Ok(())
}
