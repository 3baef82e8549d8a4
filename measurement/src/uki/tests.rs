//! Boots of small unified kernel images.

use super::*;
use proptest::prelude::*;

const HEADERS: usize = 0x400;
const TABLE: usize = 0x148;

/// A PE32+ image of these sections, each at a border of 512 bytes.
fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 60, &u32::try_from(HEADERS).unwrap().to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    let mut from = HEADERS;
    for (index, (name, content)) in sections.iter().enumerate() {
        let header = TABLE + 40 * index;
        let length = content.len().next_multiple_of(512);
        put(header, name.as_bytes());
        for (at, number) in [(8, content.len()), (16, length), (20, from)] {
            put(header + at, &u32::try_from(number).unwrap().to_le_bytes());
        }
        from += length;
    }
    for (_, content) in sections {
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(512), 0);
    }
    image
}

/// A kernel, as far as firmware looks at it: headers, and no section.
const KERNEL: [u8; 0x200] = {
    let mut image = [0; 0x200];
    let fields = [(0, b'M'), (1, b'Z'), (0x3c, 0x40), (0x40, b'P'), (0x41, b'E'), (0x54, 240), (0x58, 0x0b), (0x59, 2)];
    let mut at = 0;
    while at < fields.len() {
        image[fields[at].0] = fields[at].1;
        at += 1;
    }
    // SizeOfHeaders, NumberOfRvaAndSizes
    image[0x58 + 61] = 2;
    image[0x58 + 108] = 16;
    image
};

/// In another order than they are measured in.
const SECTIONS: [(&str, &[u8]); 8] = [
    (".text", b"code"),
    (".sbat", b"sbat,1\n"),
    (".sdmagic", b"#### LoaderInfo: systemd-stub 257 ####"),
    (".linux", &KERNEL),
    (".initrd", b"archive"),
    (".cmdline", b"quiet panic=-1"),
    (".osrel", b"ID=strongroom\n"),
    (".uname", b"6.12.107"),
];

/// The same with that section's content another.
fn with(name: &str, content: &'static [u8]) -> Vec<u8> {
    image(&SECTIONS.map(|(known, old)| (known, if known == name { content } else { old })))
}

fn pcr(image: &[u8], number: u8) -> Sha256 {
    measure(image).unwrap().pcrs.iter().find(|(it, _)| *it == number).unwrap().1
}

fn chain(events: &[&[u8]]) -> Sha256 {
    events.iter().fold(Sha256([0; 32]), |pcr, event| Sha256::of_parts(&[&pcr.0, &Sha256::of(event).0]))
}

#[test]
fn pcr_11_has_name_and_contents_of_each_section_in_the_stub_s_order() {
    let events: [&[u8]; 12] = [
        b".linux\0",
        &KERNEL,
        b".osrel\0",
        b"ID=strongroom\n",
        b".cmdline\0",
        b"quiet panic=-1",
        b".initrd\0",
        b"archive",
        b".uname\0",
        b"6.12.107",
        b".sbat\0",
        b"sbat,1\n",
    ];
    assert_eq!(pcr(&image(&SECTIONS), 11), chain(&events));
}

#[test]
fn pcr_9_has_the_command_line_in_two_bytes_each_and_the_initrd_with_what_the_stub_adds() {
    let options: Vec<u8> = "quiet panic=-1\0".bytes().flat_map(|byte| [byte, 0]).collect();
    let (zero, one) = ("00000000", "00000001");
    let folder = format!("070701{one}0000416d{zero}{zero}{one}{}00000007{zero}.extra\0\0\0\0", zero.repeat(6));
    let rest = format!("{zero}{zero}{one}{zero}0000000e{}00000012{zero}.extra/os-release\0", zero.repeat(4));
    let file = format!("07070100000002{}{rest}ID=strongroom\n\0\0", "00008124");
    let end = format!("070701{}{one}{}0000000B{zero}TRAILER!!!\0\0\0\0", zero.repeat(4), zero.repeat(6));
    let initrd = format!("archive\0{folder}{file}{end}");
    assert_eq!(pcr(&image(&SECTIONS), 9), chain(&[&options, initrd.as_bytes()]));
}

