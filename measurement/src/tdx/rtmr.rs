//! RTMR1 and RTMR2 of a TD whose firmware starts a kernel that QEMU hands to it.

use super::{KernelForm, authenticode, kernel};
use crate::DirectBoot;
use crate::boot::load_options;
use crate::chain::{Hasher, Sha384};
use strongroom_wire::Result;

/// What the firmware extends RTMR1 with after the kernel: EV_EFI_ACTION and EV_SEPARATOR (TCG PC Client Platform Firmware
/// Profile, 1.06, §10.4.4 and §10.4.1), each with the digest of these bytes.
const STEPS: [&[u8]; 4] = [
    b"Calling EFI Application from Boot Option",
    &[0; 4],
    b"Exit Boot Services Invocation",
    b"Exit Boot Services Returned with Success",
];

/// Where the firmware names the initrd in the load options, if there is one (edk2, OvmfPkg/Library/GenericQemuLoadImageLib).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitrdArgument {
    /// `initrd=initrd ` before the command line: edk2-stable202508 and newer.
    First,
    /// ` initrd=initrd` after the command line: older firmware.
    Last,
}

/// A register, or why it cannot be said beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Its value when the guest's own programs begin.
    Known(Sha384),
    /// Nobody can state it from these inputs; the text says why.
    Unknown(&'static str),
}

impl Register {
    /// The value, where it is known.
    pub const fn known(&self) -> Option<&Sha384> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// A register after it was extended: SHA-384 of its value and the event's digest.
pub fn extend(register: &Sha384, digest: &Sha384) -> Sha384 {
    let mut hasher = Hasher::new();
    hasher.update(register);
    hasher.update(digest);
    hasher.finish()
}

/// RTMR1 of a boot by the digest of its kernel's image.
pub fn rtmr1(kernel: &Sha384) -> Sha384 {
    STEPS.iter().fold(extend(&[0; 48], kernel), |register, step| extend(&register, &sha384(step)))
}

/// RTMR2 of a boot by the digests of the load options and the initrd, of those that there are.
pub fn rtmr2(load_options: Option<&Sha384>, initrd: Option<&Sha384>) -> Sha384 {
    load_options.into_iter().chain(initrd).fold([0; 48], |register, digest| extend(&register, digest))
}

/// RTMR1 of a boot whose kernel the firmware gets in `form`.
pub(super) fn of_kernel(boot: &DirectBoot<'_>, form: Option<KernelForm>) -> Result<Register> {
    let Some(form) = form else {
        return Ok(Register::Unknown("without --kernel-form the versions of QEMU and firmware decide it"));
    };
    match kernel::image(boot, form)? {
        kernel::Image::Known(image) => {
            let digest = authenticode(&image).map_err(|refusal| refusal.within("kernel"))?;
            Ok(Register::Known(rtmr1(&digest)))
        }
        kernel::Image::Unknown(because) => Ok(Register::Unknown(because)),
    }
}

/// RTMR2 of a boot whose initrd the firmware names at `argument`.
pub(super) fn of_arguments(boot: &DirectBoot<'_>, argument: Option<InitrdArgument>) -> Register {
    // An empty initrd is none to the firmware, and an empty text is no load options.
    let initrd = boot.initrd.filter(|initrd| !initrd.is_empty());
    let text = match (initrd, argument) {
        (None, _) => boot.command_line.to_owned(),
        (Some(_), Some(InitrdArgument::First)) => ["initrd=initrd ", boot.command_line].concat(),
        (Some(_), Some(InitrdArgument::Last)) => [boot.command_line, " initrd=initrd"].concat(),
        (Some(_), None) => return Register::Unknown("without --initrd-argument the firmware's version decides it"),
    };
    let options = (!text.is_empty()).then(|| sha384(&load_options(&text)));
    Register::Known(rtmr2(options.as_ref(), initrd.map(sha384).as_ref()))
}

fn sha384(bytes: &[u8]) -> Sha384 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}
