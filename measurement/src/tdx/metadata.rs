//! What a firmware says about its TDX launch: TDVF metadata (Intel TDX Virtual Firmware Design Guide, 344991, "TDVF Metadata").
//!
//! QEMU launches less than the guide describes (hw/i386/tdvf.c; target/i386/kvm/tdx.c, `tdx_finalize_vm`), and no more is
//! measured here: sections of types 0 to 3, two of them at least, with one for the hand-off block. PAGE_AUG, by which the guest
//! adds a section's pages itself, it does not look at and adds them: the guide and QEMU have different MRTDs then.

use crate::Firmware;
use crate::firmware::{Pages, limit_memory};
use crate::guid::Guid;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Entry with the offset of the descriptor.
const METADATA: Guid = Guid::new(0xe47a_6535, 0x984a, 0x4798, [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2]);
const WHAT: &str = "firmware: TDVF metadata";
/// Bytes of the descriptor, and of each section after it.
const DESCRIPTOR: u32 = 16;
const SECTION: u32 = 32;
/// Section attributes.
const MR_EXTEND: u32 = 1;
const PAGE_AUG: u32 = 2;
/// Section types: those whose contents come from the image, and those of memory.
const BFV: u32 = 0;
const CFV: u32 = 1;
const TD_HOB: u32 = 2;
const TEMP_MEM: u32 = 3;

/// A section that the launcher adds to the TD before it runs.
#[derive(Debug)]
pub(super) struct Section<'a> {
    kind: u32,
    pub(super) pages: Pages,
    /// What is measured of it: its contents, where the firmware marks it so.
    pub(super) measured: Option<&'a [u8]>,
}

/// A firmware's TDVF metadata: its sections in the order of the table, which is the order in which they are added.
#[derive(Debug)]
pub(super) struct Tdvf<'a> {
    pub(super) sections: Vec<Section<'a>>,
}

impl<'a> Tdvf<'a> {
    /// Reads the metadata of an image.
    ///
    /// # Errors
    /// `firmware-not-measurable`: none, sections that QEMU does not launch or not as they say, or contents measured that are not
    /// the image's. `malformed`, `version-unsupported`, `too-large`: metadata that no launcher would follow.
    pub(super) fn parse(firmware: &Firmware<'a>) -> Result<Self> {
        let entry = firmware.entry(METADATA).ok_or_else(|| {
            Refusal::new(Code::FirmwareNotMeasurable, WHAT).got("no entry for it").want("OVMF built with TDX")
        })?;
        let mut cursor = Cursor::new(firmware.pointed_at(entry, WHAT)?, WHAT);
        let signature = cursor.array::<4>()?;
        if signature != *b"TDVF" {
            return Err(Refusal::malformed(WHAT, "no signature `TDVF`"));
        }
        let (length, version, count) = (cursor.u32_le()?, cursor.u32_le()?, cursor.u32_le()?);
        if version != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, WHAT).got(version).want(1));
        }
        if usize::try_from(count).is_ok_and(|count| count > limits::FIRMWARE_SECTIONS) {
            return Err(Refusal::too_large(format!("{WHAT}: sections"), count, limits::FIRMWARE_SECTIONS));
        }
        if u64::from(length) != u64::from(DESCRIPTOR) + u64::from(count) * u64::from(SECTION) {
            return Err(Refusal::malformed(WHAT, "its length is not that of its sections").got(length));
        }
        let sections = (0..count).map(|_| section(&mut cursor, firmware.image())).collect::<Result<Vec<_>>>()?;
        if sections.len() < 2 || !sections.iter().any(|section| section.kind == TD_HOB) {
            let refusal = Refusal::new(Code::FirmwareNotMeasurable, format!("{WHAT}: sections"));
            return Err(refusal.got(sections.len()).want("two or more, one of them for the hand-off block"));
        }
        limit_memory(sections.iter().map(|section| section.pages), WHAT)?;
        Ok(Self { sections })
    }
}

fn section<'a>(cursor: &mut Cursor<'_>, image: &'a [u8]) -> Result<Section<'a>> {
    let (offset, in_image) = (cursor.u32_le()?, cursor.u32_le()?);
    let (address, size) = (cursor.u64_le()?, cursor.u64_le()?);
    let (kind, attributes) = (cursor.u32_le()?, cursor.u32_le()?);
    let not_measurable = |got: String, want: &'static str| {
        Err(Refusal::new(Code::FirmwareNotMeasurable, format!("{WHAT}: section of type {kind}")).got(got).want(want))
    };
    if kind > TEMP_MEM {
        return not_measurable(format!("type {kind}"), "types 0 to 3, which QEMU launches");
    }
    if attributes & !(MR_EXTEND | PAGE_AUG) != 0 || attributes == MR_EXTEND | PAGE_AUG {
        return Err(Refusal::malformed(WHAT, "attributes of a section").got(format!("{attributes:#x}")));
    }
    if attributes == PAGE_AUG {
        return not_measurable("PAGE_AUG".to_owned(), "pages that the launcher adds, as QEMU does with all");
    }
    let pages = Pages::new(address, size, WHAT)?;
    let start = usize::try_from(offset).ok();
    let end = start.zip(usize::try_from(in_image).ok()).and_then(|(start, length)| start.checked_add(length));
    let data = start.zip(end).and_then(|(start, end)| image.get(start..end));
    let data = data.ok_or_else(|| {
        let refusal = Refusal::malformed(WHAT, "a section outside the image");
        refusal.got(format!("{in_image:#x} bytes at {offset:#x}"))
    })?;
    // Nothing says what fills the rest of a longer section, and nothing is read of a shorter one or for memory.
    let from_image = matches!(kind, BFV | CFV);
    let want = if from_image { size } else { 0 };
    if u64::from(in_image) != want {
        let refusal = Refusal::malformed(WHAT, "bytes of a section in the image");
        return Err(refusal.got(format!("{in_image:#x}")).want(format!("{want:#x}")));
    }
    if attributes & MR_EXTEND == 0 {
        return Ok(Section { kind, pages, measured: None });
    }
    if !from_image {
        return not_measurable("its contents are measured".to_owned(), "contents of the image's volumes alone");
    }
    Ok(Section { kind, pages, measured: Some(data) })
}
