//! `strongroom model …`: what ML ops do with a model before it is served.

mod countersign;
mod demote;
mod import;
mod key_file;
mod keygen;
mod keyless;
mod local;
mod promote;
mod promoter;
mod promotions;
mod publish;
mod pull;
mod push;
mod reseal;
mod sign;
mod told;

use clap::Subcommand;
use std::process::ExitCode;
use strongroom_wire::Result;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key pair for signing: PREFIX.key, which only you can read, and PREFIX.pub.
    Keygen(keygen::Arguments),
    /// Sign a model, seal it where asked to, and publish it in a registry.
    Push(Box<push::Arguments>),
    /// Add another signer's signature to a model in a registry.
    Countersign(countersign::Arguments),
    /// Give a model in a registry another data key, without its files ever being readable on a disk.
    Reseal(Box<reseal::Arguments>),
    /// Say that a model is for an environment, as one of its promoters.
    Promote(Box<promote::Arguments>),
    /// List who promoted and demoted a model, and judge it by a trust file.
    Promotions(Box<promotions::Arguments>),
    /// Take a model out of an environment, as one of its promoters.
    Demote(Box<demote::Arguments>),
    /// Fetch a model, verified and opened. OUT_DIR appears once every byte of it is verified.
    Pull(pull::Pull),
    /// Verify who signed, and where demanded promoted, a model in a registry. Its layers are not fetched.
    Verify(pull::Verify),
    /// Make a plain directory of a model that another tool packed or encrypted, to be signed and sealed like any other.
    Import(import::Arguments),
    /// Seal the files of a directory, without a registry.
    Seal(local::Seal),
    /// Open a directory that was sealed.
    Open(local::Open),
    /// Sign the files of a directory: an OpenSSF Model Signing bundle.
    Sign(sign::Sign),
    /// Verify that a directory is exactly what a bundle's signer signed.
    VerifyBundle(sign::VerifyBundle),
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, json)?,
        Command::Push(arguments) => push::run(&arguments, json)?,
        Command::Countersign(arguments) => countersign::run(&arguments, json)?,
        Command::Reseal(arguments) => reseal::run(&arguments, json)?,
        Command::Promote(arguments) => promote::run(&arguments, json)?,
        Command::Promotions(arguments) => return promotions::run(&arguments, json),
        Command::Demote(arguments) => demote::run(&arguments, json)?,
        Command::Pull(arguments) => pull::pull(&arguments, json)?,
        Command::Verify(arguments) => pull::verify(&arguments, json)?,
        Command::Import(arguments) => import::run(&arguments, json)?,
        Command::Seal(arguments) => local::seal(&arguments, json)?,
        Command::Open(arguments) => local::open(&arguments, json)?,
        Command::Sign(arguments) => sign::sign(&arguments, json)?,
        Command::VerifyBundle(arguments) => sign::verify_bundle(&arguments, json)?,
    }
    Ok(ExitCode::SUCCESS)
}
