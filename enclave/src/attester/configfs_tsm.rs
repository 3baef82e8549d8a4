//! Linux' report interface of configfs (`Documentation/ABI/testing/configfs-tsm-report`, Linux 6.7 and later): one folder
//! per request, `inblob` in, `outblob` and, on SNP, `auxblob` out; and TDREPORT, which has no place in it.

use super::Attester;
use aws_lc_rs::rand;
use core::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use strongroom_sys::tdx;
use strongroom_wire::attester::Quote;
use strongroom_wire::kbs::Tee;
use strongroom_wire::tdx::LocalReport;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Where configfs shows the interface.
pub const ROOT: &str = "/sys/kernel/config/tsm/report";

/// The platforms, by the names of the kernel's drivers.
const PROVIDERS: [(&str, Tee); 2] = [("sev_guest", Tee::Snp), ("tdx_guest", Tee::Tdx)];

/// How requests' folders are made, read and written, and TDX' module is asked. The kernel acts at each of these calls, which a test
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

    /// TDREPORT with this REPORTDATA, of TDX' module.
    ///
    /// # Errors
    /// The system call's.
    fn td_report(&self, report_data: &[u8; tdx::REPORT_DATA]) -> io::Result<[u8; tdx::REPORT]> {
        tdx::report(&fs::File::open(tdx::DEVICE)?, report_data)
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
    tee: Tee,
}

impl<T: Tree> ConfigfsTsm<T> {
    /// The interface below `root` of `tree`, which says whose it is.
    ///
    /// # Errors
    /// `attester-failed` there is none; `platform-unsupported` it is of a platform that is not spoken here.
    pub fn open(root: &Path, tree: T) -> Result<Self> {
        let tee = Entry::create(root, &tree)?.provider()?;
        Ok(Self { root: root.to_owned(), tree, tee })
    }
}

impl<T: Tree> Attester for ConfigfsTsm<T> {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
        let entry = Entry::create(&self.root, &self.tree)?;
        let provider = entry.provider()?;
        if provider != self.tee {
            let got = provider.platform();
            return Err(Refusal::new(Code::AttesterFailed, "tsm provider").got(got).want(self.tee.platform()));
        }
        let before = entry.generation()?;
        let (evidence, certificates, writes) = match self.tee {
            Tee::Snp => {
                // The level is in the report. A kernel below a module of its host's or its own (SVSM) cannot ask at 0, and says so.
                entry.write("privlevel", b"0")?;
                entry.write("inblob", report_data)?;
                (entry.read("outblob", limits::EVIDENCE)?, entry.read("auxblob", limits::CERTIFICATE_TABLE)?, 2)
            }
            // TDX has neither levels nor a table.
            _ => {
                entry.write("inblob", report_data)?;
                (entry.read("outblob", limits::EVIDENCE)?, Vec::new(), 1)
            }
        };
        // The kernel counts writes. Any but ours mean that someone else shares the folder, and the blobs may be theirs.
        let (after, want) = (entry.generation()?, before.wrapping_add(writes));
        if after != want {
            return Err(Refusal::new(Code::AttesterFailed, "tsm generation").got(after).want(want));
        }
        Ok(Quote { evidence, certificates })
    }

    fn tee(&self) -> Tee {
        self.tee
    }

    fn local_report(&self, report_data: &[u8; 64]) -> Result<LocalReport> {
        let report = self.tree.td_report(report_data).map_err(|e| failed(Path::new(tdx::DEVICE), &e))?;
        LocalReport::parse(&report)
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

    fn provider(&self) -> Result<Tee> {
        let provider = self.read("provider", 64)?;
        let provider = String::from_utf8_lossy(&provider);
        let known = PROVIDERS.into_iter().find(|(name, _)| *name == provider.trim_end());
        known.map(|(_, tee)| tee).ok_or_else(|| {
            let want = PROVIDERS.map(|(name, _)| name).join(" or ");
            Refusal::new(Code::PlatformUnsupported, "tsm provider").got(provider.trim_end()).want(want)
        })
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
pub(crate) mod tests;
