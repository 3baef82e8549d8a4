//! The workspace's own programs, built so that the same sources give the same bytes wherever they stand.

use crate::tool::{self, text};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::{Code, Refusal, Result};

/// The first process of the guest.
pub(crate) const INIT: &str = "strongroom-init";
/// What it runs.
pub(crate) const ENCLAVE: &str = "strongroom-enclave";
/// What is in the guest, and what the test segment adds.
pub(crate) const IN_THE_IMAGE: [&str; 2] = [ENCLAVE, INIT];
/// The test segment's own.
pub(crate) const BRIDGE: &str = "strongroom-bridge";
/// The packages they are of.
pub(crate) const PACKAGES: [&str; 2] = [ENCLAVE, INIT];

/// Variables that a build is given from its surroundings: where its tools are, and how they reach their registry. No other one is, since
/// what a compiler is told there (`CFLAGS`, `RUSTC_WRAPPER`, `CARGO_PROFILE_…`) would be in the programs and in no source.
const PASSED: [&str; 5] = ["PATH", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];
const PASSED_BEGINNINGS: [&str; 5] =
    ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"];

/// How programs are compiled: a profile of the workspace's `Cargo.toml`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// For guests: optimised across crates.
    Image,
    /// For tests, which boot what was built a moment ago: each crate by itself.
    ImageTest,
}

impl Profile {
    /// What cargo calls it, and the folder that it has below the build's.
    const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::ImageTest => "image-test",
        }
    }
}

/// What a build must not depend on.
pub(crate) struct Surroundings {
    /// Where cargo keeps what it fetched.
    pub(crate) cargo_home: PathBuf,
    /// What new files are not (`umask(2)`), in octal digits.
    pub(crate) umask: &'static str,
    /// Further variables.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// `usage`: nothing says where cargo's home is.
    pub(crate) fn present() -> Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let home = home.ok_or_else(|| Refusal::new(Code::Usage, "cargo").got("no HOME").want("CARGO_HOME"))?;
        Ok(Self { cargo_home: home, umask: "022", variables: Vec::new() })
    }

    /// A command in them: with the variables that are named here, and no others.
    fn command(&self, program: &OsStr) -> Command {
        // What is allowed to new files is the process's own, which a shell can change without a word of unsafe code.
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {}; exec \"$0\" \"$@\"", self.umask)]).arg(program).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| is_passed(&name.to_string_lossy())));
        command.env("CARGO_HOME", &self.cargo_home).env("LC_ALL", "C").env("TZ", "UTC");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn is_passed(name: &str) -> bool {
    PASSED.contains(&name)
        || PASSED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// Builds the programs of `packages` of the workspace at `root` below `target`, and gives where they are.
///
/// Paths of this machine become names: of the sources, of cargo's home and of the build folder, in Rust and in C.
///
/// # Errors
/// `io`: cargo cannot be run, or failed.
pub(crate) fn build(
    root: &Path,
    target: &Path,
    profile: Profile,
    packages: &[&str],
    surroundings: &Surroundings,
) -> Result<PathBuf> {
    let programs = target.join(profile.name());
    for program in IN_THE_IMAGE.iter().chain([&BRIDGE]) {
        // Whatever a configuration of cargo's says of where to build: what is packed is what this build wrote.
        let _ = std::fs::remove_file(programs.join(program));
    }
    let home = &surroundings.cargo_home;
    let behind = home.canonicalize().map_err(|e| Refusal::io(home.display(), &e))?;
    // Later ones win where one is inside another.
    let names =
        [(text(home)?, "/cargo"), (text(&behind)?, "/cargo"), (text(root)?, "/strongroom"), (text(target)?, "/target")];
    let rust: Vec<String> = names.iter().map(|(path, name)| format!("--remap-path-prefix={path}={name}")).collect();
    let c: Vec<String> = names.iter().map(|(path, name)| format!("-ffile-prefix-map={path}={name}")).collect();
    let mut cargo = surroundings.command(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--profile", profile.name(), "--bins"]);
    cargo.args(["--target-dir", text(target)?]).current_dir(root);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}")).env("CFLAGS", c.join(" ")).env("CXXFLAGS", c.join(" "));
    cargo.env("CARGO_INCREMENTAL", "0");
    tool::output(&mut cargo, "cargo")?;
    Ok(programs)
}

/// Name and version of every crate that is in the programs, with the digest that the lock has of it. Ours have none, and neither has the
/// compiler's own `std`, whose version is the compiler's.
///
/// # Errors
/// `io`, `malformed`.
pub(crate) fn crates(root: &Path) -> Result<BTreeMap<(String, String), Option<String>>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"])
        .current_dir(root);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let tree = tool::output(&mut cargo, "cargo")?;
    let lock: toml::Table = String::from_utf8_lossy(&tool::read(&root.join("Cargo.lock"))?)
        .parse()
        .map_err(|e| Refusal::malformed("Cargo.lock", e))?;
    let digest = |name: &str, version: &str| {
        let packages = lock.get("package")?.as_array()?;
        let is = |package: &&toml::Value| {
            let field = |field| package.get(field).and_then(toml::Value::as_str);
            (field("name"), field("version")) == (Some(name), Some(version))
        };
        Some(packages.iter().find(is)?.get("checksum")?.as_str()?.to_owned())
    };
    let tree = String::from_utf8_lossy(&tree).into_owned();
    let named = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?.strip_prefix('v')?))
    });
    let named = named.map(|(name, version)| ((name.to_owned(), version.to_owned()), digest(name, version)));
    let compiler = tool::output(Command::new("rustc").arg("--version").current_dir(root), "rustc")?;
    let version = String::from_utf8_lossy(&compiler).split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(named.chain([(("std".to_owned(), version), None)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_is_told_what_is_named_here_and_nothing_else_of_its_surroundings() {
        // Cargo tells tests of themselves.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let variables = vec![("SOURCE_DATE_EPOCH", "7".into())];
        let surroundings = Surroundings { cargo_home: "/c".into(), umask: "077", variables };
        let told = tool::output(&mut surroundings.command("env".as_ref()), "coreutils").unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(
            ["CARGO_HOME=/c\n", "LC_ALL=C\n", "SOURCE_DATE_EPOCH=7\n", "PATH="].iter().all(|line| told.contains(line))
        );
        assert!(!told.contains("CARGO_PKG_NAME"), "{told}");
        for name in ["CFLAGS", "CC", "RUSTC_WRAPPER", "RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_PROFILE_IMAGE_LTO"] {
            assert!(!is_passed(name), "{name}");
        }
        assert!(is_passed("https_proxy") && is_passed("CARGO_NET_OFFLINE"));
        let mask = tool::output(surroundings.command("sh".as_ref()).args(["-c", "umask"]), "dash").unwrap();
        assert_eq!(mask.trim_ascii(), b"0077");
    }

    #[test]
    fn crates_in_the_programs_are_listed_and_those_that_only_build_them_are_not() {
        let crates = crates(&tool::workspace().unwrap()).unwrap();
        let has = |wanted: &str| crates.keys().any(|(name, _)| name == wanted);
        assert!(has("rustls") && has("strongroom-wire") && has("std"));
        assert!(!has("serde_derive") && !has("clap_derive"));
    }
}
