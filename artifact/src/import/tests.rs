//! Archives that `tar` made, archives that nobody should have made, and what becomes of both.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;

/// A header as POSIX has it, with its checksum.
fn header(name: &[u8], size: &[u8], kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn entry(name: &str, content: &[u8], kind: u8) -> Vec<u8> {
    let mut entry = header(name.as_bytes(), format!("{:011o}", content.len()).as_bytes(), kind).to_vec();
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    extended(key, value, b'x')
}

fn extended(key: &str, value: &str, kind: u8) -> Vec<u8> {
    let record = |length: usize| format!("{length} {key}={value}\n");
    let mut length = record(0).len();
    while record(length).len() != length {
        length = record(length).len();
    }
    entry("pax", record(length).as_bytes(), kind)
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

/// What was unpacked, by path.
fn unpack(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let mut import = Import::into(&target)?;
    import.unpack(archive)?;
    let files = import.finish()?;
    let read = |file: ModelFile| {
        let content = fs::read(target.join(&file.path)).unwrap();
        assert_eq!(file.size, u64::try_from(content.len()).unwrap());
        (file.path, content)
    };
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");
    Ok(files.into_iter().map(read).collect())
}

fn code(archive: &[u8]) -> Option<Code> {
    unpack(archive).err().map(|refusal| refusal.code)
}

#[test]
fn archives_of_tar_come_out_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("{}/{}", ["directory-with-a-long-name"; 8].join("/"), "f".repeat(120));
    let files = BTreeMap::from([
        ("empty".to_owned(), vec![]),
        ("a/one-block".to_owned(), vec![7; 512]),
        ("a/more".to_owned(), (0..100_000_u32).map(|i| i.to_le_bytes()[0]).collect()),
        ("ünïcode".to_owned(), b"x".to_vec()),
        (deep, b"deep".to_vec()),
    ]);
    for (path, content) in &files {
        let path = folder.path().join("in").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for format in ["gnu", "pax", "posix"] {
        for what in [".", "--files"] {
            let names: Vec<_> = if what == "." { vec![".".to_owned()] } else { files.keys().cloned().collect() };
            let mut tar = Command::new("tar");
            tar.arg("-c").arg(format!("--format={format}")).arg("-C").arg(folder.path().join("in")).arg("-f").arg("-");
            let made = tar.args(names).output().expect("tar is on every machine that builds this");
            assert!(made.status.success());
            assert_eq!(unpack(&made.stdout).unwrap(), files, "{format} {what}");
        }
    }
}

#[test]
fn links_devices_and_sparse_files_refused_wherever_they_lead() {
    let file = entry("a", b"x", b'0');
    assert_eq!(code(&[file.clone(), end()].concat()), None);
    for kind in *b"123467SKDMNV" {
        let archive = [file.clone(), entry("b", b"", kind), end()].concat();
        assert_eq!(code(&archive), Some(Code::ModelUnsupported), "{}", char::from(kind));
    }
    for key in ["linkpath", "GNU.sparse.major"] {
        let archive = [pax(key, "1"), file.clone(), end()].concat();
        assert_eq!(code(&archive), Some(Code::ModelUnsupported), "{key}");
    }
    assert_eq!(code(&[pax("mtime", "1.5"), file.clone(), end()].concat()), None);
    let global = |key: &str| extended(key, "a", b'g');
    assert_eq!(code(&[global("path"), file.clone(), end()].concat()), Some(Code::ModelUnsupported));
    assert_eq!(code(&[global("comment"), file, end()].concat()), None);
}

#[test]
fn names_that_leave_clash_or_are_not_portable_refused_however_they_are_given() {
    let long = |name: &str| [entry("l", format!("{name}\0").as_bytes(), b'L'), entry("x", b"x", b'0')].concat();
    let renamed = |name: &str| [pax("path", name), entry("x", b"x", b'0')].concat();
    for name in ["/etc/passwd", "../x", "a/../../x", "a//b", "c:x", "..", ""] {
        for given in [entry(name, b"x", b'0'), long(name), renamed(name)] {
            assert_eq!(code(&[given, end()].concat()), Some(Code::PathUnsafe), "{name}");
        }
    }
    for name in ["a/b", "./a/b", "..a"] {
        for given in [entry(name, b"x", b'0'), long(name), renamed(name)] {
            assert_eq!(code(&[given, end()].concat()), None, "{name}");
        }
    }
    for (one, other) in [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "./a")] {
        let archive = [entry(one, b"x", b'0'), entry(other, b"y", b'0'), end()].concat();
        assert_eq!(code(&archive), Some(Code::PathUnsafe), "{one} {other}");
    }
    let not_text = [header(b"\xff", b"00000000000", b'0').to_vec(), end()].concat();
    assert_eq!(code(&not_text), Some(Code::Malformed));
}

#[test]
fn names_that_no_signature_covers_refused_at_the_top_in_whatever_case() {
    for name in
        [".git/config", ".GIT/hooks/post-checkout", ".gitattributes", ".Github/x", "model.sig", "Model.SIG", "./.git/x"]
    {
        assert_eq!(code(&[entry(name, b"x", b'0'), end()].concat()), Some(Code::PathUnsafe), "{name}");
    }
    for name in ["a/.git/config", "a/model.sig", ".gi", "git/x", "model.signature"] {
        assert_eq!(code(&[entry(name, b"x", b'0'), end()].concat()), None, "{name}");
    }
}

#[test]
fn archive_that_is_cut_changed_or_goes_on_behind_its_end_refused() {
    let whole = [entry("a", &[1; 700], b'0'), end()].concat();
    assert_eq!(code(&whole), None);
    for cut in (0..1536).step_by(100) {
        assert_eq!(code(&whole[..cut]), Some(Code::Malformed), "{cut} bytes");
    }
    for at in [0, 100, 124, 148, 156, 260, 345] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(code(&changed), Some(Code::Malformed), "byte {at}");
    }
    assert_eq!(code(&[whole.clone(), entry("b", b"", b'0')].concat()), Some(Code::Malformed));
    assert_eq!(code(&[whole, vec![0; 5000]].concat()), None);
    assert_eq!(code(&end()), Some(Code::ModelEmpty));
}

