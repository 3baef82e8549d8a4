//! `strongroom key put|list|show|disable`: the data keys that a verifier keeps. Their values go in and never come out here.

use crate::admin::{AdminClient, Service};
use crate::{block_on, files, output};
use clap::Subcommand;
use http::Method;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_transport::http as body;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store a key at a new id. An id never gets another value.
    #[command(after_help = "Example:\n  strongroom key put models/embed/v1 --key-file embed.key \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Put {
        /// `<repo>/<type>/<tag>`, as manifests name it.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        /// The key: 32 raw bytes, or 64 hex digits; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        #[command(flatten)]
        service: Service,
    },
    /// List the keys, without their values.
    #[command(after_help = "Example:\n  strongroom key list \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Show one key, without its value.
    #[command(after_help = "Example:\n  strongroom key show models/embed/v1 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Show {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        service: Service,
    },
    /// Never release a key again. Guests that have it keep it until they are stopped.
    #[command(after_help = "Example:\n  strongroom key disable models/embed/v1 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Disable {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        service: Service,
    },
}

/// What may be known of a key.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    id: String,
    created: u64,
    enabled: bool,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let keys = match command {
        Command::Put { id, key_file, service } => {
            let key = files::read_data_key(&key_file)?;
            vec![block_on(put(&service.client()?, &id, key.expose()))?]
        }
        Command::Show { id, service } => {
            let client = service.client()?;
            vec![block_on(client.get_json(&format!("keys/{id}")))?]
        }
        Command::Disable { id, service } => {
            let client = service.client()?;
            vec![block_on(client.send_json(Method::POST, &format!("keys/{id}/disable"), body::empty()))?]
        }
        Command::List { service } => {
            let client = service.client()?;
            let keys: Vec<Metadata> = block_on(client.get_json("keys"))?;
            if json {
                output::json(&keys)?;
                return Ok(ExitCode::SUCCESS);
            }
            keys
        }
    };
    match keys.as_slice() {
        [key] if json => output::json(key)?,
        keys => output::line(&table(keys))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A key's id, as `<repo>/<type>/<tag>` or as manifests write it, `kbs:///<repo>/<type>/<tag>`.
pub(crate) fn parse_id(text: &str) -> Result<ResourcePath> {
    if text.contains("://") { ResourcePath::from_uri(text) } else { ResourcePath::parse(text) }
}

/// Finds out before a model is uploaded whether `id` will take `value`: where it has a key already, only the same one.
///
/// # Errors
/// `key-exists`: the id has another key; `key-disabled`: it has this one, and nobody would ever get it.
pub(crate) async fn verify_free(client: &AdminClient, id: &ResourcePath, value: &[u8]) -> Result<()> {
    match client.get_json::<Metadata>(&format!("keys/{id}")).await {
        Err(refusal) if refusal.code == Code::KeyUnknown => Ok(()),
        Err(refusal) => Err(refusal),
        // Nothing changes by storing a key a second time, and a value never comes out to be compared here.
        Ok(_) => match put(client, id, value).await? {
            Metadata { enabled: true, .. } => Ok(()),
            Metadata { id, .. } => Err(Refusal::new(Code::KeyDisabled, "key of the model").got(id)),
        },
    }
}

/// Stores a key. Returns only once the service has it on its disk.
async fn put(client: &AdminClient, id: &ResourcePath, value: &[u8]) -> Result<Metadata> {
    client.send_json(Method::PUT, &format!("keys/{id}"), body::full(value.to_vec())).await
}

/// [`put`], for who has no use for what is known of the key afterwards.
pub(crate) async fn deliver(client: &AdminClient, id: &ResourcePath, value: &[u8]) -> Result<()> {
    put(client, id, value).await.map(drop)
}

fn table(keys: &[Metadata]) -> String {
    let row = |key: &Metadata| {
        let state = if key.enabled { "enabled" } else { "disabled" };
        vec![key.id.clone(), state.to_owned(), output::utc(key.created)]
    };
    output::table(&["KEY", "STATE", "CREATED"], &keys.iter().map(row).collect::<Vec<_>>())
}
