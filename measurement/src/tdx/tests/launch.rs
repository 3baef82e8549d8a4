//! MRTD and the metadata that it follows.

use crate::Firmware;
use crate::chain::PAGE;
use crate::sample::{METADATA, Sample, TDVF, words};
use crate::tdx::{Launch, PageOrder, measure};
use aws_lc_rs::digest::{SHA384, digest};
use proptest::prelude::*;
use strongroom_wire::{Code, Result, limits};

const BOOT: u32 = 0;
const VARIABLES: u32 = 1;
const HANDOFF: u32 = 2;
const MEMORY: u32 = 3;
const PERMANENT: u32 = 4;
const MEASURED: u32 = 1;
const ADDED_LATER: u32 = 2;

/// Offset and length in the image, address and size in memory, type, attributes.
pub(super) type Section = [u32; 6];

/// Two pages of the image, measured; one page of it that is not; and memory.
pub(super) const SECTIONS: [Section; 4] = [
    [0x1000, 0x2000, 0xffff_e000, 0x2000, BOOT, MEASURED],
    [0x0000, 0x1000, 0xffff_d000, 0x1000, VARIABLES, 0],
    [0, 0, 0x80_9000, 0x1000, HANDOFF, 0],
    [0, 0, 0x100_0000, 0x1000, MEMORY, 0],
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
    let launch = Launch { page_order: order, kernel_form: None, initrd_argument: None };
    Ok(measure(&Firmware::parse(image)?, &launch, None)?.mrtd)
}

fn code(sections: &[Section]) -> Code {
    mrtd(&sample(sections).image(), PageOrder::PageByPage).unwrap_err().code
}

/// The sections with one instead of that at `at`.
fn with(at: usize, section: Section) -> [Section; 4] {
    let mut sections = SECTIONS;
    sections[at] = section;
    sections
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
    let rest = [added(0xffff_d000), added(0x80_9000), added(0x100_0000)].concat();
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
    mrtd(&sample(&SECTIONS).image(), PageOrder::PageByPage).unwrap();
    for at in [2, 3] {
        let [offset, length, address, size, kind, _] = SECTIONS[at];
        assert_eq!(code(&with(at, [offset, length, address, size, kind, MEASURED])), Code::FirmwareNotMeasurable);
    }
}

#[test]
fn section_of_a_type_that_qemu_does_not_launch_is_not_measurable() {
    let of = |kind| with(3, [0, 0, 0x100_0000, 0x1000, kind, 0]);
    for kind in [HANDOFF, MEMORY] {
        mrtd(&sample(&of(kind)).image(), PageOrder::PageByPage).unwrap();
    }
    for kind in PERMANENT..=8 {
        assert_eq!(code(&of(kind)), Code::FirmwareNotMeasurable, "{kind}");
    }
    // As firmware for other launchers has it.
    assert_eq!(code(&with(3, [0, 0, 0x100_0000, 0x1000, PERMANENT, ADDED_LATER])), Code::FirmwareNotMeasurable);
}

#[test]
fn section_that_the_guest_adds_itself_is_not_measurable_because_qemu_adds_it() {
    for (at, mut section) in SECTIONS.into_iter().enumerate() {
        section[5] = 0;
        mrtd(&sample(&with(at, section)).image(), PageOrder::PageByPage).unwrap();
        section[5] = ADDED_LATER;
        let refusal = mrtd(&sample(&with(at, section)).image(), PageOrder::PageByPage).unwrap_err();
        assert_eq!((refusal.code, refusal.got.as_deref()), (Code::FirmwareNotMeasurable, Some("PAGE_AUG")));
    }
}

#[test]
fn fewer_sections_than_two_and_none_for_the_hand_off_block_are_not_measurable() {
    let [boot, variables, handoff, _] = SECTIONS;
    mrtd(&sample(&[boot, handoff]).image(), PageOrder::PageByPage).unwrap();
    for sections in [&[][..], &[boot], &[handoff], &[boot, variables]] {
        assert_eq!(code(sections), Code::FirmwareNotMeasurable, "{sections:?}");
    }
}

#[test]
fn section_that_no_launcher_would_follow_refused() {
    mrtd(&sample(&SECTIONS).image(), PageOrder::PageByPage).unwrap();
    for (at, field, to) in [
        (0, 0, 0x1001),
        (0, 0, u32::MAX),
        (0, 1, 0),
        (0, 1, 0x1000),
        (0, 1, 0x3000),
        (0, 2, 0xffff_e001),
        (0, 3, 0x1fff),
        (0, 5, 3),
        (0, 5, 4),
        (1, 1, 0),
        (2, 1, 0x1000),
        (3, 1, 0x1000),
    ] {
        let mut sections = SECTIONS;
        sections[at][field] = to;
        assert_eq!(code(&sections), Code::Malformed, "field {field} of section {at} as {to:#x}");
    }
}

#[test]
fn memory_at_its_limit_accepted_and_a_page_more_refused() {
    let limit = u32::try_from(limits::FIRMWARE_MEMORY).unwrap();
    let of = |size| with(3, [0, 0, 0x100_0000, size, MEMORY, 0]);
    // Four pages are the other sections'.
    mrtd(&sample(&of(limit - 0x4000)).image(), PageOrder::PageByPage).unwrap();
    assert_eq!(code(&of(limit - 0x3000)), Code::TooLarge);
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
