//! `strongroom model sign|verify-bundle`: OpenSSF Model Signing v1.0 over a directory, without a registry.

use super::keyless::{KeylessArguments, read_root};
use crate::{block_on, evidence, files, output, signer};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use strongroom_artifact::directory::{ModelFile, Selection, hash_files, hash_shards, list_files};
use strongroom_artifact::oms::{
    Certificates, Shape, SignedStatement, is_ignored, sign_payload, sign_statement_certified, statement_of,
    verify_statement, verify_statement_by, verify_statement_certified,
};
use strongroom_artifact::{Credential, FileDigest, HashAlgorithm, PublicKey, Signers};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Identity;
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
#[command(after_help = "Example:\n  strongroom model sign ./embed --key release.key --bundle ./embed/model.sig\n  \
    strongroom model sign ./embed --key 'pkcs11:token=hsm;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so&\
    pin-source=file:/run/pin' --bundle ./embed/model.sig\n  \
    strongroom model sign ./embed --keyless --identity-token-file token --bundle ./embed/model.sig")]
#[command(group = clap::ArgGroup::new("signer").required(true).args(["key", "keyless"]))]
pub(crate) struct Sign {
    /// The directory with the model's files.
    directory: PathBuf,
    /// The signer's private key: a file, of which an encrypted one opens with the password in COSIGN_PASSWORD, or a PKCS #11 URI
    /// whose PIN is in a file (`pin-source`).
    #[arg(long, value_name = "FILE|URI")]
    key: Option<PathBuf>,
    /// The key's certificate in PEM, and those between it and an authority behind it: verifiers then trust the authority.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The authority's certificates in PEM, which go into the bundle too.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    cert_chain: Option<PathBuf>,
    #[command(flatten)]
    keyless: KeylessArguments,
    /// Where the bundle is written. `model.sig` at the top of the directory is not itself signed.
    #[arg(long, value_name = "OUT")]
    bundle: PathBuf,
    /// What the files are hashed with.
    #[arg(long, value_enum, default_value = "sha256")]
    hash: OmsHash,
    /// Sign ranges of so many bytes in place of whole files. Widespread verifiers know files alone.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    shard_size: Option<u64>,
    /// A path in the directory that is left out on purpose, with all below it. May be repeated.
    #[arg(long = "ignore-path", value_name = "PATH")]
    ignored: Vec<String>,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model verify-bundle ./embed --bundle ./embed/model.sig --public-key release.pub"
)]
#[command(group = clap::ArgGroup::new("signer").required(true).args(["public_key", "cert_chain", "identity"]))]
pub(crate) struct VerifyBundle {
    /// The directory with the model's files.
    directory: PathBuf,
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The public key of the signer who is expected.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The certificates in PEM of the authority that certified the signer who is expected.
    #[arg(long, value_name = "FILE")]
    cert_chain: Option<PathBuf>,
    /// The identity of the signer who is expected, as it is in certificates: a mail address or a URI.
    #[arg(long, value_name = "SUBJECT", requires = "issuer")]
    identity: Option<String>,
    /// URL of the OpenID Connect issuer that vouched for the identity.
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,
    /// Sigstore's `trusted_root.json`; the public instance's unless named.
    #[arg(long, value_name = "FILE", requires = "identity")]
    trusted_root: Option<PathBuf>,
}

pub(super) fn sign(arguments: &Sign, json: bool) -> Result<()> {
    let mut listed = list_files(&arguments.directory, Selection::Signed)?;
    // A bundle that an earlier run wrote into the directory under another name is about to be written over.
    listed.retain(|file| {
        !is_ignored(&arguments.ignored, &file.path)
            && !is_same(&arguments.directory.join(&file.path), &arguments.bundle)
    });
    let digests = hash(&arguments.directory, &listed, arguments.hash.into(), arguments.shard_size)?;
    let shape = Shape { shard_len: arguments.shard_size, ignored: arguments.ignored.clone() };
    let payload = statement_of(&name_of(&arguments.directory)?, &digests, &shape)?;
    let (bundle, signer) = match &arguments.key {
        Some(named) => {
            let key = signer::open(named)?;
            let bundle = match &arguments.certificate {
                Some(own) => {
                    let chain = arguments.cert_chain.as_deref().map(read_certificates).transpose()?;
                    sign_statement_certified(&payload, &*key, &read_certificates(own)?, chain.as_ref())?
                }
                None => sign_payload(&payload, &*key)?,
            };
            (bundle, Some(key.public().fingerprint()))
        }
        None => (block_on(arguments.keyless.sign(&payload))?, None),
    };
    files::write(&arguments.bundle, &bundle)?;
    let files = listed.len();
    if json {
        return output::json(&json!({ "bundle": arguments.bundle, "files": files, "signer": signer }));
    }
    let by = signer.map_or_else(|| "as an identity".to_owned(), |fingerprint| format!("with key sha256:{fingerprint}"));
    output::line(&format!("signed {files} files {by}\n"))
}

pub(super) fn verify_bundle(arguments: &VerifyBundle, json: bool) -> Result<()> {
    let bundle = files::read(&arguments.bundle, limits::BUNDLE)?;
    let statement = verify_signer(arguments, &bundle)?;
    let mut listed = list_files(&arguments.directory, Selection::Signed)?;
    listed.retain(|file| {
        !statement.ignores(&file.path) && !is_same(&arguments.directory.join(&file.path), &arguments.bundle)
    });
    statement.compare(&hash(&arguments.directory, &listed, statement.hash_type(), statement.shard_len())?)?;
    let files = listed.len();
    if json {
        let payload = Sha256::of(statement.payload());
        let (key, by) = match statement.signer() {
            Credential::Key(fingerprint) => (Some(fingerprint), None),
            other => (None, Some(other.to_string())),
        };
        return output::json(&json!({
            "verdict": "verified", "name": statement.name(), "files": files, "signer": key, "signed_by": by,
            "payload": payload,
        }));
    }
    output::line(&format!("verified: {files} files are what {} signed as `{}`\n", statement.signer(), statement.name()))
}

fn verify_signer(arguments: &VerifyBundle, bundle: &[u8]) -> Result<SignedStatement> {
    if let Some(path) = &arguments.public_key {
        let key = PublicKey::from_pem(&files::read(path, limits::KEY_FILE)?)
            .map_err(|refusal| refusal.within(format!("`{}`", path.display())))?;
        return verify_statement(bundle, &[key]);
    }
    if let Some(path) = &arguments.cert_chain {
        return verify_statement_certified(bundle, &read_certificates(path)?, evidence::now());
    }
    let (Some(subject), Some(issuer)) = (arguments.identity.clone(), arguments.issuer.clone()) else {
        return Err(Refusal::new(Code::Usage, "signer").want("--public-key, --cert-chain, or --identity and --issuer"));
    };
    let identity = Identity { issuer, subject: Some(subject), subject_pattern: None };
    let root = read_root(arguments.trusted_root.as_ref())?;
    verify_statement_by(bundle, &Signers::of_identity(identity, root))
}

fn read_certificates(path: &Path) -> Result<Certificates> {
    Certificates::from_pem(&files::read(path, limits::KEY_FILE)?)
        .map_err(|refusal| refusal.within(format!("`{}`", path.display())))
}

fn hash(
    directory: &Path,
    files: &[ModelFile],
    algorithm: HashAlgorithm,
    shard_len: Option<u64>,
) -> Result<Vec<FileDigest>> {
    match shard_len {
        Some(length) => hash_shards(directory, files, algorithm, length),
        None => hash_files(directory, files, algorithm),
    }
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
