//! `strongroom model import`: models that other tools packed or encrypted, as plain directories that `model push` takes.

use crate::registry::RegistryArguments;
use crate::{block_on, files, output};
use clap::Args;
use serde::Serialize;
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use strongroom_artifact::directory::{ModelFile, Selection, list_files, open_file};
use strongroom_artifact::import::Import;
use strongroom_jose::{COMPACT_MAGIC, FileKey, open_compact};
use strongroom_registry_client::{Reference, import_model};
use strongroom_wire::{Code, Refusal, Result};

/// Read and written at a time.
const CHUNK: usize = 256 * 1024;

#[derive(Args)]
#[command(
    after_help = "What comes from a registry is signed by nobody whom this command knows: name it by its digest, and sign it with\n\
    `strongroom model push` only once you know that it is what you want. Encrypted files are KServe's: one JWE for each\n\
    (A256KW or dir, A256GCM), which is held in memory until its end authenticated it. The key vouches for the content of each,\n\
    not for its name nor for which files there are: who writes to the directory can rename, exchange and take away. Files\n\
    that are not encrypted are taken along as they are, and said so: the key vouches for nothing of them. Paths that no\n\
    signature over a model covers (`.git…` and `model.sig` at the top) are refused.\n\n\
    Example:\n  strongroom model import ./embed --from registry.example/models/embed@sha256:…\n  \
    strongroom model import ./embed --jwe ./embed-encrypted --key-file model.key\n  \
    strongroom model push ./embed registry.example/models/embed:v1 --sign-key release.key --seal --key-id models/embed/v1 \\\n    \
    --key-file embed.key"
)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["from", "jwe"]))]
pub(crate) struct Arguments {
    /// Where the files go: a directory that does not exist yet, or is empty.
    out: PathBuf,
    /// An artifact of modctl, KitOps or ORAS, with files as they are or in archives that are not compressed:
    /// `host[:port]/repo[:tag|@sha256:…]`.
    #[arg(long, value_name = "REF", conflicts_with = "key_file")]
    from: Option<Reference>,
    /// A directory with encrypted files: those named `*.jwe`, and those that begin as a JWE does.
    #[arg(long, value_name = "DIR", requires = "key_file")]
    jwe: Option<PathBuf>,
    /// The key of the encrypted files: 32 raw bytes, or 64 hex digits; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The key encrypts the files itself (`dir`), and not a key of each file (`A256KW`).
    #[arg(long, requires = "jwe")]
    direct: bool,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// What was written, and what is known of it.
#[derive(Serialize)]
struct Answer {
    /// The manifest, with its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Whether any signature was looked at: never.
    signed: bool,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    size: u64,
    /// Whether the key authenticated its content; its name it never does, nor which files there are.
    authenticated: bool,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let answer = match (&arguments.from, &arguments.jwe, &arguments.key_file) {
        (Some(reference), _, _) => fetch(arguments, reference)?,
        (_, Some(directory), Some(key)) => decrypt(arguments, directory, key)?,
        _ => return Err(Refusal::new(Code::Usage, "import").want("--from, or --jwe and --key-file")),
    };
    if json {
        return output::json(&answer);
    }
    let known = |file: &File| if file.authenticated { "content by its key, name not" } else { "vouched for by nobody" };
    let row = |file: &File| vec![file.path.clone(), output::bytes(file.size), known(file).to_owned()];
    let table = output::table(&["FILE", "SIZE", "WHOSE"], &answer.files.iter().map(row).collect::<Vec<_>>());
    let from = answer.from.map(|from| format!("from {from}\n")).unwrap_or_default();
    let names = if arguments.jwe.is_some() { "; nobody vouches for names, nor for which files there are" } else { "" };
    output::line(&format!("{table}{from}no signature was verified{names}\n"))
}

fn fetch(arguments: &Arguments, reference: &Reference) -> Result<Answer> {
    let client = arguments.registry.client(reference)?;
    let (import, digest) = block_on(import_model(&client, reference, Import::into(&arguments.out)?))?;
    let file = |ModelFile { path, size }| File { path, size, authenticated: false };
    let files = import.finish()?.into_iter().map(file).collect();
    Ok(Answer { from: Some(reference.pinned(digest).to_string()), signed: false, files })
}

/// Opens one file after the other: none is written before its tag authenticated all of it, and none of them has its name before
/// all did.
fn decrypt(arguments: &Arguments, directory: &Path, key: &Path) -> Result<Answer> {
    let key = files::read_data_key(key)?;
    let key = if arguments.direct { FileKey::Content(key.expose()) } else { FileKey::Wrapping(key.expose()) };
    let mut import = Import::into(&arguments.out)?;
    let mut opened = Vec::new();
    for ModelFile { path, size } in list_files(directory, Selection::Everything)? {
        let failed = |e: &std::io::Error| Refusal::io(&path, e);
        let source = open_file(directory, &path)?;
        let name = unencrypted(&path);
        if name.is_none() && !begins_as_jwe(&source).map_err(|e| failed(&e))? {
            let mut to = import.create(&path, size)?;
            std::io::copy(&mut &source, &mut to).map_err(|e| failed(&e))?;
            continue;
        }
        let plain = open_compact(BufReader::with_capacity(CHUNK, source), size, key);
        let plain = plain.map_err(|refusal| refusal.within(format!("`{path}`")))?;
        let name = name.unwrap_or(&path);
        let mut to = import.create(name, u64::try_from(plain.len()).map_err(|e| Refusal::malformed("file", e))?)?;
        to.write_all(&plain).map_err(|e| failed(&e))?;
        opened.push(name.to_owned());
    }
    if opened.is_empty() {
        return Err(Refusal::new(Code::ModelUnsupported, format!("`{}`", directory.display()))
            .got("no encrypted file")
            .want("files named `*.jwe`, or that begin as a JWE does"));
    }
    let file = |ModelFile { path, size }| File { authenticated: opened.contains(&path), path, size };
    let files = import.finish()?.into_iter().map(file).collect();
    Ok(Answer { from: None, signed: false, files })
}

/// What a file is called without the `.jwe` that says that it is encrypted.
fn unencrypted(path: &str) -> Option<&str> {
    let (name, suffix) = path.split_at_checked(path.len().checked_sub(4)?)?;
    suffix.eq_ignore_ascii_case(".jwe").then_some(name)
}

fn begins_as_jwe(mut file: &std::fs::File) -> std::io::Result<bool> {
    let mut first = Vec::new();
    file.take(3).read_to_end(&mut first)?;
    file.rewind()?;
    Ok(first == COMPACT_MAGIC)
}
