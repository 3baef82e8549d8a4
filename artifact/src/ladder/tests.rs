use super::*;
use crate::data_key::{ArtifactId, DataKey};
use crate::hash::{FileDigest, HashAlgorithm};
use crate::keys::SigningKey;
use crate::manifest::{ManifestBuilder, NewLayer, Sealing};
use crate::path::STATEMENT;
use crate::seal::{Sealer, associated_data, part_lengths};
use crate::shard;
use crate::signers::Credential;
use crate::{Layer, Manifest, cosign, oms};
use core::num::NonZero;
use std::collections::BTreeMap;
use std::sync::Mutex;
use strongroom_wire::binding::statement_commitment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::{Rule, Signer, StatementDemand, TrustFile};
use strongroom_wire::{Code, Refusal, Result, limits};

mod opening;

const REPOSITORY: &str = "registry.example/models/m";
const PART_LEN: u64 = 100;

/// A model as a registry holds it, and the keys of those who made it.
struct Stored {
    manifest: Vec<u8>,
    digest: Sha256,
    /// In the order of the manifest's layers.
    blobs: Vec<Vec<u8>>,
    signer: SigningKey,
    trainer: SigningKey,
    key: [u8; 32],
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("a.json", b"{}".to_vec()), ("empty", Vec::new()), ("weights.bin", (0..250).collect())]
}

/// How a model is stored.
struct Storing {
    part_len: u64,
    shard_len: Option<u64>,
    sealed: bool,
    hash: HashAlgorithm,
}

impl Default for Storing {
    fn default() -> Self {
        Self { part_len: PART_LEN, shard_len: None, sealed: true, hash: HashAlgorithm::Sha256 }
    }
}

fn store(files: &[(&str, Vec<u8>)], signed: &[(&str, Vec<u8>)], sealed: bool, hash: HashAlgorithm) -> Stored {
    Storing { sealed, hash, ..Storing::default() }.store(files, signed)
}

impl Storing {
    fn statement(&self, signed: &[(&str, Vec<u8>)], trainer: &SigningKey) -> Vec<u8> {
        let digest = |path: String, content: &[u8]| {
            let mut hasher = self.hash.hasher();
            hasher.update(content);
            FileDigest { path, algorithm: self.hash, digest: hasher.finish() }
        };
        let digests: Vec<_> = signed
            .iter()
            .flat_map(|(path, content)| match self.shard_len {
                None => vec![digest((*path).into(), content)],
                Some(length) => shard::ranges(u64::try_from(content.len()).unwrap(), length)
                    .zip(content.chunks(usize::try_from(length).unwrap()))
                    .map(|((start, end), range)| digest(shard::name(path, start, end), range))
                    .collect(),
            })
            .collect();
        let shape = oms::Shape { shard_len: self.shard_len, ignored: Vec::new() };
        oms::sign_payload(&oms::statement_of("m", &digests, &shape).unwrap(), trainer).unwrap()
    }

    /// Pushes `files`, with a statement over `signed` unless there are none.
    fn store(&self, files: &[(&str, Vec<u8>)], signed: &[(&str, Vec<u8>)]) -> Stored {
        let (signer, trainer) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let key = DataKey::generate().unwrap();
        let id = ArtifactId::from([3; 16]);
        let mut all = files.to_vec();
        if !signed.is_empty() {
            all.push((STATEMENT, self.statement(signed, &trainer)));
        }
        all.sort();
        let sealing = self.sealed.then(|| Sealing {
            id,
            commitment: key.commitment(&id),
            key: ResourcePath::parse("models/m/v1").unwrap(),
        });
        let mut builder = ManifestBuilder::new(sealing, self.hash);
        let mut blobs = Vec::new();
        for (path, content) in &all {
            let lengths: Vec<_> = part_lengths(u64::try_from(content.len()).unwrap(), self.part_len).collect();
            let parts = u32::try_from(lengths.len()).unwrap();
            let mut rest = content.as_slice();
            for (part, length) in (1..).zip(lengths) {
                let (plain, later) = rest.split_at(usize::try_from(length).unwrap());
                rest = later;
                let blob = if self.sealed {
                    let mut sealer = Sealer::new(&key, &associated_data(&id, path, part, parts), Vec::new()).unwrap();
                    sealer.write(plain).unwrap();
                    sealer.finish().unwrap().out
                } else {
                    plain.to_vec()
                };
                let (digest, size) = (Sha256::of(&blob), u64::try_from(blob.len()).unwrap());
                builder.push(NewLayer { path: (*path).into(), part, parts, plain_size: length, digest, size });
                blobs.push(blob);
            }
        }
        let built = builder.build().unwrap();
        let (manifest, digest) = (built.manifest.raw().to_vec(), built.manifest.digest());
        Stored { manifest, digest, blobs, signer, trainer, key: *key.expose() }
    }
}

