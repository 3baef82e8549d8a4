//! MRTD: what TDH.MEM.PAGE.ADD and TDH.MR.EXTEND write into it (Intel TDX Module ABI, 348551, "TDH.MEM.PAGE.ADD leaf" and
//! "TDH.MR.EXTEND leaf").

use super::metadata::{Section, Tdvf};
use crate::chain::{Hasher, PAGE, PAGE_U64, Sha384, put};

/// Bytes that one TDH.MR.EXTEND measures.
const CHUNK: usize = 256;
/// [`CHUNK`] as addresses count.
const CHUNK_U64: u64 = 256;

/// In which order a launcher adds and measures the pages of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// Each page is added and then measured: Linux from 6.16 on.
    PageByPage,
    /// All pages of a section are added, and then all are measured: some kernels before TDX was part of Linux.
    SectionBySection,
}

impl Tdvf<'_> {
    /// MRTD of a TD that is launched with this firmware.
    pub(super) fn mrtd(&self, order: PageOrder) -> Sha384 {
        let mut digest = Hasher::new();
        for section in &self.sections {
            match order {
                PageOrder::PageByPage => {
                    let mut contents = section.measured.map(|measured| measured.chunks(PAGE));
                    for address in section.pages.addresses() {
                        add(&mut digest, address);
                        if let Some(page) = contents.as_mut().and_then(Iterator::next) {
                            measure(&mut digest, address, page);
                        }
                    }
                }
                PageOrder::SectionBySection => {
                    section.pages.addresses().for_each(|address| add(&mut digest, address));
                    measure_all(&mut digest, section);
                }
            }
        }
        digest.finish()
    }
}

fn measure_all(digest: &mut Hasher, section: &Section<'_>) {
    for (address, page) in section.pages.addresses().zip(section.measured.unwrap_or_default().chunks(PAGE)) {
        measure(digest, address, page);
    }
}

/// TDH.MEM.PAGE.ADD: the operation and the page's address.
fn add(digest: &mut Hasher, address: u64) {
    digest.update(&operation(b"MEM.PAGE.ADD", address));
}

/// TDH.MR.EXTEND, as often as a page needs it: the operation, the chunk's address, and the chunk.
fn measure(digest: &mut Hasher, address: u64, page: &[u8]) {
    const { assert!(PAGE_U64.is_multiple_of(CHUNK_U64)) };
    for (chunk, at) in page.chunks(CHUNK).zip(0_u64..) {
        digest.update(&operation(b"MR.EXTEND", address.saturating_add(at.saturating_mul(CHUNK_U64))));
        digest.update(chunk);
    }
}

/// 128 bytes: the operation's name, the address from byte 16 on, and zeros.
fn operation(name: &[u8], address: u64) -> [u8; 128] {
    let mut block = [0; 128];
    put(&mut block, 0, name);
    put(&mut block, 16, &address.to_le_bytes());
    block
}
