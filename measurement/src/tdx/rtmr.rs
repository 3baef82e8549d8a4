//! RTMR1 and RTMR2 of a TD whose firmware starts a kernel that QEMU hands to it.

use super::{KernelForm, authenticode, kernel};
use crate::DirectBoot;
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
/// What the firmware appends to the command line where there is an initrd (edk2, OvmfPkg/Library/GenericQemuLoadImageLib).
const INITRD: &str = " initrd=initrd";

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
pub(super) fn of_kernel(boot: &DirectBoot<'_>, form: KernelForm) -> Result<Register> {
    match kernel::image(boot, form)? {
        kernel::Image::Known(image) => {
            let digest = authenticode(&image).map_err(|refusal| refusal.within("kernel"))?;
            Ok(Register::Known(rtmr1(&digest)))
        }
        kernel::Image::Unknown(because) => Ok(Register::Unknown(because)),
    }
}

/// RTMR2 of a boot.
pub(super) fn of_arguments(boot: &DirectBoot<'_>) -> Sha384 {
    // An empty initrd is none to the firmware, and neither is an empty command line.
    let initrd = boot.initrd.filter(|initrd| !initrd.is_empty());
    let options = load_options(boot.command_line, initrd.is_some());
    rtmr2((!options.is_empty()).then(|| sha384(&options)).as_ref(), initrd.map(sha384).as_ref())
}

/// The load options of the image: each byte of the command line as two, `initrd=initrd`, and a NUL. Without either, nothing.
fn load_options(command_line: &str, initrd: bool) -> Vec<u8> {
    let text = [command_line, if initrd { INITRD } else { "" }].concat();
    let Some(_) = text.bytes().next() else { return Vec::new() };
    text.bytes().chain([0]).flat_map(|byte| [byte, 0]).collect()
}

fn sha384(bytes: &[u8]) -> Sha384 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}
