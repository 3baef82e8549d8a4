//! `strongroom measure snp|tdx|uki`: what hardware must measure when it launches a guest, from the files and the machine.

mod reference_values;
mod snp;
mod tdx;
mod uki;

use crate::files;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strongroom_measurement::DirectBoot;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Result, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compute MEASUREMENT of an SEV-SNP guest.
    ///
    /// It covers the firmware, the number and kind of the vCPUs and, where the firmware checks a kernel's hashes (OVMF.amdsev),
    /// kernel, initrd and command line as QEMU is given them (`-object sev-snp-guest,kernel-hashes=on`). It does not cover what a
    /// guest without --kernel boots from its disk, nor the deployment document, which HOST_DATA names. Each number of vCPUs and
    /// each kind of them is another measurement: approve those that you launch.
    #[command(
        after_help = "Example:\n  strongroom measure snp --ovmf OVMF.amdsev.fd --vcpus 4 --vcpu-type EPYC-Milan \
                            --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'"
    )]
    Snp(snp::Snp),
    /// Compute MRTD of a TDX guest and, of the RTMRs, those that are known beforehand.
    ///
    /// MRTD covers the firmware; RTMR1 the kernel that QEMU is given, RTMR2 its command line and initrd, as a kernel from
    /// Linux 6.10 on measures them. Versions of QEMU and of the firmware differ in both: say with --kernel-form and
    /// --initrd-argument which you have, or the register is unknown. RTMR0 has ACPI tables and more of the host's and is not
    /// computed: approve one that you saw, or let a policy say why not. The deployment document is in none of them: MRCONFIGID
    /// names it.
    #[command(after_help = "Example:\n  strongroom measure tdx --firmware OVMF.inteltdx.fd --kernel vmlinuz \
                            --initrd initrd.img --append 'console=ttyS0' --kernel-form as-given --initrd-argument first")]
    Tdx(tdx::Tdx),
    /// Compute the PCRs of a machine with a TPM that boots a unified kernel image from its disk, in the SHA-256 bank.
    ///
    /// PCR 4 has the image and its kernel (by Authenticode's digests), PCR 9 command line and initrd, PCR 11 each of its sections; PCR 12 and 13
    /// are zero while there is no command line, credential or extension beside the image. What a policy for Azure names. PCR 4 is that of a
    /// firmware without Secure Boot which starts the image first; one that tried another boot option has measured that too. The deployment document is in none
    /// of them.
    #[command(after_help = "Example:\n  strongroom measure uki --uki target/image/strongroom.efi")]
    Uki(uki::Uki),
}

/// The kernel that QEMU hands to the firmware.
#[derive(Args)]
struct Boot {
    /// The kernel (QEMU's -kernel).
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The initial ramdisk (-initrd).
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line (-append), byte for byte.
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,
}

/// What was read, and its digests by the names that reference values give it.
struct Inputs {
    firmware: Vec<u8>,
    kernel: Option<Vec<u8>>,
    initrd: Option<Vec<u8>>,
    append: String,
    digests: BTreeMap<String, Sha256>,
}

impl Inputs {
    fn read(name: &str, firmware: &Path, boot: &Boot) -> Result<Self> {
        let read = |path: &Option<PathBuf>, limit| path.as_deref().map(|path| files::read(path, limit)).transpose();
        let firmware = files::read(firmware, limits::FIRMWARE)?;
        let kernel = read(&boot.kernel, limits::GUEST_KERNEL)?;
        let initrd = read(&boot.initrd, limits::GUEST_INITRD)?;
        let append = boot.append.clone().unwrap_or_default();
        let command_line = kernel.is_some().then_some(append.as_bytes());
        let parts = [
            (name, Some(firmware.as_slice())),
            ("kernel", kernel.as_deref()),
            ("initrd", initrd.as_deref()),
            ("append", command_line),
        ];
        let digests =
            parts.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), Sha256::of(bytes?)))).collect();
        Ok(Self { firmware, kernel, initrd, append, digests })
    }

    fn boot(&self) -> Result<Option<DirectBoot<'_>>> {
        let Some(kernel) = &self.kernel else { return Ok(None) };
        DirectBoot::new(kernel, self.initrd.as_deref(), &self.append).map(Some)
    }
}

pub(crate) fn run(command: &Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Snp(arguments) => snp::run(arguments, json)?,
        Command::Tdx(arguments) => tdx::run(arguments, json)?,
        Command::Uki(arguments) => uki::run(arguments, json)?,
    }
    Ok(ExitCode::SUCCESS)
}
