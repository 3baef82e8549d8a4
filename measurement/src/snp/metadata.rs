//! What a firmware says about its SNP launch: OVMF's SEV metadata (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).

use crate::Firmware;
use crate::chain::PAGE_U64;
use crate::firmware::{Pages, limit_memory};
use crate::guid::Guid;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Entry with the offset of the metadata.
const METADATA: Guid = Guid::new(0xdc88_6566, 0x984a, 0x4798, [0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc]);
/// Entry with the address at which every vCPU but the first begins: the SEV-ES reset block.
const RESET_BLOCK: Guid = Guid::new(0x00f7_71de, 0x1a7e, 0x4fcb, [0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e]);
const WHAT: &str = "firmware: SEV metadata";
/// Bytes of the header, and of each section after it.
const HEADER: u32 = 16;
const SECTION: u32 = 12;

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory that the firmware uses before it accepts any itself.
    Memory,
    /// The page that the security processor fills with the guest's secrets.
    Secrets,
    /// The page of CPUID answers, which the security processor checks and does not measure.
    Cpuid,
    /// Where a guest talks to a module at VMPL 0.
    SvsmCallingArea,
    /// The page for the hashes of kernel, initrd and command line.
    KernelHashes,
}

impl Kind {
    fn parse(number: u32) -> Result<Self> {
        match number {
            1 => Ok(Self::Memory),
            2 => Ok(Self::Secrets),
            3 => Ok(Self::Cpuid),
            4 => Ok(Self::SvsmCallingArea),
            0x10 => Ok(Self::KernelHashes),
            other => Err(Refusal::malformed(WHAT, "a section of unknown type").got(other)),
        }
    }

    /// What is one page: launchers differ in what they do with more or less.
    const fn is_one_page(self) -> bool {
        matches!(self, Self::Secrets | Self::Cpuid | Self::KernelHashes)
    }
}

/// One section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) pages: Pages,
}

/// The metadata, its sections in the order of the table: that is the order of the launch, whatever their addresses.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) sections: Vec<Section>,
    /// Where every vCPU but the first begins: CS base and IP of real mode in one address.
    pub(super) other_vcpus_start: u32,
}

impl Metadata {
    pub(super) fn parse(firmware: &Firmware<'_>) -> Result<Self> {
        let absent = |what: &str| {
            Refusal::new(Code::FirmwareNotMeasurable, WHAT).got(format!("no {what}")).want("OVMF built with SEV-SNP")
        };
        let entry = firmware.entry(METADATA).ok_or_else(|| absent("entry for it"))?;
        let mut cursor = Cursor::new(firmware.pointed_at(entry, WHAT)?, WHAT);
        let signature = cursor.array::<4>()?;
        if signature != *b"ASEV" {
            return Err(Refusal::malformed(WHAT, "no signature `ASEV`"));
        }
        let (length, version, count) = (cursor.u32_le()?, cursor.u32_le()?, cursor.u32_le()?);
        if version != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, WHAT).got(version).want(1));
        }
        if usize::try_from(count).is_ok_and(|count| count > limits::FIRMWARE_SECTIONS) {
            return Err(Refusal::too_large(format!("{WHAT}: sections"), count, limits::FIRMWARE_SECTIONS));
        }
        if u64::from(length) != u64::from(HEADER) + u64::from(count) * u64::from(SECTION) {
            return Err(Refusal::malformed(WHAT, "its length is not that of its sections").got(length));
        }
        let sections = (0..count).map(|_| section(&mut cursor)).collect::<Result<Vec<_>>>()?;
        for kind in [Kind::Secrets, Kind::Cpuid, Kind::KernelHashes] {
            if sections.iter().filter(|section| section.kind == kind).count() > 1 {
                return Err(Refusal::malformed(WHAT, "a page of which there is one, twice"));
            }
        }
        limit_memory(sections.iter().map(|section| section.pages), WHAT)?;
        let reset_block = firmware.entry(RESET_BLOCK).ok_or_else(|| absent("SEV-ES reset block"))?;
        let other_vcpus_start = Cursor::new(reset_block, "firmware: SEV-ES reset block").u32_le()?;
        Ok(Self { sections, other_vcpus_start })
    }
}

fn section(cursor: &mut Cursor<'_>) -> Result<Section> {
    let (address, size, kind) = (cursor.u32_le()?, cursor.u32_le()?, Kind::parse(cursor.u32_le()?)?);
    let pages = Pages::new(u64::from(address), u64::from(size), WHAT)?;
    if kind.is_one_page() && pages.size != PAGE_U64 {
        let refusal = Refusal::malformed(WHAT, "a section that is one page");
        return Err(refusal.got(format!("{size} bytes")).want("4096 bytes"));
    }
    Ok(Section { kind, pages })
}
