//! What is in the image: every file of it, and where it comes from.

use crate::cpio::{Entry, Tree, with_folders};
use crate::inputs::{KERNEL, Unpacked};
use crate::programs::IN_THE_IMAGE;
use crate::{tool, uki};
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

/// Libraries that the programs and ONNX Runtime load, by package: the file there, and its name in the image.
const LIBRARIES: [(&str, &str, &str); 8] = [
    ("libc6", "ld-linux-x86-64.so.2", "ld-linux-x86-64.so.2"),
    ("libc6", "libc.so.6", "libc.so.6"),
    ("libc6", "libm.so.6", "libm.so.6"),
    // Empty since glibc 2.34, and still asked for by name.
    ("libc6", "libdl.so.2", "libdl.so.2"),
    ("libc6", "libpthread.so.0", "libpthread.so.0"),
    ("libc6", "librt.so.1", "librt.so.1"),
    ("libgcc-s1", "libgcc_s.so.1", "libgcc_s.so.1"),
    ("libstdc++6", "libstdc++.so.6", "libstdc++.so.6"),
];
const LIBRARY_FOLDER: &str = "usr/lib/x86_64-linux-gnu";

/// The modules that `strongroom-init` loads, and where the kernel's package has them.
pub(crate) const MODULES: [&str; 13] = [
    "fs/configfs/configfs",
    "drivers/virt/coco/tsm",
    "drivers/virt/coco/sev-guest/sev-guest",
    "drivers/virt/coco/tdx-guest/tdx-guest",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/firmware/qemu_fw_cfg",
    "drivers/acpi/button",
    "drivers/input/evdev",
    "drivers/watchdog/watchdog",
    "drivers/watchdog/i6300esb",
];

/// Those that it loads where the command line names a cloud.
const DRIVERS: [&str; 4] = [
    "drivers/net/ethernet/amazon/ena/ena",
    "drivers/net/ethernet/google/gve/gve",
    "drivers/hv/hv_vmbus",
    "drivers/net/hyperv/hv_netvsc",
];

/// Where the kernel looks for what it mounts, and the first process mounts.
const MOUNTPOINTS: [&str; 4] = ["dev", "proc", "run", "sys"];

/// The tree of the image, of the packages, the programs in `programs`, ONNX Runtime's library and the workspace at `root`.
///
/// # Errors
/// `io`: a file is not where it is looked for; `malformed`: one is there twice.
pub(crate) fn tree(packages: &[Unpacked], programs: &Path, onnxruntime: Vec<u8>, root: &Path) -> Result<Tree> {
    let mut files: Vec<(String, Entry)> =
        MOUNTPOINTS.iter().map(|folder| ((*folder).to_owned(), Entry::Folder)).collect();
    for program in IN_THE_IMAGE {
        files.push((format!("usr/bin/{program}"), Entry::Program(tool::read(&programs.join(program))?)));
    }
    files.push(("init".to_owned(), Entry::Link("usr/bin/strongroom-init".to_owned())));
    for (package, file, name) in LIBRARIES {
        let bytes = of_role(packages, package)?.file(&format!("{LIBRARY_FOLDER}/{file}"))?;
        files.push((format!("{LIBRARY_FOLDER}/{name}"), Entry::Program(bytes)));
    }
    let loader = format!("../{LIBRARY_FOLDER}/ld-linux-x86-64.so.2");
    files.push(("lib64/ld-linux-x86-64.so.2".to_owned(), Entry::Link(loader)));
    files.push(("usr/lib/libonnxruntime.so".to_owned(), Entry::File(onnxruntime)));
    let kernel = of_role(packages, KERNEL)?;
    let modules = kernel.only("usr/lib/modules", "")?;
    for module in MODULES.into_iter().chain(DRIVERS) {
        let bytes = tool::read(&modules.join(format!("kernel/{module}.ko.xz")))?;
        let name = module.rsplit_once('/').map_or(module, |(_, name)| name);
        files.push((format!("lib/modules/{name}.ko.xz"), Entry::File(bytes)));
    }
    files.push(("etc/strongroom/enclave.toml".to_owned(), Entry::File(tool::read(&root.join("images/enclave.toml"))?)));
    files.push(("etc/hosts".to_owned(), Entry::File(b"127.0.0.1 localhost\n".to_vec())));
    files.push(("etc/resolv.conf".to_owned(), Entry::Link("/run/resolv.conf".to_owned())));
    with_folders(files)
}

/// What boots it: the kernel, what has it started from a disk, and the firmware that measures it on each platform.
///
/// # Errors
/// `io`, `malformed`.
pub(crate) fn launchers(packages: &[Unpacked]) -> Result<[(&'static str, Vec<u8>); 4]> {
    let kernel = of_role(packages, KERNEL)?.only("boot", "vmlinuz-")?;
    let amd = of_role(packages, "ovmf-amdsev")?.file("usr/share/ovmf/OVMF.amdsev.fd")?;
    let intel = of_role(packages, "ovmf-inteltdx")?.file("usr/share/ovmf/OVMF.inteltdx.ms.fd")?;
    let stub = of_role(packages, "systemd-boot-efi")?.file(&format!("usr/lib/systemd/boot/efi/{}", uki::STUB))?;
    let kernel = tool::read(&kernel)?;
    Ok([("vmlinuz", kernel), (uki::STUB, stub), ("OVMF.amdsev.fd", amd), ("OVMF.inteltdx.fd", intel)])
}

fn of_role<'a>(packages: &'a [Unpacked], role: &str) -> Result<&'a Unpacked> {
    let found = packages.iter().find(|unpacked| unpacked.package.role() == role);
    found.ok_or_else(|| Refusal::new(Code::ConfigurationInvalid, "images/inputs.lock").got(format!("no {role}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_those_that_the_first_process_loads_in_its_order() {
        let source = tool::read(&tool::workspace().unwrap().join("init/src/modules.rs")).unwrap();
        let source = String::from_utf8(source).unwrap();
        let list = source.split_once("MODULES: [&str; 13] = [").unwrap().1.split_once("];").unwrap().0;
        let loaded: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        let ours: Vec<_> = MODULES.iter().map(|module| module.rsplit('/').next().unwrap()).collect();
        assert_eq!(ours, loaded);
        let source = tool::read(&tool::workspace().unwrap().join("init/src/cloud.rs")).unwrap();
        let source = String::from_utf8(source).unwrap();
        let lists: Vec<_> = source.split("=> &[").skip(1).filter_map(|list| list.split_once(']')).collect();
        let loaded: Vec<_> = lists.iter().flat_map(|(list, _)| list.split('"').skip(1).step_by(2)).collect();
        let ours: Vec<_> = DRIVERS.iter().map(|module| module.rsplit('/').next().unwrap()).collect();
        assert_eq!(ours, loaded);
    }
}
