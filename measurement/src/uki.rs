//! A unified kernel image as a machine with a TPM measures it that boots it from a disk (UAPI.5, Unified Kernel Image; TCG PC Client
//! Platform Firmware Profile, 1.06, §3.3.4 and §10.4), in the SHA-256 bank. The image is systemd-stub of version 257 and these sections:
//! `.linux`, `.osrel`, `.cmdline`, `.initrd`, `.uname` and `.sbat`.
//!
//! 1. The image's own digest is that of Authenticode, by which firmware also knows what is signed.
//! 2. PCR 4 is extended by the firmware: that it starts a program, a separator, the image, and the kernel inside, which the stub has the
//!    firmware load. This is a boot without Secure Boot: with it the stub answers for the kernel in the firmware's place.
//! 3. PCR 9 is extended by the kernel's EFI stub, from Linux 6.10 on, with command line and initrd. The stub has put `.osrel` behind the
//!    latter, as a file `.extra/os-release`.
//! 4. PCR 11 is extended by systemd-stub: for each section its name, and its contents.
//! 5. PCR 12 and 13 stay zero: there is no command line, credential or extension beside the image.
//!
//! What is in PCR 0 to 3 and 5 to 7 is the machine's. A firmware that tries other boot options first has measured that it did.

use crate::boot::load_options;
use crate::pe::Pe;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

const WHAT: &str = "unified kernel image";
/// What systemd-stub measures of what this follows, in its order.
const MEASURED: [&str; 6] = [".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat"];
/// The stub's own.
const OF_THE_STUB: [&str; 6] = [".text", ".rodata", ".rdata", ".data", ".sdmagic", ".reloc"];
/// How the stub's `.sdmagic` begins: others start the kernel, and hand over the initrd, in other ways.
const STUB: &[u8] = b"#### LoaderInfo: systemd-stub 257";
/// What firmware measures into PCR 4 before an image: EV_EFI_ACTION and EV_SEPARATOR.
const BEFORE: [&[u8]; 2] = [b"Calling EFI Application from Boot Option", &[0; 4]];

/// What a machine measures when the programs of an image begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurements {
    /// The image's digest: that of the event which firmware logs for PCR 4.
    pub authenticode: Sha256,
    /// PCRs of the SHA-256 bank, by number.
    pub pcrs: [(u8, Sha256); 5],
}

/// The measurements of a boot of `image`.
///
/// # Errors
/// `too-large`: a command line of which the kernel would read a part. `malformed`: no PE image; one of the sections above is not there, or is there twice; a command line that systemd-stub would change before
/// it hands it on. `version-unsupported`: it has another section, which systemd-stub may measure too, or act on; or it is of another
/// stub.
pub fn measure(image: &[u8]) -> Result<Measurements> {
    let image = Pe::parse(image)?;
    let known = |name: &[u8]| MEASURED.iter().chain(&OF_THE_STUB).any(|known| known.as_bytes() == name);
    if let Some(other) = image.names().find(|name| !known(name)) {
        let got = format!("section `{}`", other.escape_ascii());
        return Err(Refusal::new(Code::VersionUnsupported, WHAT).got(got).want(MEASURED.join(", ")));
    }
    let stub = image.section(".sdmagic")?;
    if !stub.starts_with(STUB) {
        let refusal = Refusal::new(Code::VersionUnsupported, WHAT).got(stub.escape_ascii());
        return Err(refusal.want(STUB.escape_ascii()));
    }
    let section = |name: &'static str| image.section(name).map(|content| (name, content));
    let sections = MEASURED.into_iter().map(section).collect::<Result<Vec<_>>>()?;

    // 1
    let authenticode = Sha256::of_parts(&image.measured()?);

    // 2
    let kernel = Pe::parse(image.section(".linux")?).and_then(|kernel| Ok(Sha256::of_parts(&kernel.measured()?)));
    let kernel = kernel.map_err(|refusal| refusal.within(".linux"))?;
    let started = BEFORE.into_iter().map(Sha256::of).chain([authenticode, kernel]);

    // 3
    let options = Sha256::of(&load_options(command_line(image.section(".cmdline")?)?));
    let initrd = image.section(".initrd")?;
    let padding = [0; 3].get(..initrd.len().next_multiple_of(4).saturating_sub(initrd.len())).unwrap_or_default();
    let handed_over = [options, Sha256::of_parts(&[initrd, padding, &extra(image.section(".osrel")?)])];

    // 4
    let parts = sections.iter().flat_map(|(name, content)| {
        // Its NUL is measured too.
        [Sha256::of_parts(&[name.as_bytes(), &[0]]), Sha256::of(content)]
    });

    // 5
    let untouched = Sha256([0; 32]);
    let pcrs =
        [(4, extended(started)), (9, extended(handed_over)), (11, extended(parts)), (12, untouched), (13, untouched)];
    Ok(Measurements { authenticode, pcrs })
}

/// A PCR after these events, from zero.
fn extended(events: impl IntoIterator<Item = Sha256>) -> Sha256 {
    events.into_iter().fold(Sha256([0; 32]), |pcr, event| Sha256::of_parts(&[&pcr.0, &event.0]))
}

/// The archive (newc) that systemd-stub makes of `.osrel`: a folder, a file in it, and the end.
fn extra(system: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, mode, name, content) in
        [(1, 0o040_555, ".extra", &[][..]), (2, 0o100_444, ".extra/os-release", system)]
    {
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
        let fields = [number, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len().saturating_add(1), 0];
        out.extend_from_slice(b"070701");
        out.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        for part in [&[name.as_bytes(), &[0]].concat(), content] {
            out.extend_from_slice(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
    }
    let end = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xb, 0].map(|field| format!("{field:08X}"));
    out.extend_from_slice(format!("070701{}TRAILER!!!\0\0\0\0", end.concat()).as_bytes());
    out
}

/// The text as systemd-stub hands it on: it cuts white space from both ends, and replaces what cannot be printed.
fn command_line(section: &[u8]) -> Result<&str> {
    // Linux reads a NUL too.
    if section.len() >= limits::COMMAND_LINE {
        return Err(Refusal::too_large("command line", section.len(), limits::COMMAND_LINE - 1));
    }
    let text = core::str::from_utf8(section).ok();
    let unchanged = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == *text;
    text.filter(unchanged).filter(|text| !text.is_empty()).ok_or_else(|| {
        let refusal = Refusal::new(Code::Malformed, "`.cmdline` of a unified kernel image");
        refusal.got(format!("`{}`", section.escape_ascii())).want("ASCII that can be printed, without space around it")
    })
}

#[cfg(test)]
mod tests;
