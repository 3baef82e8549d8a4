//! The build recipe.

use crate::cpio::{Tree, archive};
use crate::debian::Debian;
use crate::image::Image;
use crate::inputs::{Inputs, Package, Unpacked, cache};
use crate::{contents, listing, measured, programs, tool};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// What a build is told.
#[derive(Args)]
pub(crate) struct Build {
    /// The folder that becomes the image.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    out: PathBuf,
    /// Where the programs are built.
    #[arg(long, value_name = "DIR", default_value = "target/image-build")]
    programs: PathBuf,
    /// ONNX Runtime's shared library, the one that `dev/setup/inputs.lock` names; by default what ORT_LIB says.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Where the archive has dropped what the lock names take what it has now, and say so.
    #[arg(long)]
    present: bool,
    /// Build the programs once more, from a copy of the sources at another path, and refuse where the archive is another one.
    #[arg(long)]
    twice: bool,
    /// The key that signs the reference values; without one a key is made beside the image.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

/// 1. Inputs: Debian's packages by the digests of the lock, ONNX Runtime by that of its own.
/// 2. Programs: built from this workspace, without a path of this machine.
/// 3. Contents: one tree, and nothing in it that has no use.
/// 4. Archive: the same tree gives the same bytes, and, where that is to be proven, the same sources at another place too.
/// 5. Listing: every file by its digest, and the bill of materials.
/// 6. Measure: what hardware must measure when it launches this, as reference values, signed.
pub(crate) fn build(arguments: &Build) -> Result<Image> {
    let root = tool::workspace()?;

    // 1
    let (inputs, packages) = inputs(arguments.present)?;
    let (onnxruntime, version) = runtime(arguments.onnxruntime.as_deref(), &root)?;

    // 2
    let target = std::path::absolute(&arguments.programs).map_err(|e| Refusal::io("programs", &e))?;
    let built = programs::build(&root, &target)?;

    // 3
    let tree = contents::tree(&packages, &built, onnxruntime.clone(), &root)?;

    // 4
    let image = Image::at(&arguments.out)?;
    let bytes = archive(&tree, inputs.epoch)?;
    if arguments.twice {
        let again = elsewhere(&packages, onnxruntime, &root, inputs.epoch)?;
        if Sha256::of(&again) != Sha256::of(&bytes) {
            let refusal = Refusal::new(Code::Internal, "archive of the same sources at another path");
            return Err(refusal.got(Sha256::of(&again)).want(Sha256::of(&bytes)));
        }
        crate::say("built twice, at two paths: the same bytes");
    }
    image.put("initramfs.cpio", bytes)?;
    for (name, bytes) in contents::launchers(&packages)? {
        image.put(name, bytes)?;
    }
    image.put("command-line", tool::read(&root.join("images/command-line"))?)?;
    image.put("epoch", inputs.epoch.to_string())?;
    image.put(programs::BRIDGE, tool::read(&built.join(programs::BRIDGE))?)?;

    // 5
    list(&image, &tree, &inputs.packages, &version, &root)?;

    // 6
    measured::reference_values(&image, arguments.sign_key.as_deref())?;
    Ok(image)
}

/// The archive of a copy of what git has of the workspace, as it stands in the working tree.
fn elsewhere(packages: &[Unpacked], onnxruntime: Vec<u8>, root: &Path, epoch: u64) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir().map_err(|e| Refusal::io("temporary folder", &e))?;
    let copy = scratch.path().join("copy-of-the-sources");
    let listed = tool::output(Command::new("git").args(["ls-files", "-z"]).current_dir(root), "git")?;
    for name in String::from_utf8_lossy(&listed).split_terminator('\0') {
        let (from, to) = (root.join(name), copy.join(name));
        std::fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(|e| Refusal::io(to.display(), &e))?;
        std::fs::copy(&from, &to).map_err(|e| Refusal::io(from.display(), &e))?;
    }
    let built = programs::build(&copy, &scratch.path().join("elsewhere"))?;
    archive(&contents::tree(packages, &built, onnxruntime, &copy)?, epoch)
}

fn inputs(present: bool) -> Result<(Inputs, Vec<Unpacked>)> {
    let mut debian = Debian::new(cache()?);
    let locked = Inputs::load()?;
    match unpack(&mut debian, &locked.packages) {
        Err(refusal) if present && refusal.code == Code::Network => {
            // The locked time: what is newer by a package is not older by a clock.
            let now = Inputs { epoch: locked.epoch, ..debian.update(&locked, locked.epoch)? };
            for line in locked.moved_to(&now) {
                crate::say(&format!("inputs moved: {line}"));
            }
            let unpacked = unpack(&mut debian, &now.packages)?;
            Ok((now, unpacked))
        }
        unpacked => Ok((locked, unpacked?)),
    }
}

fn unpack(debian: &mut Debian, packages: &[Package]) -> Result<Vec<Unpacked>> {
    packages.iter().map(|package| debian.unpack(package)).collect()
}

/// The library and its version, held to the digest that the set-up's lock has.
fn runtime(given: Option<&Path>, root: &Path) -> Result<(Vec<u8>, String)> {
    let path = given.map(Path::to_owned).or_else(|| std::env::var_os("ORT_LIB").map(PathBuf::from));
    let path = path.ok_or_else(|| Refusal::new(Code::Usage, "ONNX Runtime").got("no ORT_LIB").want("`make image`"))?;
    let lock = root.join("dev/setup/inputs.lock");
    let malformed = || Refusal::malformed(lock.display().to_string(), "no digest of ONNX Runtime's library");
    let parsed: Value = serde_json::from_slice(&tool::read(&lock)?).map_err(|_| malformed())?;
    let product = parsed.pointer("/products/ORT_LIB").ok_or_else(malformed)?;
    let file = product.get("path").and_then(Value::as_str).ok_or_else(malformed)?;
    let digest = product.get("files").and_then(|files| files.get(file)?.get("sha256")?.as_str());
    let want = Sha256::from_hex(digest.ok_or_else(malformed)?)?;
    let version = parsed.pointer("/wheels/onnxruntime/version").and_then(Value::as_str).ok_or_else(malformed)?;
    let library = tool::read(&path)?;
    let got = Sha256::of(&library);
    if got != want {
        return Err(Refusal::new(Code::RuntimeMismatch, path.display().to_string()).got(got).want(want));
    }
    Ok((library, version.to_owned()))
}

fn list(image: &Image, tree: &Tree, packages: &[Package], onnxruntime: &str, root: &Path) -> Result<()> {
    image.put("files.txt", listing::files(tree)?)?;
    let crates = programs::crates(root)?;
    image.put("sbom.cdx.json", listing::materials(tree, packages, onnxruntime, &crates)?)?;
    let files = tree.values().filter(|entry| entry.mode() & 0o170_000 == 0o100_000);
    crate::say(&format!(
        "{} files, {} bytes in them",
        files.clone().count(),
        files.map(|file| file.content().len()).sum::<usize>()
    ));
    for name in ["initramfs.cpio", "vmlinuz", "OVMF.amdsev.fd", "OVMF.inteltdx.fd", "command-line"] {
        let bytes = tool::read(&image.path(name))?;
        crate::say(&format!("{} {:>9} {name}", Sha256::of(&bytes), bytes.len()));
    }
    Ok(())
}
