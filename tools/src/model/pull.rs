//! `strongroom model pull|verify`: from a registry that nobody has to trust.

use super::promotions;
use crate::progress::{Progress, Transfer};
use crate::registry::{CacheArguments, RegistryArguments};
use crate::trust::TrustArguments;
use crate::{block_on, evidence, files, output};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_artifact::{Credential, Manifest, TrustedModel};
use strongroom_registry_client::{BlobListener, DirectorySink, Reference, open_model, verify_model};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model pull registry.example/models/embed:v1 ./embed --trust trust.toml \
    --key-file embed.key"
)]
pub(crate) struct Pull {
    /// `host[:port]/repo[:tag|@sha256:…]`.
    reference: Reference,
    /// Where the files go: a directory that does not exist yet, or is empty.
    out: PathBuf,
    #[command(flatten)]
    trust: TrustArguments,
    /// The data key of a sealed model: 32 raw bytes, or 64 hex digits; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    cache: CacheArguments,
}

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model verify registry.example/models/embed:v1 --trust trust.toml")]
pub(crate) struct Verify {
    /// `host[:port]/repo[:tag|@sha256:…]`.
    reference: Reference,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// What was verified of a model.
#[derive(Serialize)]
struct Answer {
    verdict: &'static str,
    reference: String,
    manifest: String,
    signers: Vec<String>,
    signer_keys: Vec<Sha256>,
    /// What each signer was recognised by: a key, or an identity and who vouched for it.
    signed_by: Vec<String>,
    /// To what it is promoted, where the trust file demands that.
    #[serde(skip_serializing_if = "Option::is_none")]
    promotion: Option<Value>,
    sealed: bool,
    key: Option<String>,
    size: u64,
    files: Vec<File>,
    /// Commitment to the statement over the files, as enclaves that serve the model show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Sha256>,
    /// [`Self::promotion`] for a person.
    #[serde(skip)]
    promoted: Option<String>,
}

#[derive(Serialize)]
struct File {
    path: String,
    size: u64,
}

impl Answer {
    fn of(reference: &Reference, model: &TrustedModel) -> Self {
        let manifest = model.manifest();
        let firsts = manifest.layers().iter().filter(|layer| layer.part == 1);
        Self {
            verdict: "verified",
            reference: reference.pinned(model.manifest_digest()).to_string(),
            manifest: model.manifest_digest().oci(),
            signers: model.signers().to_vec(),
            signer_keys: model.credentials().filter_map(key_of).collect(),
            signed_by: model.credentials().map(ToString::to_string).collect(),
            promotion: model.promotion().map(promotions::describe),
            sealed: manifest.sealing().is_some(),
            key: manifest.sealing().map(|sealing| sealing.key.uri()),
            size: manifest.plain_size(),
            files: firsts.map(|layer| File { path: layer.path.clone(), size: layer.file_size }).collect(),
            statement: None,
            promoted: model.promotion().map(promotions::say),
        }
    }

    fn print(&self, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        let rows: Vec<_> = self.files.iter().map(|file| vec![file.path.clone(), output::bytes(file.size)]).collect();
        let sealed = match &self.key {
            Some(key) => format!("sealed with key {key}"),
            None => "not sealed".to_owned(),
        };
        let promoted = self.promoted.iter().map(|promoted| format!("  {promoted}\n")).collect::<String>();
        output::line(&format!(
            "{}{}\n  signed by {}\n{promoted}  {sealed}\n",
            output::table(&["FILE", "SIZE"], &rows),
            self.reference,
            self.signers
                .iter()
                .zip(&self.signed_by)
                .map(|(name, by)| format!("{name}: {by}"))
                .collect::<Vec<_>>()
                .join(", ")
        ))
    }
}

const fn key_of(credential: &Credential) -> Option<Sha256> {
    match credential {
        Credential::Key(fingerprint) => Some(*fingerprint),
        _ => None,
    }
}

pub(super) fn verify(arguments: &Verify, json: bool) -> Result<()> {
    let trust = arguments.trust.load(&arguments.reference.name())?;
    let client = arguments.registry.client(&arguments.reference)?;
    let model = block_on(verify_model(&client, &arguments.reference, &trust, evidence::now()))?;
    Answer::of(&arguments.reference, &model).print(json)
}

pub(super) fn pull(arguments: &Pull, json: bool) -> Result<()> {
    let trust = arguments.trust.load(&arguments.reference.name())?;
    let key = arguments.key_file.as_deref().map(files::read_data_key).transpose()?;
    let client = arguments.registry.client_with(&arguments.reference, arguments.cache.open()?)?;
    let answer = block_on(async {
        let model = verify_model(&client, &arguments.reference, &trust, evidence::now()).await?;
        let mut answer = Answer::of(&arguments.reference, &model);
        let sink = DirectorySink::new(&arguments.out)?;
        let listener = shown(model.manifest(), &Progress::new(json));
        let client = client.with_listener(listener);
        let (verified, ()) = open_model(&client, model.with_key(key)?, sink).await?;
        answer.statement = Some(verified.statement_commitment());
        Ok(answer)
    })?;
    answer.print(json)
}

/// Shows how far each layer is, by the bytes that come.
fn shown(manifest: &Manifest, progress: &Progress) -> BlobListener {
    let mut labels: BTreeMap<Sha256, (String, u64)> = BTreeMap::new();
    for layer in manifest.layers() {
        let part = if layer.parts > 1 { format!(" {}/{}", layer.part, layer.parts) } else { String::new() };
        // Layers of the same bytes have the same digest, and come once for each.
        let entry = labels.entry(layer.digest).or_insert_with(|| (format!("{}{part}", layer.path), 0));
        entry.1 = entry.1.saturating_add(layer.size);
    }
    let transfers = labels.into_iter().map(|(digest, (label, size))| (digest, progress.start(label, size)));
    let transfers: BTreeMap<Sha256, Transfer> = transfers.collect();
    Arc::new(move |digest, bytes| transfers.get(&digest).into_iter().for_each(|transfer| transfer.advance(bytes)))
}
