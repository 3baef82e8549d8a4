//! Linux' report interface of configfs (`Documentation/ABI/testing/configfs-tsm-report`, Linux 6.7 and later): one folder
//! per request, `inblob` in, `outblob` and `auxblob` out.

use super::Attester;
use aws_lc_rs::rand;
use core::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use strongroom_wire::attester::Quote;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Where configfs shows the interface.
pub const ROOT: &str = "/sys/kernel/config/tsm/report";

/// The kernel's name for SEV-SNP.
const PROVIDER: &str = "sev_guest";

/// How requests' folders are made, read and written. In configfs the kernel acts at each of these calls, which a test's tree
/// has to do by itself.
pub trait Tree: Send + Sync + fmt::Debug {
    /// Makes a folder; the kernel fills it with attributes.
    ///
    /// # Errors
    /// The system call's.
    fn create(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    /// Writes an attribute, in one piece.
    ///
    /// # Errors
    /// The system call's.
    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(attribute, bytes)
    }

    /// Reads an attribute up to `most` bytes.
    ///
    /// # Errors
    /// The system call's.
    fn read(&self, attribute: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(attribute)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a folder with the attributes in it, which frees what the kernel keeps for it.
    ///
    /// # Errors
    /// The system call's.
    fn remove(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }
}

/// configfs as Linux mounts it.
#[derive(Debug, Clone, Copy)]
pub struct Kernel;

impl Tree for Kernel {}

/// The interface below a folder, [`ROOT`] outside tests.
#[derive(Debug)]
pub struct ConfigfsTsm<T = Kernel> {
    root: PathBuf,
    tree: T,
}

impl<T: Tree> ConfigfsTsm<T> {
    /// The interface below `root` of `tree`.
    pub fn new(root: &Path, tree: T) -> Self {
        Self { root: root.to_owned(), tree }
    }
}

impl<T: Tree> Attester for ConfigfsTsm<T> {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
        let entry = Entry::create(&self.root, &self.tree)?;
        let provider = entry.read("provider", 64)?;
        if provider.trim_ascii_end() != PROVIDER.as_bytes() {
            let got = String::from_utf8_lossy(&provider);
            return Err(Refusal::new(Code::PlatformUnsupported, "tsm provider").got(got.trim_end()).want(PROVIDER));
        }
        let before = entry.generation()?;
        entry.write("inblob", report_data)?;
        let evidence = entry.read("outblob", limits::EVIDENCE)?;
        let certificates = entry.read("auxblob", limits::CERTIFICATE_TABLE)?;
        // The kernel counts writes. Any but our one means that someone else shares the folder, and the blobs may be theirs.
        let (after, want) = (entry.generation()?, before.wrapping_add(1));
        if after != want {
            return Err(Refusal::new(Code::AttesterFailed, "tsm generation").got(after).want(want));
        }
        Ok(Quote { evidence, certificates })
    }
}

/// A request's folder, removed when it is dropped.
struct Entry<'a> {
    folder: PathBuf,
    tree: &'a dyn Tree,
}

impl<'a> Entry<'a> {
    fn create(root: &Path, tree: &'a dyn Tree) -> Result<Self> {
        let mut name = [0; 8];
        rand::fill(&mut name).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
        let folder = root.join(format!("strongroom-{}", hex::encode(name)));
        tree.create(&folder).map_err(|e| failed(&folder, &e))?;
        Ok(Self { folder, tree })
    }

    fn generation(&self) -> Result<u64> {
        let bytes = self.read("generation", 32)?;
        let text = core::str::from_utf8(&bytes).map_err(|e| Refusal::malformed("tsm generation", e))?;
        text.trim().parse().map_err(|e| Refusal::malformed("tsm generation", e))
    }

    fn write(&self, attribute: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(attribute);
        self.tree.write(&path, bytes).map_err(|e| failed(&path, &e))
    }

    fn read(&self, attribute: &str, limit: usize) -> Result<Vec<u8>> {
        let path = self.folder.join(attribute);
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let bytes = self.tree.read(&path, most).map_err(|e| failed(&path, &e))?;
        if bytes.len() > limit {
            return Err(Refusal::too_large(format!("tsm {attribute}"), format!("more than {limit}"), limit));
        }
        Ok(bytes)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // The answer is not changed by a folder that stays; it costs kernel memory, and the operator may want to know.
        if let Err(error) = self.tree.remove(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "tsm folder not removed");
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Code::AttesterFailed, format!("`{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does in a plain folder what the kernel does in configfs.
    #[derive(Debug)]
    struct Played {
        provider: &'static str,
        /// How far the generation moves at one write: more than one where another process writes too.
        writes: u64,
        outblob: usize,
    }

    const PROPER: Played = Played { provider: "sev_guest\n", writes: 1, outblob: 1184 };

    impl Tree for Played {
        fn create(&self, folder: &Path) -> io::Result<()> {
            fs::create_dir(folder)?;
            fs::write(folder.join("provider"), self.provider)?;
            fs::write(folder.join("generation"), "4\n")
        }

        fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
            assert_eq!(attribute.file_name().unwrap(), "inblob");
            let folder = attribute.parent().unwrap();
            let mut outblob = bytes.to_vec();
            outblob.resize(self.outblob, 0xee);
            fs::write(folder.join("outblob"), outblob)?;
            fs::write(folder.join("auxblob"), b"table")?;
            fs::write(folder.join("generation"), format!("{}\n", 4 + self.writes))
        }

        fn remove(&self, folder: &Path) -> io::Result<()> {
            fs::remove_dir_all(folder)
        }
    }

    fn quote(tree: Played) -> Result<Quote> {
        let root = tempfile::tempdir().unwrap();
        let quote = ConfigfsTsm::new(root.path(), tree).quote(&[5; 64]);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "folder left behind");
        quote
    }

    #[test]
    fn report_data_goes_in_and_evidence_and_table_come_back() {
        let quote = quote(PROPER).unwrap();
        assert_eq!(quote.evidence[..64], [5; 64]);
        assert_eq!(quote.evidence.len(), 1184);
        assert_eq!(quote.certificates, b"table");
    }

    #[test]
    fn provider_of_another_platform_refused() {
        let refusal = quote(Played { provider: "tdx_guest\n", ..PROPER }).unwrap_err();
        assert_eq!(refusal.code, Code::PlatformUnsupported);
        assert_eq!(refusal.got.as_deref(), Some("tdx_guest"));
    }

    #[test]
    fn folder_that_somebody_else_wrote_to_refused() {
        assert_eq!(quote(Played { writes: 2, ..PROPER }).unwrap_err().code, Code::AttesterFailed);
    }

    #[test]
    fn outblob_over_the_limit_refused() {
        assert!(quote(Played { outblob: limits::EVIDENCE, ..PROPER }).is_ok());
        let refusal = quote(Played { outblob: limits::EVIDENCE + 1, ..PROPER }).unwrap_err();
        assert_eq!(refusal.code, Code::TooLarge);
    }

    #[test]
    fn machine_without_the_interface_refused() {
        let attester = ConfigfsTsm::new(Path::new("/nonexistent/tsm/report"), Kernel);
        assert_eq!(attester.quote(&[5; 64]).unwrap_err().code, Code::AttesterFailed);
    }
}
