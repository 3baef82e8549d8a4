//! The size and root of a log, and who says so (c2sp.org/tlog-checkpoint).

use crate::note::{NoteVerifier, Role, SignedNote};
use crate::tile::decimal;
use core::fmt;
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// What a log says that it is. Nobody vouches for one that is not a [`VerifiedCheckpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Sha256,
}

impl Checkpoint {
    /// Parses the text of a checkpoint. Lines that extend it, which the specification advises against, are skipped: they are
    /// signed, and mean nothing here.
    ///
    /// # Errors
    /// `malformed`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Refusal::new(Code::Malformed, "checkpoint").want("lines of origin, size and base64 of a root");
        let lines: Vec<_> = text.strip_suffix('\n').ok_or_else(wrong)?.split('\n').collect();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else { return Err(wrong()) };
        if origin.is_empty() || extensions.iter().any(|line| line.is_empty()) {
            return Err(wrong());
        }
        let size = decimal(size).ok_or_else(wrong)?;
        let root: [u8; 32] = from_base64(root, "root")?.try_into().map_err(|_| wrong())?;
        let root = Sha256(root);
        // One empty tree has one root.
        if size == 0 && root != Sha256::of(&[]) {
            return Err(wrong().got("a root of nothing that is not the hash of nothing"));
        }
        Ok(Self { origin: (*origin).to_owned(), size, root })
    }

    /// It as a note that nobody signed yet.
    ///
    /// # Errors
    /// `malformed`: an origin that is empty or of several lines.
    pub fn note(&self) -> Result<SignedNote> {
        let note = SignedNote::new(self.to_string())?;
        // The origin is the one member that could be taken for another.
        if Self::parse(note.text())? == *self {
            Ok(note)
        } else {
            Err(Refusal::new(Code::Malformed, "origin of a log"))
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, to_base64(&self.root.0))
    }
}

/// Whom to believe about one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    log: NoteVerifier,
    witnesses: Vec<NoteVerifier>,
    threshold: usize,
}

impl Trust {
    /// The log of this key, whose checkpoints at least `threshold` of `witnesses` must have cosigned. With none of them, whoever
    /// has the log's key can show different logs to different people.
    ///
    /// # Errors
    /// `configuration-invalid`: a key of the wrong role, two of one key, or fewer witnesses than must sign.
    pub fn new(log: NoteVerifier, witnesses: Vec<NoteVerifier>, threshold: usize) -> Result<Self> {
        let wrong = |what: &str| Err(Refusal::new(Code::ConfigurationInvalid, format!("trust in a log: {what}")));
        if log.role() != Role::Log || witnesses.iter().any(|witness| witness.role() != Role::Witness) {
            return wrong("a log's key is of type 1, a witness' of type 4");
        }
        let twice =
            |(at, one): (usize, &NoteVerifier)| witnesses.iter().skip(at + 1).any(|other| one.is_same_as(other));
        if witnesses.iter().enumerate().any(twice) || witnesses.iter().any(|witness| witness.is_same_as(&log)) {
            return wrong("two of the keys are one");
        }
        if threshold > witnesses.len() {
            return wrong("more witnesses must sign than there are");
        }
        Ok(Self { log, witnesses, threshold })
    }

    /// The same, where all of these witnesses must have signed too.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(&self, witnesses: &[NoteVerifier]) -> Result<Self> {
        let threshold = self.threshold.saturating_add(witnesses.len());
        let witnesses = self.witnesses.iter().chain(witnesses).cloned().collect();
        Self::new(self.log.clone(), witnesses, threshold)
    }

    /// Verifies a checkpoint: the log and enough witnesses signed it.
    ///
    /// # Errors
    /// `log-untrusted`: another log's; `witness-missing`: too few witnesses signed it; `signature-invalid`: a signature of log or
    /// witness does not hold; `malformed`: what the log signed is no checkpoint.
    pub fn verify(&self, note: &SignedNote) -> Result<VerifiedCheckpoint> {
        note.verify(&self.log)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != self.log.name() {
            let refusal = Refusal::new(Code::LogUntrusted, "origin of the log");
            return Err(refusal.got(checkpoint.origin).want(self.log.name()));
        }
        let mut times = Vec::new();
        for witness in &self.witnesses {
            match note.verify(witness) {
                Ok(time) => times.extend(time),
                Err(refusal) if refusal.code == Code::LogUntrusted => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if times.len() < self.threshold {
            let refusal = Refusal::new(Code::WitnessMissing, "witnesses of a checkpoint");
            return Err(refusal.got(times.len()).want(format!("at least {}", self.threshold)));
        }
        times.sort_unstable_by(|a, b| b.cmp(a));
        let witnessed = self.threshold.checked_sub(1).and_then(|last| times.get(last)).copied();
        Ok(VerifiedCheckpoint { checkpoint, witnessed })
    }
}

/// A checkpoint that a trusted log signed, and as many witnesses as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    witnessed: Option<u64>,
}

