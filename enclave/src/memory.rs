//! Files that exist in the guest's memory only: written where they lie, and sealed once they are a model's (`memfd_create(2)`,
//! `F_ADD_SEALS`).
//!
//! The runtimes that read models want paths. A memfd has one, `/proc/self/fd/N`, with no disk behind it, and a sealed one
//! cannot be changed between the moment it was verified and the moment it is read. The external data of a graph, which must have
//! a name, gets one in a [`Folder`] of a tmpfs.
//!
//! Segments are opened in their places, so that a file that is being written holds bytes whose tags were not compared yet, and all of
//! it waits for digests and the statement. That releases nothing: until then the file has no name, and no descriptor but one that
//! [`Memory`] does not give away; what a thread may see of it is the range that it is opening; and a segment that does not
//! authenticate is zeroised where it is. [`SealedFile`]s and names are made by [`ModelSink::keep`] alone, which takes the proof that
//! everything held; without one the files are dropped, and their memory is the kernel's again, which clears it.

mod folder;

pub use folder::Folder;
use rustix::fs::{SealFlags, fcntl_add_seals};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_registry_client::{FileSink, Filled, ModelSink};
use strongroom_sys::memory::Memory;
use strongroom_wire::{Code, Refusal, Result};

/// A file in memory that is being written, by several threads at once and each byte once. Clones are the same file.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    memory: Arc<Memory>,
    len: u64,
}

/// A file in memory that can no longer be changed.
#[derive(Debug)]
pub struct SealedFile {
    file: File,
    len: u64,
}

impl MemoryFile {
    /// `len` zero bytes. No memory is taken before they are written.
    ///
    /// # Errors
    /// `io` the kernel has no memfd, or no file descriptor or addresses left.
    pub fn create(len: u64) -> Result<Self> {
        Memory::sealable(c"strongroom", len).map(|memory| Self::of(memory, len)).map_err(|e| Refusal::io("memfd", &e))
    }

    fn of(memory: Memory, len: u64) -> Self {
        Self { memory: Arc::new(memory), len }
    }

    /// Seals the file: neither its bytes, its length nor its seals change from here on.
    ///
    /// # Errors
    /// `internal` there is another clone, by which it may still be written; `io` the kernel refused.
    pub fn seal(self) -> Result<SealedFile> {
        let (file, len) = self.finish()?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SEAL)
            .map_err(|e| Refusal::new(Code::Io, "sealing a memfd").because(e))?;
        Ok(SealedFile { file, len })
    }

    fn finish(self) -> Result<(File, u64)> {
        let memory = Arc::into_inner(self.memory);
        let memory = memory.ok_or_else(|| Refusal::new(Code::Internal, "file in memory is still being written"))?;
        Ok((memory.finish(), self.len))
    }

    fn place(&self, offset: u64, length: usize) -> Result<&mut [u8]> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        let end = end.filter(|end| *end <= self.len).ok_or_else(|| {
            let refusal = Refusal::new(Code::LayerSizeMismatch, "file in memory");
            refusal.got(format!("{length} bytes at {offset}")).want(format!("within {}", self.len))
        })?;
        let place = self.memory.take(offset..end).map_err(|e| Refusal::io("file in memory", &e))?;
        place.ok_or_else(|| {
            Refusal::new(Code::Internal, "bytes of a file in memory")
                .got(format!("{length} at {offset}, a second time"))
                .want("each byte once")
        })
    }
}

impl FileSink for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.place(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn place_at(&self, offset: u64, length: usize) -> Result<Option<&mut [u8]>> {
        self.place(offset, length).map(Some)
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

    /// Adds to `bytes` what there is from `offset` on, `most` bytes of it, and gives how many that were; none at the end.
    ///
    /// # Errors
    /// `io`.
    pub fn read_at(&self, offset: u64, most: usize, bytes: &mut Vec<u8>) -> Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
        let before = bytes.len();
        bytes.resize(before.saturating_add(left), 0);
        let to = bytes.get_mut(before..).unwrap_or_default();
        self.file.read_exact_at(to, offset).map_err(|e| Refusal::io("file in memory", &e))?;
        Ok(left)
    }
}

/// The graph of a model. Files whose names are longer, `model.onnx_data` or `model.onnx.data`, are its external data.
pub const GRAPH: &str = "model.onnx";

/// The files of a model that is being opened, by path.
#[derive(Debug, Default)]
pub struct OpeningFiles {
    files: BTreeMap<String, MemoryFile>,
    /// Where those that need a name will have it.
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
        let file = if is_external(path) {
            let folder = match self.external.take() {
                Some(folder) => folder,
                None => Folder::create()?,
            };
            MemoryFile::of(self.external.insert(folder).unnamed(size)?, size)
        } else {
            MemoryFile::create(size)?
        };
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
        let Self { files, external } = self;
        let mut sealed = BTreeMap::new();
        for (path, file) in files {
            match &external {
                Some(folder) if is_external(&path) => folder.name(&path, &file.finish()?.0)?,
                _ => drop(sealed.insert(path, file.seal()?)),
            }
        }
        Ok(ModelFiles { files: sealed, external })
    }

    /// Seals files that a test wrote, and that no model has.
    #[cfg(test)]
    pub(crate) fn seal_unverified(self) -> Result<ModelFiles> {
        self.seal()
    }
}

fn is_external(path: &str) -> bool {
    path.strip_prefix(GRAPH).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
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
        assert_eq!(file.write_at(2, b"a").unwrap_err().code, Code::Internal, "each byte once");
        assert_eq!(file.write_at(3, b"ab").unwrap_err().code, Code::LayerSizeMismatch);
        assert_eq!(file.write_at(u64::MAX, b"ab").unwrap_err().code, Code::LayerSizeMismatch);
    }

    #[test]
    fn model_is_written_in_parts_and_read_once_sealed() {
        let mut files = OpeningFiles::default();
        let file = files.create("a/b.json", 4).unwrap();
        file.write_at(2, b"cd").unwrap();
        file.place_at(0, 2).unwrap().unwrap().copy_from_slice(b"ab");
        drop(file);
        let sealed = files.seal().unwrap();
        assert_eq!(sealed.get("a/b.json").unwrap().read(4, "file").unwrap(), b"abcd");
        assert!(sealed.get("a").is_none());
    }

    #[test]
    fn model_is_sealed_once_nobody_can_write_it_and_not_before() {
        for path in ["a", "model.onnx_data"] {
            let mut files = OpeningFiles::default();
            let file = files.create(path, 1).unwrap();
            assert_eq!(files.seal().unwrap_err().code, Code::Internal, "{path}");
            drop(file);
            let mut files = OpeningFiles::default();
            drop(files.create(path, 1).unwrap());
            assert!(files.seal().is_ok(), "{path}");
        }
    }

    #[test]
    fn external_data_of_the_graph_has_a_name_in_a_folder_and_nothing_else_has() {
        let mut files = OpeningFiles::default();
        for path in ["model.onnx", "model.onnx_data", "model.onnx.data", "sub/model.onnx_data", "other"] {
            files.create(path, 2).unwrap().write_at(0, b"ab").unwrap();
        }
        let folder = files.external.as_ref().unwrap().path();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "no name before it is verified");
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
        for path in ["a", "model.onnx_data"] {
            let mut files = OpeningFiles::default();
            assert!(files.create(path, 1).is_ok());
            assert_eq!(files.create(path, 1).unwrap_err().code, Code::PathUnsafe);
        }
    }
}
