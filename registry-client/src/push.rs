//! The recipe: from a directory to a signed model in a registry, sealed or plain.

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::sign::{SignOptions, sign_target};
use crate::store::{Seal, Store};
use crate::uploads::Blob;
use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_artifact::directory::{ModelFile, Selection, list_files};
use strongroom_artifact::manifest::{Built, ManifestBuilder, NewLayer, OCI_MANIFEST, Sealing};
use strongroom_artifact::oms::sign_statement;
use strongroom_artifact::seal::PART_LEN;
use strongroom_artifact::{DataKey, FileDigest, HashAlgorithm, Sign};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use tokio::task::JoinSet;

/// Files on their way at a time: while one is hashed and sealed, the other is sent.
const FILES: usize = 2;

/// How a model is pushed.
pub struct PushOptions<'a> {
    /// Signs the manifest.
    pub sign_key: &'a (dyn Sign + Sync),
    /// Whether the manifest is signed in cosign 2's form too, under the tag `sha256-<hex>.sig`: widespread tools still read no
    /// other.
    pub sign_simple: bool,
    /// Signs the statement over the files.
    pub statement_key: &'a (dyn Sign + Sync),
    /// What the statement hashes the files with: SHA-256, which every verifier has, or BLAKE3.
    pub statement_hash: HashAlgorithm,
    /// The key that the model is sealed with, and where it is kept; `None`: the model stays plain.
    pub seal: Option<(ResourcePath, DataKey)>,
    /// When the signature says that it was made, in seconds of Unix time.
    pub created: u64,
    /// Where sealed files wait to be sent, at most two parts at a time; nothing plain is written there.
    pub scratch: PathBuf,
    /// Told what was done.
    pub progress: Option<ProgressListener>,
}

/// Told what was done, on any thread.
pub type ProgressListener = Arc<dyn Fn(Progress) + Send + Sync>;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The directory was listed.
    Listed {
        /// Its files.
        files: usize,
        /// Their length in bytes.
        bytes: u64,
    },
    /// The registry has a file, or a part of one.
    Stored {
        /// The file.
        path: String,
        /// Length of its plaintext in bytes.
        bytes: u64,
        /// Whether it had to be sent.
        sent: bool,
    },
}

/// A model that was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Where it is, with its digest.
    pub reference: Reference,
    /// The digest of its manifest.
    pub manifest: Sha256,
    /// The digest of the manifest that attaches the signature.
    pub signature: Sha256,
    /// How it is sealed, if it is.
    pub sealing: Option<Sealing>,
}

impl fmt::Debug for PushOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushOptions").field("statement_hash", &self.statement_hash).finish_non_exhaustive()
    }
}

/// Pushes the model in `directory` to the repository of `reference`, and gives it its tag, if it has one.
///
/// 1. List the directory.
/// 2. If it is to be sealed: draw an artifact id and commit to the data key.
/// 3. Each file, part by part: hash it as the statement does, seal it into a scratch file, push the blob.
/// 4. Sign the statement over the files and push it as one more file, sealed as the others are.
/// 5. Push the config, and the manifest by its digest.
/// 6. Sign the digest and attach the signature, in both forms of cosign where that is asked for.
/// 7. Set the tag: it never names a model without its signature.
///
/// # Errors
/// `model-empty`, `model-not-plain`, `path-unsafe` the directory is not one of a model; `reference-invalid` the reference has a
/// digest; `io` a file cannot be read, or changed meanwhile; `registry-…`, `network`, `timeout`.
pub async fn push_model(
    client: &RegistryClient,
    directory: &Path,
    reference: &Reference,
    options: PushOptions<'_>,
) -> Result<Pushed> {
    push_in_parts(client, directory, reference, options, PART_LEN).await
}