fn sealed() -> Stored {
    store(&files(), &files(), true, HashAlgorithm::Sha256)
}

fn named(name: &str, key: &SigningKey) -> Signer {
    Signer::with_key(name, key.public().pem())
}

fn trust(threshold: usize, signers: Vec<Signer>, statement_signers: Vec<Signer>) -> TrustFile {
    let rule = Rule::new("registry.example/models/*", signers);
    TrustFile::new(vec![Rule { threshold, statement_signers, ..rule }])
}

#[test]
fn model_that_is_promoted_trusted_and_one_that_is_only_signed_not() {
    use crate::promotion::{Action, Statement};
    use strongroom_wire::trust::{Environment, PromotionRule};
    let stored = sealed();
    let promoter = SigningKey::generate().unwrap();
    let environment = Environment::parse("production").unwrap();
    let mut trust = stored.trust();
    trust.rules[0].promotion = Some(PromotionRule::new(environment.clone(), vec![named("operations", &promoter)]));
    let signatures = [signature(&stored.digest, &stored.signer)];
    let signed = || verify_manifest(&stored.manifest, &stored.digest, REPOSITORY, &signatures, &trust).unwrap();
    assert_eq!(signed().promoted(5).unwrap_err().code, Code::PromotionMissing);
    let statement = Statement {
        manifest: stored.digest,
        repository: REPOSITORY.into(),
        environment,
        sequence: 3,
        issued: 5,
        action: Action::Promote { expires: 9, policy: None },
    };
    let promoted = |now| {
        let mut signed = signed();
        signed.promotions().unwrap().add(&statement.sign(&promoter).unwrap()).unwrap();
        signed.promoted(now)
    };
    assert_eq!(promoted(9).unwrap().promotion().map(|promotion| promotion.sequence()), Some(3));
    assert_eq!(promoted(10).unwrap_err().code, Code::PromotionExpired);
    assert!(stored.trusted().unwrap().promotion().is_none(), "nobody demands it");
}

fn signature(digest: &Sha256, key: &SigningKey) -> ManifestSignature {
    cosign::sign_manifest(digest, key, &BTreeMap::new()).unwrap().into()
}

impl Stored {
    fn trust(&self) -> TrustFile {
        trust(1, vec![named("release", &self.signer)], vec![named("training", &self.trainer)])
    }

    fn trusted(&self) -> Result<TrustedModel> {
        self.trusted_by(&self.trust())
    }

    fn trusted_by(&self, trust: &TrustFile) -> Result<TrustedModel> {
        let signatures = [signature(&self.digest, &self.signer)];
        verify_manifest(&self.manifest, &self.digest, REPOSITORY, &signatures, trust)?.promoted(0)
    }

    /// Opens every blob and finishes; gives the files beside the verified model.
    fn open(&self) -> Result<(VerifiedModel, BTreeMap<String, Vec<u8>>)> {
        self.open_as(self.trusted()?)
    }

    fn open_as(&self, trusted: TrustedModel) -> Result<(VerifiedModel, BTreeMap<String, Vec<u8>>)> {
        self.open_in(trusted, 1)
    }

    /// Each layer on so many threads, the last runs first.
    fn open_in(&self, trusted: TrustedModel, threads: usize) -> Result<(VerifiedModel, BTreeMap<String, Vec<u8>>)> {
        let mut model = self.opening(trusted)?;
        let layers = model.manifest().layers().iter().filter(|layer| layer.part == 1 && !layer.is_statement());
        let room = |layer: &Layer| (layer.path.clone(), vec![0; usize::try_from(layer.file_size).unwrap()]);
        let files: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(layers.map(room).collect());
        let threads = NonZero::new(threads).unwrap();
        for opener in model.take_runs().into_iter().rev().flat_map(Run::into_openers) {
            let (layer, blob) = (opener.layer().clone(), self.blob(opener.layer()));
            let mut pieces = blob.chunks(PIECE);
            opener.open(threads, || Ok(pieces.next()), &|offset, plain: &[u8]| {
                let at = usize::try_from(offset).unwrap();
                files.lock().unwrap().get_mut(&layer.path).unwrap()[at..at + plain.len()].copy_from_slice(plain);
                Ok(())
            })?;
        }
        Ok((model.finish()?, files.into_inner().unwrap()))
    }

