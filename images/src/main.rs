//! `strongroom-image`: builds the guest image, measures it, and launches it under QEMU.
//!
//! [`recipe`] says what an image is made of and how, [`run`] how one is launched. Nothing depends on this, it is in no image, and
//! no guest trusts it: who approves a measurement builds the image again and compares.

mod contents;
mod cpio;
mod debian;
mod elsewhere;
mod image;
mod inputs;
mod listing;
mod measured;
mod programs;
mod recipe;
mod run;
mod tool;
mod uki;

use clap::{Parser, Subcommand};
use inputs::Inputs;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_wire::Result;

/// The guest image: build it, take new inputs, launch it.
#[derive(Parser)]
#[command(name = "strongroom-image", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the image, list what is in it, and compute what hardware must measure of it.
    #[command(after_help = "Example:\n  make image\n  strongroom-image build --sign-key release.key")]
    Build(recipe::Build),
    /// Take what Debian has now into `images/inputs.lock`, and say what moved. The measurement is another one then.
    Update,
    /// Make a unified kernel image, for firmware that boots from a disk, of an image that was built: one whose kernel is told more. Compute
    /// the PCRs that it leaves in a TPM.
    #[command(after_help = "Example:\n  strongroom-image uki --append strongroom.cloud=aws --out strongroom-aws.efi")]
    Uki(uki::Unify),
    /// Launch a guest under QEMU.
    #[command(after_help = "Examples:\n  strongroom-image run emulated --document deployment.toml\n  \
                            strongroom-image run snp --document deployment.toml --vcpus 4 --vcpu-type EPYC-Genoa --forward 0.0.0.0:8443")]
    Run(run::Run),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Build(arguments) => recipe::build(&arguments).map(drop),
        Command::Update => update(),
        Command::Uki(arguments) => uki::unify(&arguments),
        Command::Run(arguments) => run::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            say(&refusal.to_string());
            ExitCode::from(refusal.fault().exit_code())
        }
    }
}

fn update() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let inputs = Inputs::load()?;
    let present = debian::Debian::new(inputs::cache()?).update(&inputs, now)?;
    for line in inputs.moved_to(&present) {
        say(&line);
    }
    present.save()
}

/// A line for people, on standard error.
fn say(line: &str) {
    // Who closed it does not want to be told.
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_key_signs_the_locked_image_and_none_that_is_for_tests_or_of_other_inputs() {
        let takes = |more: &[&str]| {
            let words = ["strongroom-image", "build", "--sign-key", "release.key"].iter().chain(more);
            Cli::try_parse_from(words).is_ok()
        };
        assert!(takes(&[]));
        assert!(!takes(&["--for-tests"]));
        assert!(!takes(&["--present"]));
    }
}
