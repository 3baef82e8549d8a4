//! Intel TDX: MRTD and the RTMRs (Intel TDX Module Base Architecture Specification, 348549, "Measurement and Attestation";
//! Intel TDX Virtual Firmware Design Guide, 344991, "TD Measurement"), as KVM and QEMU launch a TD with OVMF's firmware for
//! TDX.
//!
//! 1. MRTD: the pages that the launcher adds before the TD runs, and of those that the firmware marks so their contents
//!    ([`Tdvf::mrtd`]).
//! 2. RTMR0 is extended by the firmware with what it got from its host: the list of memory, ACPI tables, boot variables. They
//!    depend on the version of QEMU and on every device of the machine, so it is not computed.
//! 3. RTMR1 is extended with the kernel and the steps of the boot ([`Registers::rtmr1`]).
//! 4. RTMR2 is extended by the kernel's EFI stub, from Linux 6.10 on, with command line and initrd ([`Registers::rtmr2`]).
//! 5. RTMR3 is the guest's own, zero until it extends it.

mod authenticode;
mod kernel;
mod metadata;
mod mrtd;
mod rtmr;

pub use authenticode::authenticode;
pub use metadata::Tdvf;
pub use mrtd::PageOrder;
pub use rtmr::{Register, Registers, extend, rtmr1, rtmr2};

/// In which form the firmware gets the kernel, and therefore measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelForm {
    /// As the file has it: firmware of edk2-stable202505 or newer, under QEMU 10.0 or newer, loads `etc/boot/kernel`.
    AsGiven,
    /// With the setup header as QEMU fills it in for older firmware. Where there is an initrd, its address is in it, which
    /// follows from the guest's memory.
    Patched {
        /// Bytes of the guest's memory (`-m`), on machine type q35.
        memory: Option<u64>,
    },
}

#[cfg(test)]
mod tests;
