//! `strongroom deployment render|digest`: the document that a guest is launched with and the hardware names by digest.

use crate::{files, output, trust};
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_wire::deployment::{Deployment, Settings};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result, document, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write the deployment document of some settings and print its digest: what HOST_DATA must be.
    #[command(after_help = "Example:\n  strongroom deployment render strongroom.toml --out initdata.toml")]
    Render {
        /// The settings, as the document's entry `strongroom.toml` holds them.
        settings: PathBuf,
        /// Where the document is written.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Read a deployment document and print its digest.
    #[command(after_help = "Example:\n  strongroom deployment digest initdata.toml")]
    Digest {
        /// The document, byte for byte as guests get it.
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Answer {
    deployment: Sha256,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let deployment = match command {
        Command::Render { settings, out } => {
            let text = files::read(&settings, limits::DEPLOYMENT)?;
            let settings: Settings =
                document::parse_toml(&text, "settings", limits::DEPLOYMENT, Code::ConfigurationInvalid)?;
            trust::verify_keys(&settings.trust)?;
            // Read back as a guest reads it, so that no document is written that no guest would take.
            let deployment = Deployment::parse(&Deployment::render(&settings)?)?;
            files::write(&out, deployment.raw())?;
            deployment
        }
        Command::Digest { file } => Deployment::parse(&files::read(&file, limits::DEPLOYMENT)?)?,
    };
    if json {
        output::json(&Answer { deployment: deployment.digest() })?;
    } else {
        output::line(&format!("{}\n", deployment.digest()))?;
    }
    Ok(ExitCode::SUCCESS)
}
