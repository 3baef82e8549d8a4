//! `strongroom model pull|verify`: from a registry that nobody has to trust.

use crate::progress::{Progress, Transfer};
use crate::registry::RegistryArguments;
use crate::{block_on, files, output, trust};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use strongroom_artifact::{Credential, TrustedModel};
use strongroom_registry_client::{DirectorySink, FileSink, Filled, ModelSink, Reference, open_model, verify_model};
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
    /// Who may sign this model.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The data key of a sealed model: 32 raw bytes, or 64 hex digits; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
}

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model verify registry.example/models/embed:v1 --trust trust.toml")]
pub(crate) struct Verify {
    /// `host[:port]/repo[:tag|@sha256:…]`.
    reference: Reference,
    /// Who may sign this model.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
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
    sealed: bool,
    key: Option<String>,
    size: u64,
    files: Vec<File>,
    /// Commitment to the statement over the files, as enclaves that serve the model show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Sha256>,
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
            sealed: manifest.sealing().is_some(),
            key: manifest.sealing().map(|sealing| sealing.key.uri()),
            size: manifest.plain_size(),
            files: firsts.map(|layer| File { path: layer.path.clone(), size: layer.file_size }).collect(),
            statement: None,
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
        output::line(&format!(
            "{}{}\n  signed by {}\n  {sealed}\n",
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
    let trust = trust::load(&arguments.trust)?;
    let client = arguments.registry.client(&arguments.reference)?;
    let model = block_on(verify_model(&client, &arguments.reference, &trust))?;
    Answer::of(&arguments.reference, &model).print(json)
}

pub(super) fn pull(arguments: &Pull, json: bool) -> Result<()> {
    let trust = trust::load(&arguments.trust)?;
    let key = arguments.key_file.as_deref().map(files::read_data_key).transpose()?;
    let client = arguments.registry.client(&arguments.reference)?;
    let answer = block_on(async {
        let model = verify_model(&client, &arguments.reference, &trust).await?;
        let mut answer = Answer::of(&arguments.reference, &model);
        let sink = Shown { sink: DirectorySink::new(&arguments.out)?, progress: Progress::new(json) };
        let (verified, ()) = open_model(&client, model.with_key(key)?, sink).await?;
        answer.statement = Some(verified.statement_commitment());
        Ok(answer)
    })?;
    answer.print(json)
}

/// A sink that shows how far it is.
struct Shown<S> {
    sink: S,
    progress: Progress,
}

struct ShownFile<F> {
    file: F,
    transfer: Transfer,
}

impl<S: ModelSink> ModelSink for Shown<S> {
    type File = ShownFile<S::File>;
    type Kept = S::Kept;

    fn create(&mut self, path: &str, size: u64) -> Result<Self::File> {
        Ok(ShownFile { file: self.sink.create(path, size)?, transfer: self.progress.start(path.to_owned(), size) })
    }

    fn takes_statement(&self) -> bool {
        self.sink.takes_statement()
    }

    fn keep(self, filled: Filled<'_>) -> Result<S::Kept> {
        self.sink.keep(filled)
    }
}

impl<F: FileSink> FileSink for ShownFile<F> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes)?;
        self.transfer.advance(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
