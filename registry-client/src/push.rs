//! The recipe: from a directory to a signed model in a registry, sealed or plain.

use crate::client::RegistryClient;
use crate::destination::Destination;
use crate::publish::{SignBy, Signature, publish, verify_target};
use crate::reference::Reference;
use crate::store::{Seal, Source, Store};
use core::fmt;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_artifact::directory::{ModelFile, Selection, list_files};
use strongroom_artifact::manifest::{ManifestBuilder, NewLayer, Sealing};
use strongroom_artifact::oms::statement;
use strongroom_artifact::seal::part_len;
use strongroom_artifact::{DataKey, FileDigest, HashAlgorithm};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};
use tokio::task::JoinSet;

/// Files, or parts of one that can be hashed apart, on their way at a time: while one is hashed and sealed, the other is sent.
pub(crate) const FILES: usize = 2;

/// How a model is pushed.
pub struct PushOptions<'a> {
    /// Signs the manifest.
    pub sign: SignBy<'a>,
    /// Whether the manifest is signed in cosign 2's form too, under the tag `sha256-<hex>.sig`: widespread tools still read no
    /// other. By key alone.
    pub sign_simple: bool,
    /// Signs the statement over the files.
    pub sign_statement: SignBy<'a>,
    /// What the statement hashes the files with: SHA-256, which every verifier has, or BLAKE3.
    pub statement_hash: HashAlgorithm,
    /// The key that the model is sealed with, and where it is kept; `None`: the model stays plain.
    pub seal: Option<(ResourcePath, DataKey)>,
    /// When the signature says that it was made, in seconds of Unix time.
    pub created: u64,
    /// Another repository of the registry: what it has already is mounted from there and not sent (distribution specification
    /// 1.1, "Mounting a blob from another repository"). What is sealed is nowhere yet.
    pub mount_from: Option<String>,
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
/// 3. Each file, part by part, two at a time: hash it as the statement does, seal it into a scratch file, push the blob.
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
    push_in_parts(client, directory, reference, options, part_len).await
}

async fn push_in_parts(
    client: &RegistryClient,
    directory: &Path,
    reference: &Reference,
    options: PushOptions<'_>,
    part_len: fn(u64) -> u64,
) -> Result<Pushed> {
    verify_target(client, reference)?;
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
        to: Destination {
            client: client.clone(),
            repository: reference.repository().to_owned(),
            mount_from: options.mount_from,
            scratch: options.scratch,
            report,
        },
        directory: directory.to_owned(),
        hash: options.statement_hash,
        part_len,
        seal,
    });
    let (digests, layers) = push_files(&store, files).await?;
    layers.into_iter().for_each(|layer| builder.push(layer));
    // 4.
    let bundle = options.sign_statement.sign_statement(&statement(&name, &digests)?).await?;
    builder.push(store.push_statement(bundle).await?);
    // 5., 6., 7.
    let signature = Signature { by: options.sign, simple: options.sign_simple, created: options.created };
    publish(client, reference, builder, sealing, signature).await
}

async fn push_files(store: &Arc<Store>, files: Vec<ModelFile>) -> Result<(Vec<FileDigest>, Vec<NewLayer>)> {
    let (mut digests, mut layers) = (Vec::new(), Vec::new());
    let (mut running, mut files) = (JoinSet::new(), files.into_iter());
    let (mut waiting, mut sources) = (VecDeque::new(), Vec::new());
    loop {
        while running.len() < FILES {
            // A file is opened when its turn comes: a model has more of them than a process may have open.
            if waiting.is_empty()
                && let Some(file) = files.next()
            {
                let (source, runs) = store.plan(file)?;
                sources.push(source);
                waiting.extend(runs);
            }
            let Some(run) = waiting.pop_front() else { break };
            running.spawn(Arc::clone(store).push_run(run));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.map_err(|e| Refusal::new(Code::Internal, "push of a file").because(e)).flatten() {
            Ok(pushed) => layers.extend(pushed),
            Err(refusal) => {
                running.shutdown().await;
                return Err(refusal);
            }
        }
        // What nobody pushes any more is whole, and need not stay open.
        for source in sources.extract_if(.., |source| Arc::strong_count(source) == 1) {
            digests.extend(finish(source)?);
        }
    }
    for source in sources {
        digests.extend(finish(source)?);
    }
    Ok((digests, layers))
}

fn finish(source: Arc<Source>) -> Result<Vec<FileDigest>> {
    Arc::into_inner(source).ok_or_else(|| Refusal::new(Code::Internal, "file is still being pushed"))?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, DirectorySink, ResealOptions, open_model, reseal_model, verify_model};
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
                sign: SignBy::Key(&signer),
                sign_simple: false,
                sign_statement: SignBy::Key(&signer),
                statement_hash: HashAlgorithm::Sha256,
                seal: sealed.then(|| (ResourcePath::parse("a/b/c").unwrap(), key())),
                created: 0,
                mount_from: None,
                scratch: folder.path().to_owned(),
                progress: None,
            };
            let reference = Reference::parse(&format!("{host}/m")).unwrap();
            let pushed = push_in_parts(&client, &source, &reference, options, |_| PART).await.unwrap();
            let trusted = verify_model(&client, &pushed.reference, &trust, 0).await.unwrap();
            let parts = trusted.manifest().layers().iter().filter(|layer| !layer.is_statement()).count();
            assert_eq!(parts, 1 + 1 + 2 + 5);
            let target = folder.path().join(format!("sealed-{sealed}"));
            let sink = DirectorySink::new(&target).unwrap();
            let openable = trusted.with_key(sealed.then(key)).unwrap();
            open_model(&client, openable, sink).await.unwrap();
            // Resealed, its parts stay parts.
            let openable = verify_model(&client, &pushed.reference, &trust, 0).await.unwrap();
            let openable = openable.with_key(sealed.then(key)).unwrap();
            let other = || DataKey::from_file_bytes(&[8; 32]).unwrap();
            let options = ResealOptions {
                seal: (ResourcePath::parse("a/b/d").unwrap(), other()),
                sign: SignBy::Key(&signer),
                sign_simple: false,
                created: 0,
                scratch: folder.path().to_owned(),
                progress: None,
            };
            let resealed = reseal_model(&client, openable, &client, &reference, options).await.unwrap();
            let trusted = verify_model(&client, &resealed.reference, &trust, 0).await.unwrap();
            let again = trusted.manifest().layers().iter().filter(|layer| !layer.is_statement()).count();
            assert_eq!(again, parts);
            let sink = DirectorySink::new(&folder.path().join(format!("resealed-{sealed}"))).unwrap();
            open_model(&client, trusted.with_key(Some(other())).unwrap(), sink).await.unwrap();
            for (name, length) in lengths {
                assert_eq!(std::fs::read(target.join(name)).unwrap(), content(length), "{name}, sealed {sealed}");
            }
        }
    }
}
