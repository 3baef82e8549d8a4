//! `strongroom measure snp`.

use super::reference_values::Destination;
use super::{Boot, Inputs};
use crate::output;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use strongroom_appraisal::{Hex, SnpGuest};
use strongroom_measurement::Firmware;
use strongroom_measurement::snp::{self, CpuSignature};
use strongroom_wire::{Code, Refusal, Result};

#[derive(Args)]
pub(crate) struct Snp {
    /// The firmware: a whole OVMF image with SEV metadata, variables included (-bios).
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// How many vCPUs (-smp).
    #[arg(long, value_name = "N")]
    vcpus: u32,
    /// The kind of the vCPUs (-cpu): EPYC-Milan, EPYC-Genoa, EPYC-Turin, EPYC-v4, …, or the processor's signature (CPUID
    /// 1.EAX) as 0x00a00f11, for `-cpu host`. EC2 and GCE do not measure it.
    #[arg(long, value_name = "TYPE", value_parser = cpu)]
    vcpu_type: Option<CpuSignature>,
    #[command(flatten)]
    boot: Boot,
    /// SEV_FEATURES of the vCPUs. 1 is SNP alone; KVM adds what its module `kvm_amd` has switched on, debug_swap=Y as 0x20.
    #[arg(long, value_name = "HEX", value_parser = hex, default_value = "0x1")]
    guest_features: u64,
    /// Who launches the guest.
    #[arg(long, default_value = "qemu")]
    vmm: Vmm,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Vmm {
    Qemu,
    Ec2,
    Gce,
}

fn cpu(text: &str) -> core::result::Result<CpuSignature, Refusal> {
    CpuSignature::parse(text)
}

fn hex(text: &str) -> core::result::Result<u64, core::num::ParseIntError> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
}

pub(super) fn run(arguments: &Snp, as_json: bool) -> Result<()> {
    let inputs = Inputs::read("ovmf", &arguments.ovmf, &arguments.boot)?;
    let vmm = match (arguments.vmm, arguments.vcpu_type) {
        (Vmm::Qemu, Some(cpu)) => snp::Vmm::Qemu { cpu },
        (Vmm::Qemu, None) => {
            return Err(Refusal::new(Code::Usage, "--vmm qemu").got("no --vcpu-type").want("--vcpu-type"));
        }
        (Vmm::Ec2, _) => snp::Vmm::Ec2,
        (Vmm::Gce, _) => snp::Vmm::Gce,
    };
    let machine = snp::Machine { vmm, vcpus: arguments.vcpus, guest_features: arguments.guest_features };
    let firmware = Firmware::parse(&inputs.firmware)?;
    let measured = snp::measure(&firmware, &machine, inputs.boot()?.as_ref())?;
    let measurement = Hex(measured);
    arguments.destination.add_snp(|label| SnpGuest {
        label,
        measurement,
        deployment: None,
        inputs: inputs.digests.clone(),
    })?;
    let features = format!("{:#x}", arguments.guest_features);
    if as_json {
        return output::json(&json!({
            "measurement": measurement, "vmm": arguments.vmm, "vcpus": arguments.vcpus,
            "vcpu_signature": arguments.vcpu_type.map(|cpu| cpu.to_string()), "guest_features": features,
            "inputs": inputs.digests, "reference_values": arguments.destination.path(),
        }));
    }
    let mut rows = vec![vec!["measurement".to_owned(), measurement.to_string()]];
    rows.extend(inputs.digests.iter().map(|(name, digest)| vec![name.clone(), digest.oci()]));
    if inputs.kernel.is_none() {
        rows.push(vec!["kernel".to_owned(), "not covered: whatever the disk boots".to_owned()]);
    }
    output::line(&output::table(&["WHAT", "VALUE"], &rows))
}
