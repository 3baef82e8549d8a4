//! `strongroom routes put|show`: which server names a verifier's routers know, and guests of which documents serve them.

use crate::admin::Service;
use crate::{block_on, files, output};
use clap::Subcommand;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_transport::http as body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Refusal, Result, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put a table of routes into force, in place of the one before.
    ///
    /// It says, as TOML, what each tenant may use (`[tenants.NAME]` with `connections` and `per-second`), and of each server name
    /// whose share connections count against and the digests of the deployment documents whose guests may have them
    /// (`[routes."SERVER NAME"]` with `tenant` and `deployments`). A guest gets them where Cedar policies permit it, too, from its
    /// next lease on; one that is named no more gets no new ones at once.
    #[command(after_help = "Example:\n  strongroom routes put routes.toml \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Put {
        /// The table.
        file: PathBuf,
        #[command(flatten)]
        service: Service,
    },
    /// Print the table in force.
    #[command(after_help = "Example:\n  strongroom routes show \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        #[command(flatten)]
        service: Service,
    },
}

/// What a verifier says of a version.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    version: u64,
    digest: Sha256,
    created: u64,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Put { file, service } => {
            let table = files::read(&file, limits::POLICY)?;
            let client = service.client()?;
            let put: Metadata = block_on(client.send_json(Method::PUT, "routes", body::full(table)))?;
            if json { output::json(&put)? } else { output::line(&format!("version {}", put.version))? }
        }
        Command::Show { service } => {
            let client = service.client()?;
            let table = block_on(client.get("routes"))?.to_vec();
            let table = String::from_utf8(table).map_err(|e| Refusal::malformed("routes of the verifier", e))?;
            if json { output::json(&json!({ "routes": table }))? } else { output::line(table.trim_end())? }
        }
    }
    Ok(ExitCode::SUCCESS)
}
