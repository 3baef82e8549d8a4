//! The archive format of an initramfs: newc (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The same entries give the same bytes: sorted by path, owned by root, one time for all, no device and no link counts that
//! come from a disk.

use std::collections::BTreeMap;
use strongroom_wire::{Code, Refusal, Result};

/// A file of the image. Nobody but root may write any, and none changes its caller's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A folder, 0755.
    Folder,
    /// A file to read, 0644.
    File(Vec<u8>),
    /// A program, 0755.
    Program(Vec<u8>),
    /// A symbolic link to this path.
    Link(String),
}

/// Paths without a leading `/`, and what is there.
pub(crate) type Tree = BTreeMap<String, Entry>;

impl Entry {
    /// Type and permissions (`stat(2)`).
    pub(crate) const fn mode(&self) -> u32 {
        match self {
            Self::Folder => 0o040_755,
            Self::File(_) => 0o100_644,
            Self::Program(_) => 0o100_755,
            Self::Link(_) => 0o120_777,
        }
    }

    /// What a file holds, or where a link leads.
    pub(crate) fn content(&self) -> &[u8] {
        match self {
            Self::Folder => &[],
            Self::File(bytes) | Self::Program(bytes) => bytes,
            Self::Link(target) => target.as_bytes(),
        }
    }
}

/// The archive of `tree`, every entry of the time `epoch`, in seconds since 1970. Its length is a multiple of 512, so that
/// another archive may follow it.
///
/// # Errors
/// `too-large`: a file or the time is more than the format's 32 bits; `malformed`: an entry's folder is not in the tree.
pub(crate) fn archive(tree: &Tree, epoch: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (number, (path, entry)) in (1_u32..).zip(tree) {
        if let Some((folder, _)) = path.rsplit_once('/')
            && tree.get(folder) != Some(&Entry::Folder)
        {
            return Err(Refusal::malformed("image", format!("`{path}` has no folder")));
        }
        put(&mut out, path, number, entry.mode(), epoch, entry.content())?;
    }
    put(&mut out, "TRAILER!!!", 0, 0, 0, &[])?;
    out.resize(out.len().next_multiple_of(512), 0);
    Ok(out)
}

fn put(out: &mut Vec<u8>, path: &str, number: u32, mode: u32, epoch: u64, content: &[u8]) -> Result<()> {
    let fits = |what: &str, value: u64| u32::try_from(value).map_err(|_| Refusal::too_large(what, value, u32::MAX));
    let length = fits(path, u64::try_from(content.len()).unwrap_or(u64::MAX))?;
    let time = fits("time", epoch)?;
    let name = fits("path", u64::try_from(path.len()).unwrap_or(u64::MAX))?.saturating_add(1);
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    out.extend(b"070701");
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
    for field in [number, mode, 0, 0, links, time, length, 0, 0, 0, 0, name, 0] {
        out.extend(format!("{field:08x}").into_bytes());
    }
    out.extend(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend(content);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A tree without its folders; they follow from the paths.
///
/// # Errors
/// `malformed`: a path twice.
pub(crate) fn with_folders(files: impl IntoIterator<Item = (String, Entry)>) -> Result<Tree> {
    let mut tree = Tree::new();
    for (path, entry) in files {
        let mut folder = path.as_str();
        while let Some((parent, _)) = folder.rsplit_once('/') {
            tree.insert(parent.to_owned(), Entry::Folder);
            folder = parent;
        }
        if tree.insert(path.clone(), entry).is_some_and(|known| known != Entry::Folder) {
            return Err(Refusal::new(Code::Malformed, "image").got(format!("`{path}` twice")));
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        with_folders([
            ("usr/bin/init".to_owned(), Entry::Program(b"program".to_vec())),
            ("etc/hosts".to_owned(), Entry::File(b"127.0.0.1 localhost\n".to_vec())),
            ("init".to_owned(), Entry::Link("usr/bin/init".to_owned())),
            ("proc".to_owned(), Entry::Folder),
        ])
        .unwrap()
    }

    #[test]
    fn archive_of_one_file_has_the_fields_of_the_format_in_their_order() {
        let tree = with_folders([("hosts".to_owned(), Entry::File(b"localhost\n".to_vec()))]).unwrap();
        let archive = String::from_utf8(archive(&tree, 0x6553_f100).unwrap()).unwrap();
        let head = "070701 00000001 000081a4 00000000 00000000 00000001 6553f100 0000000a";
        let tail = " 00000000 00000000 00000000 00000000 00000006 00000000";
        let file = format!("{}hosts\0localhost\n\0\0", format!("{head}{tail}").replace(' ', ""));
        assert!(archive.starts_with(&file), "{archive}");
        assert!(archive.split_at(file.len()).1.starts_with("070701"), "the next begins at four bytes");
    }

    #[test]
    fn entries_are_sorted_with_their_modes_and_owned_by_root() {
        let archive = archive(&tree(), 1).unwrap();
        let text = String::from_utf8_lossy(&archive).into_owned();
        let entries: Vec<_> = text
            .split("070701")
            .skip(1)
            .map(|entry| (entry.get(8..32), entry.get(104..).and_then(|rest| rest.split('\0').next())))
            .collect();
        let root = |mode: &str| format!("{mode}0000000000000000");
        let want = [
            (root("000041ed"), "etc"),
            (root("000081a4"), "etc/hosts"),
            (root("0000a1ff"), "init"),
            (root("000041ed"), "proc"),
            (root("000041ed"), "usr"),
            (root("000041ed"), "usr/bin"),
            (root("000081ed"), "usr/bin/init"),
            (root("00000000"), "TRAILER!!!"),
        ];
        assert_eq!(entries, want.each_ref().map(|(head, path)| (Some(head.as_str()), Some(*path))));
    }

    #[test]
    fn archives_are_padded_so_that_one_can_follow_another_and_entries_have_one_time() {
        let archive = archive(&tree(), 0x6553_f100).unwrap();
        assert_eq!(archive.len() % 512, 0);
        assert_eq!(archive.windows(8).filter(|bytes| bytes == b"6553f100").count(), 7);
    }

    #[test]
    fn entry_without_its_folder_and_one_that_is_there_twice_refused() {
        let orphan = Tree::from([("etc/hosts".to_owned(), Entry::File(Vec::new()))]);
        assert_eq!(archive(&orphan, 0).unwrap_err().code, Code::Malformed);
        let file = || ("etc/hosts".to_owned(), Entry::File(Vec::new()));
        assert!(with_folders([file()]).is_ok());
        assert_eq!(with_folders([file(), file()]).unwrap_err().code, Code::Malformed);
    }
}
