//! `images/inputs.lock`: the packages of others that the image is made of, by their digests.

use crate::tool;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document};

/// The longest lock file that is read.
const LIMIT: usize = 64 * 1024;
const HEAD: &str = "# What the guest image is made of besides this workspace. `make image-update` takes what Debian has now.\n\n\
                    # Seconds since 1970: the time of every file in the image. A guest whose clock is before it does not know the time.\n";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inputs {
    pub(crate) epoch: u64,
    #[serde(rename = "package")]
    pub(crate) packages: Vec<Package>,
}

/// A package of Debian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Whose lists have it.
    pub(crate) suite: String,
    pub(crate) version: String,
    pub(crate) sha256: Sha256,
}

impl Inputs {
    /// Reads the lock of the workspace.
    ///
    /// # Errors
    /// `io`, `too-large`, `unknown-field`, `configuration-invalid`.
    pub(crate) fn load() -> Result<Self> {
        let path = Self::path()?;
        let parsed = document::parse_toml(&tool::read(&path)?, "inputs", LIMIT, Code::ConfigurationInvalid);
        parsed.map_err(|refusal: Refusal| refusal.within(path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn save(&self) -> Result<()> {
        let body = toml::to_string(self).map_err(|e| Refusal::new(Code::Internal, "inputs").because(e))?;
        tool::write(&Self::path()?, format!("{HEAD}{body}"))
    }

    fn path() -> Result<PathBuf> {
        Ok(tool::workspace()?.join("images/inputs.lock"))
    }

    /// What moved from these inputs to others: a line for each package, of which there are as many, in the same order.
    pub(crate) fn moved_to(&self, others: &Self) -> Vec<String> {
        let pairs = self.packages.iter().zip(&others.packages).filter(|(ours, theirs)| ours != theirs);
        let name = |package: &Package| format!("{} {}", package.name, package.version);
        pairs.map(|(ours, theirs)| format!("{} -> {}", name(ours), name(theirs))).collect()
    }
}

impl Package {
    /// What it is for, whatever its version: the kernel's name has one in it.
    pub(crate) fn role(&self) -> &str {
        if self.name.starts_with("linux-image-") { KERNEL } else { &self.name }
    }
}

/// The role of the package with the kernel.
pub(crate) const KERNEL: &str = "linux-image";

/// A package's files, unpacked.
pub(crate) struct Unpacked {
    pub(crate) package: Package,
    pub(crate) folder: tempfile::TempDir,
}

impl Unpacked {
    /// One of its files.
    ///
    /// # Errors
    /// `io`; `malformed`: it leads out of the package.
    pub(crate) fn file(&self, path: &str) -> Result<Vec<u8>> {
        tool::read(&self.inside(&self.folder.path().join(path))?)
    }

    /// Where a path of its leads, which is inside it: a link that leaves it would take a file of this machine into the image.
    fn inside(&self, path: &Path) -> Result<PathBuf> {
        let canonical = |path: &Path| path.canonicalize().map_err(|e| Refusal::io(path.display(), &e));
        let (root, path) = (canonical(self.folder.path())?, canonical(path)?);
        if path.starts_with(&root) {
            return Ok(path);
        }
        Err(Refusal::malformed(&self.package.name, format!("a link in it leads to {}", path.display())))
    }

    /// The one entry of a folder of its.
    ///
    /// # Errors
    /// `io`; `malformed` there is none, or another one too, whose name begins so.
    pub(crate) fn only(&self, folder: &str, prefix: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(folder);
        let entries = std::fs::read_dir(&folder).map_err(|e| Refusal::io(folder.display(), &e))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        let mut found = paths.filter(named);
        match (found.next(), found.next()) {
            (Some(path), None) => self.inside(&path),
            _ => Err(Refusal::malformed(&self.package.name, format!("not one `{prefix}…` in {}", folder.display()))),
        }
    }
}

/// Where downloads are kept: `${STRONGROOM_CACHE:-${XDG_CACHE_HOME:-~/.cache}/strongroom}/image`.
///
/// # Errors
/// `usage`: neither variable is set, nor HOME.
pub(crate) fn cache() -> Result<PathBuf> {
    let of = |variable: &str, rest: &str| std::env::var_os(variable).map(|path| Path::new(&path).join(rest));
    let cache = of("STRONGROOM_CACHE", "").or_else(|| of("XDG_CACHE_HOME", "strongroom"));
    let cache = cache.or_else(|| of("HOME", ".cache/strongroom"));
    let cache = cache.ok_or_else(|| Refusal::new(Code::Usage, "cache").got("no HOME").want("STRONGROOM_CACHE"))?;
    let folder = cache.join("image");
    std::fs::create_dir_all(&folder).map_err(|e| Refusal::io(folder.display(), &e))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_of_the_workspace_has_a_kernel_its_libraries_both_firmwares_and_what_a_disk_starts() {
        let inputs = Inputs::load().unwrap();
        let roles: Vec<_> = inputs.packages.iter().map(Package::role).collect();
        assert_eq!(
            roles,
            [KERNEL, "libc6", "libgcc-s1", "libstdc++6", "ovmf-amdsev", "ovmf-inteltdx", "systemd-boot-efi"]
        );
        let written = format!("{HEAD}{}", toml::to_string(&inputs).unwrap());
        assert_eq!(written.into_bytes(), tool::read(&Inputs::path().unwrap()).unwrap(), "as `save` writes it");
    }

    #[test]
    fn link_inside_a_package_is_followed_and_one_that_leaves_it_refused() {
        let package = Inputs::load().unwrap().packages[0].clone();
        let unpacked = Unpacked { package, folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| unpacked.folder.path().join(name);
        std::fs::write(at("file"), b"of the package").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", at("out")).unwrap();
        assert_eq!(unpacked.file("link").unwrap(), b"of the package");
        assert_eq!(unpacked.file("out").unwrap_err().code, Code::Malformed);
        assert_eq!(unpacked.only("", "out").unwrap_err().code, Code::Malformed);
        assert!(unpacked.only("", "link").is_ok());
    }

    #[test]
    fn package_that_moved_is_named_with_both_versions_and_others_are_not() {
        let inputs = Inputs::load().unwrap();
        let mut others = inputs.clone();
        assert_eq!(inputs.moved_to(&others), Vec::<String>::new());
        others.packages[1].version = "9".to_owned();
        let version = &inputs.packages[1].version;
        assert_eq!(inputs.moved_to(&others), [format!("libc6 {version} -> libc6 9")]);
    }
}
