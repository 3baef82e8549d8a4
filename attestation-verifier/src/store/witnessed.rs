//! What witnesses said: the newest checkpoint that some of them cosigned. The log grows with the very call that brings it, so that
//! it is a checkpoint of the log as it was.

use super::log::{Head, Keys, head, tiles};
use super::{Transaction, meta};
use strongroom_tlog::{NoteVerifier, SignedNote, Trust, root, tiles_of_root};
use strongroom_wire::{Code, Refusal, Result};

/// The name in `meta` of that checkpoint, a signed note.
pub(super) const WITNESSED: &str = "witnessed";

impl Transaction<'_> {
    /// Keeps cosignatures of `witnesses` on a checkpoint of this log, beside those that it had, in place of an older one; gives what
    /// is kept then.
    ///
    /// 1. The log signed the checkpoint, and the log begins with it.
    /// 2. Every other signature is one of a witness that is named, and holds; there is at least one.
    /// 3. The newest checkpoint is kept, under the newest cosignature of each witness.
    ///
    /// # Errors
    /// `malformed`, `too-large`: no such note; `log-untrusted`: another log's, or a signature of nobody who is named;
    /// `signature-invalid`; `log-inconsistent`: the log does not begin with it; `witness-missing`: no witness signed it;
    /// `store-failed`, `store-tampered`.
    pub(crate) async fn put_cosignatures(&mut self, note: &[u8], witnesses: &[NoteVerifier]) -> Result<SignedNote> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Trust::new(self.log.verifier().clone(), Vec::new(), 0)?.verify(&note)?; // 1
        let Head { checkpoint: newest, .. } = head(&mut self.sql, Keys { master: self.master, log: self.log }).await?;
        let (size, want) = (checkpoint.size(), checkpoint.root());
        let forked = Refusal::new(Code::LogInconsistent, format!("checkpoint of {size} entries"));
        if size > newest.size() {
            return Err(forked.got(format!("a log of {} entries", newest.size())));
        }
        let tiles = tiles(&mut self.sql, tiles_of_root(size)?).await?;
        let found = root(size, &tiles)?;
        if found != want {
            return Err(forked.got(want).want(found));
        }

        let log = self.log.verifier();
        for signature in note.signatures() {
            if !signature.is_of(log) && !witnesses.iter().any(|witness| signature.is_of(witness)) {
                return Err(Refusal::new(Code::LogUntrusted, "signature of no witness that is named").got(signature));
            }
        }
        let signed = |witness: &&NoteVerifier| note.signatures().iter().any(|signature| signature.is_of(witness));
        let signers: Vec<_> = witnesses.iter().filter(signed).collect();
        if signers.is_empty() {
            return Err(Refusal::new(Code::WitnessMissing, "cosignatures of a checkpoint").got("none")); // 2
        }
        for witness in &signers {
            note.verify(witness)?;
        }

        let kept = meta(&mut self.sql, WITNESSED).await?.map(|kept| SignedNote::parse(&kept)).transpose()?;
        let kept = match kept {
            Some(kept) if size_of(&kept)? > size => kept,
            Some(kept) if kept.text() == note.text() => {
                let others = kept.signatures().iter().filter(|other| !signers.iter().any(|w| other.is_of(w)));
                let others: Vec<_> = others.filter(|other| !other.is_of(log)).map(ToString::to_string).collect();
                let mut merged = note;
                merged.add(&others.join("\n"))?;
                merged
            }
            _ => note,
        };
        self.set_meta(WITNESSED, kept.to_string().as_bytes()).await?; // 3
        Ok(kept)
    }

    /// The newest checkpoint that witnesses cosigned.
    ///
    /// # Errors
    /// `witness-missing`: there is none; `store-failed`.
    pub(crate) async fn witnessed(&mut self) -> Result<SignedNote> {
        let kept = meta(&mut self.sql, WITNESSED).await?;
        SignedNote::parse(&kept.ok_or_else(|| Refusal::new(Code::WitnessMissing, "cosigned checkpoint").got("none"))?)
    }
}

