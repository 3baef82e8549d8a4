//! Sealing a stream of bytes whose end is not known beforehand.

use super::segments::SegmentCipher;
use super::{HEADER, SEGMENT, TAG};
use crate::DataKey;
use aws_lc_rs::digest;
use core::fmt;
use std::io::Write;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Seals what is written to it into a writer, and hashes the ciphertext on the way.
///
/// Holds one segment of plaintext, which is zeroised when dropped. Without [`Self::finish`] the stream does not open.
pub struct Sealer<W> {
    cipher: SegmentCipher,
    output: Output<W>,
    index: u32,
    buffer: Zeroizing<Vec<u8>>,
    room: usize,
}

/// A finished stream.
#[derive(Debug)]
pub struct Sealed<W> {
    /// SHA-256 of the ciphertext.
    pub digest: Sha256,
    /// Length of the ciphertext.
    pub size: u64,
    /// The writer, not flushed.
    pub out: W,
}

impl<W: Write> Sealer<W> {
    /// Starts a stream with fresh randomness and writes its header.
    pub fn new(key: &DataKey, associated_data: &[u8], out: W) -> Result<Self> {
        Self::start(SegmentCipher::create(key, associated_data)?, out)
    }

    /// Starts a stream whose salt and nonce prefix follow from what is sealed: the blob with the digest `source`, opened. The
    /// same blob gives the same stream.
    ///
    /// Whoever lets a finished stream out must have compared the digest of what was opened: two plaintexts under one `source`
    /// would give each other away.
    pub fn resealing(key: &DataKey, associated_data: &[u8], source: &Sha256, out: W) -> Result<Self> {
        let (salt, prefix) = key.resealed_random(source, associated_data);
        let mut header = [0; HEADER];
        // The first byte is the length.
        for (place, byte) in header.iter_mut().skip(1).zip(salt.into_iter().chain(prefix)) {
            *place = byte;
        }
        Self::start(SegmentCipher::with_random(key, associated_data, header)?, out)
    }

    fn start((cipher, header): (SegmentCipher, [u8; HEADER]), out: W) -> Result<Self> {
        let mut output = Output { out, hash: digest::Context::new(&digest::SHA256), size: 0 };
        output.emit(&header)?;
        // With its full capacity from the start, so that growing never leaves plaintext behind.
        let buffer = Zeroizing::new(Vec::with_capacity(SEGMENT));
        Ok(Self { cipher, output, index: 0, buffer, room: SEGMENT - HEADER - TAG })
    }

    /// Adds plaintext. A full segment is kept until more comes, since only the last one is sealed as the last.
    pub fn write(&mut self, mut plain: &[u8]) -> Result<()> {
        while !plain.is_empty() {
            if self.buffer.len() == self.room {
                self.seal_segment(false)?;
            }
            let (now, later) = plain.split_at_checked(self.room - self.buffer.len()).unwrap_or((plain, &[]));
            self.buffer.extend_from_slice(now);
            plain = later;
        }
        Ok(())
    }

    /// Seals what is left as the last segment.
    pub fn finish(mut self) -> Result<Sealed<W>> {
        self.seal_segment(true)?;
        let Output { out, hash, size } = self.output;
        Ok(Sealed { digest: Sha256::from_finished(&hash.finish()), size, out })
    }

    fn seal_segment(&mut self, last: bool) -> Result<()> {
        let tag = self.cipher.seal(self.index, last, &mut self.buffer)?;
        self.output.emit(&self.buffer)?;
        self.output.emit(tag.as_ref())?;
        self.buffer.clear();
        self.room = SEGMENT - TAG;
        let next = self.index.checked_add(1);
        self.index = next.ok_or_else(|| Refusal::too_large("segments of a stream", "more", u32::MAX))?;
        Ok(())
    }
}

impl<W> fmt::Debug for Sealer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("sealed", &self.output.size).finish_non_exhaustive()
    }
}

struct Output<W> {
    out: W,
    hash: digest::Context,
    size: u64,
}

