//! A firmware image, and the table in it that says where its launchers find what they need.

use crate::chain::{PAGE, PAGE_U64};
use crate::guid::Guid;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What ends the table (edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
const FOOTER: Guid = Guid::new(0x96b5_82de, 0x1fb2, 0x45f7, [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d]);
/// Bytes between the table's end and the image's: the reset vector.
const RESET_VECTOR: usize = 32;
/// An entry's length and GUID, which stand behind its data.
const ENTRY_HEAD: usize = 18;
/// Where the image ends in guest memory: right below 4 GiB, where the processor begins to execute.
const END: u64 = 1 << 32;

/// A firmware image of OVMF's kind, with its table.
///
/// The table is read from its end: data, length of the entry in two bytes, GUID; its last entry is the footer, whose length is
/// that of the whole table. Without any table the image is one that no confidential launch is defined for.
#[derive(Debug, Clone)]
pub struct Firmware<'a> {
    image: &'a [u8],
    entries: Vec<(Guid, &'a [u8])>,
}

impl<'a> Firmware<'a> {
    /// Reads an image's table.
    ///
    /// # Errors
    /// `too-large`: over [`limits::FIRMWARE`]. `malformed`: not whole pages, or a table that does not add up.
    /// `firmware-not-measurable`: no table.
    pub fn parse(image: &'a [u8]) -> Result<Self> {
        if image.len() > limits::FIRMWARE {
            return Err(Refusal::too_large("firmware", image.len(), limits::FIRMWARE));
        }
        if image.is_empty() || !image.len().is_multiple_of(PAGE) {
            let refusal = Refusal::new(Code::Malformed, "firmware").got(format!("{} bytes", image.len()));
            return Err(refusal.want("whole pages of 4096 bytes"));
        }
        let absent = || {
            let refusal = Refusal::new(Code::FirmwareNotMeasurable, "firmware: the table of GUIDs at its end");
            refusal.got("none").want("a table as OVMF has it")
        };
        let (before, _) = image.split_last_chunk::<RESET_VECTOR>().ok_or_else(absent)?;
        let (mut before, head) = before.split_last_chunk::<ENTRY_HEAD>().ok_or_else(absent)?;
        let (guid, length) = entry_head(head)?;
        if guid != FOOTER {
            return Err(absent());
        }
        let outside = |what: &str| Refusal::malformed("firmware: the table of GUIDs", what);
        let length = length.checked_sub(ENTRY_HEAD).ok_or_else(|| outside("shorter than its footer"))?;
        let start = before.len().checked_sub(length).ok_or_else(|| outside("longer than the image"))?;
        before = before.get(start..).ok_or_else(|| outside("longer than the image"))?;
        let mut entries: Vec<(Guid, &[u8])> = Vec::new();
        while !before.is_empty() {
            let split = before.split_last_chunk::<ENTRY_HEAD>();
            let (rest, head) = split.ok_or_else(|| outside("an entry without its GUID"))?;
            let (guid, length) = entry_head(head)?;
            let length = length.checked_sub(ENTRY_HEAD).ok_or_else(|| outside("an entry shorter than its head"))?;
            let start =
                rest.len().checked_sub(length).ok_or_else(|| outside("an entry that begins before the table"))?;
            let (rest, data) = rest.split_at_checked(start).ok_or_else(|| outside("an entry out of place"))?;
            // Launchers differ in which of two they take.
            if entries.iter().any(|(known, _)| *known == guid) {
                return Err(outside("a GUID twice"));
            }
            entries.push((guid, data));
            before = rest;
        }
        Ok(Self { image, entries })
    }

    /// The image's bytes.
    pub(crate) const fn image(&self) -> &'a [u8] {
        self.image
    }

    /// The guest-physical address of its first byte.
    pub(crate) fn base(&self) -> u64 {
        END.saturating_sub(u64::try_from(self.image.len()).unwrap_or(END))
    }

    /// The data of an entry.
    pub(crate) fn entry(&self, guid: Guid) -> Option<&'a [u8]> {
        self.entries.iter().find(|(known, _)| *known == guid).map(|(_, data)| *data)
    }

    /// The part of the image that an entry of one offset, counted in four bytes from the image's end, points at.
    ///
    /// # Errors
    /// `malformed`: outside the image.
    pub(crate) fn pointed_at(&self, entry: &[u8], what: &'static str) -> Result<&'a [u8]> {
        let offset = Cursor::new(entry, what).u32_le()?;
        let start = usize::try_from(offset).ok().and_then(|offset| self.image.len().checked_sub(offset));
        let part = start.and_then(|start| self.image.get(start..));
        part.ok_or_else(|| Refusal::malformed(what, "an offset outside the image").got(offset))
    }
}

fn entry_head(head: &[u8; ENTRY_HEAD]) -> Result<(Guid, usize)> {
    let mut cursor = Cursor::new(head, "firmware: the table of GUIDs");
    let length = cursor.u16_le()?;
    Ok((Guid(cursor.array()?), usize::from(length)))
}

/// A range of guest memory in whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Address of the first byte.
    pub(crate) address: u64,
    /// Bytes; may be none.
    pub(crate) size: u64,
}

impl Pages {
    /// A range that begins and ends at a page's border, within the address space.
    pub(crate) fn new(address: u64, size: u64, what: &'static str) -> Result<Self> {
        let whole = address.is_multiple_of(PAGE_U64) && size.is_multiple_of(PAGE_U64);
        if whole && address.checked_add(size).is_some() {
            return Ok(Self { address, size });
        }
        let refusal = Refusal::new(Code::Malformed, format!("{what}: a section's place in memory"));
        Err(refusal.got(format!("{size:#x} bytes at {address:#x}")).want("whole pages of 4096 bytes"))
    }

    /// The address of each page, upwards.
    pub(crate) fn addresses(self) -> impl Iterator<Item = u64> {
        let pages = self.size.checked_div(PAGE_U64).unwrap_or(0);
        (0..pages).map(move |page| self.address.saturating_add(page.saturating_mul(PAGE_U64)))
    }
}

/// Refuses sections that together take more memory than any firmware needs.
pub(crate) fn limit_memory(sections: impl Iterator<Item = Pages>, what: &'static str) -> Result<()> {
    let total = sections.fold(0_u64, |total, pages| total.saturating_add(pages.size));
    match total > limits::FIRMWARE_MEMORY {
        true => Err(Refusal::too_large(format!("{what}: memory"), total, limits::FIRMWARE_MEMORY)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
