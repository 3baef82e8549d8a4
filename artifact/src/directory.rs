//! The directory of a model: which files belong to it, and what they hash to.

use crate::hash::{FileDigest, HashAlgorithm};
use crate::oms::GIT_PATHS;
use crate::parallel;
use crate::path::{STATEMENT, parse_path};
use crate::shard;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Which files of a directory are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Those that a statement is over: all but [`STATEMENT`] and what git keeps, both at the top alone (OMS v1.0).
    Signed,
    /// All of them.
    Everything,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it is, relative to the directory, safe and '/'-separated.
    pub path: String,
    /// Its length when it was listed.
    pub size: u64,
}

/// Lists the files of a model, sorted by code point. Directories count only by what is in them.
///
/// Refuses links, devices, sockets and pipes with `model-not-plain`, names that are not portable with `path-unsafe`, more
/// than [`limits::LAYERS`] files with `too-large`, and none with `model-empty`.
pub fn list_files(directory: &Path, selection: Selection) -> Result<Vec<ModelFile>> {
    let mut files = Vec::new();
    walk(directory, "", selection, &mut files)?;
    if files.is_empty() {
        return Err(Refusal::new(Code::ModelEmpty, format!("`{}`", directory.display())));
    }
    // Bytes of UTF-8 sort as code points do.
    files.sort_by(|a: &ModelFile, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(files)
}

fn walk(directory: &Path, prefix: &str, selection: Selection, files: &mut Vec<ModelFile>) -> Result<()> {
    let io = |error: std::io::Error| Refusal::io(directory.display(), &error);
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| Refusal::new(Code::PathUnsafe, "file name").got(entry.path().display()).want("UTF-8"))?;
        let left_out = selection == Selection::Signed && (name == STATEMENT || GIT_PATHS.contains(&name));
        if prefix.is_empty() && left_out {
            continue;
        }
        let path = format!("{prefix}{name}");
        parse_path(&path)?;
        let metadata = entry.metadata().map_err(io)?;
        if metadata.is_dir() {
            walk(&entry.path(), &format!("{path}/"), selection, files)?;
        } else if metadata.is_file() {
            files.push(ModelFile { path, size: metadata.len() });
        } else {
            return Err(not_plain(&entry.path()));
        }
        if files.len() > limits::LAYERS {
            return Err(Refusal::too_large("files of a model", "more", limits::LAYERS));
        }
    }
    Ok(())
}

/// Opens a file of a model for reading. Refuses, with `model-not-plain`, what has become a link or anything else since it
/// was listed.
pub fn open_file(directory: &Path, path: &str) -> Result<File> {
    let full = directory.join(parse_path(path)?);
    // NONBLOCK so that a pipe that took the file's place is refused instead of waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&full).map_err(|error| {
        let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if link { not_plain(&full) } else { Refusal::io(full.display(), &error) }
    })?;
    let metadata = file.metadata().map_err(|e| Refusal::io(full.display(), &e))?;
    if metadata.is_file() { Ok(file) } else { Err(not_plain(&full)) }
}

fn not_plain(path: &Path) -> Refusal {
    Refusal::new(Code::ModelNotPlain, format!("`{}`", path.display())).want("a plain file or a directory")
}

/// Hashes every file that a statement is over, on all cores. Refuses as [`list_files`] and [`open_file`] do.
pub fn hash_directory(directory: &Path, algorithm: HashAlgorithm) -> Result<Vec<FileDigest>> {
    let files = list_files(directory, Selection::Signed)?;
    hash_files(directory, &files, algorithm)
}

/// Hashes the given files; the digests come in their order.
pub fn hash_files(directory: &Path, files: &[ModelFile], algorithm: HashAlgorithm) -> Result<Vec<FileDigest>> {
    parallel::map(files, |file| {
        let mut hasher = algorithm.hasher();
        read_chunks(open_file(directory, &file.path)?, &file.path, |chunk| {
            hasher.update(chunk);
            Ok(())
        })?;
        Ok(FileDigest { path: file.path.clone(), algorithm, digest: hasher.finish() })
    })
}

