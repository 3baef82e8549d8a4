//! A sealed model whose blobs are in memory.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;
use std::vec::IntoIter;
use strongroom_artifact::ladder::{LayerOpener, OpeningModel, PIECE, Run, verify_manifest};
use strongroom_artifact::manifest::{ManifestBuilder, NewLayer, Sealing};
use strongroom_artifact::path::STATEMENT;
use strongroom_artifact::seal::{Sealer, associated_data};
use strongroom_artifact::{ArtifactId, DataKey, FileDigest, HashAlgorithm, SigningKey, cosign, oms};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::{Rule, Signer, StatementDemand, TrustFile};

const REPOSITORY: &str = "registry.example/m";
/// Eight parts, each a subtree of BLAKE3 where the model's length is a power of two.
const PARTS: u32 = 8;

/// A model of one file.
pub(crate) struct Stored {
    manifest: Vec<u8>,
    blobs: BTreeMap<Sha256, Vec<u8>>,
    statement: Vec<Vec<u8>>,
    key: [u8; 32],
    signer: SigningKey,
    length: usize,
}

impl Stored {
    /// Of so many MiB, with a statement under that hash or none.
    pub(crate) fn new(mib: usize, hash: Option<HashAlgorithm>) -> Self {
        let (key, signer, id) =
            (DataKey::generate().unwrap(), SigningKey::generate().unwrap(), ArtifactId::from([3; 16]));
        let sealing = Sealing { id, commitment: key.commitment(&id), key: ResourcePath::parse("models/m/v1").unwrap() };
        let mut builder = ManifestBuilder::new(Some(sealing), hash.unwrap_or(HashAlgorithm::Sha256));
        let part_len = (mib << 20) / PARTS as usize;
        let plain = vec![0x5a; part_len];
        let seal = |path: &str, part, parts, plain: &[u8]| {
            let room = Vec::with_capacity(plain.len() + plain.len() / 1024 + (1 << 20));
            let mut sealer = Sealer::new(&key, &associated_data(&id, path, part, parts), room).unwrap();
            sealer.write(plain).unwrap();
            let sealed = sealer.finish().unwrap();
            let (path, plain_size) = (path.to_owned(), plain.len() as u64);
            let layer = NewLayer { path, part, parts, plain_size, digest: sealed.digest, size: sealed.size };
            (layer, sealed.out)
        };
        let mut blobs = BTreeMap::new();
        for part in 1..=PARTS {
            let (layer, blob) = seal("model.bin", part, PARTS, &plain);
            blobs.insert(layer.digest, blob);
            builder.push(layer);
        }
        let mut statement = Vec::new();
        if let Some(algorithm) = hash {
            let mut hasher = algorithm.hasher();
            (0..PARTS).for_each(|_| hasher.update(&plain));
            let file = FileDigest { path: "model.bin".into(), algorithm, digest: hasher.finish() };
            let bundle = oms::sign_statement("m", &[file], &signer).unwrap();
            let (layer, blob) = seal(STATEMENT, 1, 1, &bundle);
            builder.push(layer);
            statement.push(blob);
        }
        let manifest = builder.build().unwrap().manifest.raw().to_vec();
        Self { manifest, blobs, statement, key: *key.expose(), signer, length: mib }
    }

    /// MiB a second on so many threads, each of which opens two layers at a time, as a pull of many does.
    pub(crate) fn open_in_twos(&self, threads: usize) -> f64 {
        self.timed(threads, |runs| {
            let (one, other) = (runs.next()?, runs.next()?);
            Some(move || one.into_openers().zip(other.into_openers()).for_each(|(a, b)| self.open_two([a, b])))
        })
    }

    /// MiB a second, that many layers at a time and each on so many threads.
    pub(crate) fn open(&self, layers: usize, threads: usize) -> f64 {
        let threads = NonZero::new(threads).unwrap();
        self.timed(layers, |runs| {
            let run = runs.next()?;
            Some(move || self.open_run(run, threads))
        })
    }

    /// MiB a second of so many threads that do what `next` takes from the runs.
    fn timed<W: FnOnce()>(&self, workers: usize, next: impl Fn(&mut IntoIter<Run>) -> Option<W> + Sync) -> f64 {
        let mut model = self.opening();
        let runs = Mutex::new(model.take_runs().into_iter());
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let work = next(&mut runs.lock().unwrap());
                        let Some(work) = work else { break };
                        work();
                    }
                });
            }
        });
        drop(runs);
        black_box(model.finish().unwrap());
        self.length as f64 / began.elapsed().as_secs_f64()
    }

    fn open_two(&self, openers: [LayerOpener; 2]) {
        let nexts = openers.each_ref().map(|opener| {
            let mut pieces = self.blobs[&opener.layer().digest].chunks(PIECE);
            move || Ok(pieces.next())
        });
        let sink = |_: u64, plain: &[u8]| {
            black_box(plain);
            Ok(())
        };
        LayerOpener::open_two(openers, nexts, [&sink; 2]).unwrap();
    }

    fn open_run(&self, run: Run, threads: NonZero<usize>) {
        for opener in run.into_openers() {
            let mut pieces = self.blobs[&opener.layer().digest].chunks(PIECE);
            let next = || Ok(pieces.next());
            let sink = |_: u64, plain: &[u8]| {
                black_box(plain);
                Ok(())
            };
            opener.open(threads, next, &sink).unwrap();
        }
    }

    fn opening(&self) -> OpeningModel {
        let digest = Sha256::of(&self.manifest);
        let rule = Rule::new(REPOSITORY, vec![Signer::with_key("a", self.signer.public().pem())]);
        let trust = TrustFile::new(vec![Rule { statement: StatementDemand::Optional, ..rule }]);
        let signature = cosign::sign_manifest(&digest, &self.signer, &BTreeMap::new()).unwrap().into();
        let trusted =
            verify_manifest(&self.manifest, &digest, REPOSITORY, &[signature], &trust).unwrap().promoted(0).unwrap();
        let openable = trusted.with_key(Some(DataKey::from_file_bytes(&self.key).unwrap())).unwrap();
        openable.with_statement(&self.statement).unwrap()
    }
}
