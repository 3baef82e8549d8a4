//! `strongroom deployment render|digest|principal`: the document that a guest is launched with and the hardware names by digest.

use crate::{files, output};
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_policy::CallPolicies;
use strongroom_wire::bytes::to_base64url;
use strongroom_wire::deployment::{Deployment, Principal, Settings};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::Zeroizing;

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
    /// Make a bearer key for a caller of the inference API. It is printed once and kept nowhere.
    #[command(after_help = "Example:\n  strongroom deployment principal search-service")]
    Principal {
        /// What logs call the caller.
        name: String,
    },
}

#[derive(Serialize)]
struct Answer {
    deployment: Sha256,
}

/// The settings that name one caller.
#[derive(Serialize)]
struct Principals {
    principal: [Principal; 1],
}

/// The one document that holds a bearer key.
#[derive(Serialize)]
struct NewPrincipal<'a> {
    key: &'a str,
    #[serde(flatten)]
    principal: &'a Principal,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let deployment = match command {
        Command::Render { settings, out } => {
            let text = files::read(&settings, limits::DEPLOYMENT)?;
            let settings: Settings =
                document::parse_toml(&text, "settings", limits::DEPLOYMENT, Code::ConfigurationInvalid)?;
            strongroom_artifact::verify_signers(&settings.trust)?;
            if let Some(policies) = &settings.access.policies {
                CallPolicies::parse(policies.as_bytes()).map_err(|refusal| refusal.within("[access]"))?;
            }
            // Read back as a guest reads it, so that no document is written that no guest would take.
            let deployment = Deployment::parse(&Deployment::render(&settings)?)?;
            files::write(&out, deployment.raw())?;
            deployment
        }
        Command::Principal { name } => return principal(name, json),
        Command::Digest { file } => Deployment::parse(&files::read(&file, limits::DEPLOYMENT)?)?,
    };
    if json {
        output::json(&Answer { deployment: deployment.digest() })?;
    } else {
        output::line(&format!("{}\n", deployment.digest()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a fresh bearer key, and the settings by which a guest knows it: its hash alone.
fn principal(name: String, json: bool) -> Result<ExitCode> {
    let mut random = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| Refusal::new(Code::Internal, "random generator"))?;
    let key = Zeroizing::new(format!("sr-{}", *Zeroizing::new(to_base64url(random.as_slice()))));
    let principal = Principal { name, key_sha256: Sha256::of(key.as_bytes()) };
    if json {
        output::json(&NewPrincipal { key: &key, principal: &principal })?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = toml::to_string(&Principals { principal: [principal] });
    let settings = settings.map_err(|e| Refusal::new(Code::Internal, "settings as TOML").because(e))?;
    output::line(&Zeroizing::new(format!("{}\n\n{settings}", *key)))?;
    Ok(ExitCode::SUCCESS)
}
