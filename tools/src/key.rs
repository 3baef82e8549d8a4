//! `strongroom key put|list|show|label|enable|disable|rotate|destroy`: the data keys that a verifier keeps. Their values go in and
//! never come out here.

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
    /// Release a key that was disabled again.
    #[command(after_help = "Example:\n  strongroom key enable models/embed/v1 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Enable {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        service: Service,
    },
    /// Release a key no more, until it is enabled. Guests that have it keep it until they are stopped.
    #[command(after_help = "Example:\n  strongroom key disable models/embed/v1 \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Disable {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        #[command(flatten)]
        service: Service,
    },
    /// Wrap a key's value anew, in the custody that the verifier's configuration names first, under the newest version of that
    /// one's own key. The value stays what it is, and no model is touched: for another value, see `strongroom model reseal`.
    #[command(after_help = "Example:\n  strongroom key rotate --all \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Rotate {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id, required_unless_present = "all")]
        id: Option<ResourcePath>,
        /// Each key that is not destroyed, one after the other. Interrupted, run it again.
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        service: Service,
    },
    /// Erase a key's value for good. Its id stays taken, and models that are sealed with it open nowhere any more.
    #[command(after_help = "Example:\n  strongroom key destroy models/embed/v1 --for-good \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-token-file admin.token")]
    Destroy {
        /// `<repo>/<type>/<tag>`.
        #[arg(value_parser = parse_id)]
        id: ResourcePath,
        /// Say that this is meant: nobody can undo it.
        #[arg(long, required = true)]
        for_good: bool,
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
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custody: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrappings: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    releases: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_release: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    let one = |key: Metadata| (vec![key], false);
    let (keys, many) = match command {
        Command::Put { id, key_file, tags, service } => {
            let (key, query) = (files::read_data_key(&key_file)?, tags.query()?);
            one(block_on(put(&service.client()?, &id, &query, key.expose()))?)
        }
        Command::Label { id, tags, service } => {
            let (client, query) = (service.client()?, tags.query()?);
            one(block_on(change(&client, &id, &format!("label{query}")))?)
        }
        Command::Show { id, service } => one(block_on(service.client()?.get_json(&format!("keys/{id}")))?),
        Command::Enable { id, service } => one(block_on(change(&service.client()?, &id, "enable"))?),
        Command::Disable { id, service } => one(block_on(change(&service.client()?, &id, "disable"))?),
        Command::Destroy { id, service, .. } => one(block_on(change(&service.client()?, &id, "destroy"))?),
        Command::Rotate { id: Some(id), service, .. } => one(block_on(change(&service.client()?, &id, "rotate"))?),
        Command::Rotate { id: None, service, .. } => (block_on(rotate_all(&service.client()?))?, true),
        Command::List { service } => (block_on(service.client()?.get_json("keys"))?, true),
    };
    match keys.as_slice() {
        [key] if json && !many => output::json(key)?,
        keys if json => output::json(&keys)?,
        keys => output::line(&table(keys))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A call that says nothing but which key and what shall happen to it.
async fn change(client: &AdminClient, id: &ResourcePath, what: &str) -> Result<Metadata> {
    client.send_json(Method::POST, &format!("keys/{id}/{what}"), body::empty()).await
}

async fn rotate_all(client: &AdminClient) -> Result<Vec<Metadata>> {
    let mut rotated = Vec::new();
    for key in client.get_json::<Vec<Metadata>>("keys").await? {
        if key.state() != "destroyed" {
            rotated.push(change(client, &ResourcePath::parse(&key.id)?, "rotate").await?);
        }
    }
    Ok(rotated)
}

/// A key's id, as `<repo>/<type>/<tag>` or as manifests write it, `kbs:///<repo>/<type>/<tag>`.
pub(crate) fn parse_id(text: &str) -> Result<ResourcePath> {
    if text.contains("://") { ResourcePath::from_uri(text) } else { ResourcePath::parse(text) }
}

/// Finds out before a model is uploaded whether `id` will take `value`: where it has a key already, only the same one.
///
/// # Errors
/// `key-exists`: the id has another key; `key-disabled`: it has this one, and nobody would get it; `key-destroyed`: it had one.
pub(crate) async fn verify_free(client: &AdminClient, id: &ResourcePath, value: &[u8]) -> Result<()> {
    match client.get_json::<Metadata>(&format!("keys/{id}")).await {
        Err(refusal) if refusal.code == Code::KeyUnknown => Ok(()),
        Err(refusal) => Err(refusal),
        // Nothing changes by storing a key a second time, and a value never comes out to be compared here.
        Ok(key) if key.state() == "destroyed" => Err(Refusal::new(Code::KeyDestroyed, "key of the model").got(id)),
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

impl Metadata {
    fn state(&self) -> &str {
        let known = if self.enabled { "enabled" } else { "disabled" };
        self.state.as_deref().unwrap_or(known)
    }
}

fn table(keys: &[Metadata]) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |key: &Metadata| {
        vec![
            key.id.clone(),
            key.state().to_owned(),
            output::utc(key.created),
            or_none(key.releases.map(|releases| releases.to_string())),
            or_none(key.last_release.map(output::utc)),
            or_none(key.custody.clone()),
            or_none(key.owner.clone()),
            or_none(Some(key.labels.join(" ")).filter(|labels| !labels.is_empty())),
        ]
    };
    let heads = ["KEY", "STATE", "CREATED", "RELEASES", "LAST", "CUSTODY", "OWNER", "LABELS"];
    output::table(&heads, &keys.iter().map(row).collect::<Vec<_>>())
}
