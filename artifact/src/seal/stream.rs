//! Opening a stream from its front to its end, in chunks of any length.

use super::segments::{SegmentCipher, invalid};
use super::{HEADER, SEGMENT, plain_len};
use crate::DataKey;
use core::fmt;
use strongroom_wire::Result;
use zeroize::Zeroizing;

/// Opens one stream whose length is known from a signed manifest.
///
/// Every byte that reaches the sink is authenticated in its place; that nothing is missing at the end is known only when
/// [`Self::finish`] has returned `Ok`. Holds one segment, which is zeroised when dropped.
pub struct OpenStream {
    state: State,
    /// Bytes of the stream that have not come yet.
    left: u64,
    index: u32,
    buffer: Zeroizing<Vec<u8>>,
    /// Length of `buffer` at which it is complete.
    room: usize,
}

enum State {
    Header { key: Zeroizing<[u8; 32]>, associated_data: Vec<u8> },
    Segments(SegmentCipher),
    Failed,
}

impl OpenStream {
    /// Expects a stream of exactly `sealed_len` bytes. Refuses a length that no stream has with `seal-invalid`.
    pub fn new(key: &DataKey, associated_data: &[u8], sealed_len: u64) -> Result<Self> {
        plain_len(sealed_len)?;
        Ok(Self {
            state: State::Header { key: key.for_stream(), associated_data: associated_data.to_vec() },
            left: sealed_len,
            index: 0,
            buffer: Zeroizing::new(Vec::with_capacity(SEGMENT)),
            room: HEADER,
        })
    }

    /// Takes the next bytes of the stream and hands every segment that they complete to `sink`.
    ///
    /// Refuses with `seal-invalid` what does not authenticate and what is longer than announced, and with whatever `sink`
    /// refuses. After a refusal the stream refuses everything.
    pub fn push(&mut self, mut chunk: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !chunk.is_empty() {
            let wanted = self.room - self.buffer.len();
            let (now, later) = chunk.split_at_checked(wanted).unwrap_or((chunk, &[]));
            self.buffer.extend_from_slice(now);
            let counted = u64::try_from(now.len()).ok().and_then(|n| self.left.checked_sub(n));
            self.left = counted.ok_or_else(|| {
                self.state = State::Failed;
                invalid("sealed stream is longer than announced")
            })?;
            chunk = later;
            if self.buffer.len() == self.room || self.left == 0 {
                self.complete(sink)?;
            }
        }
        Ok(())
    }

    /// Succeeds only where the whole stream has come and been opened.
    pub fn finish(self) -> Result<()> {
        match self.state {
            State::Segments(_) if self.left == 0 => Ok(()),
            State::Failed => Err(invalid("sealed stream had already failed")),
            _ => Err(invalid("sealed stream ends early").got(format!("{} bytes missing", self.left)).want("none")),
        }
    }

