//! `strongroom model sign|verify-bundle`: OpenSSF Model Signing v1.0 over a directory, without a registry.

use crate::{files, output};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use strongroom_artifact::directory::{Selection, hash_files, list_files};
use strongroom_artifact::oms::{sign_statement, verify_statement};
use strongroom_artifact::{HashAlgorithm, PublicKey};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// The hashes that statements are written with.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum OmsHash {
    /// What every verifier knows.
    Sha256,
    /// Several times as fast.
    Blake3,
}

impl From<OmsHash> for HashAlgorithm {
    fn from(hash: OmsHash) -> Self {
        match hash {
            OmsHash::Sha256 => Self::Sha256,
            OmsHash::Blake3 => Self::Blake3,
        }
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model sign ./embed --key release.key --bundle ./embed/model.sig")]
pub(crate) struct Sign {
    /// The directory with the model's files.
    directory: PathBuf,
    /// The signer's private key; an encrypted one opens with the password in COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the bundle is written. `model.sig` at the top of the directory is not itself signed.
    #[arg(long, value_name = "OUT")]
    bundle: PathBuf,
    /// What the files are hashed with.
    #[arg(long, value_enum, default_value = "sha256")]
    hash: OmsHash,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model verify-bundle ./embed --bundle ./embed/model.sig --public-key release.pub"
)]
pub(crate) struct VerifyBundle {
    /// The directory with the model's files.
    directory: PathBuf,
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The public key of the signer who is expected.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

pub(super) fn sign(arguments: &Sign, json: bool) -> Result<()> {
    let key = files::read_signing_key(&arguments.key)?;
    let mut listed = list_files(&arguments.directory, Selection::Signed)?;
    // A bundle that an earlier run wrote into the directory under another name is about to be written over.
    listed.retain(|file| !is_same(&arguments.directory.join(&file.path), &arguments.bundle));
    let digests = hash_files(&arguments.directory, &listed, arguments.hash.into())?;
    let bundle = sign_statement(&name_of(&arguments.directory)?, &digests, &key)?;
    files::write(&arguments.bundle, &bundle)?;
    let (files, signer) = (digests.len(), key.public().fingerprint());
    if json {
        return output::json(&json!({ "bundle": arguments.bundle, "files": files, "signer": signer }));
    }
    output::line(&format!("signed {files} files with key sha256:{signer}\n"))
}

pub(super) fn verify_bundle(arguments: &VerifyBundle, json: bool) -> Result<()> {
    let key = PublicKey::from_pem(&files::read(&arguments.public_key, limits::KEY_FILE)?)
        .map_err(|refusal| refusal.within(format!("`{}`", arguments.public_key.display())))?;
    let bundle = files::read(&arguments.bundle, limits::BUNDLE)?;
    let statement = verify_statement(&bundle, &[key])?;
    let mut listed = list_files(&arguments.directory, Selection::Signed)?;
    listed.retain(|file| {
        !statement.ignores(&file.path) && !is_same(&arguments.directory.join(&file.path), &arguments.bundle)
    });
    statement.compare(&hash_files(&arguments.directory, &listed, statement.hash_type())?)?;
    let (files, signer) = (listed.len(), statement.signer().fingerprint());
    if json {
        let payload = Sha256::of(statement.payload());
        return output::json(&json!({
            "verdict": "verified", "name": statement.name(), "files": files, "signer": signer, "payload": payload,
        }));
    }
    output::line(&format!("verified: {files} files are what key sha256:{signer} signed as `{}`\n", statement.name()))
}

/// What the statement calls the model: the directory's own name, wherever it was called from.
pub(super) fn name_of(directory: &Path) -> Result<String> {
    let full = directory.canonicalize().map_err(|e| Refusal::io(directory.display(), &e))?;
    let name = full.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Refusal::new(Code::PathUnsafe, "directory of a model").got(full.display()).want("a name in UTF-8")
    })
}

/// Whether two paths lead to one existing file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
