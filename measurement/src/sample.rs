//! Small firmware images for tests, built from the layouts of the specifications.

use crate::chain::PAGE;
use crate::guid::Guid;

pub(crate) const FOOTER: Guid =
    Guid::new(0x96b5_82de, 0x1fb2, 0x45f7, [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d]);
pub(crate) const SEV: Guid = Guid::new(0xdc88_6566, 0x984a, 0x4798, [0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc]);
pub(crate) const RESET: Guid = Guid::new(0x00f7_71de, 0x1a7e, 0x4fcb, [0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e]);
pub(crate) const AREA: Guid = Guid::new(0x7255_371f, 0x3a3b, 0x4b04, [0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54]);
pub(crate) const TDVF: Guid = Guid::new(0xe47a_6535, 0x984a, 0x4798, [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2]);
/// Where the metadata begins, from the image's start.
pub(crate) const METADATA: usize = 0x100;

/// An image of some pages, each filled with its number, with metadata in the first and a table in the last.
pub(crate) struct Sample {
    pub(crate) pages: usize,
    pub(crate) metadata: Vec<u8>,
    /// Entries as they stand in the image, the first at the lowest address.
    pub(crate) entries: Vec<(Guid, Vec<u8>)>,
}

impl Sample {
    /// The offset of the metadata from the end, as entries give it.
    pub(crate) fn offset(&self) -> Vec<u8> {
        u32::try_from(self.pages * PAGE - METADATA).unwrap().to_le_bytes().to_vec()
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        let mut image: Vec<u8> = (0..self.pages * PAGE).map(|at| u8::try_from(at / PAGE % 256).unwrap()).collect();
        image[METADATA..METADATA + self.metadata.len()].copy_from_slice(&self.metadata);
        let table = table(&self.entries);
        let end = image.len() - 32;
        image[end - table.len()..end].copy_from_slice(&table);
        image
    }
}

/// The table with its footer.
pub(crate) fn table(entries: &[(Guid, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    for (guid, data) in entries {
        table.extend_from_slice(data);
        table.extend_from_slice(&u16::try_from(data.len() + 18).unwrap().to_le_bytes());
        table.extend_from_slice(&guid.0);
    }
    let length = u16::try_from(table.len() + 18).unwrap();
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&FOOTER.0);
    table
}

/// Little-endian numbers, one after another.
pub(crate) fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
