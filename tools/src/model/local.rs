//! `strongroom model seal|open`: sealing without a registry.

use crate::{files, output};
use clap::Args;
use std::path::PathBuf;
use strongroom_artifact::local::{Index, open_directory, seal_directory};
use strongroom_wire::Result;

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model seal ./embed ./embed.sealed --key-file embed.key")]
pub(crate) struct Seal {
    /// The directory with the model's files.
    directory: PathBuf,
    /// Where `<path>.sealed` and strongroom-seal.json go: a directory that does not exist yet, or is empty.
    out: PathBuf,
    /// The data key: 32 raw bytes, or 64 hex digits; `-` is standard input. It is for this one model.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model open ./embed.sealed ./embed --key-file embed.key")]
pub(crate) struct Open {
    /// The directory with strongroom-seal.json.
    directory: PathBuf,
    /// Where the files go: a directory that does not exist yet, or is empty.
    out: PathBuf,
    /// The data key: 32 raw bytes, or 64 hex digits; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

pub(super) fn seal(arguments: &Seal, json: bool) -> Result<()> {
    let index = seal_directory(&arguments.directory, &arguments.out, files::read_data_key(&arguments.key_file)?)?;
    answer(&index, "sealed", json)
}

pub(super) fn open(arguments: &Open, json: bool) -> Result<()> {
    let index = open_directory(&arguments.directory, &arguments.out, files::read_data_key(&arguments.key_file)?)?;
    answer(&index, "opened", json)
}

fn answer(index: &Index, done: &str, json: bool) -> Result<()> {
    if json {
        return output::json(index);
    }
    let row = |file: &strongroom_artifact::local::SealedFile| vec![file.path.clone(), output::bytes(file.size)];
    let table = output::table(&["FILE", "SIZE"], &index.files.iter().map(row).collect::<Vec<_>>());
    output::line(&format!("{table}{done} as artifact {}\n", index.artifact_id))
}
