//! The build recipe.

use crate::cpio::{Tree, archive};
use crate::debian::Debian;
use crate::elsewhere::{self, Twice};
use crate::image::Image;
use crate::inputs::{Inputs, Package, Unpacked, cache};
use crate::programs::{Profile, Surroundings};
use crate::{contents, listing, measured, programs, tool, uki};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
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
    /// Build the programs sooner, without optimising them across crates: they are others than the image's, and so is what is measured of
    /// them. For tests alone.
    #[arg(long)]
    for_tests: bool,
    /// Build it once more where all is different that it must not depend on, and refuse where the bytes are others: the programs too, or
    /// of them the first process alone.
    #[arg(long, value_name = "WHAT")]
    twice: Option<Twice>,
    /// The key that signs the reference values; without one a key is made beside the image's folder. What the lock names is signed, and
    /// not what an archive happens to have.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["present", "for_tests"])]
    sign_key: Option<PathBuf>,
}

/// What an image is put together from.
pub(crate) struct Parts {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// How its programs were built.
    pub(crate) profile: Profile,
    /// Where they are.
    pub(crate) programs: PathBuf,
    /// What is of Debian.
    pub(crate) packages: Vec<Unpacked>,
    /// The library, and its version.
    pub(crate) onnxruntime: (Vec<u8>, String),
}

/// What is put together of it.
struct Assembled {
    tree: Tree,
    archive: Vec<u8>,
    launchers: [(&'static str, Vec<u8>); 4],
    command_line: Vec<u8>,
    unified: Vec<u8>,
    files: String,
    materials: Vec<u8>,
}

/// The files beside the archive's of which a launch consists.
const LAUNCH: [&str; 6] =
    ["initramfs.cpio", "vmlinuz", "OVMF.amdsev.fd", "OVMF.inteltdx.fd", "command-line", uki::FILE];

/// 1. Inputs: Debian's packages by the digests of the lock, ONNX Runtime by that of its own.
/// 2. Programs: built from this workspace, without a path of this machine.
/// 3. Contents: one tree, and nothing in it that has no use; of it one archive, and lists of every file and of what they are made of; of
///    archive, kernel and command line one program, for firmware that boots from a disk.
/// 4. Again: where that is to be proven, all of it at another place under other circumstances, to the same bytes.
/// 5. Image: what is launched, and what says so.
/// 6. Measure: what hardware must measure when it launches this, as reference values, signed; and what a TPM must.
pub(crate) fn build(arguments: &Build) -> Result<Image> {
    let root = tool::workspace()?;

    // 1
    let (epoch, packages) = inputs(arguments.present)?;
    let onnxruntime = runtime(arguments.onnxruntime.as_deref(), &root)?;

    // 2
    let target = std::path::absolute(&arguments.programs).map_err(|e| Refusal::io("programs", &e))?;
    let profile = if arguments.for_tests { Profile::ImageTest } else { Profile::Image };
    let programs = programs::build(&root, &target, profile, &programs::PACKAGES, &Surroundings::present()?)?;

    // 3
    let parts = Parts { root, profile, programs, packages, onnxruntime };
    let assembled = parts.assemble(epoch)?;

    // 4
    if let Some(twice) = arguments.twice {
        let scratch = tempfile::tempdir().map_err(|e| Refusal::io("temporary folder", &e))?;
        let again = elsewhere::again(twice, &parts, scratch.path())?.assemble(epoch)?;
        elsewhere::same("list of files", assembled.files.as_bytes(), again.files.as_bytes())?;
        elsewhere::same("archive", &assembled.archive, &again.archive)?;
        elsewhere::same("bill of materials", &assembled.materials, &again.materials)?;
        elsewhere::same("unified kernel image", &assembled.unified, &again.unified)?;
        crate::say(&format!("built twice ({twice:?}), under other circumstances: the same bytes"));
    }

    // 5
    let image = Image::make(&arguments.out)?;
    image.put("initramfs.cpio", &assembled.archive)?;
    for (name, bytes) in &assembled.launchers {
        image.put(name, bytes)?;
    }
    image.put("command-line", &assembled.command_line)?;
    image.put(uki::FILE, &assembled.unified)?;
    image.put("epoch", epoch.to_string())?;
    image.put(programs::BRIDGE, tool::read(&parts.programs.join(programs::BRIDGE))?)?;
    list(&image, &assembled)?;

    // 6
    measured::reference_values(&image, arguments.sign_key.as_deref())?;
    measured::pcrs(&image.path(uki::FILE))?;
    Ok(image)
}

impl Parts {
    fn assemble(&self, epoch: u64) -> Result<Assembled> {
        let (onnxruntime, version) = &self.onnxruntime;
        let tree = contents::tree(&self.packages, &self.programs, onnxruntime.clone(), &self.root)?;
        let archive = archive(&tree, epoch)?;
        let mut packages: Vec<_> = self.packages.iter().map(|unpacked| &unpacked.package).collect();
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        let crates = programs::crates(&self.root)?;
        let (files, materials) = (listing::files(&tree)?, listing::materials(&tree, &packages, version, &crates)?);
        let launchers = contents::launchers(&self.packages)?;
        let [(_, kernel), (_, stub), ..] = &launchers;
        let command_line = tool::read(&self.root.join("images/command-line"))?;
        let unified = uki::unified(stub, kernel, &archive, String::from_utf8_lossy(&command_line).trim_end())?;
        Ok(Assembled { tree, archive, launchers, command_line, unified, files, materials })
    }
}

/// The time of every file, and the packages.
fn inputs(present: bool) -> Result<(u64, Vec<Unpacked>)> {
    let mut debian = Debian::new(cache()?);
    let locked = Inputs::load()?;
    match unpack(&mut debian, &locked.packages) {
        Err(refusal) if present && refusal.code == Code::Network => {
            // The locked time: what is newer by a package is not older by a clock.
            let now = Inputs { epoch: locked.epoch, ..debian.update(&locked, locked.epoch)? };
            for line in locked.moved_to(&now) {
                crate::say(&format!("inputs moved: {line}"));
            }
            Ok((now.epoch, unpack(&mut debian, &now.packages)?))
        }
        unpacked => Ok((locked.epoch, unpacked?)),
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

fn list(image: &Image, assembled: &Assembled) -> Result<()> {
    image.put("files.txt", &assembled.files)?;
    image.put("sbom.cdx.json", &assembled.materials)?;
    let files = assembled.tree.values().filter(|entry| entry.mode() & 0o170_000 == 0o100_000);
    crate::say(&format!(
        "{} files, {} bytes in them",
        files.clone().count(),
        files.map(|file| file.content().len()).sum::<usize>()
    ));
    let mut sums = String::new();
    for name in LAUNCH {
        let bytes = tool::read(&image.path(name))?;
        let digest = Sha256::of(&bytes);
        crate::say(&format!("{digest} {:>9} {name}", bytes.len()));
        // As sha256sum(1) reads them.
        sums.push_str(&format!("{digest}  {name}\n"));
    }
    image.put("SHA256SUMS", sums)
}
