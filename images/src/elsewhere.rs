//! The same image, built once more where all is different that it must not depend on: that its bytes are those of its inputs.

use crate::debian::Debian;
use crate::inputs::cache;
use crate::programs::{self, ENCLAVE, INIT, Surroundings};
use crate::recipe::Parts;
use crate::tool;
use clap::ValueEnum;
use std::path::Path;
use std::process::Command;
use strongroom_wire::{Code, Refusal, Result};

/// What is built again. Packages are always unpacked and the archive always put together again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Twice {
    /// `strongroom-init`, by the same compilers with the same flags as the rest, and the smaller part of them.
    Init,
    /// Both programs.
    Programs,
}

/// What the image is put together from, made once more:
///
/// - sources, build folder, cargo's home and HOME at other paths, the sources' files in the opposite order of making;
/// - packages unpacked anew, at another path;
/// - another time, and another `SOURCE_DATE_EPOCH`, which nothing looks at;
/// - another locale, time zone and umask; one job instead of one a processor.
///
/// Compilers, kernel, user and processor are this machine's.
///
/// # Errors
/// As the first time.
pub(crate) fn again(twice: Twice, parts: &Parts, scratch: &Path) -> Result<Parts> {
    let present = Surroundings::present()?;
    let io = |path: &Path, e: std::io::Error| Refusal::io(path.display(), &e);
    let (copy, cargo_home, home) =
        (scratch.join("copy-of-the-sources"), scratch.join("home-of-cargo"), scratch.join("home"));
    copy_of_sources(&parts.root, &copy)?;
    std::os::unix::fs::symlink(&present.cargo_home, &cargo_home).map_err(|e| io(&cargo_home, e))?;
    std::fs::create_dir(&home).map_err(|e| io(&home, e))?;
    let mut variables = vec![
        ("HOME", home.into_os_string()),
        ("SOURCE_DATE_EPOCH", "86400".into()),
        ("LC_ALL", "tr_TR.UTF-8".into()),
        ("TZ", "Pacific/Kiritimati".into()),
        ("CARGO_BUILD_JOBS", "1".into()),
    ];
    if let (None, Some(home)) = (std::env::var_os("RUSTUP_HOME"), std::env::var_os("HOME")) {
        variables.push(("RUSTUP_HOME", Path::new(&home).join(".rustup").into_os_string()));
    }
    let surroundings = Surroundings { cargo_home, umask: "077", variables };
    let wanted = match twice {
        Twice::Init => &[INIT][..],
        Twice::Programs => &programs::PACKAGES,
    };
    let built = programs::build(&copy, &scratch.join("elsewhere"), parts.profile, wanted, &surroundings)?;
    if twice == Twice::Init {
        let (from, to) = (parts.programs.join(ENCLAVE), built.join(ENCLAVE));
        std::fs::copy(&from, &to).map_err(|e| io(&from, e))?;
    }
    let mut debian = Debian::new(cache()?);
    let unpacked = parts.packages.iter().rev().map(|unpacked| debian.unpack(&unpacked.package));
    let onnxruntime = parts.onnxruntime.clone();
    let packages = unpacked.collect::<Result<_>>()?;
    Ok(Parts { root: copy, profile: parts.profile, programs: built, packages, onnxruntime })
}

/// What git has of the workspace, as it stands in the working tree.
fn copy_of_sources(root: &Path, to: &Path) -> Result<()> {
    let listed = tool::output(Command::new("git").args(["ls-files", "-z"]).current_dir(root), "git")?;
    let listed = String::from_utf8(listed).map_err(|e| Refusal::malformed("git ls-files", e))?;
    let names: Vec<_> = listed.split_terminator('\0').collect();
    for name in names.into_iter().rev() {
        let (from, to) = (root.join(name), to.join(name));
        std::fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|e| Refusal::io(to.display(), &e))?;
        std::fs::copy(&from, &to).map_err(|e| Refusal::io(from.display(), &e))?;
    }
    Ok(())
}

/// That both times gave the same bytes of `what`.
///
/// # Errors
/// `internal`: they are others.
pub(crate) fn same(what: &str, first: &[u8], second: &[u8]) -> Result<()> {
    if first == second {
        return Ok(());
    }
    let at =
        first.iter().zip(second).position(|(ours, theirs)| ours != theirs).unwrap_or(first.len().min(second.len()));
    let refusal = Refusal::new(Code::Internal, format!("{what}, built twice"));
    Err(refusal
        .got(format!("{} and {} bytes, which differ from byte {at} on", first.len(), second.len()))
        .want("the same bytes"))
}
