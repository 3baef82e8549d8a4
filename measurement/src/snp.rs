//! AMD SEV-SNP: MEASUREMENT (SEV-SNP Firmware ABI, publication 56860, revision 1.58, §8.17.2 "SNP_LAUNCH_UPDATE" and table 67,
//! "Layout of the PAGE_INFO structure"), as QEMU, Amazon EC2 and Google Compute Engine launch OVMF.
//!
//! 1. Begin with a digest of 48 zero bytes.
//! 2. Add the firmware's image, page by page, so that it ends at 4 GiB.
//! 3. Add the sections that the firmware's SEV metadata lists, in the order of that table; EC2 adds the CPUID page after all
//!    others. The page for the kernel's hashes holds them where a kernel is given, and is zero where none is.
//! 4. Add one page with the initial state of each vCPU: the first begins at the reset vector, every other one where the
//!    firmware's table says.
//!
//! What EC2 and Google do is what `sev-snp-measure` 0.0.13 has learnt of them; neither publishes it.

mod kernel_hashes;
mod metadata;
mod page_info;
mod vcpu;
mod vmsa;

pub use vcpu::CpuSignature;

use crate::chain::Sha384;
use crate::{DirectBoot, Firmware};
use kernel_hashes::HashTable;
use metadata::{Kind, Metadata};
use page_info::{LaunchDigest, PageType};
use strongroom_wire::{Code, Refusal, Result, limits};

/// SEV_FEATURES bit 0, SNPActive (publication 24593, table B-4): without it a vCPU is none of an SNP guest.
const SNP_ACTIVE: u64 = 1;

/// Who launches the guest: each gives its vCPUs another initial state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vmm {
    /// QEMU with KVM, which tells its vCPUs which processor they are.
    Qemu {
        /// The processor that it tells them.
        cpu: CpuSignature,
    },
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Gce,
}

/// The machine that a guest is launched on.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Who launches it.
    pub vmm: Vmm,
    /// How many vCPUs, from one to [`limits::VCPUS`].
    pub vcpus: u32,
    /// SEV_FEATURES of every vCPU; bit 0 must be set.
    pub guest_features: u64,
}

/// MEASUREMENT of a guest that is launched on `machine` with `firmware` and, where it is given, a kernel.
///
/// # Errors
/// `firmware-not-measurable`: no SEV metadata, or no address at which the vCPUs after the first begin. `kernel-not-measurable`:
/// a kernel is given and the firmware has no place for its hashes. `malformed`, `version-unsupported`, `too-large`: metadata
/// that no launcher would follow. `usage`: a machine that does not exist.
pub fn measure(firmware: &Firmware<'_>, machine: &Machine, boot: Option<&DirectBoot<'_>>) -> Result<Sha384> {
    machine.exists()?;
    let metadata = Metadata::parse(firmware)?;
    let hashes = boot.map(|boot| HashTable::new(firmware, &metadata, boot)).transpose()?;

    // 1
    let mut digest = LaunchDigest::new();

    // 2
    digest.add_contents(firmware.base(), firmware.image());

    // 3
    let late = |kind: Kind| machine.vmm == Vmm::Ec2 && kind == Kind::Cpuid;
    let mut sections = metadata.sections.clone();
    sections.sort_by_key(|section| late(section.kind));
    for section in sections {
        let page_type = match section.kind {
            Kind::KernelHashes => {
                if let Some(hashes) = &hashes {
                    digest.add_contents(section.pages.address, &hashes.page());
                    continue;
                }
                PageType::Zero
            }
            Kind::Memory if machine.vmm == Vmm::Gce => PageType::Unmeasured,
            Kind::Memory | Kind::SvsmCallingArea => PageType::Zero,
            Kind::Secrets => PageType::Secrets,
            Kind::Cpuid => PageType::Cpuid,
        };
        digest.add_empty(page_type, section.pages);
    }

    // 4
    let starts = [vmsa::RESET_VECTOR, metadata.other_vcpus_start];
    let [first, other] = starts.map(|start| page_info::contents(&vmsa::page(machine, start)));
    digest.add_vcpu(&first);
    for _ in 1..machine.vcpus {
        digest.add_vcpu(&other);
    }
    Ok(digest.finish())
}

impl Machine {
    fn exists(&self) -> Result<()> {
        if !(1..=limits::VCPUS).contains(&self.vcpus) {
            let refusal = Refusal::new(Code::Usage, "vCPUs").got(self.vcpus);
            return Err(refusal.want(format!("1 to {}", limits::VCPUS)));
        }
        if self.guest_features & SNP_ACTIVE == 0 {
            let refusal = Refusal::new(Code::Usage, "guest features").got(format!("{:#x}", self.guest_features));
            return Err(refusal.want("bit 0 set, which says that SNP is active"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
