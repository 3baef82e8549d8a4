//! `strongroom policy authorization …`: the Cedar policies by which a verifier decides who may have which key.

use super::dry_run::DryRun;
use super::{cedar, dry_run};
use crate::admin::{AdminClient, Service};
use crate::audit::Source;
use crate::{block_on, output};
use clap::Subcommand;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_policy::Policies;
use strongroom_transport::http as body;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put Cedar policies into force, as the next version.
    ///
    /// They are parsed and validated here and by the verifier; bad ones are refused with what is wrong and where, and the version
    /// in force stays. They decide from the next request on. Without policies nobody may have anything;
    /// docs/examples/authorization.cedar is a beginning.
    #[command(
        after_help = "Example:\n  strongroom policy authorization put authorization.cedar --comment 'keys of team a' \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Put {
        /// The policies, in Cedar: all of them, each with `@id("…")`.
        file: PathBuf,
        /// What the list of versions says of it.
        #[arg(long, default_value = "")]
        comment: String,
        /// Put them only if the last N questions of the audit log, asked of them, have the answers that they had: see `try`.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        unless_changes: Option<u32>,
        #[command(flatten)]
        source: Source,
    },
    /// Ask policies that are not in force what was asked in the past: which releases would now be permitted or denied.
    ///
    /// The questions are those of the audit log, asked here as they were asked then, of guest, key, model and time. Changes nothing.
    #[command(after_help = "Example:\n  strongroom policy authorization try authorization.cedar --last 1000 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Try {
        /// The policies, in Cedar.
        file: PathBuf,
        /// How many questions, from the newest on.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        last: u32,
        #[command(flatten)]
        source: Source,
    },
    /// Print the policies in force, or those of a version.
    #[command(after_help = "Example:\n  strongroom policy authorization show 7 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        /// Which version; without it, the one in force.
        version: Option<u64>,
        #[command(flatten)]
        service: Service,
    },
    /// List all versions. The last is in force.
    #[command(after_help = "Example:\n  strongroom policy authorization versions \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Versions {
        #[command(flatten)]
        service: Service,
    },
    /// Put an earlier version into force again, as the next one.
    #[command(after_help = "Example:\n  strongroom policy authorization activate 6 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Activate {
        /// Which version.
        version: u64,
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
    comment: String,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Put { file, comment, unless_changes, source } => {
            let (policies, text) = cedar::load(&file)?;
            let client = source.client()?;
            let verified = async {
                if let Some(count) = unless_changes {
                    dry_run(&source, &policies, count).await?.verify_unchanged()?;
                }
                put(&client, &text, &comment).await
            };
            print(&block_on(verified)?, json)?;
        }
        Command::Try { file, last, source } => {
            let (policies, _) = cedar::load(&file)?;
            let tried = block_on(dry_run(&source, &policies, last))?;
            if json { output::json(&tried)? } else { output::line(&tried.for_people())? }
        }
        Command::Activate { version, service } => {
            let client = service.client()?;
            let again = async {
                let text = text_of(&client, version).await?;
                put(&client, &text, &format!("version {version} again")).await
            };
            print(&block_on(again)?, json)?;
        }
        Command::Show { version, service } => {
            let client = service.client()?;
            let shown = async {
                let version = match version {
                    Some(version) => version,
                    None => in_force(&client).await?.version,
                };
                Ok((version, text_of(&client, version).await?))
            };
            let (version, cedar) = block_on(shown)?;
            if json {
                output::json(&json!({ "version": version, "digest": Sha256::of(cedar.as_bytes()), "cedar": cedar }))?;
            } else {
                output::line(&cedar)?;
            }
        }
        Command::Versions { service } => {
            let client = service.client()?;
            let versions: Vec<Metadata> = block_on(client.get_json("authorization"))?;
            if json { output::json(&versions)? } else { output::line(&table(&versions))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn dry_run(source: &Source, policies: &Policies, count: u32) -> Result<DryRun> {
    dry_run::ask(&source.open().await?, policies, usize::try_from(count).unwrap_or(usize::MAX)).await
}

async fn put(client: &AdminClient, cedar: &str, comment: &str) -> Result<Metadata> {
    let content = json!({ "cedar": cedar, "comment": comment }).to_string();
    client.send_json(Method::PUT, "authorization", body::full(content)).await
}

async fn in_force(client: &AdminClient) -> Result<Metadata> {
    let versions: Vec<Metadata> = client.get_json("authorization").await?;
    versions.into_iter().next_back().ok_or_else(|| Refusal::new(Code::AuthorizationEmpty, "policies").got("none"))
}

async fn text_of(client: &AdminClient, version: u64) -> Result<String> {
    let text = client.get(&format!("authorization/{version}")).await?;
    String::from_utf8(text.to_vec()).map_err(|e| Refusal::malformed("policies of the verifier", e))
}

fn print(metadata: &Metadata, json: bool) -> Result<()> {
    if json { output::json(metadata) } else { output::line(&table(core::slice::from_ref(metadata))) }
}

fn table(versions: &[Metadata]) -> String {
    let row = |one: &Metadata| {
        vec![one.version.to_string(), one.digest.to_string(), output::utc(one.created), one.comment.clone()]
    };
    output::table(&["VERSION", "SHA-256", "SINCE", "COMMENT"], &versions.iter().map(row).collect::<Vec<_>>())
}
