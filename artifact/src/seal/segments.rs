//! The segments of one stream, in any order: a segment's nonce hangs on its index alone.

use super::{HEADER, HEADER_U64, SEGMENT, SEGMENT_U64, TAG, TAG_U64, plain_len, sealed_len};
use crate::DataKey;
use crate::data_key::fill_random;
use aws_lc_rs::{aead, hkdf};
use core::fmt;
use core::ops::Range;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::{Zeroize as _, Zeroizing};

/// Random access to a stream whose length is known, from several threads at once.
///
/// Opening single segments proves each of them, in its place. Only who opened all of [`Self::count`] has the whole.
pub struct Segments {
    cipher: SegmentCipher,
    sealed: u64,
    plain: u64,
    count: u32,
}

impl Segments {
    /// The stream of `sealed_len` bytes that begins with `header`. Refuses a header or a length that no stream has with
    /// `seal-invalid`; a wrong key or associated data is found at the first segment.
    pub fn new(key: &DataKey, associated_data: &[u8], header: &[u8; HEADER], sealed_len: u64) -> Result<Self> {
        Self::with_cipher(SegmentCipher::from_header(&key.for_stream(), associated_data, header)?, sealed_len)
    }

    /// A fresh stream for `plain` bytes, and its header.
    pub(crate) fn create(key: &DataKey, associated_data: &[u8], plain: u64) -> Result<(Self, [u8; HEADER])> {
        let (cipher, header) = SegmentCipher::create(key, associated_data)?;
        Ok((Self::with_cipher(cipher, sealed_len(plain))?, header))
    }

    fn with_cipher(cipher: SegmentCipher, sealed: u64) -> Result<Self> {
        let plain = plain_len(sealed)?;
        let count = u32::try_from(sealed.div_ceil(SEGMENT_U64)).map_err(|_| invalid("number of segments"))?;
        Ok(Self { cipher, sealed, plain, count })
    }

    /// How many segments there are: at least one.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Length of the whole plaintext.
    pub const fn plain_len(&self) -> u64 {
        self.plain
    }

    /// Where segment `index` is in the stream, tag included. Empty past the end.
    pub fn sealed_range(&self, index: u32) -> Range<u64> {
        let start = u64::from(index) * SEGMENT_U64;
        let end = start.saturating_add(SEGMENT_U64).min(self.sealed);
        start.max(HEADER_U64).min(end)..end
    }

    /// Where the plaintext of segment `index` is in the whole. Empty past the end.
    pub fn plain_range(&self, index: u32) -> Range<u64> {
        let sealed = self.sealed_range(index);
        let before = HEADER_U64 + u64::from(index) * TAG_U64;
        let start = sealed.start.saturating_sub(before);
        start..start.max(sealed.end.saturating_sub(before + TAG_U64))
    }

    /// Opens segment `index`, whose [`Self::sealed_range`] `segment` holds, in place; gives its plaintext.
    ///
    /// Refuses with `seal-invalid` whatever was not sealed there with that key and associated data; `segment` then holds
    /// nothing of meaning.
    pub fn open<'s>(&self, index: u32, segment: &'s mut [u8]) -> Result<&'s mut [u8]> {
        self.verify_length(index, segment.len())?;
        self.cipher.open(index, index + 1 == self.count, segment)
    }

    /// Opens segment `index`, whose [`Self::sealed_range`] `segment` holds, into `plain`, which is as long as its plaintext.
    ///
    /// Refuses as [`Self::open`] does; what does not authenticate is zeroised.
    pub(crate) fn open_into(&self, index: u32, segment: &[u8], plain: &mut [u8]) -> Result<()> {
        self.verify_length(index, segment.len())?;
        self.verify_length(index, plain.len().saturating_add(TAG))?;
        let parts = segment.split_at_checked(plain.len()).unwrap_or_default();
        let opened = self.cipher.open_into(index, index + 1 == self.count, parts, plain);
        // What the backend leaves there is not specified.
        opened.inspect_err(|_| plain.zeroize())
    }

    fn verify_length(&self, index: u32, length: usize) -> Result<()> {
        let range = self.sealed_range(index);
        if u64::try_from(length).ok() != Some(range.end - range.start) || range.is_empty() {
            return Err(invalid("length of a segment").got(length).want(range.end - range.start));
        }
        Ok(())
    }

    /// Seals segment `index`, of whose plaintext `segment` holds [`Self::plain_range`], in place; gives its tag.
    /// Each index once: a second plaintext under one nonce gives both away.
    pub(crate) fn seal(&self, index: u32, segment: &mut [u8]) -> Result<aead::Tag> {
        self.cipher.seal(index, index + 1 == self.count, segment)
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// The stream key and the nonce prefix.
pub(super) struct SegmentCipher {
    key: aead::LessSafeKey,
    prefix: [u8; 7],
}

impl SegmentCipher {
    /// A fresh salt and nonce prefix, and the header that says them.
    pub(super) fn create(key: &DataKey, associated_data: &[u8]) -> Result<(Self, [u8; HEADER])> {
        let mut header = [0; HEADER];
        fill_random(&mut header)?;
        Self::with_random(key, associated_data, header)
    }

    /// Salt and nonce prefix are those of `header`, whose first byte is set here. Never twice with one key.
    pub(super) fn with_random(
        key: &DataKey,
        associated_data: &[u8],
        mut header: [u8; HEADER],
    ) -> Result<(Self, [u8; HEADER])> {
        let [length, ..] = &mut header;
        *length = HEADER_BYTE;
        Ok((Self::from_header(&key.for_stream(), associated_data, &header)?, header))
    }

    pub(super) fn from_header(key: &Zeroizing<[u8; 32]>, ad: &[u8], header: &[u8; HEADER]) -> Result<Self> {
        let [length, rest @ ..] = header;
        if *length != HEADER_BYTE {
            return Err(invalid("length of the header").got(length).want(HEADER));
        }
        let (salt, prefix) = rest.split_first_chunk::<32>().ok_or_else(|| invalid("header"))?;
        let prefix = *prefix.first_chunk().ok_or_else(|| invalid("header"))?;
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key.as_slice());
        let info = [ad];
        let key = prk.expand(&info, &aead::AES_256_GCM).map_err(|_| invalid("derivation of the stream key"))?;
        Ok(Self { key: aead::LessSafeKey::new(aead::UnboundKey::from(key)), prefix })
    }

    pub(super) fn open<'s>(&self, index: u32, last: bool, segment: &'s mut [u8]) -> Result<&'s mut [u8]> {
        debug_assert!(segment.len() <= SEGMENT);
        self.key.open_in_place(self.nonce(index, last), aead::Aad::empty(), segment).map_err(|_| unauthentic(index))
    }

    fn open_into(&self, index: u32, last: bool, (sealed, tag): (&[u8], &[u8]), plain: &mut [u8]) -> Result<()> {
        self.key
            .open_separate_gather(self.nonce(index, last), aead::Aad::empty(), sealed, tag, plain)
            .map_err(|_| unauthentic(index))
    }

    pub(super) fn seal(&self, index: u32, last: bool, segment: &mut [u8]) -> Result<aead::Tag> {
        debug_assert!(segment.len() <= SEGMENT - TAG);
        self.key
            .seal_in_place_separate_tag(self.nonce(index, last), aead::Aad::empty(), segment)
            .map_err(|_| Refusal::new(Code::Internal, "sealing a segment"))
    }

    fn nonce(&self, index: u32, last: bool) -> aead::Nonce {
        let [a, b, c, d, e, f, g] = self.prefix;
        let [h, i, j, k] = index.to_be_bytes();
        aead::Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, u8::from(last)])
    }
}