/// Hashes the given files range by range, each of `shard_len` bytes or what is left, as statements over shards list them: named
/// `<path>:<start>:<end>`, in the order of the files. An empty file has no range.
///
/// Refuses more than [`limits::LAYERS`] ranges with `too-large`.
pub fn hash_shards(
    directory: &Path,
    files: &[ModelFile],
    algorithm: HashAlgorithm,
    shard_len: u64,
) -> Result<Vec<FileDigest>> {
    let all = files.iter().flat_map(|file| shard::ranges(file.size, shard_len).map(move |range| (file, range)));
    let all: Vec<_> = all.take(limits::LAYERS + 1).collect();
    if all.len() > limits::LAYERS {
        return Err(Refusal::too_large("shards of a model", "more", limits::LAYERS));
    }
    parallel::map(&all, |(file, (start, end))| {
        let mut source = open_file(directory, &file.path)?;
        source.seek(SeekFrom::Start(*start)).map_err(|e| Refusal::io(&file.path, &e))?;
        let mut hasher = algorithm.hasher();
        let mut length = 0;
        read_chunks(source.take(end - start), &file.path, |chunk| {
            length += chunk.len();
            hasher.update(chunk);
            Ok(())
        })?;
        if u64::try_from(length).ok() != Some(end - start) {
            return Err(Refusal::new(Code::Io, format!("`{}`", file.path)).got("it became shorter while it was read"));
        }
        Ok(FileDigest { path: shard::name(&file.path, *start, *end), algorithm, digest: hasher.finish() })
    })
}

/// Reads `file` to its end in chunks. What was read is zeroised: a model's files may be secret.
fn read_chunks(mut file: impl Read, name: &str, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = Zeroizing::new(vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Refusal::io(name, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        directory
    }

    fn listed(directory: &tempfile::TempDir, selection: Selection) -> Vec<String> {
        list_files(directory.path(), selection).unwrap().into_iter().map(|file| file.path).collect()
    }

    fn code(directory: &tempfile::TempDir) -> Code {
        list_files(directory.path(), Selection::Everything).unwrap_err().code
    }

    #[test]
    fn files_are_sorted_by_code_point_and_signature_and_git_left_out_at_the_top_alone() {
        let directory =
            directory(&["b", "a.txt", "a/b", "model.sig", ".git/config", ".gitignore", "a/model.sig", "a/.gitignore"]);
        assert_eq!(listed(&directory, Selection::Signed), ["a.txt", "a/.gitignore", "a/b", "a/model.sig", "b"]);
        assert_eq!(listed(&directory, Selection::Everything).len(), 8);
    }

    #[test]
    fn links_and_pipes_refused_wherever_they_lead() {
        let plain = directory(&["a"]);
        assert!(list_files(plain.path(), Selection::Everything).is_ok());
        for target in ["a", "..", "/etc/passwd", "nowhere"] {
            let linked = directory(&["a"]);
            symlink(target, linked.path().join("link")).unwrap();
            assert_eq!(code(&linked), Code::ModelNotPlain);
            assert_eq!(open_file(linked.path(), "link").unwrap_err().code, Code::ModelNotPlain);
        }
        let socket = directory(&["a"]);
        let _listener = std::os::unix::net::UnixListener::bind(socket.path().join("s")).unwrap();
        assert_eq!(code(&socket), Code::ModelNotPlain);
        assert_eq!(open_file(plain.path(), "").unwrap_err().code, Code::PathUnsafe);
    }

    #[test]
    fn empty_directory_and_names_that_are_not_portable_refused() {
        assert_eq!(code(&directory(&[])), Code::ModelEmpty);
        assert_eq!(code(&directory(&["a:b"])), Code::PathUnsafe);
        let raw = directory(&[]);
        let name = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
        fs::write(raw.path().join::<&std::ffi::OsStr>(name), "").unwrap();
        assert_eq!(code(&raw), Code::PathUnsafe);
        let missing = directory(&[]).path().join("missing");
        assert_eq!(list_files(&missing, Selection::Signed).unwrap_err().code, Code::Io);
    }

    #[test]
    fn digests_are_those_of_the_contents() {
        let directory = directory(&["a", "b/c"]);
        fs::write(directory.path().join("b/c"), vec![7; 600_000]).unwrap();
        let digests = hash_directory(directory.path(), HashAlgorithm::Sha256).unwrap();
        let want = strongroom_wire::digest::Sha256::of(&vec![7; 600_000]);
        assert_eq!(
            digests[1],
            FileDigest { path: "b/c".into(), algorithm: HashAlgorithm::Sha256, digest: want.0.to_vec() }
        );
    }
}
