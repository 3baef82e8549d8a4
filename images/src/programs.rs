//! The workspace's own programs, built so that the same sources give the same bytes wherever they stand.

use crate::tool::{self, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::{Code, Refusal, Result};

/// What is in the guest, and what the test segment adds.
pub(crate) const IN_THE_IMAGE: [&str; 2] = ["strongroom-enclave", "strongroom-init"];
/// The test segment's own.
pub(crate) const BRIDGE: &str = "strongroom-bridge";
/// The packages they are of.
pub(crate) const PACKAGES: [&str; 2] = ["strongroom-enclave", "strongroom-init"];

/// Builds the programs of the workspace at `root` below `target`, and gives where they are.
///
/// Paths of this machine become names: of the sources, of cargo's home and of the build folder, in Rust and in C.
///
/// # Errors
/// `io`: cargo cannot be run, or failed.
pub(crate) fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let programs = target.join("image");
    for program in IN_THE_IMAGE.iter().chain([&BRIDGE]) {
        // Whatever cargo is told by its surroundings: what is packed is what this build wrote.
        let _ = std::fs::remove_file(programs.join(program));
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let home = home.ok_or_else(|| Refusal::new(Code::Usage, "cargo").got("no HOME").want("CARGO_HOME"))?;
    // Later ones win where one is inside another.
    let names = [(text(&home)?, "/cargo"), (text(root)?, "/strongroom"), (text(target)?, "/target")];
    let rust: Vec<String> = names.iter().map(|(path, name)| format!("--remap-path-prefix={path}={name}")).collect();
    let c: Vec<String> = names.iter().map(|(path, name)| format!("-ffile-prefix-map={path}={name}")).collect();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--profile", "image", "--bins", "--target-dir", text(target)?]).current_dir(root);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}")).env("CFLAGS", c.join(" ")).env("CARGO_INCREMENTAL", "0");
    tool::output(&mut cargo, "cargo")?;
    Ok(programs)
}

/// Name and version of every crate that is in the programs, with the digest that the lock has of it; ours have none.
///
/// # Errors
/// `io`, `malformed`.
pub(crate) fn crates(root: &Path) -> Result<BTreeMap<(String, String), Option<String>>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]).current_dir(root);
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
    Ok(named.map(|(name, version)| ((name.to_owned(), version.to_owned()), digest(name, version))).collect())
}