    /// The buffer holds the header or one whole segment.
    fn complete(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::Header { key, associated_data } => {
                let header = self.buffer.first_chunk().ok_or_else(|| invalid("header of a sealed stream"))?;
                self.state = State::Segments(SegmentCipher::from_header(&key, &associated_data, header)?);
                self.room = SEGMENT - HEADER;
            }
            State::Segments(cipher) => {
                sink(cipher.open(self.index, self.left == 0, &mut self.buffer)?)?;
                // `sealed_len` has at most 2³² segments, so the index after the last one is never used.
                self.index = self.index.wrapping_add(1);
                self.room = SEGMENT;
                self.state = State::Segments(cipher);
            }
            State::Failed => return Err(invalid("sealed stream had already failed")),
        }
        self.buffer.clear();
        Ok(())
    }
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sealer, TAG};
    use super::*;
    use proptest::prelude::*;
    use strongroom_wire::{Code, Refusal};

    const AD: &[u8] = b"place";

    fn sealed(key: &DataKey, len: usize) -> Vec<u8> {
        let mut sealer = Sealer::new(key, AD, Vec::new()).unwrap();
        sealer.write(&vec![0x5a; len]).unwrap();
        sealer.finish().unwrap().out
    }

    fn open_as(key: &DataKey, ad: &[u8], stream: &[u8], announced: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut open = OpenStream::new(key, ad, u64::try_from(announced).unwrap())?;
        let mut sink = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        for chunk in stream.chunks(100_003) {
            open.push(chunk, &mut sink)?;
        }
        open.finish()?;
        Ok(out)
    }

    fn open(key: &DataKey, stream: &[u8]) -> Result<Vec<u8>> {
        open_as(key, AD, stream, stream.len())
    }

    #[test]
    fn one_bit_changed_in_each_part_of_the_stream_refused() {
        let key = DataKey::generate().unwrap();
        let good = sealed(&key, SEGMENT + 1000);
        assert_eq!(open(&key, &good).unwrap().len(), SEGMENT + 1000);
        let places = [0, 1, 32, 33, 39, HEADER, SEGMENT - TAG, SEGMENT - 1, SEGMENT, good.len() - TAG, good.len() - 1];
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert_eq!(open(&key, &bad).unwrap_err().code, Code::SealInvalid, "byte {place}");
        }
    }

    #[test]
    fn stream_cut_at_a_segment_boundary_refused_however_long_it_was_announced() {
        let key = DataKey::generate().unwrap();
        let good = sealed(&key, 3 * SEGMENT);
        for keep in [SEGMENT, 2 * SEGMENT, 3 * SEGMENT] {
            assert_eq!(open_as(&key, AD, &good[..keep], keep).unwrap_err().code, Code::SealInvalid);
            assert_eq!(open_as(&key, AD, &good[..keep], good.len()).unwrap_err().code, Code::SealInvalid);
        }
        assert!(open(&key, &good).is_ok());
    }

    #[test]
    fn stream_longer_than_announced_refused() {
        let key = DataKey::generate().unwrap();
        let mut good = sealed(&key, 100);
        let announced = good.len();
        good.push(0);
        assert_eq!(open_as(&key, AD, &good, announced).unwrap_err().code, Code::SealInvalid);
    }

    #[test]
    fn segments_in_another_order_refused() {
        let key = DataKey::generate().unwrap();
        let good = sealed(&key, 4 * SEGMENT);
        let mut bad = good.clone();
        bad[SEGMENT..3 * SEGMENT].rotate_left(SEGMENT);
        assert_eq!(open(&key, &bad).unwrap_err().code, Code::SealInvalid);
    }

    #[test]
    fn other_associated_data_or_key_refused() {
        let key = DataKey::generate().unwrap();
        let good = sealed(&key, 100);
        assert!(open_as(&key, AD, &good, good.len()).is_ok());
        assert_eq!(open_as(&key, b"elsewhere", &good, good.len()).unwrap_err().code, Code::SealInvalid);
        assert_eq!(open(&DataKey::generate().unwrap(), &good).unwrap_err().code, Code::SealInvalid);
    }

    #[test]
    fn nothing_after_a_bad_segment_reaches_the_sink() {
        let key = DataKey::generate().unwrap();
        let mut bad = sealed(&key, 3 * SEGMENT);
        bad[SEGMENT] ^= 1;
        let (head, tail) = bad.split_at(2 * SEGMENT);
        let mut stream = OpenStream::new(&key, AD, u64::try_from(bad.len()).unwrap()).unwrap();
        let mut given = 0;
        let mut sink = |bytes: &[u8]| {
            given += bytes.len();
            Ok(())
        };
        assert_eq!(stream.push(head, &mut sink).unwrap_err().code, Code::SealInvalid);
        assert_eq!(stream.push(tail, &mut sink).unwrap_err().code, Code::SealInvalid);
        assert_eq!(stream.finish().unwrap_err().code, Code::SealInvalid);
        assert_eq!(given, SEGMENT - HEADER - TAG);
    }

    #[test]
    fn refusal_of_the_sink_comes_through_and_ends_the_stream() {
        let key = DataKey::generate().unwrap();
        let good = sealed(&key, 10);
        let mut stream = OpenStream::new(&key, AD, u64::try_from(good.len()).unwrap()).unwrap();
        let refused = stream.push(&good, &mut |_| Err(Refusal::new(Code::Io, "disk full")));
        assert_eq!(refused.unwrap_err().code, Code::Io);
        assert_eq!(stream.finish().unwrap_err().code, Code::SealInvalid);
    }

    proptest! {
        // A stream holds and zeroises a whole segment, which costs time without optimisation.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_chunking_opens(lengths in proptest::collection::vec(1_usize..400, 1..40), size in 0_usize..3000) {
            let key = DataKey::generate().unwrap();
            let good = sealed(&key, size);
            let mut stream = OpenStream::new(&key, AD, u64::try_from(good.len()).unwrap()).unwrap();
            let mut count = 0;
            let mut sink = |bytes: &[u8]| { count += bytes.len(); Ok(()) };
            let mut rest = good.as_slice();
            for length in lengths.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(rest.len().min(*length));
                stream.push(now, &mut sink).unwrap();
                rest = later;
            }
            stream.finish().unwrap();
            prop_assert_eq!(count, size);
        }

        #[test]
        fn arbitrary_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 56..300)) {
            let key = DataKey::generate().unwrap();
            prop_assert_eq!(open(&key, &bytes).unwrap_err().code, Code::SealInvalid);
        }
    }
}
