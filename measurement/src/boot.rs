//! A kernel that the launcher itself hands to the guest.

use strongroom_wire::{Code, Refusal, Result, limits};

/// Kernel, initial ramdisk and command line, as QEMU takes them with `-kernel`, `-initrd` and `-append`.
#[derive(Debug, Clone, Copy)]
pub struct DirectBoot<'a> {
    pub(crate) kernel: &'a [u8],
    pub(crate) initrd: Option<&'a [u8]>,
    pub(crate) command_line: &'a str,
}

impl<'a> DirectBoot<'a> {
    /// The boot of `kernel` with the bytes of `initrd` and a command line without a NUL.
    ///
    /// # Errors
    /// `too-large`: over [`limits::GUEST_KERNEL`], [`limits::GUEST_INITRD`] or [`limits::COMMAND_LINE`]. `malformed`: an empty
    /// kernel, or a NUL in the command line, at which the guest would stop to read.
    pub fn new(kernel: &'a [u8], initrd: Option<&'a [u8]>, command_line: &'a str) -> Result<Self> {
        let sizes = [
            ("kernel", kernel.len(), limits::GUEST_KERNEL),
            ("initrd", initrd.map_or(0, <[u8]>::len), limits::GUEST_INITRD),
            ("command line", command_line.len(), limits::COMMAND_LINE),
        ];
        for (what, size, limit) in sizes {
            if size > limit {
                return Err(Refusal::too_large(what, size, limit));
            }
        }
        if kernel.is_empty() {
            return Err(Refusal::new(Code::Malformed, "kernel").got("no bytes").want("a kernel"));
        }
        if command_line.contains('\0') {
            return Err(Refusal::new(Code::Malformed, "command line").got("a NUL").want("text without one"));
        }
        Ok(Self { kernel, initrd, command_line })
    }
}

/// What the kernel's EFI stub is handed as load options, and measures: each byte of the text as two, and a NUL.
pub(crate) fn load_options(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).flat_map(|byte| [byte, 0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_with_a_nul_and_empty_kernel_refused() {
        DirectBoot::new(b"kernel", None, "quiet").unwrap();
        assert_eq!(DirectBoot::new(b"kernel", None, "qu\0iet").unwrap_err().code, Code::Malformed);
        assert_eq!(DirectBoot::new(b"", None, "quiet").unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn command_line_at_its_limit_accepted_and_one_longer_refused() {
        let longest = "x".repeat(limits::COMMAND_LINE);
        DirectBoot::new(b"kernel", None, &longest).unwrap();
        assert_eq!(DirectBoot::new(b"kernel", None, &format!("{longest}x")).unwrap_err().code, Code::TooLarge);
    }
}
