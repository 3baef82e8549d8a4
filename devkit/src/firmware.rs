//! The smallest firmware that SNP and TDX guests could be launched with as far as measuring goes, and a kernel for it. Neither
//! would run.

use std::sync::LazyLock;

/// One page, that ends at 4 GiB: SEV metadata with a page of memory and a page for a kernel's hashes, TDVF metadata that
/// measures the page itself and has memory for the hand-off block, and the table that says where they are.
pub static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut image = vec![0; 4096];
    let memory = [0x80_0000, 0x1000, 1];
    let hashes = [0x80_1000, 0x1000, 0x10];
    let own_page = [0, 4096, 0xffff_f000, 0, 4096, 0, 0, 1];
    let hand_off = [0, 0, 0x80_2000, 0, 4096, 0, 2, 0];
    put(&mut image, 0, b"ASEV");
    put(&mut image, 4, &words(&[&[40, 1, 2][..], &memory, &hashes].concat()));
    put(&mut image, 128, b"TDVF");
    put(&mut image, 132, &words(&[&[80, 1, 2][..], &own_page, &hand_off].concat()));
    let entries: [(&[u32], &[u8; 16]); 4] = [
        (&[0x0080_b004], b"\xde\x71\xf7\x00\x7e\x1a\xcb\x4f\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e"),
        (&[0x80_1c00, 0x400], b"\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54"),
        (&[4096], b"\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc"),
        (&[4096 - 128], b"\x35\x65\x7a\xe4\x4a\x98\x98\x47\x86\x5e\x46\x85\xa7\xbf\x8e\xc2"),
    ];
    let mut table = Vec::new();
    for (data, guid) in entries {
        table.extend(words(data));
        let length = if data.len() == 1 { 22_u16 } else { 26 };
        table.extend([&length.to_le_bytes()[..], guid].concat());
    }
    // Three entries of 22 bytes, one of 26, and the footer of 18.
    table.extend(110_u16.to_le_bytes());
    table.extend(b"\xde\x82\xb5\x96\xb2\x1f\xf7\x45\xba\xea\xa3\x66\xc5\x5a\x08\x2d");
    put(&mut image, 4096 - 32 - 110, &table);
    image
});

/// A bzImage of boot protocol 2.15 that is a PE32+ image of headers and one section.
pub static KERNEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut image = vec![0; 1536];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &words(&[0x80]));
    put(&mut image, 0x80, b"PE\0\0");
    put(&mut image, 0x86, &[1]);
    put(&mut image, 0x94, &[0xa0]);
    put(&mut image, 0x98, &[0x0b, 2]);
    put(&mut image, 0x98 + 60, &words(&[1024]));
    put(&mut image, 0x98 + 108, &words(&[6]));
    // SizeOfRawData and PointerToRawData of the section.
    put(&mut image, 0x98 + 0xa0 + 16, &words(&[512, 1024]));
    put(&mut image, 0x202, b"HdrS\x0f\x02");
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &words(&[0x7fff_ffff]));
    put(&mut image, 0x236, &[3]);
    image
});

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in image.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
