//! What the crypto backend does alone.

use crate::MIB;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};
use strongroom_artifact::HashAlgorithm;

const LEN: usize = 64 << 20;
const SEGMENT: usize = 1 << 20;

/// Memory to work on.
pub(crate) struct Crypto {
    bytes: Vec<u8>,
}

impl Crypto {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0x5a; LEN] }
    }

    /// MiB a second of the slower of SHA-256 and AES-256-GCM, on so many threads.
    pub(crate) fn slower(&self, threads: usize) -> f64 {
        let hash = || {
            black_box(digest::digest(&digest::SHA256, &self.bytes));
        };
        let encrypt = || {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
            let mut segment = vec![0; SEGMENT];
            for _ in 0..LEN / SEGMENT {
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let _ = black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut segment).unwrap());
            }
        };
        rate(threads, hash).min(rate(threads, encrypt))
    }

    /// MiB a second of BLAKE3, on so many threads: a segment at a time, as plaintext comes.
    pub(crate) fn blake3(&self, threads: usize) -> f64 {
        rate(threads, || {
            let mut hasher = HashAlgorithm::Blake3.hasher();
            self.bytes.chunks(SEGMENT).for_each(|segment| hasher.update(segment));
            black_box(hasher.finish());
        })
    }
}

/// All threads work for half a second at least: MiB a second of all together.
fn rate(threads: usize, work: impl Fn() + Sync) -> f64 {
    let one = || {
        let (began, mut bytes) = (Instant::now(), 0.0);
        while began.elapsed() < Duration::from_millis(500) {
            work();
            bytes += LEN as f64;
        }
        bytes / MIB / began.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}