async fn push_in_parts(
    client: &RegistryClient,
    directory: &Path,
    reference: &Reference,
    options: PushOptions<'_>,
    part_len: u64,
) -> Result<Pushed> {
    client.serves(reference)?;
    if reference.digest().is_some() {
        let refusal = Refusal::new(Code::ReferenceInvalid, "reference to push to").got(reference);
        return Err(refusal.want("one without a digest, which follows from the model"));
    }
    let name = directory.canonicalize().map_err(|e| Refusal::io(directory.display(), &e))?;
    let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // 1.
    let files = list_files(directory, Selection::Signed)?;
    let report = options.progress.unwrap_or_else(|| Arc::new(|_| {}));
    let bytes = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    report(Progress::Listed { files: files.len(), bytes });
    // 2.
    let seal = options.seal.map(|(key_id, key)| Seal::new(key_id, key)).transpose()?;
    let sealing = seal.as_ref().map(|seal| seal.sealing().clone());
    let mut builder = ManifestBuilder::new(sealing.clone(), options.statement_hash);
    // 3.
    let store = Arc::new(Store {
        client: client.clone(),
        repository: reference.repository().to_owned(),
        directory: directory.to_owned(),
        scratch: options.scratch,
        hash: options.statement_hash,
        part_len,
        seal,
        report,
    });
    let (digests, layers) = push_files(&store, files).await?;
    layers.into_iter().for_each(|layer| builder.push(layer));
    // 4.
    let statement = sign_statement(&name, &digests, options.statement_key)?;
    builder.push(store.push_statement(statement).await?);
    // 5.
    let Built { manifest, config } = builder.build()?;
    let digest = manifest.digest();
    client.push_blob(reference.repository(), &Blob::bytes(config)).await?;
    let pinned = reference.pinned(digest);
    client.push_manifest(&pinned, OCI_MANIFEST, manifest.raw().to_vec()).await?;
    // 6.
    let how = SignOptions { key: options.sign_key, simple: options.sign_simple, created: options.created };
    let signature = sign_target(client, reference, (digest, manifest.raw().len()), how).await?;
    // 7.
    if let Some(tag) = reference.tag() {
        client.push_manifest(&reference.tagged(tag), OCI_MANIFEST, manifest.raw().to_vec()).await?;
    }
    Ok(Pushed { reference: pinned, manifest: digest, signature, sealing })
}

async fn push_files(store: &Arc<Store>, mut files: Vec<ModelFile>) -> Result<(Vec<FileDigest>, Vec<NewLayer>)> {
    let (mut digests, mut layers) = (Vec::new(), Vec::new());
    let mut running = JoinSet::new();
    loop {
        while running.len() < FILES
            && let Some(file) = files.pop()
        {
            running.spawn(Arc::clone(store).push_file(file));
        }
        let Some(ended) = running.join_next().await else { return Ok((digests, layers)) };
        match ended.map_err(|e| Refusal::new(Code::Internal, "push of a file").because(e)).flatten() {
            Ok((digest, pushed)) => {
                digests.push(digest);
                layers.extend(pushed);
            }
            Err(refusal) => {
                running.shutdown().await;
                return Err(refusal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, DirectorySink, open_model, verify_model};
    use strongroom_artifact::SigningKey;
    use strongroom_devkit::registry::{Config, RunningRegistry};
    use strongroom_wire::trust::TrustFile;

    #[tokio::test]
    async fn files_in_parts_come_back_whole() {
        const PART: u64 = 1_000;
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let lengths = [("none", 0), ("one", 1_000), ("two", 1_001), ("five", 4_500)];
        let content = |length: u32| -> Vec<u8> { (0..length).map(|i| (i / 7).to_le_bytes()[0]).collect() };
        for (name, length) in lengths {
            std::fs::write(source.join(name), content(length)).unwrap();
        }
        let registry = RunningRegistry::start(Config::new(folder.path().join("registry"))).await.unwrap();
        let host = registry.addr().to_string();
        let client = RegistryClient::new(&host, Access { plain_http: true, ..Access::default() }).unwrap();
        let signer = SigningKey::generate().unwrap();
        let key = || DataKey::from_file_bytes(&[7; 32]).unwrap();
        let rule = format!(
            "[[rule]]\nrepository='{host}/m'\n[[rule.signer]]\nname='a'\nkey='''{}'''\n",
            signer.public().pem()
        );
        let trust = TrustFile::parse(rule.as_bytes()).unwrap();
        for sealed in [true, false] {
            let options = PushOptions {
                sign_key: &signer,
                sign_simple: false,
                statement_key: &signer,
                statement_hash: HashAlgorithm::Sha256,
                seal: sealed.then(|| (ResourcePath::parse("a/b/c").unwrap(), key())),
                created: 0,
                scratch: folder.path().to_owned(),
                progress: None,
            };
            let reference = Reference::parse(&format!("{host}/m")).unwrap();
            let pushed = push_in_parts(&client, &source, &reference, options, PART).await.unwrap();
            let trusted = verify_model(&client, &pushed.reference, &trust, 0).await.unwrap();
            let parts = trusted.manifest().layers().iter().filter(|layer| !layer.is_statement()).count();
            assert_eq!(parts, 1 + 1 + 2 + 5);
            let target = folder.path().join(format!("sealed-{sealed}"));
            let sink = DirectorySink::new(&target).unwrap();
            let openable = trusted.with_key(sealed.then(key)).unwrap();
            open_model(&client, openable, sink).await.unwrap();
            for (name, length) in lengths {
                assert_eq!(std::fs::read(target.join(name)).unwrap(), content(length), "{name}, sealed {sealed}");
            }
        }
    }
}