impl VerifiedCheckpoint {
    #[cfg(test)]
    pub(crate) fn of_test(size: u64, root: Sha256) -> Self {
        Self { checkpoint: Checkpoint { origin: "example.com/log".into(), size, root }, witnessed: None }
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// How many entries it has.
    pub const fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The root of the tree over them.
    pub const fn root(&self) -> Sha256 {
        self.checkpoint.root
    }

    /// The latest time, in seconds of Unix time, at or after which as many witnesses as were asked for say that they saw it.
    /// `None` where none were asked for.
    pub const fn witnessed(&self) -> Option<u64> {
        self.witnessed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::NoteSigner;
    use zeroize::Zeroizing;

    fn signer(name: &str, role: Role, seed: u8) -> NoteSigner {
        NoteSigner::new(name, role, &Zeroizing::new([seed; 32])).unwrap()
    }

    fn log() -> NoteSigner {
        signer("example.com/log", Role::Log, 1)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "example.com/log".into(), size: 5, root: Sha256([9; 32]) }
    }

    fn signed(checkpoint: &Checkpoint, signers: &[&NoteSigner]) -> SignedNote {
        let mut note = checkpoint.note().unwrap();
        for (now, signer) in (100..).zip(signers) {
            signer.sign(&mut note, now).unwrap();
        }
        note
    }

    fn code(outcome: Result<VerifiedCheckpoint>) -> Option<Code> {
        outcome.err().map(|refusal| refusal.code)
    }

    #[test]
    fn text_reads_back_and_extensions_are_skipped() {
        let text = checkpoint().to_string();
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint()));
        assert_eq!(Checkpoint::parse(&format!("{text}more\n")), Ok(checkpoint()));
        let root = to_base64(&[9; 32]);
        for wrong in [
            String::new(),
            format!("a\n5\n{root}"),
            format!("\n5\n{root}\n"),
            format!("a\n05\n{root}\n"),
            format!("a\n-5\n{root}\n"),
            format!("a\n5\n{}\n", to_base64(&[9; 31])),
            format!("a\n5\n{root}\n\n"),
            "a\n5\n".into(),
            format!("a\n0\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
        ] {
            assert_eq!(Checkpoint::parse(&wrong).unwrap_err().code, Code::Malformed, "{wrong:?}");
        }
        let two_lines = Checkpoint { origin: "a\nb".into(), ..checkpoint() };
        assert_eq!(two_lines.note().unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn checkpoint_of_the_log_accepted_and_of_another_refused() {
        let trust = Trust::new(log().verifier().clone(), Vec::new(), 0).unwrap();
        let verified = trust.verify(&signed(&checkpoint(), &[&log()])).unwrap();
        assert_eq!((verified.size(), verified.root(), verified.witnessed()), (5, Sha256([9; 32]), None));
        assert_eq!(
            code(trust.verify(&signed(&checkpoint(), &[&signer("example.com/log", Role::Log, 2)]))),
            Some(Code::LogUntrusted)
        );
        // The log's own key, in the name of another log.
        let other = Checkpoint { origin: "example.com/other".into(), ..checkpoint() };
        assert_eq!(code(trust.verify(&signed(&other, &[&log()]))), Some(Code::LogUntrusted));
        let mut text = SignedNote::new("example.com/log\nno checkpoint\n".into()).unwrap();
        log().sign(&mut text, 0).unwrap();
        assert_eq!(code(trust.verify(&text)), Some(Code::Malformed));
    }

    #[test]
    fn enough_witnesses_accepted_and_fewer_or_forged_ones_refused() {
        let witnesses = [2, 3, 4].map(|seed| signer("w", Role::Witness, seed));
        let keys = || witnesses.iter().map(|witness| witness.verifier().clone()).collect::<Vec<_>>();
        let trust = Trust::new(log().verifier().clone(), keys(), 2).unwrap();
        let (log, [a, b, _]) = (log(), &witnesses);
        let verified = trust.verify(&signed(&checkpoint(), &[&log, a, b])).unwrap();
        // Both say 101 or later, one 102.
        assert_eq!(verified.witnessed(), Some(101));
        assert_eq!(code(trust.verify(&signed(&checkpoint(), &[&log, a]))), Some(Code::WitnessMissing));
        assert_eq!(code(trust.verify(&signed(&checkpoint(), &[&log, a, a]))), Some(Code::WitnessMissing));
        assert_eq!(code(trust.verify(&signed(&checkpoint(), &[a, b]))), Some(Code::LogUntrusted));
        let elsewhere = signed(&Checkpoint { size: 6, ..checkpoint() }, &[a]).to_string();
        let mut forged = signed(&checkpoint(), &[&log, b]);
        forged.add(elsewhere.lines().last().unwrap()).unwrap();
        assert_eq!(code(trust.verify(&forged)), Some(Code::SignatureInvalid));
    }

    #[test]
    fn trust_that_makes_no_sense_refused() {
        let trust = |log: &NoteSigner, witnesses: &[&NoteSigner], threshold| {
            let witnesses = witnesses.iter().map(|witness| witness.verifier().clone()).collect();
            Trust::new(log.verifier().clone(), witnesses, threshold).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let (a, b) = (signer("a", Role::Witness, 2), signer("b", Role::Witness, 3));
        assert_eq!(trust(&log(), &[&a, &b], 2), Ok(()));
        for (log, witnesses, threshold) in [
            (&log(), &[&a, &b][..], 3),
            (&a, &[][..], 0),
            (&log(), &[&signer("c", Role::Log, 4)][..], 1),
            (&log(), &[&a, &signer("c", Role::Witness, 2)][..], 1),
            (&log(), &[&signer("c", Role::Witness, 1)][..], 1),
        ] {
            assert_eq!(trust(log, witnesses, threshold), Err(Code::ConfigurationInvalid));
        }
    }
}
