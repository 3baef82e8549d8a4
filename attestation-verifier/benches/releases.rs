//! `make bench`: what a key costs from the first question to the opened key, as `name value unit limit ratio`, and the same as JSON in
//! the file named as first argument. The second is how many sessions memory is watched over (100,000).
//!
//! One round is what a guest does: `auth`, `attest`, `resource`, over connections that are kept, with the certificates and the
//! revocation list that its host has. Guests, their chip, the verifier and its database
//! share the machine's cores, so the limit is the signatures and agreements of all three, and nothing else, on all cores. What
//! guests and chip take of a round is measured by itself too.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, clippy::as_conversions, clippy::indexing_slicing, reason = "shared with the tests")]

#[path = "../../tests/benches/figure.rs"]
mod figure;
#[path = "../tests/verifier/guest.rs"]
mod guest;
#[path = "../tests/verifier/people.rs"]
mod people;
#[path = "../tests/verifier/world.rs"]
mod world;

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey as PeerKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, UnparsedPublicKey,
};
use figure::Figure;
use futures_util::future::join_all;
use guest::Guest;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strongroom_devkit::report::ReportSpec;
use strongroom_jose::{RecipientKey, TeeKey};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{CertificateEntry, SnpEvidence};
use tokio::runtime::Runtime;
use world::{KEY, KEY_VALUE, World};

/// Guests that ask at a time.
const GUESTS: usize = 32;
/// How long they do.
const TIME: Duration = Duration::from_secs(8);

fn main() {
    let sessions = figure::arguments().nth(1).map_or(100_000, |sessions| sessions.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let floor = floor();
    let mut figures = vec![Figure::new("release-crypto-floor-all-cores", floor, "rounds/s", None)];
    runtime.block_on(async {
        let world = Bench::of(World::ready().await);
        figures.push(Figure::new("release-guests-own", world.own(), "ms", None));
        figures.extend(world.timed(world.releases("sqlite", 1, floor)).await);
        figures.extend(world.timed(world.memory(sessions)).await);
        drop(world);
        for replicas in [1, 2] {
            match World::ready_on_postgres(replicas).await {
                Some(world) => {
                    let world = Bench::of(world);
                    figures.extend(world.timed(world.releases("postgresql", replicas, floor)).await);
                }
                None => println!("release-postgresql-{replicas} skipped: no PostgreSQL"),
            }
        }
    });
    figure::publish(&figures);
}

/// A verifier, the document that its guests are launched with, and what their host has of their chip.
struct Bench {
    world: World,
    document: Vec<u8>,
    chain: Vec<CertificateEntry>,
}

impl Bench {
    fn of((world, document): (World, Vec<u8>)) -> Self {
        let chain = guest::chain(&world);
        Self { world, document, chain }
    }

    /// What comes of `work` while the verifiers' clock runs.
    async fn timed<T>(&self, work: impl Future<Output = T>) -> T {
        let clock = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.world.pass(1);
            }
        };
        tokio::select! {
            done = work => done,
            () = clock => unreachable!("a clock never stops"),
        }
    }

    async fn round(&self) {
        let guest = Guest::launch(&self.world, &self.document).await;
        let answer = guest.post(&self.attestation(&guest)).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
    }

    fn attestation(&self, guest: &Guest<'_>) -> Value {
        let spec = ReportSpec { report_data: guest.bound(), ..guest.report.clone() };
        let report = spec.report(&self.world.vek).unwrap();
        guest.attestation_with(json!(SnpEvidence::from_report(&report, Some(self.chain.clone())).unwrap()))
    }

    /// Milliseconds of one core that a guest and its chip take of a round, but for HTTP and TLS: its key, its report, what it says of it
    /// in JSON, and the agreement by which it opens what it is given.
    fn own(&self) -> f64 {
        let wrapping = TeeKey::generate_p256().unwrap();
        let recipient = RecipientKey::parse(wrapping.public()).unwrap();
        let given = recipient.encrypt(&KEY_VALUE).unwrap();
        let (began, rounds) = (Instant::now(), 500);
        for _ in 0..rounds {
            let guest = Guest {
                world: &self.world,
                tee: "snp",
                key: TeeKey::generate_p256().unwrap(),
                document: self.document.clone(),
                report: ReportSpec { host_data: Sha256::of(&self.document).0, ..ReportSpec::default() },
                cookie: String::new(),
                nonce: "0".repeat(44),
            };
            black_box(self.attestation(&guest).to_string());
            black_box(wrapping.decrypt(&given).unwrap());
        }
        began.elapsed().as_secs_f64() * 1000.0 / f64::from(rounds)
    }

    /// Rounds a second, and how long one takes by itself and beside all others.
    async fn releases(&self, store: &str, replicas: usize, floor: f64) -> Vec<Figure> {
        self.round().await;
        let (_, alone) = self.load(1, replicas).await;
        let (rate, shared) = self.load(GUESTS, replicas).await;
        let name = |what: &str| format!("release-{store}-{replicas}-{what}");
        vec![
            Figure::new(name(&format!("{GUESTS}-guests")), rate, "rounds/s", floor),
            Figure::new(name("alone-p50"), at(&alone, 0.5), "ms", None),
            Figure::new(name("alone-p99"), at(&alone, 0.99), "ms", None),
            Figure::new(name(&format!("{GUESTS}-guests-p50")), at(&shared, 0.5), "ms", None),
            Figure::new(name(&format!("{GUESTS}-guests-p99")), at(&shared, 0.99), "ms", None),
        ]
    }

    async fn load(&self, guests: usize, replicas: usize) -> (f64, Vec<Duration>) {
        let (began, next) = (Instant::now(), AtomicU64::new(0));
        let one = async || {
            let mut times = Vec::new();
            while began.elapsed() < TIME {
                self.world.ask(next.fetch_add(1, Ordering::Relaxed) as usize % replicas);
                let asked = Instant::now();
                self.round().await;
                times.push(asked.elapsed());
            }
            times
        };
        let mut times: Vec<_> = join_all((0..guests).map(|_| one())).await.into_iter().flatten().collect();
        times.sort();
        (times.len() as f64 / began.elapsed().as_secs_f64(), times)
    }

    /// What this process holds after a tenth of so many sessions, and after all of them.
    async fn memory(&self, sessions: u64) -> Vec<Figure> {
        let (begun, warm) = (AtomicU64::new(0), sessions / 10);
        let until = async |many: u64| {
            let one = async || {
                while begun.fetch_add(1, Ordering::Relaxed) < many {
                    self.round().await;
                }
            };
            join_all((0..GUESTS).map(|_| one())).await;
            begun.store(many, Ordering::Relaxed);
            resident()
        };
        let before = until(warm).await;
        let after = until(sessions).await;
        vec![Figure::new(format!("verifier-memory-after-{sessions}-sessions"), after, "MiB", before)]
    }
}

