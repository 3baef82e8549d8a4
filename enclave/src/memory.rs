//! Files that exist in the guest's memory only: memfds, sealed once they are written (`memfd_create(2)`, `F_ADD_SEALS`).
//!
//! The runtimes that read models want paths. A memfd has one, `/proc/self/fd/N`, with no disk behind it, and a sealed one
//! cannot be changed between the moment it was verified and the moment it is read. The external data of a graph, which must have
//! a name, is in a [`Folder`] of a tmpfs.

mod folder;

pub use folder::Folder;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_registry_client::{FileSink, Filled, ModelSink};
use strongroom_wire::{Code, Refusal, Result};

/// A file in memory that is being written, by several threads at once. Clones are the same file.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    file: Arc<File>,
    len: u64,
    /// The kernel lets one thread at a time write to a file. Who waits there spins, which took as much time again as writing;
    /// who waits here leaves the core to others.
    turn: Arc<Mutex<()>>,
}

/// A file in memory that can no longer be changed.
#[derive(Debug)]
pub struct SealedFile {
    file: Arc<File>,
    len: u64,
}

impl MemoryFile {
    /// `len` zero bytes. No memory is taken before they are written.
    ///
    /// # Errors
    /// `io` the kernel has no memfd, or no file descriptor left.
    pub fn create(len: u64) -> Result<Self> {
        let fd = memfd_create(c"strongroom", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|e| Refusal::new(Code::Io, "memfd").because(e))?;
        let file = File::from(fd);
        file.set_len(len).map_err(|e| Refusal::io("memfd", &e))?;
        Ok(Self::of(file, len))
    }

    fn of(file: File, len: u64) -> Self {
        Self { file: Arc::new(file), len, turn: Arc::default() }
    }

    /// Seals the file for every clone: neither its bytes, its length nor its seals change from here on.
    ///
    /// # Errors
    /// `io` the kernel refused.
    pub fn seal(self) -> Result<SealedFile> {
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&*self.file, seals).map_err(|e| Refusal::new(Code::Io, "sealing a memfd").because(e))?;
        Ok(SealedFile { file: self.file, len: self.len })
    }
}

impl FileSink for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = u64::try_from(bytes.len()).ok().and_then(|n| offset.checked_add(n));
        if end.is_none_or(|end| end > self.len) {
            return Err(Refusal::new(Code::LayerSizeMismatch, "file in memory")
                .got(format!("{} bytes at {offset}", bytes.len()))
                .want(format!("within {}", self.len)));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(bytes, offset).map_err(|e| Refusal::io("memfd", &e))
    }
}

impl SealedFile {
    /// The path at which this process can open the file, for as long as this value lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// All of it, where that is at most `limit` bytes; `what` names it in refusals.
    ///
    /// # Errors
    /// `too-large`, `io`.
    pub fn read(&self, limit: usize, what: &str) -> Result<Vec<u8>> {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        if len > limit {
            return Err(Refusal::too_large(what, format!("{} bytes", self.len), limit));
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0).map_err(|e| Refusal::io(what, &e))?;
        Ok(bytes)
    }
}

/// The graph of a model. Files whose names are longer, `model.onnx_data` or `model.onnx.data`, are its external data.
pub const GRAPH: &str = "model.onnx";

/// The files of a model that is being opened, by path.
#[derive(Debug, Default)]
pub struct OpeningFiles {
    files: BTreeMap<String, MemoryFile>,
    external: Option<Folder>,
}

/// The files of an opened model, by path.
#[derive(Debug)]
pub struct ModelFiles {
    files: BTreeMap<String, SealedFile>,
    external: Option<Folder>,
}

impl ModelSink for OpeningFiles {
    type File = MemoryFile;
    type Kept = ModelFiles;

    fn create(&mut self, path: &str, size: u64) -> Result<MemoryFile> {
        if path.strip_prefix(GRAPH).is_some_and(|rest| !rest.is_empty() && !rest.contains('/')) {
            let folder = match self.external.take() {
                Some(folder) => folder,
                None => Folder::create()?,
            };
            let file = self.external.insert(folder).file(path, size)?;
            return Ok(MemoryFile::of(file, size));
        }
        let file = MemoryFile::create(size)?;
        match self.files.insert(path.to_owned(), file.clone()) {
            None => Ok(file),
            Some(_) => Err(Refusal::new(Code::PathUnsafe, "path twice in one model").got(path)),
        }
    }

