//! Kernel modules: those of the image, in one order, each signed by who built the kernel.

use crate::cloud::Cloud;
use rustix::io::Errno;
use rustix::system::finit_module;
use std::fs::File;
use std::path::{Path, PathBuf};
use strongroom_wire::{Refusal, Result};

/// Where the image has them, as the kernel's package compresses them.
const FOLDER: &str = "/lib/modules";

/// In the order in which they need one another. `sev-guest` and `tdx-guest` are for the hardware that is there; the others
/// for a device that may not be.
pub const MODULES: [&str; 13] = [
    "configfs",
    "tsm",
    "sev-guest",
    "tdx-guest",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "qemu_fw_cfg",
    "button",
    "evdev",
    "watchdog",
    "i6300esb",
];

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel opens the compression by itself, and then looks at the
/// signature.
const COMPRESSED: i32 = 4;

/// Loads what the machine has devices for, and what the network card of the cloud takes where there is one, and says which these are.
///
/// # Errors
/// `io`: a file is not in the image, or the kernel takes it for anything but a module without a device.
pub fn load(cloud: Option<Cloud>) -> Result<String> {
    let mut loaded = Vec::new();
    for name in MODULES.iter().chain(cloud.map_or(&[][..], Cloud::drivers)) {
        let path = path_of(name);
        let file = File::open(&path).map_err(|e| Refusal::io(path.display(), &e))?;
        match finit_module(&file, c"", COMPRESSED) {
            Ok(()) => loaded.push(*name),
            // Another platform's driver says that there is no such platform.
            Err(Errno::NODEV) => {}
            Err(error) => return Err(Refusal::io(path.display(), &error.into())),
        }
    }
    Ok(loaded.join(", "))
}

fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.ko.xz"))
}
