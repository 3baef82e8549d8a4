//! Packages of Debian's suites, through apt with lists of its own: apt checks the archive's signature, the lock the digest.

use crate::inputs::{Inputs, KERNEL, Package, Unpacked};
use crate::tool::{self, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Always depends on the kernel that is current.
const CURRENT_KERNEL: &str = "linux-image-cloud-amd64";

/// The archive, asked once for each suite.
pub(crate) struct Debian {
    cache: PathBuf,
    configurations: BTreeMap<String, PathBuf>,
}

impl Debian {
    pub(crate) const fn new(cache: PathBuf) -> Self {
        Self { cache, configurations: BTreeMap::new() }
    }

    /// The package, from the cache or the archive, unpacked.
    ///
    /// # Errors
    /// `network`: the archive has another version now, or none; `io`: it cannot be asked.
    pub(crate) fn unpack(&mut self, package: &Package) -> Result<Unpacked> {
        let file = self.cache.join(format!("{}.deb", package.sha256));
        if !file.is_file() || Sha256::of(&tool::read(&file)?) != package.sha256 {
            self.download(package, &file)?;
        }
        let folder = tempfile::tempdir_in(&self.cache).map_err(|e| Refusal::io(self.cache.display(), &e))?;
        tool::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(folder.path()), "dpkg")?;
        Ok(Unpacked { package: package.clone(), folder })
    }

    fn download(&mut self, package: &Package, to: &Path) -> Result<()> {
        let present = self.present(&package.name, &package.suite)?;
        if present.as_ref() != Some(package) {
            let got = present.map_or_else(|| "none".to_owned(), |present| present.version);
            return Err(Refusal::new(Code::Network, format!("{} of Debian {}", package.name, package.suite))
                .got(got)
                .want(format!(
                    "{}; `make image-update` takes the present one and says what changes",
                    package.version
                )));
        }
        let scratch = tempfile::tempdir_in(&self.cache).map_err(|e| Refusal::io(self.cache.display(), &e))?;
        let mut apt = self.apt("apt-get", &package.suite)?;
        let wanted = format!("{}={}", package.name, package.version);
        tool::output(apt.args(["-qq", "download", &wanted]).current_dir(scratch.path()), "apt")?;
        let entry = std::fs::read_dir(scratch.path()).ok().and_then(|mut entries| entries.next()?.ok());
        let got = entry.ok_or_else(|| Refusal::new(Code::Io, wanted).got("no file of apt-get's"))?.path();
        let digest = Sha256::of(&tool::read(&got)?);
        if digest != package.sha256 {
            return Err(Refusal::new(Code::Malformed, package.name.clone()).got(digest).want(package.sha256));
        }
        std::fs::rename(&got, to).map_err(|e| Refusal::io(to.display(), &e))
    }

    /// What the suite has now under the name, if anything.
    ///
    /// # Errors
    /// `io`: the lists cannot be had; `malformed`.
    fn present(&mut self, name: &str, suite: &str) -> Result<Option<Package>> {
        // Nothing, and success, for a name that the lists do not have.
        let known = tool::output(self.apt("apt-cache", suite)?.args(["pkgnames", name]), "apt")?;
        if !String::from_utf8_lossy(&known).lines().any(|known| known == name) {
            return Ok(None);
        }
        let shown = tool::output(self.apt("apt-cache", suite)?.args(["show", "--no-all-versions", name]), "apt")?;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let field = |field: &str| {
            let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
            value.ok_or_else(|| Refusal::malformed(name, format!("no {field} in the lists of {suite}")))
        };
        let (version, sha256) = (field("Version")?.to_owned(), Sha256::from_hex(field("SHA256")?)?);
        Ok(Some(Package { name: name.to_owned(), suite: suite.to_owned(), version, sha256 }))
    }

    /// The same inputs as the archive has them now, of the time `now`.
    ///
    /// # Errors
    /// As [`Self::present`]; `network`: a package is no longer there.
    pub(crate) fn update(&mut self, inputs: &Inputs, now: u64) -> Result<Inputs> {
        let mut packages = Vec::new();
        for package in &inputs.packages {
            let name =
                if package.role() == KERNEL { self.current_kernel(&package.suite)? } else { package.name.clone() };
            let none = || Refusal::new(Code::Network, format!("{name} of Debian {}", package.suite)).got("none");
            packages.push(self.present(&name, &package.suite)?.ok_or_else(none)?);
        }
        let epoch = if packages == inputs.packages { inputs.epoch } else { now };
        Ok(Inputs { epoch, packages })
    }

    fn current_kernel(&mut self, suite: &str) -> Result<String> {
        let depends =
            tool::output(self.apt("apt-cache", suite)?.args(["depends", "--important", CURRENT_KERNEL]), "apt")?;
        let depends = String::from_utf8_lossy(&depends).into_owned();
        let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let name = name.filter(|name| name.starts_with("linux-image-"));
        name.map(str::to_owned).ok_or_else(|| Refusal::malformed(CURRENT_KERNEL, "depends on no kernel"))
    }

    /// A command of apt's with the lists of this suite alone, which are fetched when they are first needed. The system's stay as
    /// they are, and its configuration is not read (`APT_CONFIG` comes before all of it): what that allows, such as packages that
    /// nobody signed, is not allowed here.
    fn apt(&mut self, program: &str, suite: &str) -> Result<Command> {
        let configuration = match self.configurations.get(suite) {
            Some(configuration) => configuration.clone(),
            None => {
                let configuration = self.configure(suite)?;
                let mut update = Command::new("apt-get");
                tool::output(update.env("APT_CONFIG", &configuration).args(["-qq", "update"]), "apt")?;
                self.configurations.insert(suite.to_owned(), configuration.clone());
                configuration
            }
        };
        let mut command = Command::new(program);
        command.env("APT_CONFIG", configuration);
        Ok(command)
    }

    fn configure(&self, suite: &str) -> Result<PathBuf> {
        let state = self.cache.join(format!("apt-{suite}"));
        for folder in ["lists/partial", "archives/partial"] {
            let folder = state.join(folder);
            std::fs::create_dir_all(&folder).map_err(|e| Refusal::io(folder.display(), &e))?;
        }
        tool::write(&state.join("status"), "")?;
        let mirror = mirror()?;
        tool::write(
            &state.join("sources.list"),
            format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        let state = text(&state)?;
        let configuration = self.cache.join(format!("apt-{suite}.conf"));
        let user = tool::output(Command::new("id").arg("-un"), "coreutils")?;
        let lines = format!(
            "Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"/dev/null\";\nDir::Etc::SourceList \"{state}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\nDir::State \"{state}\";\n\
             Dir::State::Lists \"{state}/lists\";\nDir::State::Status \"{state}/status\";\nDir::Cache \"{state}\";\n\
             Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nAcquire::Languages \"none\";\n\
             APT::Architecture \"amd64\";\nAPT::Sandbox::User \"{}\";\n",
            String::from_utf8_lossy(&user).trim(),
        );
        tool::write(&configuration, lines)?;
        Ok(configuration)
    }
}

/// The mirror of the suite that this machine runs: the first suite without a `-security` or `-updates` to its name.
fn mirror() -> Result<String> {
    let format = ["indextargets", "--no-release-info", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"];
    let targets = tool::output(Command::new("apt-get").args(format), "apt")?;
    let targets = String::from_utf8_lossy(&targets).into_owned();
    let own = targets.lines().filter_map(|line| line.split_once(' ')).find(|(release, _)| !release.contains('-'));
    own.map(|(_, uri)| uri.to_owned())
        .ok_or_else(|| Refusal::new(Code::Io, "apt").got("no suite in its sources").want("a machine that runs Debian"))
}
