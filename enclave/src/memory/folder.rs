//! A folder in memory, for files that are found by their names alone.
//!
//! ONNX Runtime reads a graph's external data from a path beside the graph, and resolves that path first, which no memfd
//! survives: `/proc/self/fd/N` resolves to a name that nothing has. So these files are of a tmpfs, in a folder that is ours alone.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstatfs, linkat, mkdirat, openat};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use strongroom_sys::memory::Memory;
use strongroom_wire::{Code, Refusal, Result};

/// Where a tmpfs is mounted on Linux.
const PLACE: &str = "/dev/shm";
/// `statfs(2)`: `TMPFS_MAGIC`.
const TMPFS: i64 = 0x0102_1994;

/// A folder of a tmpfs that nobody else may enter. Dropped, it is removed with all that is in it; what was mapped stays mapped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// An empty one.
    ///
    /// # Errors
    /// `io` there is no tmpfs where one is, or it takes no folder.
    pub fn create() -> Result<Self> {
        Self::create_in(Path::new(PLACE))
    }

    fn create_in(place: &Path) -> Result<Self> {
        let failed = |e| Refusal::new(Code::Io, format!("`{}`", place.display())).because(e);
        let opened = openat(CWD, place, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let kind = fstatfs(&opened).map_err(failed)?.f_type;
        if kind != TMPFS {
            let refusal = Refusal::new(Code::Io, format!("file system of `{}`", place.display()));
            return Err(refusal.got(format!("{kind:#x}")).want("tmpfs: weights are written to memory alone"));
        }
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::new(Code::Internal, "random generator"))?;
        let name = format!("strongroom-{}", hex::encode(random));
        mkdirat(&opened, &name, Mode::RWXU).map_err(failed)?;
        Ok(Self { path: place.join(name) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of `len` zero bytes that is to be in it, and has no name yet.
    ///
    /// # Errors
    /// `io` no file descriptor or addresses left.
    pub fn unnamed(&self, len: u64) -> Result<Memory> {
        Memory::unnamed(&self.path, len).map_err(|e| failed(&e))
    }

    /// Gives a file that was [`Self::unnamed`] the name `name`, which is one component of a path.
    ///
    /// # Errors
    /// `io` there is one of that name; there is no `/proc`.
    pub fn name(&self, name: &str, file: &File) -> Result<()> {
        // What linkat(2) names for who has no CAP_DAC_READ_SEARCH.
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        let linked = linkat(CWD, from, CWD, self.path.join(name), AtFlags::SYMLINK_FOLLOW);
        linked.map_err(|e| failed(&e.into()))
    }
}

fn failed(error: &std::io::Error) -> Refusal {
    Refusal::io("file in memory", error)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "a folder in memory was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn folder_is_ours_alone_and_gone_when_dropped() {
        let folder = Folder::create().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let file = folder.unnamed(5).unwrap().finish();
        assert!(!path.join("a").exists());
        folder.name("a", &file).unwrap();
        let metadata = std::fs::metadata(path.join("a")).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (5, 0o600));
        assert_eq!(folder.name("a", &file).unwrap_err().code, Code::Io);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn place_that_is_no_tmpfs_refused() {
        assert_eq!(Folder::create_in(Path::new("/proc")).unwrap_err().code, Code::Io);
        assert_eq!(Folder::create_in(Path::new("/nowhere")).unwrap_err().code, Code::Io);
    }
}
