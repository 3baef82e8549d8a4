//! Intel TDX: MRTD and the RTMRs (Intel TDX Module Base Architecture Specification, 348549, "Measurement and Attestation";
//! Intel TDX Virtual Firmware Design Guide, 344991, "TD Measurement"), as KVM and QEMU launch a TD with OVMF's firmware for
//! TDX.
//!
//! 1. MRTD: the pages that the launcher adds before the TD runs, and of those that the firmware marks so their contents.
//! 2. RTMR0 is extended by the firmware with what it got from its host: the list of memory, ACPI tables, boot variables. They
//!    depend on the version of QEMU and on every device of the machine, so it is not computed.
//! 3. RTMR1 is extended by the firmware with the kernel's image, in the form in which it got it, and the steps of the boot.
//! 4. RTMR2 is extended by the kernel's EFI stub, from Linux 6.10 on, with command line and initrd.
//! 5. RTMR3 is the guest's own, zero until it extends it.

mod kernel;
mod metadata;
mod mrtd;
mod rtmr;

pub use crate::pe::authenticode;
pub use mrtd::PageOrder;
pub use rtmr::{InitrdArgument, Register, extend, rtmr1, rtmr2};

use crate::chain::Sha384;
use crate::{DirectBoot, Firmware};
use metadata::Tdvf;
use strongroom_wire::Result;

/// In which form the firmware gets the kernel, and therefore measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelForm {
    /// As the file has it. QEMU 10.2 and newer gives a confidential guest no other; 10.0 and 10.1 offer it as
    /// `etc/boot/kernel`, which firmware of edk2-stable202505 and newer takes.
    AsGiven,
    /// With the setup header as QEMU up to 10.1 fills it in for older firmware, and QEMU before 10.0 for any. Where there is an
    /// initrd, its address is in it, which follows from the guest's memory.
    Patched {
        /// Bytes of the guest's memory (`-m`), on machine type q35.
        memory: Option<u64>,
    },
}

/// What the files of a launch do not say: the ways of its host and of its firmware. One that is not known leaves the registers
/// unknown that depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// In which order the host's kernel adds and measures pages.
    pub page_order: PageOrder,
    /// In which form the firmware gets a kernel. RTMR1 depends on it.
    pub kernel_form: Option<KernelForm>,
    /// Where the firmware names the initrd to the kernel. RTMR2 depends on it where there is an initrd.
    pub initrd_argument: Option<InitrdArgument>,
}

/// What a TD measures when its own programs begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurements {
    /// Firmware.
    pub mrtd: Sha384,
    /// What the firmware got from its host: never known.
    pub rtmr0: Register,
    /// Kernel and steps of the boot.
    pub rtmr1: Register,
    /// Command line and initrd.
    pub rtmr2: Register,
    /// The guest's own: never known.
    pub rtmr3: Register,
}

/// The measurements of a TD that is launched as `launch` says with `firmware` and, where it is given, a kernel. Without one the
/// disk says what is booted, and the registers of it are not known.
///
/// # Errors
/// `firmware-not-measurable`: no TDVF metadata, metadata that QEMU does not launch or not as it says, or contents measured that
/// are not the image's. `malformed`, `version-unsupported`, `too-large`: metadata that no launcher would follow; a kernel that is
/// no PE image, or none that QEMU would patch where it is to be patched; an initrd for which the memory has no room.
pub fn measure(firmware: &Firmware<'_>, launch: &Launch, boot: Option<&DirectBoot<'_>>) -> Result<Measurements> {
    // 1
    let mrtd = Tdvf::parse(firmware)?.mrtd(launch.page_order);

    // 2
    let rtmr0 =
        Register::Unknown("it has the host's ACPI tables and memory map, which depend on QEMU and every device");

    // 3, 4
    let (rtmr1, rtmr2) = match boot {
        Some(boot) => (rtmr::of_kernel(boot, launch.kernel_form)?, rtmr::of_arguments(boot, launch.initrd_argument)),
        None => {
            let unknown = Register::Unknown("without --kernel the boot loader and its configuration decide it");
            (unknown, unknown)
        }
    };

    // 5
    let rtmr3 = Register::Unknown("the guest extends it itself; until then it is zero");
    Ok(Measurements { mrtd, rtmr0, rtmr1, rtmr2, rtmr3 })
}

#[cfg(test)]
mod tests;