const HEADER_BYTE: u8 = 40;

fn unauthentic(index: u32) -> Refusal {
    invalid("segment of a sealed stream").got(format!("segment {index} does not authenticate"))
}

pub(super) fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::SealInvalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_stream_and_plaintext() {
        let key = DataKey::generate().unwrap();
        for plain in [0, 1, 1_048_520, 1_048_521, 2_097_080, 2_097_081, 5_000_000] {
            let (segments, _) = Segments::create(&key, b"", plain).unwrap();
            let (mut at, mut sealed_at) = (0, HEADER_U64);
            for index in 0..segments.count() {
                let (plain, sealed) = (segments.plain_range(index), segments.sealed_range(index));
                assert_eq!((plain.start, sealed.start), (at, sealed_at));
                assert_eq!(plain.end - plain.start + TAG_U64, sealed.end - sealed.start);
                (at, sealed_at) = (plain.end, sealed.end);
            }
            assert_eq!((at, sealed_at), (plain, sealed_len(plain)));
            assert!(segments.sealed_range(segments.count()).is_empty());
        }
    }

    #[test]
    fn segment_opens_beside_where_it_lies_and_changed_or_cut_is_refused() {
        let key = DataKey::generate().unwrap();
        let (sealing, header) = Segments::create(&key, b"ad", 1000).unwrap();
        let mut segment = vec![7; 1000];
        let tag = sealing.seal(0, &mut segment).unwrap();
        segment.extend_from_slice(tag.as_ref());
        let opening = Segments::new(&key, b"ad", &header, sealed_len(1000)).unwrap();
        let mut plain = vec![0; 1000];
        let code =
            |segment: &[u8], plain: &mut [u8]| opening.open_into(0, segment, plain).map_err(|refusal| refusal.code);
        assert_eq!(code(&segment, &mut plain), Ok(()));
        assert_eq!(plain, [7; 1000]);
        for at in [0, 500, segment.len() - 1] {
            let mut bad = segment.clone();
            bad[at] ^= 1;
            assert_eq!(code(&bad, &mut plain), Err(Code::SealInvalid), "{at}");
            assert_eq!(plain, [0; 1000], "nothing is left of what did not authenticate");
        }
        assert_eq!(code(&segment[1..], &mut plain), Err(Code::SealInvalid));
        for other in [999, 1001] {
            assert_eq!(code(&segment, &mut vec![0; other]), Err(Code::SealInvalid), "room for {other}");
        }
    }

    #[test]
    fn segments_open_in_any_order_and_not_in_each_others_place() {
        let key = DataKey::generate().unwrap();
        let (sealing, header) = Segments::create(&key, b"ad", 2_097_080).unwrap();
        let mut sealed: Vec<Vec<u8>> = (0..2)
            .map(|index| {
                let range = sealing.plain_range(index);
                let mut segment = vec![u8::try_from(index).unwrap(); usize::try_from(range.end - range.start).unwrap()];
                let tag = sealing.seal(index, &mut segment).unwrap();
                segment.extend_from_slice(tag.as_ref());
                segment
            })
            .collect();
        let opening = Segments::new(&key, b"ad", &header, sealed_len(2_097_080)).unwrap();
        let mut swapped = sealed[1].clone();
        swapped.truncate(sealed[0].len());
        assert_eq!(opening.open(0, &mut swapped).unwrap_err().code, Code::SealInvalid);
        assert!(opening.open(1, &mut sealed[1]).unwrap().iter().all(|b| *b == 1));
        assert!(opening.open(0, &mut sealed[0]).unwrap().iter().all(|b| *b == 0));
        assert_eq!(opening.open(2, &mut []).unwrap_err().code, Code::SealInvalid);
    }
}