/// MiB of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Rounds a second of all cores if there were nothing to do but this: the guest's fresh key, the chip's signature, its verification with
/// a chain that is known, the token's signature and its verification, and the agreement over the key on either side.
fn floor() -> f64 {
    let random = SystemRandom::new();
    let pair = |algorithm: &'static EcdsaSigningAlgorithm| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap()
    };
    let (chip, token, message) =
        (pair(&ECDSA_P384_SHA384_ASN1_SIGNING), pair(&ECDSA_P256_SHA256_FIXED_SIGNING), [7; 672]);
    let once = || {
        let guest = PrivateKey::generate(&ECDH_P256).unwrap();
        let guest_public = guest.compute_public_key().unwrap();
        let report = chip.sign(&random, &message).unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, chip.public_key().as_ref())
            .verify(&message, report.as_ref())
            .unwrap();
        black_box(token.sign(&random, &message).unwrap());
        let wrapping = PrivateKey::generate(&ECDH_P256).unwrap();
        let wrapping_public = wrapping.compute_public_key().unwrap();
        for (own, peer) in [(&wrapping, &guest_public), (&guest, &wrapping_public)] {
            let peer = PeerKey::new(&ECDH_P256, peer.as_ref());
            agreement::agree(own, peer, (), |secret| Ok(black_box(secret.len()))).unwrap();
        }
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    let rate = || {
        let (began, mut rounds) = (Instant::now(), 0.0);
        while began.elapsed() < Duration::from_secs(1) {
            once();
            rounds += 1.0;
        }
        rounds / began.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(rate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// Milliseconds that this part of them takes no longer than.
fn at(times: &[Duration], part: f64) -> f64 {
    times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
}
