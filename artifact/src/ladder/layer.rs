//! One layer on its way from a registry to a file: counted, hashed, opened, and hashed again, in one pass over each piece of it
//! and on as many threads as it is given.

use super::FileSink;
use super::opening::Shared;
use crate::hash::{BlobHash, FileHash};
use crate::manifest::Layer;
use crate::parallel;
use crate::seal::{HEADER, SEGMENT, Segments, associated_data};
use core::fmt;
use core::num::NonZero;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// How long the pieces of a blob are that a [`LayerOpener`] takes, but for the last: a segment of a sealed stream, header and
/// tag included, is one of them.
pub const PIECE: usize = SEGMENT;

/// Opens one layer. What it gives out is provisional until [`super::OpeningModel::finish`] has returned the model.
pub struct LayerOpener {
    layer: Layer,
    /// Which file of the model it is of.
    file: usize,
    shared: Arc<Shared>,
}

impl LayerOpener {
    pub(super) const fn new(layer: Layer, file: usize, shared: Arc<Shared>) -> Self {
        Self { layer, file, shared }
    }

    /// The layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Opens the layer on `threads` threads, this one included.
    ///
    /// `next` gives the blob in its order, in pieces of [`PIECE`] bytes each but for the last, and `None` after it. It is called by one
    /// thread at a time, until it gives `None` or refuses. `sink` gets the plaintext, in no
    /// particular order and from all threads: what was sealed is authenticated in its place before. Each thread holds one piece,
    /// and where the sink has no place for its plaintext that too, which is zeroised.
    ///
    /// Refuses with what `next` or `sink` refuse, and else, in this order, with `layer-size-mismatch`, `layer-digest-mismatch` and
    /// `seal-invalid`: a blob that is not the one that the manifest names says more than that it does not open. `internal`: the
    /// pieces are of another length, or the layers of one [`super::Run`] are not opened one after the other.
    pub fn open<C: AsRef<[u8]>>(
        self,
        threads: NonZero<usize>,
        next: impl FnMut() -> Result<Option<C>> + Send,
        sink: &(impl FileSink + Sync),
    ) -> Result<()> {
        let opening = Opening::new(&self, BlobHash::alone(), next, sink)?;
        parallel::all(threads, || opening.work())?;
        opening.finish()
    }

    /// Opens two layers on this thread, each as [`Self::open`] does, and their digests in step, which takes little more time than
    /// one. They must be of different runs.
    ///
    /// Refuses with what either refuses.
    pub fn open_two<C, N, S>(openers: [Self; 2], nexts: [N; 2], sinks: [&S; 2]) -> Result<()>
    where
        C: AsRef<[u8]>,
        N: FnMut() -> Result<Option<C>>,
        S: FileSink,
    {
        let ([a, b], [next_a, next_b], [sink_a, sink_b]) = (&openers, nexts, sinks);
        let (hash_a, hash_b) = (BlobHash::in_step(), BlobHash::in_step());
        let (a, b) = (Opening::new(a, hash_a, next_a, sink_a)?, Opening::new(b, hash_b, next_b, sink_b)?);
        Opening::work_two([&a, &b])?;
        a.finish()?;
        b.finish()
    }
}

impl fmt::Debug for LayerOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerOpener").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// A layer that is being opened.
struct Opening<'a, N, S> {
    layer: &'a Layer,
    shared: &'a Shared,
    hash: Option<&'a FileHash>,
    sink: &'a S,
    front: Mutex<Front<N>>,
    /// Known with the first piece of a sealed layer.
    segments: OnceLock<Segments>,
    /// Why the stream does not open. Kept until the whole blob was hashed.
    failure: Mutex<Option<Refusal>>,
    /// Whether a thread met what ends the opening at once.
    stopped: AtomicBool,
}

/// What is done piece by piece in the order of the blob.
struct Front<N> {
    next: N,
    hash: BlobHash,
    received: u64,
    index: u32,
    ended: bool,
}

