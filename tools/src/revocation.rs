//! `strongroom revoke`, `quarantine` and `revocations`: what a verifier gives nothing to any more.

use crate::admin::Service;
use crate::{block_on, output};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::process::ExitCode;
use strongroom_transport::http as body;
use strongroom_wire::Result;

/// What is revoked, by whom and why.
#[derive(Args)]
pub(crate) struct Said {
    /// By what.
    kind: Kind,
    /// Which: as audit entries, `strongroom evidence inspect` and deployment documents write it. One in another form is refused,
    /// since it would revoke nothing.
    value: String,
    /// Why. It stands in the list and in the audit log.
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// Who says so: a person's name. It stands there too.
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    service: Service,
}

/// By what something is revoked.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A guest's key, by its thumbprint (RFC 7638), or a SPIFFE id.
    Identity,
    /// Software, by MEASUREMENT or MRTD in hex.
    Measurement,
    /// A machine, by CHIP_ID or, on TDX, its platform instance, in hex.
    Chip,
    /// A model, by the digest of its manifest, as `sha256:…`.
    Model,
    /// A data key, by its id; and every guest that was launched with a document whose guests were given it.
    Key,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what is revoked and quarantined.
    #[command(after_help = "Example:\n  strongroom revocations list \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    List {
        #[command(flatten)]
        service: Service,
    },
    /// End a quarantine, by name. Nothing ends a revocation.
    #[command(
        after_help = "Example:\n  strongroom revocations release chip $CHIP --because 'swapped the board' --by 'Anna Kern' \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token"
    )]
    Release {
        #[command(flatten)]
        said: Said,
    },
}

/// What a verifier says of one.
#[derive(Debug, Serialize, Deserialize)]
struct Revocation {
    kind: String,
    value: String,
    state: String,
    because: String,
    by: String,
    created: u64,
}

/// Revokes for good, or quarantines.
pub(crate) fn put(said: &Said, state: &str, json: bool) -> Result<ExitCode> {
    let revocation: Revocation = block_on(send(said, "revocations", Some(state)))?;
    if json {
        output::json(&revocation)?;
    } else {
        output::line(&table(&[revocation]))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::List { service } => {
            let client = service.client()?;
            let revocations: Vec<Revocation> = block_on(client.get_json("revocations"))?;
            if json { output::json(&revocations)? } else { output::line(&table(&revocations))? }
        }
        Command::Release { said } => {
            let released: Value = block_on(send(&said, "revocations/release", None))?;
            if json {
                output::json(&released)?;
            } else {
                output::line(&format!("released: {} {}", name(said.kind), said.value))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn send<T: serde::de::DeserializeOwned>(said: &Said, path: &str, state: Option<&str>) -> Result<T> {
    let Said { kind, value, because, by, service } = said;
    let mut content = json!({ "kind": name(*kind), "value": value, "because": because, "by": by });
    if let (Some(state), Value::Object(members)) = (state, &mut content) {
        members.insert("state".to_owned(), json!(state));
    }
    service.client()?.send_json(Method::POST, path, body::full(content.to_string())).await
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Identity => "identity",
        Kind::Measurement => "measurement",
        Kind::Chip => "chip",
        Kind::Model => "model",
        Kind::Key => "key",
    }
}

fn table(revocations: &[Revocation]) -> String {
    let row = |one: &Revocation| {
        let Revocation { kind, value, state, because, by, created } = one;
        [state, kind, value, &output::utc(*created), by, because].map(ToOwned::to_owned).to_vec()
    };
    let rows: Vec<_> = revocations.iter().map(row).collect();
    output::table(&["STATE", "KIND", "VALUE", "SINCE", "BY", "BECAUSE"], &rows)
}
