//! Authenticode digests.

use crate::tdx::authenticode;
use aws_lc_rs::digest::{SHA384, digest};
use proptest::prelude::*;
use strongroom_wire::Code;

const PE: usize = 0x80;
const OPTIONAL: usize = PE + 24;
const CHECKSUM: usize = OPTIONAL + 64;
const HEADERS: usize = 0x200;

/// A PE image of headers and two sections of 256 bytes, listed against their order, with bytes after them.
pub(super) struct Pe {
    /// PE32+ or PE32.
    pub(super) wide: bool,
    pub(super) directories: u32,
    pub(super) certificates: Vec<u8>,
}

impl Pe {
    pub(super) const WIDE: Self = Self { wide: true, directories: 16, certificates: Vec::new() };

    pub(super) fn entry(&self) -> usize {
        OPTIONAL + if self.wide { 112 } else { 96 } + 32
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut image: Vec<u8> = (0..0x420_u32).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &u32::try_from(PE).unwrap().to_le_bytes());
        put(PE, b"PE\0\0");
        put(PE + 6, &2_u16.to_le_bytes());
        let size = self.entry() + 96 - OPTIONAL;
        put(PE + 20, &u16::try_from(size).unwrap().to_le_bytes());
        put(OPTIONAL, if self.wide { &[0x0b, 2] } else { &[0x0b, 1] });
        put(OPTIONAL + 60, &u32::try_from(HEADERS).unwrap().to_le_bytes());
        put(self.entry() - 36, &self.directories.to_le_bytes());
        put(self.entry() + 4, &u32::try_from(self.certificates.len()).unwrap().to_le_bytes());
        for (header, from) in [(0, 0x300_u32), (40, 0x200)] {
            put(OPTIONAL + size + header + 16, &0x100_u32.to_le_bytes());
            put(OPTIONAL + size + header + 20, &from.to_le_bytes());
        }
        image.extend_from_slice(&self.certificates);
        image
    }
}

fn of(parts: &[&[u8]]) -> Vec<u8> {
    digest(&SHA384, &parts.concat()).as_ref().to_vec()
}

#[test]
fn everything_counts_but_checksum_certificate_entry_and_certificates() {
    for wide in [true, false] {
        let pe = Pe { wide, certificates: b"certificates".to_vec(), ..Pe::WIDE };
        let (image, entry) = (pe.bytes(), pe.entry());
        let want = of(&[&image[..CHECKSUM], &image[CHECKSUM + 4..entry], &image[entry + 8..0x420]]);
        assert_eq!(authenticode(&image).unwrap().to_vec(), want);
    }
}

#[test]
fn image_without_the_certificate_entry_is_hashed_but_for_its_checksum() {
    let image = Pe { directories: 4, ..Pe::WIDE }.bytes();
    assert_eq!(authenticode(&image).unwrap().to_vec(), of(&[&image[..CHECKSUM], &image[CHECKSUM + 4..]]));
}

#[test]
fn signed_image_has_the_digest_that_it_had_before() {
    let unsigned = authenticode(&Pe::WIDE.bytes()).unwrap();
    let signed = Pe { certificates: vec![7; 64], ..Pe::WIDE }.bytes();
    assert_eq!(authenticode(&signed).unwrap(), unsigned);
    let mut changed = signed;
    changed[0x41f] ^= 1;
    assert_ne!(authenticode(&changed).unwrap(), unsigned);
}

#[test]
fn image_that_is_no_sound_pe_refused() {
    let pe = Pe { certificates: vec![7; 64], ..Pe::WIDE };
    let valid = pe.bytes();
    let sections = OPTIONAL + pe.entry() + 96 - OPTIONAL;
    authenticode(&valid).unwrap();
    for (why, at, to) in [
        ("no DOS header", 0, 0),
        ("PE header outside", 0x3c, 0xffff_0000),
        ("no PE header", PE, 0),
        ("optional header of another kind", OPTIONAL, 0x030b),
        ("headers shorter than their fields", OPTIONAL + 60, 0x100),
        ("optional header shorter than its fields", PE + 20, 0x60),
        ("headers longer than the image", OPTIONAL + 60, 0x1000),
        ("certificates longer than the image", pe.entry() + 4, 0x1000),
        ("section that overlaps another", sections + 20, 0x2ff),
        ("section in the headers", sections + 60, 0x1ff),
        ("section outside", sections + 20, 0x1000),
        ("section too long", sections + 16, 0x1000),
    ] {
        let mut image = valid.clone();
        image[at..at + 4].copy_from_slice(&u32::to_le_bytes(to));
        assert_eq!(authenticode(&image).unwrap_err().code, Code::Malformed, "{why}");
    }
    for length in [0, 0x3d, PE + 3, OPTIONAL + 70, pe.entry(), sections + 41, 0x3ff] {
        assert_eq!(authenticode(&valid[..length]).unwrap_err().code, Code::Malformed, "cut at {length:#x}");
    }
}

proptest! {
    #[test]
    fn image_with_changed_headers_panics_nowhere(at in 0..HEADERS, to in any::<[u8; 4]>()) {
        let mut image = Pe::WIDE.bytes();
        image[at..at + 4].copy_from_slice(&to);
        let _ = authenticode(&image);
    }
}