    /// A layer of each of two runs at a time.
    fn open_in_twos(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut model = self.opening(self.trusted()?)?;
        let files: Mutex<BTreeMap<String, BTreeMap<u64, Vec<u8>>>> = Mutex::default();
        let mut runs = model.take_runs().into_iter().map(Run::into_openers);
        while let Some(one) = runs.next() {
            let mut other = runs.next();
            for a in one {
                let b = other.as_mut().and_then(Iterator::next);
                let openers: Vec<_> = [Some(a), b].into_iter().flatten().collect();
                let nexts = openers.iter().map(|opener| {
                    let mut pieces = self.blob(opener.layer()).chunks(PIECE);
                    move || Ok(pieces.next())
                });
                let sinks = openers.iter().map(|opener| {
                    let (path, files) = (opener.layer().path.clone(), &files);
                    move |offset, plain: &[u8]| {
                        files.lock().unwrap().entry(path.clone()).or_default().insert(offset, plain.to_vec());
                        Ok(())
                    }
                });
                let (mut nexts, sinks) = (nexts.collect::<Vec<_>>(), sinks.collect::<Vec<_>>());
                match <[LayerOpener; 2]>::try_from(openers) {
                    Ok(two) => {
                        let nexts = <[_; 2]>::try_from(nexts).ok().unwrap();
                        LayerOpener::open_two(two, nexts, [&sinks[0], &sinks[1]])?;
                    }
                    Err(mut one) => {
                        let opener = one.remove(0);
                        opener.open(NonZero::<usize>::MIN, nexts.remove(0), &sinks[0])?;
                    }
                }
            }
        }
        drop(runs);
        model.finish()?;
        let files = files.into_inner().unwrap().into_iter();
        Ok(files.map(|(path, pieces)| (path, pieces.into_values().collect::<Vec<_>>().concat())).collect())
    }

    fn opening(&self, trusted: TrustedModel) -> Result<OpeningModel> {
        let model = trusted.with_key(Some(DataKey::from_file_bytes(&self.key).unwrap()))?;
        let blobs: Vec<_> = model.statement_layers()?.into_iter().map(|layer| self.blob(layer)).collect();
        model.with_statement(&blobs)
    }

    /// The blob in a layer's place, whatever it is.
    fn blob(&self, layer: &Layer) -> &[u8] {
        let layers = Manifest::parse(&self.manifest).unwrap().layers().to_vec();
        &self.blobs[layers.iter().position(|other| (&other.path, other.part) == (&layer.path, layer.part)).unwrap()]
    }

    fn refused(&self) -> Code {
        self.open().map(|_| ()).unwrap_err().code
    }
}

#[test]
fn sealed_and_plain_models_of_either_hash_open_to_what_was_pushed() {
    for sealed in [false, true] {
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Blake3] {
            let stored = store(&files(), &files(), sealed, hash);
            let (verified, opened) = stored.open().unwrap();
            let want: BTreeMap<_, _> = files().into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
            assert_eq!(opened, want);
            assert_eq!(verified.manifest_digest(), stored.digest);
            assert_eq!(verified.repository(), REPOSITORY);
            assert_eq!(verified.trusted().signers(), ["release"]);
            let signed_by = Credential::Key(stored.signer.public().fingerprint());
            assert_eq!(verified.trusted().credentials().collect::<Vec<_>>(), [&signed_by]);
            let key = DataKey::from_file_bytes(&stored.key).unwrap();
            let blind = if sealed { key.statement_blind(&ArtifactId::from([3; 16])) } else { [0; 32] };
            assert_eq!(
                verified.statement_commitment(),
                statement_commitment(&blind, verified.statement().unwrap().payload())
            );
        }
    }
}

#[test]
fn manifest_of_another_digest_refused() {
    let stored = sealed();
    assert!(stored.trusted().is_ok());
    let mut raw = stored.manifest.clone();
    raw.push(b' ');
    let signatures = [signature(&stored.digest, &stored.signer)];
    let refused = verify_manifest(&raw, &stored.digest, REPOSITORY, &signatures, &stored.trust());
    assert_eq!(refused.unwrap_err().code, Code::ManifestDigestMismatch);
}

#[test]
fn repository_without_a_rule_refused() {
    let stored = sealed();
    let signatures = [signature(&stored.digest, &stored.signer)];
    let verify =
        |repository| verify_manifest(&stored.manifest, &stored.digest, repository, &signatures, &stored.trust());
    assert!(verify(REPOSITORY).is_ok());
    assert_eq!(verify("registry.example/other/m").unwrap_err().code, Code::RepositoryUntrusted);
}

/// What signatures are refused with under a trust file; `None` where they suffice.
fn judged(stored: &Stored, signatures: &[ManifestSignature], trust: &TrustFile) -> Option<Code> {
    let verified = verify_manifest(&stored.manifest, &stored.digest, REPOSITORY, signatures, trust);
    verified.err().map(|refusal| refusal.code)
}