impl<'a, C: AsRef<[u8]>, N, S> Opening<'a, N, S>
where
    N: FnMut() -> Result<Option<C>>,
    S: FileSink,
{
    fn new(opener: &'a LayerOpener, blob: BlobHash, next: N, sink: &'a S) -> Result<Self> {
        let LayerOpener { layer, file, shared } = opener;
        let hash = shared.hash_of(*file);
        if hash.is_some_and(|hash| !hash.is_next(layer.offset)) {
            return Err(Refusal::new(Code::Internal, "layers of one file are opened out of order").got(&layer.path));
        }
        let front = Front { next, hash: blob, received: 0, index: 0, ended: false };
        let (front, segments, failure) = (Mutex::new(front), OnceLock::new(), Mutex::new(None));
        Ok(Self { layer, shared, hash, sink, front, segments, failure, stopped: AtomicBool::new(false) })
    }

    /// Takes pieces and opens them until there is none. Whoever is refused, or dies, lets nobody wait.
    fn work(&self) -> Result<()> {
        let mut leaving = self.leaving();
        let mut plain = Zeroizing::default();
        while !self.stopped.load(Ordering::Relaxed) {
            let mut front = lock(&self.front);
            let Some((index, piece)) = self.receive(&mut front)? else { break };
            front.hash.update(piece.as_ref());
            drop(front);
            self.open(index, piece.as_ref(), &mut plain)?;
        }
        leaving.orderly = true;
        Ok(())
    }

    /// The work of both, a piece of each at a time.
    fn work_two([a, b]: [&Self; 2]) -> Result<()> {
        let mut leaving = [a.leaving(), b.leaving()];
        let mut plain = <[Zeroizing<Vec<u8>>; 2]>::default();
        let (mut front_a, mut front_b) = (lock(&a.front), lock(&b.front));
        loop {
            let pieces = (a.receive(&mut front_a)?, b.receive(&mut front_b)?);
            if let (None, None) = pieces {
                break;
            }
            let of = [bytes_of(&pieces.0), bytes_of(&pieces.1)];
            BlobHash::update_two([&mut front_a.hash, &mut front_b.hash], of);
            let [plain_a, plain_b] = &mut plain;
            for (opening, piece, plain) in [(a, pieces.0, plain_a), (b, pieces.1, plain_b)] {
                if let Some((index, piece)) = piece {
                    opening.open(index, piece.as_ref(), plain)?;
                }
            }
        }
        leaving.iter_mut().for_each(|leaving| leaving.orderly = true);
        Ok(())
    }

    const fn leaving(&self) -> Leaving<'_> {
        Leaving { hash: self.hash, stopped: &self.stopped, orderly: false }
    }

    /// Where a piece's plaintext is, for a sink that takes bytes: room for any piece of the layer, since growing would leave some of
    /// it behind.
    fn aside<'p>(&self, plain: &'p mut Zeroizing<Vec<u8>>, length: usize) -> &'p mut [u8] {
        if plain.is_empty() {
            **plain = vec![0; usize::try_from(self.layer.plain_size).map_or(PIECE, |size| size.min(PIECE))];
        }
        plain.get_mut(..length).unwrap_or_default()
    }

    /// The next piece, counted.
    fn receive(&self, front: &mut Front<N>) -> Result<Option<(u32, C)>> {
        if front.ended {
            return Ok(None);
        }
        // Until a piece came and is one of this layer: nobody asks again after a refusal.
        front.ended = true;
        let Some(piece) = (front.next)()? else { return Ok(None) };
        let length = piece.as_ref().len();
        let received = u64::try_from(length).ok().and_then(|length| front.received.checked_add(length));
        let received = received
            .filter(|received| *received <= self.layer.size)
            .ok_or_else(|| size_mismatch(self.layer, format!("more than {} bytes", self.layer.size)))?;
        let index = front.index;
        if length > PIECE || front.received != u64::from(index).saturating_mul(PIECE_U64) {
            return Err(Refusal::new(Code::Internal, "piece of a blob").got(length).want(PIECE));
        }
        (front.received, front.index, front.ended) = (received, index.saturating_add(1), false);
        if index == 0 {
            self.begin(piece.as_ref());
        }
        Ok(Some((index, piece)))
    }

    /// Reads the header of a sealed stream from its first piece. One that is shorter than a header is refused by its length.
    fn begin(&self, piece: &[u8]) {
        let Some((key, sealing)) = self.shared.key() else { return };
        let header = piece.first_chunk().copied().unwrap_or([0; HEADER]);
        let bound_to = associated_data(&sealing.id, &self.layer.path, self.layer.part, self.layer.parts);
        match Segments::new(key, &bound_to, &header, self.layer.size) {
            Ok(segments) => drop(self.segments.set(segments)),
            Err(refusal) => self.fail(refusal),
        }
    }

    /// Opens a piece where it belongs, or into `plain` and gives it there.
    fn open(&self, index: u32, piece: &[u8], plain: &mut Zeroizing<Vec<u8>>) -> Result<()> {
        if self.shared.key().is_none() {
            let at = self.layer.offset.saturating_add(u64::from(index).saturating_mul(PIECE_U64));
            self.sink.write_at(at, piece)?;
            self.hash(at, piece);
            return Ok(());
        }
        // Without segments the header was refused.
        let Some(segments) = self.segments.get().filter(|_| lock(&self.failure).is_none()) else { return Ok(()) };
        let before = if index == 0 { HEADER } else { 0 };
        let range = segments.plain_range(index);
        let at = self.layer.offset.saturating_add(range.start);
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let place = self.sink.place_at(at, length)?;
        let is_aside = place.is_none();
        let plain = place.unwrap_or_else(|| self.aside(plain, length));
        match segments.open_into(index, piece.get(before..).unwrap_or_default(), plain) {
            Ok(()) if is_aside => self.sink.write_at(at, plain)?,
            Ok(()) => {}
            Err(refusal) => {
                self.fail(refusal);
                return Ok(());
            }
        }
        self.hash(at, plain);
        Ok(())
    }

    /// Adds plaintext to the file's hash when it is its turn.
    fn hash(&self, offset: u64, plain: &[u8]) {
        if let Some(hash) = self.hash {
            // Not added where the file was given up: then another piece has said why.
            hash.add(offset, plain);
        }
    }

    /// Notes why the stream does not open; the rest of the blob is only hashed.
    fn fail(&self, refusal: Refusal) {
        lock(&self.failure).get_or_insert_with(|| refusal.within(&self.layer.path));
        self.hash.into_iter().for_each(FileHash::give_up);
    }

    /// That the blob was the one that the manifest names, and opened to its end.
    fn finish(self) -> Result<()> {
        let Front { hash, received, .. } = self.front.into_inner().unwrap_or_else(PoisonError::into_inner);
        if received != self.layer.size {
            return Err(size_mismatch(self.layer, format!("{received} bytes")));
        }
        let digest = hash.finish();
        if digest != self.layer.digest {
            return Err(Refusal::new(Code::LayerDigestMismatch, format!("layer of `{}`", self.layer.path))
                .got(digest.oci())
                .want(self.layer.digest.oci()));
        }
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)?;
        self.shared.count_opened();
        Ok(())
    }
}

const PIECE_U64: u64 = 1 << 20;

fn bytes_of<C: AsRef<[u8]>>(piece: &Option<(u32, C)>) -> &[u8] {
    piece.as_ref().map_or(&[], |(_, bytes)| bytes.as_ref())
}

/// Gives the file up where a thread does not end in good order, so that no other waits for its bytes.
struct Leaving<'a> {
    hash: Option<&'a FileHash>,
    stopped: &'a AtomicBool,
    orderly: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.orderly {
            self.stopped.store(true, Ordering::Relaxed);
            self.hash.into_iter().for_each(FileHash::give_up);
        }
    }
}

fn size_mismatch(layer: &Layer, got: String) -> Refusal {
    Refusal::new(Code::LayerSizeMismatch, format!("layer of `{}`", layer.path))
        .got(got)
        .want(format!("{} bytes", layer.size))
}

/// A poisoned lock is taken all the same: a thread that died ends the opening with a refusal of its own.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
