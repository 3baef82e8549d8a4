//! MRTD and the metadata that it follows.

use crate::Firmware;
use crate::chain::PAGE;
use crate::sample::{METADATA, Sample, TDVF, words};
use crate::tdx::{Host, KernelForm, PageOrder, measure};
use aws_lc_rs::digest::{SHA384, digest};
use proptest::prelude::*;
use strongroom_wire::{Code, Result};

const BOOT: u32 = 0;
const VARIABLES: u32 = 1;
const HANDOFF: u32 = 2;
const PERMANENT: u32 = 4;
const MEASURED: u32 = 1;
const ADDED_LATER: u32 = 2;

/// Offset and length in the image, address and size in memory, type, attributes.
pub(super) type Section = [u32; 6];

/// Two pages of the image, measured; one page of it that is not; memory; and memory that the TD adds itself.
pub(super) const SECTIONS: [Section; 4] = [
    [0x1000, 0x2000, 0xffff_e000, 0x2000, BOOT, MEASURED],
    [0x0000, 0x1000, 0xffff_d000, 0x1000, VARIABLES, 0],
    [0, 0, 0x80_9000, 0x1000, HANDOFF, 0],
    [0, 0, 0x100_0000, 0x1000, PERMANENT, ADDED_LATER],
];

pub(super) fn sample(sections: &[Section]) -> Sample {
    let count = u32::try_from(sections.len()).unwrap();
    let mut metadata = words(&[u32::from_le_bytes(*b"TDVF"), 16 + 32 * count, 1, count]);
    for [offset, length, address, size, kind, attributes] in sections {
        metadata.extend(words(&[*offset, *length, *address, 0, *size, 0, *kind, *attributes]));
    }
    let mut sample = Sample { pages: 3, metadata, entries: vec![] };
    sample.entries = vec![(TDVF, sample.offset())];
    sample
}

fn mrtd(image: &[u8], order: PageOrder) -> Result<[u8; 48]> {
    let host = Host { page_order: order, kernel_form: KernelForm::AsGiven };
    Ok(measure(&Firmware::parse(image)?, &host, None)?.mrtd)
}

fn code(sections: &[Section]) -> Code {
    mrtd(&sample(sections).image(), PageOrder::PageByPage).unwrap_err().code
}

/// One block of the specification's: name, address.
fn block(name: &str, address: u32) -> Vec<u8> {
    let mut block = name.as_bytes().to_vec();
    block.resize(16, 0);
    block.extend(words(&[address]));
    block.resize(128, 0);
    block
}

fn added(address: u32) -> Vec<u8> {
    block("MEM.PAGE.ADD", address)
}

fn measured(image: &[u8], offset: usize, address: u32) -> Vec<u8> {
    let chunks = image[offset..offset + PAGE].chunks(256).zip((address..).step_by(256));
    chunks.flat_map(|(chunk, address)| [block("MR.EXTEND", address), chunk.to_vec()].concat()).collect()
}

#[test]
fn mrtd_is_the_transcript_of_the_specification_in_either_order() {
    let image = sample(&SECTIONS).image();
    let [first, second] = [0xffff_e000, 0xffff_f000];
    let [one, other] = [measured(&image, 0x1000, first), measured(&image, 0x2000, second)];
    let rest = [added(0xffff_d000), added(0x80_9000)].concat();
    let by_page = [added(first), one.clone(), added(second), other.clone(), rest.clone()].concat();
    let by_section = [added(first), added(second), one, other, rest].concat();
    for (order, transcript) in [(PageOrder::PageByPage, by_page), (PageOrder::SectionBySection, by_section)] {
        assert_eq!(mrtd(&image, order).unwrap().as_slice(), digest(&SHA384, &transcript).as_ref(), "{order:?}");
    }
}

#[test]
fn measured_contents_count_and_others_do_not() {
    let image = sample(&SECTIONS).image();
    let changed = |at: usize| {
        let mut image = image.clone();
        image[at] ^= 1;
        mrtd(&image, PageOrder::PageByPage).unwrap()
    };
    let original = mrtd(&image, PageOrder::PageByPage).unwrap();
    assert_ne!(changed(0x1000), original);
    assert_eq!(changed(0), original);
}

#[test]
fn firmware_without_metadata_is_not_measurable() {
    let mut without = sample(&SECTIONS);
    without.entries.clear();
    assert_eq!(mrtd(&without.image(), PageOrder::PageByPage).unwrap_err().code, Code::FirmwareNotMeasurable);
}

#[test]
fn measured_contents_that_are_not_the_images_are_not_measurable() {
    let [_, _, handoff, _] = SECTIONS;
    let with = |attributes| [[handoff[0], handoff[1], handoff[2], handoff[3], HANDOFF, attributes]];
    mrtd(&sample(&with(0)).image(), PageOrder::PageByPage).unwrap();
    assert_eq!(code(&with(MEASURED)), Code::FirmwareNotMeasurable);
    assert_eq!(code(&[[0, 0, 0xffff_e000, 0x1000, BOOT, MEASURED]]), Code::FirmwareNotMeasurable);
    assert_eq!(code(&[[0, 0x1000, 0xffff_e000, 0x1000, HANDOFF, MEASURED]]), Code::FirmwareNotMeasurable);
}

#[test]
fn section_that_no_launcher_would_follow_refused() {
    let valid = SECTIONS[0];
    mrtd(&sample(&[valid]).image(), PageOrder::PageByPage).unwrap();
    for (field, to, want) in [
        (0, 0x1001, Code::Malformed),
        (0, u32::MAX, Code::Malformed),
        (1, 0x1000, Code::Malformed),
        (1, 0x3000, Code::Malformed),
        (2, 0xffff_e001, Code::Malformed),
        (3, 0x1fff, Code::Malformed),
        (4, 8, Code::Malformed),
        (5, 3, Code::Malformed),
        (5, 4, Code::Malformed),
    ] {
        let mut section = valid;
        section[field] = to;
        assert_eq!(code(&[section]), want, "field {field} as {to:#x}");
    }
    assert_eq!(code(&[[0, 0, 0, 0x1000_1000, PERMANENT, 0]]), Code::TooLarge);
    mrtd(&sample(&[[0, 0, 0, 0x1000_0000, PERMANENT, ADDED_LATER]]).image(), PageOrder::PageByPage).unwrap();
}

#[test]
fn descriptor_that_no_launcher_would_follow_refused() {
    for (word, to, want) in [
        (0, 0, Code::Malformed),
        (1, 143, Code::Malformed),
        (2, 2, Code::VersionUnsupported),
        (3, 3, Code::Malformed),
        (3, 65, Code::TooLarge),
    ] {
        let mut firmware = sample(&SECTIONS);
        firmware.metadata[4 * word..4 * word + 4].copy_from_slice(&u32::to_le_bytes(to));
        assert_eq!(mrtd(&firmware.image(), PageOrder::PageByPage).unwrap_err().code, want, "word {word} as {to}");
    }
}

proptest! {
    #[test]
    fn image_with_changed_metadata_panics_nowhere(at in 0_usize..144, to in any::<u8>()) {
        let mut image = sample(&SECTIONS).image();
        image[METADATA + at] = to;
        let _ = mrtd(&image, PageOrder::SectionBySection);
    }
}
