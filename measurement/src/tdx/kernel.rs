//! The kernel as QEMU gives it to firmware that takes it in two parts (QEMU, hw/i386/x86-common.c, `x86_load_linux`; Linux,
//! Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
//!
//! QEMU writes these bytes of the setup header of a bzImage whose boot protocol is 2.02 or newer and that loads high:
//!
//! | offset | field | becomes |
//! |---|---|---|
//! | 0x210 | type_of_loader | 0xb0, QEMU |
//! | 0x211 | loadflags | bit 7 set, CAN_USE_HEAP |
//! | 0x218 to 0x21b | ramdisk_image | the initrd's address, where there is one |
//! | 0x21c to 0x21f | ramdisk_size | its size, where there is one |
//! | 0x224 to 0x225 | heap_end_ptr | 0xfe00 |
//! | 0x228 to 0x22b | cmd_line_ptr | 0x20000 |
//!
//! and, where the command line has `vga=`, the video mode, which is not followed here.

use super::KernelForm;
use crate::DirectBoot;
use crate::chain::put;
use std::borrow::Cow;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Code, Refusal, Result};

const WHAT: &str = "kernel: setup header";
/// Memory below 4 GiB that QEMU's q35 keeps for ACPI tables (`acpi_data_size`).
const ACPI_DATA: u64 = 0x2_8000;
/// From this much memory on, q35 has [`LOW_MEMORY`] of it below 4 GiB; less is all there.
const SPLIT: u64 = 0xb000_0000;
const LOW_MEMORY: u64 = 0x8000_0000;

/// The kernel's bytes in a form, or why they are not known.
pub(super) enum Image<'a> {
    Known(Cow<'a, [u8]>),
    Unknown(&'static str),
}

/// The kernel of `boot` as the firmware gets it.
///
/// # Errors
/// `malformed`: no bzImage that QEMU would patch. `too-large`: an initrd for which the memory has no room.
pub(super) fn image<'a>(boot: &DirectBoot<'a>, form: KernelForm) -> Result<Image<'a>> {
    let KernelForm::Patched { memory } = form else { return Ok(Image::Known(Cow::Borrowed(boot.kernel))) };
    if boot.command_line.contains("vga=") {
        return Ok(Image::Unknown(
            "`vga=` in the command line changes the kernel's header in a way that is not followed",
        ));
    }
    let header = Header::parse(boot.kernel)?;
    let mut kernel = boot.kernel.to_vec();
    put(&mut kernel, 0x210, &[0xb0]);
    put(&mut kernel, 0x211, &[header.flags | 0x80]);
    put(&mut kernel, 0x224, &0xfe00_u16.to_le_bytes());
    put(&mut kernel, 0x228, &0x2_0000_u32.to_le_bytes());
    if let Some(initrd) = boot.initrd {
        let Some(memory) = memory else {
            return Ok(Image::Unknown(
                "the kernel's header gets the initrd's address, which follows from the memory's size",
            ));
        };
        let (address, size) = header.place(initrd.len(), memory)?;
        put(&mut kernel, 0x218, &address.to_le_bytes());
        put(&mut kernel, 0x21c, &size.to_le_bytes());
    }
    Ok(Image::Known(Cow::Owned(kernel)))
}

/// What QEMU reads of the header.
struct Header {
    flags: u8,
    /// The highest address that an initrd may reach.
    highest: u64,
}

impl Header {
    fn parse(kernel: &[u8]) -> Result<Self> {
        let at = |offset: usize| {
            let rest = kernel.get(offset..).ok_or_else(|| Refusal::malformed(WHAT, "it is cut off"))?;
            Ok::<_, Refusal>(Cursor::new(rest, WHAT))
        };
        if at(0x202)?.array::<4>()? != *b"HdrS" {
            return Err(Refusal::new(Code::Malformed, WHAT).got("no signature `HdrS`").want("a Linux bzImage"));
        }
        let (protocol, flags) = (at(0x206)?.u16_le()?, at(0x211)?.u8()?);
        if protocol < 0x202 || flags & 1 == 0 {
            let refusal = Refusal::new(Code::Malformed, WHAT).got(format!("protocol {protocol:#x}, flags {flags:#x}"));
            return Err(refusal.want("protocol 0x202 or newer, loaded high"));
        }
        let (initrd_addr_max, xloadflags) = (at(0x22c)?.u32_le()?, at(0x236)?.u16_le()?);
        let highest = match protocol {
            // XLF_CAN_BE_LOADED_ABOVE_4G
            0x20c.. if xloadflags & 2 != 0 => u32::MAX,
            0x203.. => initrd_addr_max,
            _ => 0x37ff_ffff,
        };
        Ok(Self { flags, highest: u64::from(highest) })
    }

    /// Address and size of an initrd: as high as it may be, at a page's border.
    fn place(&self, size: usize, memory: u64) -> Result<(u32, u32)> {
        let below_4g = if memory >= SPLIT { LOW_MEMORY } else { memory };
        let no_room = || {
            let refusal = Refusal::new(Code::TooLarge, "initrd").got(format!("{size} bytes"));
            refusal.want(format!("less than there is room for in {memory} bytes of memory"))
        };
        let free = below_4g.checked_sub(ACPI_DATA).and_then(|free| free.checked_sub(1)).ok_or_else(no_room)?;
        let highest = self.highest.min(free);
        let length = u64::try_from(size).ok().filter(|length| *length < highest).ok_or_else(no_room)?;
        let address = highest.checked_sub(length).ok_or_else(no_room)? & !4095;
        let [address, length] = [address, length].map(u32::try_from);
        Ok((address.map_err(|_| no_room())?, length.map_err(|_| no_room())?))
    }
}
