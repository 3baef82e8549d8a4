//! An initramfs, read by another hand than the one that wrote it.

use std::path::Path;

/// A file of the archive.
pub(super) struct File {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) content: Vec<u8>,
}

/// All entries of a newc archive, in their order.
pub(super) fn read(path: &Path) -> Vec<File> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut files) = (0, Vec::new());
    loop {
        let head = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
        assert_eq!(&head[..6], "070701");
        let field = |index: usize| u32::from_str_radix(&head[6 + 8 * index..14 + 8 * index], 16).unwrap();
        let (name_length, length) = (field(11) as usize, field(6) as usize);
        let path = String::from_utf8(bytes[at + 110..at + 109 + name_length].to_vec()).unwrap();
        let content = (at + 110 + name_length).next_multiple_of(4);
        at = (content + length).next_multiple_of(4);
        if path == "TRAILER!!!" {
            return files;
        }
        let content = bytes[content..content + length].to_vec();
        files.push(File { path, mode: field(1), owner: (field(2), field(3)), content });
    }
}
