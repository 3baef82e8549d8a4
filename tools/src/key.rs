//! `strongroom key put|list|show|label|disable`: the data keys that a verifier keeps. Their values go in and never come out here.

use crate::admin::{AdminClient, Service};
use crate::{block_on, files, output};
use clap::{Args, Subcommand};
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
        tags: Tags,
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
    /// Say anew whose a key is and what it is called by: what is not given here is taken away. Cedar policies may ask for both.
    #[command(after_help = "Example:\n  strongroom key label models/embed/v1 --owner team-a --label eu-only \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Label {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        tags: Tags,
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

/// What Cedar policies may ask about a key.
#[derive(Args)]
pub(crate) struct Tags {
    /// Whose it is: at most 64 letters, digits, `-`, `_`, `.`, `:` and `@`.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// What its owner calls it by, of the same characters; as often as there are labels, up to 32.
    #[arg(long = "label", value_name = "NAME")]
    labels: Vec<String>,
}

impl Tags {
    /// As the admin API takes them. What has other characters than a name may have is refused here: it could be read as another
    /// parameter there.
    fn query(&self) -> Result<String> {
        let owner = self.owner.iter().map(|name| ("owner", name));
        let pairs = owner.chain(self.labels.iter().map(|name| ("label", name)));
        let pair = |(kind, name): (&str, &String)| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
            match name.chars().all(allowed) {
                true => Ok(format!("{kind}={name}")),
                false => Err(Refusal::new(Code::Usage, format!("--{kind}"))
                    .got(name)
                    .want("letters, digits, `-`, `_`, `.`, `:` and `@`")),
            }
        };
        let pairs = pairs.map(pair).collect::<Result<Vec<_>>>()?;
        Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
    }
}

/// What may be known of a key.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    id: String,
    created: u64,
    enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let keys = match command {
        Command::Put { id, key_file, tags, service } => {
            let (key, query) = (files::read_data_key(&key_file)?, tags.query()?);
            vec![block_on(put(&service.client()?, &id, &query, key.expose()))?]
        }
        Command::Label { id, tags, service } => {
            let (client, query) = (service.client()?, tags.query()?);
            vec![block_on(client.send_json(Method::POST, &format!("keys/{id}/label{query}"), body::empty()))?]
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
        Ok(_) => match put(client, id, "", value).await? {
            Metadata { enabled: true, .. } => Ok(()),
            Metadata { id, .. } => Err(Refusal::new(Code::KeyDisabled, "key of the model").got(id)),
        },
    }
}

/// Stores a key. Returns only once the service has it on its disk.
async fn put(client: &AdminClient, id: &ResourcePath, query: &str, value: &[u8]) -> Result<Metadata> {
    client.send_json(Method::PUT, &format!("keys/{id}{query}"), body::full(value.to_vec())).await
}

/// [`put`], for who has no use for what is known of the key afterwards.
pub(crate) async fn deliver(client: &AdminClient, id: &ResourcePath, value: &[u8]) -> Result<()> {
    put(client, id, "", value).await.map(drop)
}

fn table(keys: &[Metadata]) -> String {
    let row = |key: &Metadata| {
        let state = if key.enabled { "enabled" } else { "disabled" };
        let owner = key.owner.clone().unwrap_or_else(|| "-".to_owned());
        let labels = if key.labels.is_empty() { "-".to_owned() } else { key.labels.join(" ") };
        vec![key.id.clone(), state.to_owned(), output::utc(key.created), owner, labels]
    };
    output::table(&["KEY", "STATE", "CREATED", "OWNER", "LABELS"], &keys.iter().map(row).collect::<Vec<_>>())
}
