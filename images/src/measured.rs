//! What hardware must measure: `strongroom measure`, asked for the very files that are handed to QEMU.

use crate::image::Image;
use crate::tool::{self, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// The processors and sizes that reference values are made for. Others: `strongroom measure snp --reference-values`.
const PROCESSORS: [&str; 3] = ["EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"];
const SIZES: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// Writes `reference-values.json` and, signed, `reference-values.dsse`.
///
/// # Errors
/// `io`: the tool failed; it said why.
pub(crate) fn reference_values(image: &Image, key: Option<&Path>) -> Result<()> {
    let document = image.path("reference-values.json");
    // A measurement is added to what is there, which was another image's.
    let _ = std::fs::remove_file(&document);
    let archive = image.path("initramfs.cpio");
    // Two images' values are told apart by it.
    let version: String = Sha256::of(&tool::read(&archive)?).to_string().chars().take(12).collect();
    for processor in PROCESSORS {
        for vcpus in SIZES {
            let mut command = snp(image, &archive, &image.command_line()?, vcpus, processor)?;
            command.args([
                "--reference-values",
                text(&document)?,
                "--name",
                "strongroom-guest",
                "--version",
                "1",
                "--image-version",
                &version,
            ]);
            let measured = json(&mut command)?;
            crate::say(&format!(
                "{} SEV-SNP MEASUREMENT, {vcpus} vCPUs of {processor}",
                field(&measured, "measurement")?
            ));
        }
    }
    let mut command = measure("tdx", image, "--firmware", "OVMF.inteltdx.fd", &archive, &image.command_line()?)?;
    command.args(["--kernel-form", "as-given", "--initrd-argument", "first", "--reference-values", text(&document)?]);
    let measured = json(&mut command)?;
    for register in ["mrtd", "rtmr1", "rtmr2"] {
        crate::say(&format!("{} TDX {}", field(&measured, register)?, register.to_uppercase()));
    }
    sign(image, &document, key)
}

/// Writes what a machine puts into its TPM that boots the unified kernel image at `uki`, beside it: the lines that a policy for Azure has.
///
/// # Errors
/// As [`reference_values`].
pub(crate) fn pcrs(uki: &Path) -> Result<()> {
    let measured = json(tool::strongroom()?.args(["measure", "uki", "--json", "--uki", text(uki)?]))?;
    let none = || Refusal::new(Code::Malformed, "strongroom measure").got("no pcr");
    let pcrs: BTreeMap<u8, &str> = measured
        .get("pcr")
        .and_then(Value::as_object)
        .and_then(|pcrs| pcrs.iter().map(|(number, value)| Some((number.parse().ok()?, value.as_str()?))).collect())
        .ok_or_else(none)?;
    let name = uki.file_name().unwrap_or_default().to_string_lossy();
    let mut lines = format!(
        "# PCRs of the SHA-256 bank of a machine that boots {name}, for [azure-snp-vtpm.pcr] or [azure-tdx-vtpm.pcr] of a policy.\n\
         # PCR 2 is the machine's; this image extends no PCR by the deployment document yet. Not signed: compare with `strongroom measure uki`.\n"
    );
    for (number, value) in pcrs {
        crate::say(&format!("{value} PCR {number} of a boot of {name}"));
        lines.push_str(&format!("{number} = {{ exactly = \"{value}\" }}\n"));
    }
    crate::say(&format!("{} Authenticode digest of {name}", field(&measured, "authenticode")?));
    tool::write(&uki.with_extension("pcrs.toml"), lines)
}

/// MEASUREMENT of a launch with that archive and command line.
///
/// # Errors
/// As [`reference_values`].
pub(crate) fn of_launch(image: &Image, archive: &Path, command_line: &str, vcpus: u32, kind: &str) -> Result<[u8; 48]> {
    let measured = json(&mut snp(image, archive, command_line, vcpus, kind)?)?;
    let measurement = hex::decode(field(&measured, "measurement")?).ok().and_then(|bytes| bytes.try_into().ok());
    measurement.ok_or_else(|| Refusal::malformed("measurement", "not 48 bytes in hex"))
}

fn snp(image: &Image, archive: &Path, command_line: &str, vcpus: u32, kind: &str) -> Result<Command> {
    let mut command = measure("snp", image, "--ovmf", "OVMF.amdsev.fd", archive, command_line)?;
    command.args(["--vcpus", &vcpus.to_string(), "--vcpu-type", kind]);
    Ok(command)
}

fn measure(platform: &str, image: &Image, flag: &str, firmware: &str, archive: &Path, line: &str) -> Result<Command> {
    let mut command = tool::strongroom()?;
    command.args(["measure", platform, "--json", flag, text(&image.path(firmware))?]);
    command.args(["--kernel", text(&image.path("vmlinuz"))?, "--initrd", text(archive)?, "--append", line]);
    Ok(command)
}

fn sign(image: &Image, document: &Path, key: Option<&Path>) -> Result<()> {
    // Not among what is published.
    let own = image.path("../image-signing.key");
    let key = match key {
        Some(key) => key,
        None => {
            if !own.exists() {
                tool::output(
                    tool::strongroom()?.args(["model", "keygen", text(&image.path("../image-signing"))?]),
                    "strongroom",
                )?;
            }
            &own
        }
    };
    let bundle = image.path("reference-values.dsse");
    // A bundle that is there gets a signature more; it was over another document.
    let _ = std::fs::remove_file(&bundle);
    let mut sign = tool::strongroom()?;
    sign.args(["reference-values", "sign", text(document)?, "--key", text(key)?, "--out", text(&bundle)?]);
    tool::output(&mut sign, "strongroom")?;
    crate::say(&format!("{} signed with {}", bundle.display(), key.display()));
    Ok(())
}

fn json(command: &mut Command) -> Result<Value> {
    let output = tool::output(command, "strongroom")?;
    serde_json::from_slice(&output).map_err(|e| Refusal::malformed("strongroom measure", e))
}

fn field<'a>(measured: &'a Value, name: &str) -> Result<&'a str> {
    let value = measured.get(name).and_then(Value::as_str);
    value.ok_or_else(|| Refusal::new(Code::Malformed, "strongroom measure").got(format!("no {name}")))
}
