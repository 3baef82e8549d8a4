//! A verifier's log over its admin API: everything that comes out of here was verified against a checkpoint.

use crate::admin::AdminClient;
use crate::output;
use core::ops::Range;
use http::Method;
use strongroom_tlog::{NoteVerifier, SignedNote, Tile, Tiles, Trust, VerifiedCheckpoint, entries};
use strongroom_transport::http::full;
use strongroom_wire::audit::Entry;
use strongroom_wire::{Code, Refusal, Result};

/// Entries of a full bundle.
const WIDTH: u64 = 256;

/// The log of one verifier.
pub(crate) struct Log {
    client: AdminClient,
    trust: Trust,
}

/// What is not what was written.
pub(crate) fn tampered(refusal: Refusal) -> Refusal {
    Refusal { code: Code::StoreTampered, ..refusal.within("audit log") }
}

impl Log {
    /// The log of this key; without one, of that which the verifier names.
    pub(crate) async fn open(client: AdminClient, key: Option<NoteVerifier>) -> Result<Self> {
        let key = match key {
            Some(key) => key,
            None => {
                let key = client.get("log/key").await?;
                let key = String::from_utf8_lossy(&key).trim_end().to_owned();
                output::note(&format!("log key as the verifier itself says, pass --log-key to hold it to one: {key}"));
                NoteVerifier::parse(&key)?
            }
        };
        Ok(Self { client, trust: Trust::new(key, Vec::new(), 0)? })
    }

    /// Whom to believe about it.
    pub(crate) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The newest checkpoint.
    pub(crate) async fn checkpoint(&self) -> Result<(SignedNote, VerifiedCheckpoint)> {
        let note = SignedNote::parse(&self.client.get("log/checkpoint").await?)?;
        let checkpoint = self.trust.verify(&note)?;
        Ok((note, checkpoint))
    }

    /// The newest checkpoint that witnesses cosigned: nothing vouches for it yet.
    pub(crate) async fn witnessed(&self) -> Result<SignedNote> {
        SignedNote::parse(&self.client.get("log/witnessed").await?)
    }

    /// Delivers a cosigned checkpoint; what is kept then.
    pub(crate) async fn deliver(&self, note: &[u8]) -> Result<SignedNote> {
        SignedNote::parse(&self.client.send(Method::POST, "log/cosignatures", full(note.to_vec())).await?)
    }

    /// Tiles as the verifier has them: nothing vouches for them yet.
    pub(crate) async fn tiles(&self, wanted: impl IntoIterator<Item = Tile>) -> Result<Tiles> {
        let mut tiles = Tiles::default();
        for tile in wanted {
            let bytes = self.client.get(&format!("log/{}", tile.path())).await?;
            tiles.insert(tile, &bytes).map_err(tampered)?;
        }
        Ok(tiles)
    }

    /// The leaves of a bundle as the verifier has them: nothing vouches for them yet.
    pub(crate) async fn leaves(&self, bundle: Tile) -> Result<Vec<Vec<u8>>> {
        let bytes = self.client.get(&format!("log/{}", bundle.entries_path())).await?;
        let leaves = entries::parse(bundle, &bytes).map_err(tampered)?;
        Ok(leaves.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The leaves of this range, with their numbers, which the log at `checkpoint` has.
    ///
    /// # Errors
    /// `store-tampered`: it has others.
    pub(crate) async fn verified(
        &self,
        range: Range<u64>,
        checkpoint: &VerifiedCheckpoint,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut verified = Vec::new();
        if range.is_empty() {
            return Ok(verified);
        }
        for index in range.start / WIDTH..range.end.div_ceil(WIDTH) {
            let bundle = Tile::of_tree(0, index, checkpoint.size())?;
            let leaves = self.leaves(bundle).await?;
            let mut tiles = self.tiles(entries::tiles_of(bundle, checkpoint.size())?).await?;
            entries::verify(bundle, &leaves, &mut tiles, checkpoint).map_err(tampered)?;
            let numbered = (index.saturating_mul(WIDTH)..).zip(leaves);
            verified.extend(numbered.filter(|(seq, _)| range.contains(seq)));
        }
        Ok(verified)
    }

    /// [`Self::verified`], parsed.
    pub(crate) async fn entries(&self, range: Range<u64>, checkpoint: &VerifiedCheckpoint) -> Result<Vec<Entry>> {
        let leaves = self.verified(range, checkpoint).await?;
        leaves.iter().map(|(seq, leaf)| entry(*seq, leaf)).collect()
    }
}

/// The entry of a leaf, which knows its number.
///
/// # Errors
/// `store-tampered`.
pub(crate) fn entry(seq: u64, leaf: &[u8]) -> Result<Entry> {
    let entry = Entry::parse(leaf).map_err(|refusal| tampered(refusal.within(format!("entry {seq}"))))?;
    if entry.seq == seq {
        return Ok(entry);
    }
    Err(Refusal::new(Code::StoreTampered, "number of an audit entry").got(entry.seq).want(seq))
}

/// Bundles of a log of so many entries.
pub(crate) fn bundles(size: u64) -> impl Iterator<Item = Result<Tile>> {
    (0..size.div_ceil(WIDTH)).map(move |index| Tile::of_tree(0, index, size))
}
