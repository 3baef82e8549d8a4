//! `make bench`: models, opened from memory and pulled over loopback, as `name value unit limit ratio`, and the same as JSON in
//! the file named as first argument. The second is the length of the model in MiB (4096), the third the Python of the peers, for
//! Tink; without it Tink is left out, and said so.
//!
//! Everything that is compared takes turns in the same run, so that a machine that slows down slows all of it. The registry is a
//! process of its own, as is whoever pulls, whose memory is measured. The limits:
//!
//! - opening from memory: the slower of SHA-256 and AES-256-GCM of the crypto backend on as many threads. Opening does both to
//!   each byte; two layers in step on each core are hashed faster than the backend hashes one;
//! - pulling: 1 / (1/reading + 1/crypto), reading the same blobs over as many connections as there are cores and doing nothing
//!   with them, and the slower of both on all cores. A pull makes two passes more, which neither of the two does: the digest of the
//!   plaintext that the signed statement is about, and memory that the kernel has to find and clear first. Both are measured
//!   alone too, and a limit with all four terms stands beside, as do one with as much written into fresh memory and a pull into
//!   nothing. The pages are huge and none goes back to the host where the bench may say so, as in the guest
//!   image, whose memory is private; and as much memory is touched and given back just before, since a host that has to find it
//!   first is not measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions, clippy::indexing_slicing)]

#[path = "models/alone.rs"]
mod alone;
mod figure;
#[path = "models/guest.rs"]
mod guest;
#[path = "models/memory.rs"]
mod memory;
#[path = "models/role.rs"]
mod role;
#[path = "models/shelf.rs"]
mod shelf;
#[path = "models/tink.rs"]
mod tink;

use alone::Crypto;
use figure::Figure;
use guest::GuestMemory;
use role::Role;
use shelf::{How, Shelf};
use strongroom_artifact::HashAlgorithm;

/// Turns that each figure is the median of.
const ROUNDS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;
/// What Confidential Containers are published to reach for decryption and digest of a layer: never measured here.
const PUBLISHED: f64 = 264.0;

fn main() {
    if let Some(role) = Role::of_this_process() {
        return role.play();
    }
    let mib = figure::arguments().nth(1).map_or(4096, |mib| mib.parse().unwrap());
    let mut figures = opening(mib.min(1024));
    figures.extend(pulling(mib));
    figure::publish(&figures);
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// The medians of what is measured in turns.
fn in_turns<const N: usize>(mut turns: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut values = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        values.iter_mut().zip(&mut turns).for_each(|(values, turn)| values.push(turn()));
    }
    values.map(median)
}

/// Opened from memory into nothing, by the same code as a pull: on one thread and on all cores, two layers on each.
fn opening(mib: usize) -> Vec<Figure> {
    let cores = cores();
    let unsigned = memory::Stored::new(mib, None);
    let crypto = Crypto::new();
    let [one, all, single, one_limit, all_limit] = in_turns([
        &mut || unsigned.open_in_twos(1),
        &mut || unsigned.open_in_twos(cores),
        &mut || unsigned.open(1, 1),
        &mut || crypto.slower(1),
        &mut || crypto.slower(cores),
    ]);
    let mut figures = vec![
        Figure::new("open-sealed-per-core", one, "MiB/s", one_limit),
        Figure::new("open-sealed-all-cores", all, "MiB/s", all_limit),
        Figure::new("open-sealed-all-cores-beside-per-core", all, "MiB/s", one * cores as f64),
        Figure::new("open-sealed-one-layer-at-a-time", single, "MiB/s", one_limit),
        Figure::new("open-sealed-per-core-beside-published-coco", one, "MiB/s", PUBLISHED),
    ];
    drop(unsigned);
    // The statement over the plaintext is a second pass, which the limit does not know.
    for hash in [HashAlgorithm::Blake3, HashAlgorithm::Sha256] {
        let signed = memory::Stored::new(mib, Some(hash));
        let mut open = || match hash {
            HashAlgorithm::Blake3 => signed.open_in_twos(cores),
            _ => signed.open(cores, 3),
        };
        let [all, limit] = in_turns([&mut open, &mut || crypto.slower(cores)]);
        figures.push(Figure::new(format!("open-sealed-all-cores-signed-{hash}"), all, "MiB/s", limit));
    }
    figures.extend(tink::opening(one));
    figures
}

/// Pulled from a registry on loopback into sealed memory, as an enclave does.
fn pulling(mib: usize) -> Vec<Figure> {
    let shelf = match Shelf::fill(mib) {
        Ok(shelf) => shelf,
        Err(why) => {
            println!("pull skipped: {why}");
            return Vec::new();
        }
    };
    let memory = GuestMemory::as_in_a_guest();
    println!("pulled into memory with{memory}");
    let (crypto, mut peak) = (Crypto::new(), 0.0_f64);
    let mut rates = [const { Vec::new() }; 8];
    for _ in 0..ROUNDS {
        let pulled = [How::Plain, How::Away, How::Tls].map(|how| shelf.pull(how));
        peak = pulled.iter().map(|pulled| pulled.peak).fold(peak, f64::max);
        let [plain, away, tls] = pulled.map(|pulled| pulled.rate);
        let cpu = [crypto.slower(cores()), crypto.blake3(cores())];
        let alone = [shelf.read(cores()), shelf.write(), shelf.touch()].into_iter().chain(cpu);
        rates.iter_mut().zip([plain, away, tls].into_iter().chain(alone)).for_each(|(rates, rate)| rates.push(rate));
    }
    let [plain, away, tls, read, write, touch, crypto, digest] = rates.map(median);
    let limit = 1.0 / (1.0 / read + 1.0 / crypto);
    let with_memory = 1.0 / (1.0 / read + 1.0 / crypto + 1.0 / write);
    let all_passes = 1.0 / (1.0 / read + 1.0 / crypto + 1.0 / digest + 1.0 / touch);
    vec![
        Figure::new("loopback-read-alone", read, "MiB/s", None),
        Figure::new("crypto-alone-all-cores", crypto, "MiB/s", None),
        Figure::new("memory-write-alone", write, "MiB/s", None),
        Figure::new("memory-first-touch-alone", touch, "MiB/s", None),
        Figure::new("plaintext-digest-alone-all-cores", digest, "MiB/s", None),
        Figure::new("pull-verify-open", plain, "MiB/s", limit),
        Figure::new("pull-verify-open-beside-read-crypto-and-memory", plain, "MiB/s", with_memory),
        Figure::new("pull-verify-open-beside-read-crypto-digest-and-memory", plain, "MiB/s", all_passes),
        Figure::new("pull-verify-open-into-nothing", away, "MiB/s", limit),
        Figure::new("pull-verify-open-tls", tls, "MiB/s", limit),
        Figure::new("pull-peak-memory", peak, "MiB", 1.10 * mib as f64 + 64.0),
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