#[test]
fn pcr_4_has_the_image_and_its_kernel_after_what_firmware_says_and_12_and_13_nothing() {
    let image = image(&SECTIONS);
    let measured = measure(&image).unwrap();
    // All of it but the checksum and the certificate table's entry, since there is no gap and no table.
    let digest = Sha256::of_parts(&[&image[..0x98], &image[0x9c..0xe8], &image[0xf0..]]);
    assert_eq!(measured.authenticode, digest);
    let before = chain(&[b"Calling EFI Application from Boot Option", &[0; 4]]);
    let kernel = Sha256::of_parts(&[&KERNEL[..0x98], &KERNEL[0x9c..0xe8], &KERNEL[0xf0..]]);
    let started = Sha256::of_parts(&[&before.0, &digest.0]);
    assert_eq!(pcr(&image, 4), Sha256::of_parts(&[&started.0, &kernel.0]));
    assert_eq!([pcr(&image, 12), pcr(&image, 13)], [Sha256([0; 32]); 2]);
}

#[test]
fn image_with_a_section_that_is_missing_there_twice_or_not_followed_refused() {
    let of = |sections: &[(&str, &[u8])]| measure(&image(sections)).map(drop).map_err(|refusal| refusal.code);
    assert_eq!(of(&SECTIONS), Ok(()));
    for missing in MEASURED {
        let rest: Vec<_> = SECTIONS.into_iter().filter(|(name, _)| *name != missing).collect();
        assert_eq!(of(&rest), Err(Code::Malformed), "{missing}");
    }
    assert_eq!(of(&[&SECTIONS[..], &[(".initrd", b"another")]].concat()), Err(Code::Malformed));
    for other in [".ucode", ".dtb", ".pcrsig", ".profile", ".cmdlin", ""] {
        assert_eq!(of(&[&SECTIONS[..], &[(other, b"x")]].concat()), Err(Code::VersionUnsupported), "{other}");
    }
}

#[test]
fn command_line_that_the_kernel_reads_whole_accepted_and_one_longer_refused() {
    let of = |length| {
        let line = "x".repeat(length);
        let sections = SECTIONS.map(|(name, old)| (name, if name == ".cmdline" { line.as_bytes() } else { old }));
        measure(&image(&sections)).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!([of(2047), of(2048)], [Ok(()), Err(Code::TooLarge)]);
}

#[test]
fn image_of_another_version_of_the_stub_refused() {
    let of = |magic| measure(&with(".sdmagic", magic)).map(drop).map_err(|refusal| refusal.code);
    assert_eq!(of(b"#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####"), Ok(()));
    assert_eq!(of(b"#### LoaderInfo: systemd-stub 258.13-1~deb13u1 ####"), Err(Code::VersionUnsupported));
}

#[test]
fn kernel_that_firmware_would_not_load_refused() {
    assert_eq!(measure(&with(".linux", b"kernel")).unwrap_err().code, Code::Malformed);
}

#[test]
fn section_that_is_longer_in_memory_than_in_the_file_refused() {
    let mut longer = image(&SECTIONS);
    let header = TABLE + 40 * 4;
    assert_eq!(&longer[header..header + 7], b".initrd");
    longer[header + 8..header + 12].copy_from_slice(&512_u32.to_le_bytes());
    measure(&longer).unwrap();
    longer[header + 8..header + 12].copy_from_slice(&513_u32.to_le_bytes());
    assert_eq!(measure(&longer).unwrap_err().code, Code::Malformed);
}

#[test]
fn command_line_that_the_stub_would_change_refused() {
    let of = |line| measure(&with(".cmdline", line)).map(drop).map_err(|refusal| refusal.code);
    assert_eq!(of(b"quiet"), Ok(()));
    for line in [&b"quiet "[..], b" quiet", b"quiet\n", b"qu\tiet", b"qu\0iet", b"qui\xc3\xa9t", b"\xff", b""] {
        assert_eq!(of(line), Err(Code::Malformed), "{}", line.escape_ascii());
    }
}

proptest! {
    #[test]
    fn every_byte_of_a_section_counts_and_cut_images_are_refused(at in 0..10_000_usize) {
        let sound = image(&SECTIONS);
        let (name, content) = SECTIONS[at % SECTIONS.len()];
        let start = sound.windows(content.len()).position(|bytes| bytes == content).unwrap();
        let mut changed = sound.clone();
        changed[start + at % content.len()] ^= 1;
        let one = measure(&sound).unwrap();
        // A kernel or a command line that is none any more.
        let Ok(other) = measure(&changed) else { return Ok(()) };
        prop_assert_ne!(one.authenticode, other.authenticode);
        prop_assert_eq!(pcr(&sound, 11) != pcr(&changed, 11), MEASURED.contains(&name));
        prop_assert!(measure(&sound[..at % (sound.len() - 512)]).is_err());
    }
}