impl<W: Write> Output<W> {
    fn emit(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.out.write_all(bytes).map_err(|e| Refusal::new(Code::Io, "writing a sealed stream").because(e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OpenStream, sealed_len};
    use super::*;
    use aes_gcm::aead::{Aead as _, KeyInit as _};

    fn fixed_key() -> DataKey {
        DataKey::from_file_bytes(&core::array::from_fn::<u8, 32, _>(|i| u8::try_from(i).unwrap())).unwrap()
    }

    /// With the salt 20..3f and the prefix 40..46 of the known answers.
    fn seal_fixed(plain: &[u8]) -> Sealed<Vec<u8>> {
        let header = core::array::from_fn(|i| u8::try_from(0x1f + i).unwrap());
        let started = SegmentCipher::with_random(&fixed_key(), b"aad", header).unwrap();
        let mut sealer = Sealer::start(started, Vec::new()).unwrap();
        for chunk in plain.chunks(700_001) {
            sealer.write(chunk).unwrap();
        }
        sealer.finish().unwrap()
    }

    #[test]
    fn known_answer_of_one_segment_holds() {
        let want = "28202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40414243444546dca50d956914aac2d69c5569a87ff2976060c357e15b2701bf5e2b";
        assert_eq!(hex::encode(seal_fixed(b"hello model").out), want);
    }

    #[test]
    fn known_answer_of_three_segments_holds() {
        let plain: Vec<u8> = (0..2_109_497_u32).map(|i| u8::try_from((7 * i + 3) & 255).unwrap()).collect();
        let sealed = seal_fixed(&plain);
        assert_eq!(sealed.size, 2_109_585);
        assert_eq!(sealed.digest.to_string(), "1e070afc2f2731bd78cb7d14b28467a7e832b7e6b022d5cd298e54a06350d767");
        assert_eq!(Sha256::of(&sealed.out), sealed.digest);
    }

    /// The format again, from its description, over another implementation of each primitive.
    fn oracle_open(key: &[u8; 32], ad: &[u8], sealed: &[u8]) -> Vec<u8> {
        let mut stream_key = [0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(Some(&sealed[1..33]), key).expand(ad, &mut stream_key).unwrap();
        let cipher = aes_gcm::Aes256Gcm::new(&stream_key.into());
        let last = sealed.len().div_ceil(SEGMENT) - 1;
        let mut plain = Vec::new();
        for (index, segment) in sealed.chunks(SEGMENT).enumerate() {
            let segment = if index == 0 { &segment[HEADER..] } else { segment };
            let mut nonce = [0; 12];
            nonce[..7].copy_from_slice(&sealed[33..40]);
            nonce[7..11].copy_from_slice(&u32::try_from(index).unwrap().to_be_bytes());
            nonce[11] = u8::from(index == last);
            plain.extend(cipher.decrypt(&nonce.into(), segment).unwrap());
        }
        plain
    }

    #[test]
    fn oracle_opens_every_size_around_the_boundaries_and_so_do_we() {
        let first = SEGMENT - HEADER - TAG;
        let further = SEGMENT - TAG;
        for size in [0, 1, first - 1, first, first + 1, first + further - 1, first + further, first + further + 1] {
            let plain: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let key = DataKey::generate().unwrap();
            let mut sealer = Sealer::new(&key, b"place", Vec::new()).unwrap();
            sealer.write(&plain).unwrap();
            let sealed = sealer.finish().unwrap();
            assert_eq!(sealed.size, sealed_len(u64::try_from(size).unwrap()));
            assert!(oracle_open(key.expose(), b"place", &sealed.out) == plain, "{size}");
            let mut opened = Vec::new();
            let mut stream = OpenStream::new(&key, b"place", sealed.size).unwrap();
            let mut sink = |bytes: &[u8]| {
                opened.extend_from_slice(bytes);
                Ok(())
            };
            for chunk in sealed.out.chunks(65_537) {
                stream.push(chunk, &mut sink).unwrap();
            }
            stream.finish().unwrap();
            assert!(opened == plain, "{size}");
        }
    }

    #[test]
    fn stream_that_is_resealed_opens_and_is_the_same_for_one_source_alone() {
        let key = fixed_key();
        let seal = |ad: &[u8], source: u8| {
            let mut sealer = Sealer::resealing(&key, ad, &Sha256([source; 32]), Vec::new()).unwrap();
            sealer.write(b"hello model").unwrap();
            sealer.finish().unwrap().out
        };
        let one = seal(b"place", 1);
        assert_eq!(oracle_open(key.expose(), b"place", &one), b"hello model");
        assert_eq!(one, seal(b"place", 1));
        assert_ne!(one[..HEADER], seal(b"place", 2)[..HEADER]);
        assert_ne!(one[..HEADER], seal(b"elsewhere", 1)[..HEADER]);
    }

    #[test]
    fn two_streams_of_one_plaintext_differ_in_salt() {
        let key = fixed_key();
        let seal = || Sealer::new(&key, b"", Vec::new()).unwrap().finish().unwrap().out;
        assert_ne!(seal()[..HEADER], seal()[..HEADER]);
    }
}
