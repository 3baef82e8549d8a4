use super::*;
use crate::sample::{AREA, RESET, Sample, table};
use proptest::prelude::*;

const REST: usize = 32;

fn sample() -> Sample {
    let entries = vec![(AREA, vec![1, 2, 3]), (RESET, vec![4])];
    Sample { pages: 2, metadata: vec![], entries }
}

/// A valid image whose table is replaced by these bytes.
fn with_table(table: &[u8]) -> Vec<u8> {
    let mut image = Sample { entries: vec![], ..sample() }.image();
    let end = image.len() - REST;
    image[end - table.len()..end].copy_from_slice(table);
    image
}

fn code(image: &[u8]) -> Code {
    Firmware::parse(image).unwrap_err().code
}

#[test]
fn entries_are_found_and_the_image_ends_at_4_gib() {
    let image = sample().image();
    let firmware = Firmware::parse(&image).unwrap();
    assert_eq!((firmware.entry(AREA), firmware.entry(RESET)), (Some([1, 2, 3].as_slice()), Some([4].as_slice())));
    assert_eq!(firmware.entry(FOOTER), None);
    assert_eq!(firmware.base(), 0xffff_e000);
    assert_eq!(firmware.pointed_at(&8192_u32.to_le_bytes(), "x").unwrap().len(), 8192);
    assert_eq!(firmware.pointed_at(&8193_u32.to_le_bytes(), "x").unwrap_err().code, Code::Malformed);
}

#[test]
fn image_of_whole_pages_accepted_and_with_one_byte_more_or_none_refused() {
    let mut image = sample().image();
    Firmware::parse(&image).unwrap();
    image.insert(0, 0);
    assert_eq!(code(&image), Code::Malformed);
    assert_eq!(code(&[]), Code::Malformed);
}

#[test]
fn image_over_the_limit_refused() {
    assert_eq!(code(&vec![0; limits::FIRMWARE + 4096]), Code::TooLarge);
}

#[test]
fn image_without_a_table_is_not_measurable() {
    let mut image = sample().image();
    let last_of_guid = image.len() - REST - 1;
    image[last_of_guid] ^= 1;
    assert_eq!(code(&image), Code::FirmwareNotMeasurable);
}

#[test]
fn table_that_does_not_add_up_refused() {
    let valid = table(&[(RESET, vec![4])]);
    Firmware::parse(&with_table(&valid)).unwrap();
    let change = |at: usize, to: u16| {
        let mut table = valid.clone();
        table[at..at + 2].copy_from_slice(&to.to_le_bytes());
        table
    };
    // The entry's length stands behind its one byte of data, the table's own behind the entry.
    for (why, at, to) in [
        ("entry shorter than its head", 1, 17),
        ("entry that begins before the table", 1, 20),
        ("bytes of no entry", 1, 18),
        ("table shorter than its footer", 19, 17),
        ("entry without its GUID", 19, 18 + 17),
        ("table longer than the image", 19, 0xffff),
    ] {
        assert_eq!(code(&with_table(&change(at, to))), Code::Malformed, "{why}");
    }
    let twice = table(&[(RESET, vec![4]), (RESET, vec![4])]);
    assert_eq!(code(&with_table(&twice)), Code::Malformed);
}

#[test]
fn memory_at_its_limit_accepted_and_one_page_more_refused() {
    let pages = |size| Pages::new(0, size, "x").unwrap();
    limit_memory([pages(limits::FIRMWARE_MEMORY)].into_iter(), "x").unwrap();
    let over = limit_memory([pages(limits::FIRMWARE_MEMORY), pages(4096)].into_iter(), "x");
    assert_eq!(over.unwrap_err().code, Code::TooLarge);
}

#[test]
fn range_of_memory_that_is_no_whole_pages_refused() {
    Pages::new(0x1000, 0x1000, "x").unwrap();
    for (address, size) in [(0x1001, 0x1000), (0x1000, 0xfff), (u64::MAX - 0xfff, 0x1000)] {
        assert_eq!(Pages::new(address, size, "x").unwrap_err().code, Code::Malformed);
    }
}

proptest! {
    #[test]
    fn arbitrary_table_panics_nowhere(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut table = bytes;
        let length = u16::try_from(table.len() + 18).unwrap();
        table.extend_from_slice(&length.to_le_bytes());
        table.extend_from_slice(&FOOTER.0);
        let _ = Firmware::parse(&with_table(&table));
    }
}
