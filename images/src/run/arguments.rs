//! QEMU's arguments. Those of `snp` are of QEMU 9.1 and newer (`docs/system/i386/amd-memory-encryption.rst`), those of `tdx` of 10.1
//! (`docs/system/i386/tdx.rst`).

use super::{Delivery, Launch, Machine};
use crate::tool::text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

/// What is run.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// All of them. No default device, no disk, no way to reboot, nothing to type at.
///
/// # Errors
/// `usage`: a path or an address that cannot be said to QEMU.
pub(super) fn of(launch: &Launch) -> Result<Vec<String>> {
    let mut line: Vec<String> = Vec::new();
    let mut add = |arguments: &[&str]| line.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let (size, smp) = (format!("{}M", launch.memory), launch.vcpus.to_string());
    add(&[
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-m",
        &size,
        "-smp",
        &smp,
    ]);
    match launch.machine {
        Machine::Emulated => add(&["-machine", "q35,accel=tcg", "-cpu", "max"]),
        Machine::Kvm => add(&["-machine", "q35,accel=kvm", "-cpu", "host"]),
        Machine::Snp => {
            let (firmware, guest) = (launch.image.path("OVMF.amdsev.fd"), snp_guest(launch));
            let memory = format!("memory-backend-memfd,id=memory,size={size},share=true,prealloc=false");
            add(&["-machine", "q35,accel=kvm,confidential-guest-support=guest,memory-backend=memory"]);
            add(&["-object", &memory, "-object", &guest, "-cpu", &launch.vcpu_type, "-bios", text(&firmware)?]);
        }
        Machine::Tdx => {
            let (firmware, guest) = (launch.image.path("OVMF.inteltdx.fd"), tdx_guest(launch));
            add(&["-machine", "q35,accel=kvm,kernel-irqchip=split,confidential-guest-support=guest"]);
            add(&["-object", &guest, "-cpu", "host", "-bios", text(&firmware)?]);
        }
    }
    let kernel = launch.image.path("vmlinuz");
    add(&["-kernel", text(&kernel)?, "-initrd", text(&launch.archive)?, "-append", &launch.command_line]);
    let (host, port) = launch
        .forward
        .rsplit_once(':')
        .ok_or_else(|| Refusal::new(Code::Usage, "--forward").got(&launch.forward).want("ADDRESS:PORT"))?;
    let network = format!("user,id=network,hostfwd=tcp:{host}:{port}-:8443");
    add(&["-netdev", &network, "-device", "virtio-net-pci,netdev=network,romfile="]);
    let document = escaped(&launch.document)?;
    match launch.delivery {
        Delivery::FwCfg => add(&["-fw_cfg", &format!("name=opt/org.strongroom/deployment,file={document}")]),
        Delivery::Disk => {
            let drive = format!("if=none,id=document,format=raw,readonly=on,file={document}");
            add(&["-drive", &drive, "-device", "virtio-blk-pci,drive=document"]);
        }
    }
    // Ends a guest that hangs: a reset is an end, since there is no way to reboot.
    add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
    if let Some(monitor) = &launch.monitor {
        add(&["-qmp", &format!("unix:{},server=on,wait=off", escaped(monitor)?)]);
    }
    if let Some(processor) = &launch.processor {
        let socket = format!("socket,id=processor,path={}", escaped(processor)?);
        add(&["-chardev", &socket, "-device", "virtio-serial-pci,max_ports=2"]);
        add(&["-device", "virtserialport,chardev=processor,nr=1,name=org.strongroom.processor"]);
    }
    Ok(line)
}

/// POLICY 0x30000: SMT allowed, no debugging, no migration agent, any ABI. HOST_DATA is the document's digest.
fn snp_guest(launch: &Launch) -> String {
    let host_data = STANDARD.encode(launch.host_data.0);
    format!(
        "sev-snp-guest,id=guest,cbitpos=51,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on,host-data={host_data}"
    )
}

/// MRCONFIGID is the document's digest and 16 zero bytes; quotes are made by the host's service behind vsock.
fn tdx_guest(launch: &Launch) -> String {
    let mut id = launch.host_data.0.to_vec();
    id.resize(48, 0);
    let quotes = json!({ "type": "vsock", "cid": "2", "port": "4050" });
    json!({ "qom-type": "tdx-guest", "id": "guest", "mrconfigid": STANDARD.encode(id), "quote-generation-socket": quotes })
        .to_string()
}

/// A path in a list of QEMU's, where a comma is written twice.
fn escaped(path: &Path) -> Result<String> {
    Ok(text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;
    use strongroom_wire::digest::Sha256;

    fn arguments(machine: Machine) -> Vec<String> {
        delivered(machine, Delivery::FwCfg)
    }

    fn delivered(machine: Machine, delivery: Delivery) -> Vec<String> {
        let launch = Launch {
            machine,
            image: Image::at(Path::new("/i")),
            archive: "/i/initramfs.cpio".into(),
            command_line: "quiet panic=-1".to_owned(),
            document: "/d/one,two.toml".into(),
            delivery,
            host_data: Sha256([0xab; 32]),
            forward: "127.0.0.1:9443".to_owned(),
            memory: 1024,
            vcpus: 4,
            vcpu_type: "EPYC-Genoa".to_owned(),
            monitor: None,
            processor: (machine == Machine::Emulated).then(|| "/s/processor".into()),
        };
        of(&launch).unwrap()
    }

    fn after<'a>(arguments: &'a [String], flag: &str) -> Vec<&'a str> {
        arguments.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn snp_is_told_the_document_s_digest_and_to_hash_the_kernel() {
        let line = arguments(Machine::Snp);
        let guest = after(&line, "-object")[1];
        assert!(guest.contains(",kernel-hashes=on,"), "{guest}");
        let host_data = guest.split_once("host-data=").unwrap().1;
        assert_eq!(STANDARD.decode(host_data).unwrap(), [0xab; 32]);
        assert_eq!(after(&line, "-cpu"), ["EPYC-Genoa"]);
        assert!(after(&line, "-chardev").is_empty());
    }

    #[test]
    fn tdx_is_told_the_document_s_digest_and_sixteen_zero_bytes() {
        let line = arguments(Machine::Tdx);
        let guest: serde_json::Value = serde_json::from_str(after(&line, "-object")[0]).unwrap();
        let id = STANDARD.decode(guest["mrconfigid"].as_str().unwrap()).unwrap();
        assert_eq!(id, [[0xab; 32].as_slice(), &[0; 16]].concat());
    }

    #[test]
    fn every_machine_gets_the_document_the_measured_line_and_one_forwarded_port() {
        for machine in [Machine::Emulated, Machine::Kvm, Machine::Snp, Machine::Tdx] {
            let line = arguments(machine);
            assert_eq!(after(&line, "-fw_cfg"), ["name=opt/org.strongroom/deployment,file=/d/one,,two.toml"]);
            assert!(after(&line, "-drive").is_empty());
            let by_disk = delivered(machine, Delivery::Disk);
            assert_eq!(after(&by_disk, "-drive"), ["if=none,id=document,format=raw,readonly=on,file=/d/one,,two.toml"]);
            assert!(after(&by_disk, "-fw_cfg").is_empty());
            assert_eq!((after(&line, "-append"), after(&line, "-smp")), (vec!["quiet panic=-1"], vec!["4"]));
            assert_eq!(after(&line, "-netdev"), ["user,id=network,hostfwd=tcp:127.0.0.1:9443-:8443"]);
        }
    }
}