#[test]
fn unsigned_stranger_and_wrong_signatures_told_apart() {
    let stored = sealed();
    let stranger = SigningKey::generate().unwrap();
    let trust = stored.trust();
    let good = signature(&stored.digest, &stored.signer);
    let other_digest = signature(&Sha256([0; 32]), &stored.signer);
    let by_stranger = signature(&stored.digest, &stranger);
    let junk = ManifestSignature::Bundle(b"junk".to_vec());
    assert_eq!(judged(&stored, std::slice::from_ref(&good), &trust), None);
    assert_eq!(judged(&stored, &[], &trust), Some(Code::ModelUnsigned));
    assert_eq!(judged(&stored, std::slice::from_ref(&by_stranger), &trust), Some(Code::SignerUntrusted));
    assert_eq!(judged(&stored, std::slice::from_ref(&junk), &trust), Some(Code::SignerUntrusted));
    assert_eq!(judged(&stored, std::slice::from_ref(&other_digest), &trust), Some(Code::SignatureInvalid));
    // A registry can add whatever it likes to a good one.
    assert_eq!(judged(&stored, &[junk, by_stranger, other_digest, good.clone()], &trust), None);
    let many = vec![good; 2 * limits::SIGNATURES + 1];
    assert_eq!(judged(&stored, &many, &trust), Some(Code::TooLarge));
}

#[test]
fn signature_of_the_old_form_accepted_and_over_another_digest_or_by_a_stranger_refused() {
    let stored = sealed();
    let simple = |digest: &Sha256, key: &SigningKey| {
        let signed = cosign::sign_simple(digest, REPOSITORY, key).unwrap();
        let (payload, signature) = (signed.payload().to_vec(), signed.signature().to_vec());
        [ManifestSignature::Simple { payload, signature }]
    };
    let trust = stored.trust();
    assert_eq!(judged(&stored, &simple(&stored.digest, &stored.signer), &trust), None);
    assert_eq!(judged(&stored, &simple(&Sha256([0; 32]), &stored.signer), &trust), Some(Code::SignatureInvalid));
    let stranger = SigningKey::generate().unwrap();
    assert_eq!(judged(&stored, &simple(&stored.digest, &stranger), &trust), Some(Code::SignerUntrusted));
}

#[test]
fn threshold_counts_distinct_keys_not_signatures_or_names() {
    let stored = sealed();
    let second = SigningKey::generate().unwrap();
    let (one, two) = (signature(&stored.digest, &stored.signer), signature(&stored.digest, &second));
    let both = trust(2, vec![named("a", &stored.signer), named("b", &second)], vec![]);
    assert_eq!(judged(&stored, &[one.clone(), two.clone()], &both), None);
    assert_eq!(judged(&stored, &[one.clone(), one.clone()], &both), Some(Code::SignerUntrusted));
    let same_key = trust(2, vec![named("a", &stored.signer), named("b", &stored.signer)], vec![]);
    assert_eq!(judged(&stored, &[one, two], &same_key), Some(Code::SignerUntrusted));
}

#[test]
fn unreadable_key_in_the_trust_file_refused() {
    let stored = sealed();
    let bad = trust(1, vec![Signer::with_key("a", "no key")], vec![]);
    let signatures = [signature(&stored.digest, &stored.signer)];
    assert_eq!(judged(&stored, &signatures, &bad), Some(Code::KeyInvalid));
}

#[test]
fn key_of_the_artifact_accepted_and_missing_or_other_key_refused() {
    let stored = sealed();
    let with = |key| stored.trusted().unwrap().with_key(key).err().map(|refusal| refusal.code);
    assert_eq!(with(Some(DataKey::from_file_bytes(&stored.key).unwrap())), None);
    assert_eq!(with(None), Some(Code::KeyMissing));
    assert_eq!(with(Some(DataKey::generate().unwrap())), Some(Code::KeyCommitmentMismatch));
    let plain = store(&files(), &files(), false, HashAlgorithm::Sha256);
    assert!(plain.trusted().unwrap().with_key(None).is_ok());
}

#[test]
fn model_without_a_statement_accepted_where_none_is_demanded_and_with_a_wrong_one_refused_all_the_same() {
    let open = |stored: &Stored| {
        let mut trust = stored.trust();
        trust.rules[0].statement = StatementDemand::Optional;
        stored.open_as(stored.trusted_by(&trust).unwrap())
    };
    let (verified, opened) = open(&store(&files(), &[], true, HashAlgorithm::Sha256)).unwrap();
    assert!(verified.statement().is_none());
    assert_eq!(opened, files().into_iter().map(|(path, content)| (path.to_owned(), content)).collect());
    let wrong = open(&store(&files(), &files()[..2], true, HashAlgorithm::Sha256)).unwrap_err();
    assert_eq!(wrong.code, Code::StatementMismatch);
}

#[test]
fn model_without_a_statement_refused() {
    assert_eq!(store(&files(), &[], true, HashAlgorithm::Sha256).refused(), Code::StatementMissing);
}
