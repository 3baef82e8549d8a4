//! `make bench`: what a key costs from the first question to the opened key, as `name value unit limit ratio`, and the same as JSON in
//! the file named as first argument. The second is how many sessions memory is watched over (100,000).
//!
//! One round is what a guest does: `auth`, `attest`, `resource`, over connections that are kept. Guests, their chip and the verifier
//! share the machine's cores, so the limit is the signatures and agreements of all three, and nothing else, on all cores.
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
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use world::{KEY, KEY_VALUE, World};

/// Guests that ask at a time.
const GUESTS: usize = 32;
/// How long they do.
const TIME: Duration = Duration::from_secs(8);
/// Seconds of the verifier's clock that pass in one: a verifier keeps so many sessions at a time and no more, and those of a run end
/// within it, as those of a day do within the day.
const HASTE: u64 = 60;

fn main() {
    let sessions = figure::arguments().nth(1).map_or(100_000, |sessions| sessions.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let floor = floor();
    let mut figures = vec![Figure::new("release-crypto-floor-all-cores", floor, "rounds/s", None)];
    runtime.block_on(async {
        let (world, document) = World::ready().await;
        figures.extend(in_haste(&world, releases("sqlite", 1, floor, &world, &document)).await);
        figures.extend(in_haste(&world, memory(sessions, &world, &document)).await);
        drop(world);
        for replicas in [1, 2] {
            match World::ready_on_postgres(replicas).await {
                Some((world, document)) => {
                    let releases = releases("postgresql", replicas, floor, &world, &document);
                    figures.extend(in_haste(&world, releases).await);
                }
                None => println!("release-postgresql-{replicas} skipped: no PostgreSQL"),
            }
        }
    });
    figure::publish(&figures);
}

/// What comes of `work` while the verifiers' clock runs.
async fn in_haste<T>(world: &World, work: impl Future<Output = T>) -> T {
    let clock = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.pass(HASTE);
        }
    };
    tokio::select! {
        done = work => done,
        () = clock => unreachable!("a clock never stops"),
    }
}

/// Rounds a second, and how long one takes by itself and beside all others.
async fn releases(store: &str, replicas: usize, floor: f64, world: &World, document: &[u8]) -> Vec<Figure> {
    round(world, document).await;
    let (_, alone) = load(1, replicas, world, document).await;
    let (rate, shared) = load(GUESTS, replicas, world, document).await;
    let name = |what: &str| format!("release-{store}-{replicas}-{what}");
    vec![
        Figure::new(name(&format!("{GUESTS}-guests")), rate, "rounds/s", floor),
        Figure::new(name("alone-p50"), at(&alone, 0.5), "ms", None),
        Figure::new(name("alone-p99"), at(&alone, 0.99), "ms", None),
        Figure::new(name(&format!("{GUESTS}-guests-p50")), at(&shared, 0.5), "ms", None),
        Figure::new(name(&format!("{GUESTS}-guests-p99")), at(&shared, 0.99), "ms", None),
    ]
}

async fn load(guests: usize, replicas: usize, world: &World, document: &[u8]) -> (f64, Vec<Duration>) {
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let one = async || {
        let mut times = Vec::new();
        while began.elapsed() < TIME {
            world.ask(next.fetch_add(1, Ordering::Relaxed) as usize % replicas);
            let asked = Instant::now();
            round(world, document).await;
            times.push(asked.elapsed());
        }
        times
    };
    let mut times: Vec<_> = join_all((0..guests).map(|_| one())).await.into_iter().flatten().collect();
    times.sort();
    (times.len() as f64 / began.elapsed().as_secs_f64(), times)
}

async fn round(world: &World, document: &[u8]) {
    let guest = Guest::launch(world, document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

/// What this process holds after a tenth of so many sessions, and after all of them.
async fn memory(sessions: u64, world: &World, document: &[u8]) -> Vec<Figure> {
    let (begun, warm) = (AtomicU64::new(0), sessions / 10);
    let until = async |many: u64| {
        let one = async || {
            while begun.fetch_add(1, Ordering::Relaxed) < many {
                round(world, document).await;
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