    fn keep(self, _: Filled<'_>) -> Result<ModelFiles> {
        self.seal()
    }
}

impl OpeningFiles {
    fn seal(self) -> Result<ModelFiles> {
        let sealed = self.files.into_iter().map(|(path, file)| Ok((path, file.seal()?)));
        Ok(ModelFiles { files: sealed.collect::<Result<_>>()?, external: self.external })
    }

    /// Seals files that a test wrote, and that no model has.
    #[cfg(test)]
    pub(crate) fn seal_unverified(self) -> Result<ModelFiles> {
        self.seal()
    }
}

impl ModelFiles {
    /// The file at `path` of the model.
    pub fn get(&self, path: &str) -> Option<&SealedFile> {
        self.files.get(path)
    }

    /// Where the graph's external data is, if it has any.
    pub fn external(&self) -> Option<&Path> {
        self.external.as_ref().map(Folder::path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;

    fn sealed(bytes: &[u8]) -> SealedFile {
        let file = MemoryFile::create(bytes.len() as u64).unwrap();
        file.write_at(0, bytes).unwrap();
        file.seal().unwrap()
    }

    #[test]
    fn file_is_read_back_by_value_and_by_path() {
        let file = sealed(b"weights");
        assert_eq!(file.read(7, "file").unwrap(), b"weights");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"weights");
        assert_eq!(file.read(6, "file").unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn sealed_file_cannot_be_changed_nor_unsealed() {
        let file = sealed(b"weights");
        let again = File::options().read(true).write(true).open(file.path()).unwrap();
        assert!(std::os::unix::fs::FileExt::write_at(&again, b"x", 0).is_err());
        assert!(again.set_len(1).is_err());
        assert!(again.set_len(100).is_err());
        assert!(fcntl_add_seals(&again, SealFlags::FUTURE_WRITE).is_err());
        assert_eq!(file.read(7, "file").unwrap(), b"weights");
    }

    #[test]
    fn write_up_to_the_end_accepted_and_past_it_refused() {
        let file = MemoryFile::create(4).unwrap();
        file.write_at(2, b"ab").unwrap();
        assert_eq!(file.write_at(3, b"ab").unwrap_err().code, Code::LayerSizeMismatch);
        assert_eq!(file.write_at(u64::MAX, b"ab").unwrap_err().code, Code::LayerSizeMismatch);
    }

    #[test]
    fn model_is_written_in_parts_and_read_once_sealed() {
        let mut files = OpeningFiles::default();
        let file = files.create("a/b.json", 4).unwrap();
        file.write_at(2, b"cd").unwrap();
        file.write_at(0, b"ab").unwrap();
        let sealed = files.seal().unwrap();
        assert_eq!(sealed.get("a/b.json").unwrap().read(4, "file").unwrap(), b"abcd");
        assert!(sealed.get("a").is_none());
        assert_eq!(file.write_at(0, b"x").unwrap_err().code, Code::Io);
    }

    #[test]
    fn external_data_of_the_graph_has_a_name_in_a_folder_and_nothing_else_has() {
        let mut files = OpeningFiles::default();
        for path in ["model.onnx", "model.onnx_data", "model.onnx.data", "sub/model.onnx_data", "other"] {
            files.create(path, 2).unwrap().write_at(0, b"ab").unwrap();
        }
        assert_eq!(files.create("model.onnx_data", 2).unwrap_err().code, Code::Io);
        let sealed = files.seal().unwrap();
        let folder = sealed.external().unwrap().to_owned();
        for name in ["model.onnx_data", "model.onnx.data"] {
            assert_eq!(std::fs::read(folder.join(name)).unwrap(), b"ab");
            assert!(sealed.get(name).is_none());
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        assert!(["model.onnx", "sub/model.onnx_data", "other"].iter().all(|path| sealed.get(path).is_some()));
        drop(sealed);
        assert!(!folder.exists());
    }

    #[test]
    fn path_twice_in_one_model_refused() {
        let mut files = OpeningFiles::default();
        assert!(files.create("a", 1).is_ok());
        assert_eq!(files.create("a", 1).unwrap_err().code, Code::PathUnsafe);
    }
}