#[test]
fn sizes_are_read_as_each_tool_writes_them_and_held_to_the_model_s_limit() {
    let sized = |size: &[u8]| {
        let mut archive = header(b"a", size, b'0').to_vec();
        archive.extend_from_slice(&[5; 512]);
        archive.extend_from_slice(&end());
        archive
    };
    let mut binary = [0; 12];
    (binary[0], binary[10], binary[11]) = (0x80, 2, 0);
    for size in [&b"00000001000"[..], b"1000 \0", b"     1000 ", &binary] {
        assert_eq!(unpack(&sized(size)).unwrap()["a"].len(), 512, "{size:?}");
    }
    for size in [&b"0000000100x"[..], &[0xff; 12]] {
        assert_eq!(code(&sized(size)), Some(Code::Malformed), "{size:?}");
    }
    assert_eq!(code(&[pax("size", "512"), sized(b"0")].concat()), None);
    assert_eq!(code(&[pax("size", "-1"), sized(b"0")].concat()), Some(Code::Malformed));
    let model = (limits::MODEL + 1).to_string();
    assert_eq!(code(&[pax("size", &model), sized(b"0")].concat()), Some(Code::TooLarge));
    binary[1..].fill(0xff);
    assert!(matches!(code(&sized(&binary)), Some(Code::Malformed | Code::TooLarge)));
    let long = entry("l", &[b'a'; 70_000], b'L');
    assert_eq!(code(&[long, end()].concat()), Some(Code::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn archive_with_anything_changed_is_unpacked_within_its_directory_or_refused(
        changes in proptest::collection::vec((0_usize..5000, any::<u8>()), 0..12),
    ) {
        let mut archive =
            [pax("path", "a/b"), entry("x", &[1; 700], b'0'), entry("l", b"c/d\0", b'L'), entry("y", b"z", b'0'), end()].concat();
        for (at, byte) in changes {
            let length = archive.len();
            archive[at % length] = byte;
        }
        // It looks that there is nothing beside the directory.
        drop(unpack(&archive));
    }
}

#[test]
fn nothing_has_the_directory_s_name_where_an_archive_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let mut import = Import::into(&target).unwrap();
    let archive = [entry("a", b"x", b'0'), entry("../b", b"y", b'0'), end()].concat();
    assert_eq!(import.unpack(archive.as_slice()).unwrap_err().code, Code::PathUnsafe);
    drop(import);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