fn size_of(note: &SignedNote) -> Result<u64> {
    strongroom_tlog::Checkpoint::parse(note.text()).map(|checkpoint| checkpoint.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind};
    use crate::clock::Clock;
    use crate::store::{Database, Store};
    use std::path::Path;
    use strongroom_tlog::{Checkpoint, NoteSigner, Role};
    use strongroom_wire::Realm;
    use strongroom_wire::digest::Sha256;
    use zeroize::Zeroizing;

    fn witness(seed: u8) -> NoteSigner {
        NoteSigner::new(&format!("witness.example/{seed}"), Role::Witness, &Zeroizing::new([seed; 32])).unwrap()
    }

    async fn grown(folder: &Path, entries: u64) -> Store {
        let path = folder.join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.join("master"), Realm::Vendor).await.unwrap();
        let event = Event { kind: Kind::Admin, subject: "-".into(), code: None, detail: serde_json::json!({}) };
        for now in 0..entries {
            store.record(&Clock::of(move || now), &event).await.unwrap();
        }
        store
    }

    async fn checkpoint(store: &Store, signers: &[&NoteSigner], now: u64) -> SignedNote {
        let mut note = store.begin_reading().await.unwrap().checkpoint().await.unwrap();
        signers.iter().for_each(|signer| signer.sign(&mut note, now).unwrap());
        note
    }

    async fn put(store: &Store, note: &SignedNote) -> Result<SignedNote> {
        let witnesses = [1, 2].map(|seed| witness(seed).verifier().clone());
        let mut transaction = store.begin().await.unwrap();
        let kept = transaction.put_cosignatures(note.to_string().as_bytes(), &witnesses).await?;
        transaction.commit_unrecorded().await.map(|()| kept)
    }

    #[tokio::test]
    async fn cosignatures_of_named_witnesses_are_kept_with_the_newest_checkpoint_that_has_some() {
        let folder = tempfile::tempdir().unwrap();
        let store = grown(folder.path(), 300).await;
        let none = store.begin_reading().await.unwrap().witnessed().await;
        assert_eq!(none.unwrap_err().code, Code::WitnessMissing);
        let old = checkpoint(&store, &[&witness(1)], 5).await;
        put(&store, &old).await.unwrap();
        put(&store, &checkpoint(&store, &[&witness(2)], 6).await).await.unwrap();
        let kept = put(&store, &checkpoint(&store, &[&witness(1)], 7).await).await.unwrap();
        let times = [1, 2].map(|seed| kept.verify(witness(seed).verifier()).unwrap());
        assert_eq!((times, kept.signatures().len()), ([Some(7), Some(6)], 3));
        drop(store);
        let store = grown(folder.path(), 1).await;
        let newer = checkpoint(&store, &[&witness(2)], 8).await;
        put(&store, &newer).await.unwrap();
        assert_eq!(put(&store, &old).await.unwrap(), newer, "an older one takes the place of none");
        assert_eq!(store.begin_reading().await.unwrap().witnessed().await.unwrap(), newer);
    }

    #[tokio::test]
    async fn what_is_no_cosignature_of_a_named_witness_on_this_log_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = grown(folder.path(), 3).await;
        let code = async |note: &SignedNote| put(&store, note).await.err().map(|refusal| refusal.code);
        assert_eq!(code(&checkpoint(&store, &[], 5).await).await, Some(Code::WitnessMissing));
        assert_eq!(code(&checkpoint(&store, &[&witness(1), &witness(3)], 5).await).await, Some(Code::LogUntrusted));
        let other = checkpoint(&store, &[&witness(1)], 5).await.to_string();
        let forged = other.lines().last().unwrap().to_owned();
        store
            .record(
                &Clock::of(|| 9),
                &Event { kind: Kind::Admin, subject: "-".into(), code: None, detail: serde_json::json!({}) },
            )
            .await
            .unwrap();
        let mut note = checkpoint(&store, &[], 5).await;
        note.add(&forged).unwrap();
        assert_eq!(code(&note).await, Some(Code::SignatureInvalid));
        for (size, root, log, want) in [
            (4, Sha256([7; 32]), store.log(), Code::LogInconsistent),
            (99, Sha256([7; 32]), store.log(), Code::LogInconsistent),
            (4, Sha256([7; 32]), &witness(1), Code::LogUntrusted),
        ] {
            let mut note = Checkpoint { origin: store.log().verifier().name().into(), size, root }.note().unwrap();
            log.sign(&mut note, 0).unwrap();
            witness(2).sign(&mut note, 5).unwrap();
            assert_eq!(code(&note).await, Some(want), "{size}");
        }
        assert_eq!(code(&checkpoint(&store, &[&witness(1)], 5).await).await, None);
    }
}
