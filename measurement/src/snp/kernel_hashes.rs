//! The table of hashes by which a measurement covers kernel, initrd and command line (QEMU, target/i386/sev.c,
//! `PaddedSevHashTable`; edk2, OvmfPkg/AmdSev/BlobVerifierLibSevHashes).

use super::metadata::{Kind, Metadata};
use crate::chain::{PAGE, PAGE_U64, put};
use crate::guid::Guid;
use crate::{DirectBoot, Firmware};
use strongroom_wire::bytes::Cursor;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Entry with the table's address and the room for it.
const AREA: Guid = Guid::new(0x7255_371f, 0x3a3b, 0x4b04, [0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54]);
const TABLE: Guid = Guid::new(0x9438_d606, 0x4f22, 0x4cc9, [0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21]);
const COMMAND_LINE: Guid = Guid::new(0x97d0_2dd8, 0xbd20, 0x4c94, [0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a]);
const INITRD: Guid = Guid::new(0x44ba_f731, 0x3a2f, 0x4bd7, [0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d]);
const KERNEL: Guid = Guid::new(0x4de7_9437, 0xabd2, 0x427f, [0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b]);
/// GUID, length, SHA-256.
const ENTRY: u16 = 16 + 2 + 32;
/// GUID, length, three entries.
const LENGTH: u16 = 16 + 2 + 3 * ENTRY;
/// [`LENGTH`] in whole blocks of 16 bytes, which is what is encrypted.
const PADDED: u64 = 176;
const WHAT: &str = "firmware: place for the kernel's hashes";

/// The table, where it stands in its page.
pub(super) struct HashTable {
    offset: usize,
    bytes: Vec<u8>,
}

impl HashTable {
    /// The hashes of `boot` for the place that the firmware has for them.
    ///
    /// # Errors
    /// `kernel-not-measurable`: it has none. `malformed`: the place is not in the page that the metadata lists for it.
    pub(super) fn new(firmware: &Firmware<'_>, metadata: &Metadata, boot: &DirectBoot<'_>) -> Result<Self> {
        let page = metadata.sections.iter().find(|section| section.kind == Kind::KernelHashes);
        let page = page.ok_or_else(|| absent("no section for them in the SEV metadata"))?.pages.address;
        let mut area = Cursor::new(firmware.entry(AREA).ok_or_else(|| absent("no entry with their address"))?, WHAT);
        let (address, size) = (u64::from(area.u32_le()?), u64::from(area.u32_le()?));
        if address == 0 {
            return Err(absent("an address of zero"));
        }
        let offset = address.checked_sub(page).filter(|offset| offset.saturating_add(PADDED) <= PAGE_U64);
        let offset = offset.filter(|_| size >= PADDED).and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.ok_or_else(|| {
            let refusal = Refusal::malformed(WHAT, "not in the page that is measured");
            refusal.got(format!("{size:#x} bytes at {address:#x}")).want(format!("{PADDED} bytes from {page:#x} on"))
        })?;
        Ok(Self { offset, bytes: table(boot) })
    }

    /// The page that holds the table.
    pub(super) fn page(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        put(&mut page, self.offset, &self.bytes);
        page
    }
}

fn absent(got: &str) -> Refusal {
    Refusal::new(Code::KernelNotMeasurable, WHAT).got(got).want("a place for them")
}

/// A command line is hashed with the NUL that ends it, also where it is empty; an initrd that is absent is one of no bytes.
fn table(boot: &DirectBoot<'_>) -> Vec<u8> {
    let entries = [
        (COMMAND_LINE, Sha256::of_parts(&[boot.command_line.as_bytes(), &[0]])),
        (INITRD, Sha256::of(boot.initrd.unwrap_or_default())),
        (KERNEL, Sha256::of(boot.kernel)),
    ];
    let mut bytes = [TABLE.0.as_slice(), &LENGTH.to_le_bytes()].concat();
    for (guid, hash) in entries {
        bytes.extend([guid.0.as_slice(), &ENTRY.to_le_bytes(), &hash.0].concat());
    }
    bytes
}
