//! That one entry is in a log, in a text that stands for itself (c2sp.org/tlog-proof).

use crate::checkpoint::{Trust, VerifiedCheckpoint};
use crate::note::SignedNote;
use crate::proof::verify_inclusion;
use crate::tile::decimal;
use core::fmt;
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::merkle::leaf_hash;
use strongroom_wire::{Code, Refusal, Result, limits};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Everything but the entry and whom to believe. `Display` writes it as [`Self::parse`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryProof {
    /// The entry's number, from 0.
    pub index: u64,
    /// What it carries beside the proof, if anything. Nobody vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The inclusion proof (RFC 9162 §2.1.3).
    pub path: Vec<Sha256>,
    /// The checkpoint of the tree that it is in.
    pub checkpoint: SignedNote,
}

impl EntryProof {
    /// Parses one.
    ///
    /// # Errors
    /// `malformed`; `too-large`: longer than [`limits::NOTE`], or a path that no tree has.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = || Refusal::new(Code::Malformed, "proof of a log entry").want(HEADER);
        if bytes.len() > limits::NOTE {
            return Err(Refusal::too_large("proof of a log entry", bytes.len(), limits::NOTE));
        }
        let text = core::str::from_utf8(bytes).map_err(|e| wrong().because(e))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(wrong)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(wrong());
        }
        let extra = lines.peek().and_then(|line| line.strip_prefix("extra "));
        let extra = extra.map(|extra| from_base64(extra, "extra data of a proof")).transpose()?;
        if extra.is_some() {
            lines.next();
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal).ok_or_else(wrong)?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == limits::LOG_DEPTH {
                return Err(Refusal::too_large("inclusion proof", "more", limits::LOG_DEPTH));
            }
            let hash: [u8; 32] = from_base64(line, "hash of a proof")?.try_into().map_err(|_| wrong())?;
            path.push(Sha256(hash));
        }
        Ok(Self { index, extra, path, checkpoint: SignedNote::parse(checkpoint.as_bytes())? })
    }

    /// Verifies that `entry` is in the log.
    ///
    /// # Errors
    /// Those of [`Trust::verify`]; `log-proof-invalid`: the log is there, but the entry not in it.
    pub fn verify(&self, entry: &[u8], trust: &Trust) -> Result<VerifiedCheckpoint> {
        let checkpoint = trust.verify(&self.checkpoint)?;
        verify_inclusion(leaf_hash(entry), self.index, &self.path, &checkpoint)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        self.extra.iter().try_for_each(|extra| writeln!(f, "extra {}", to_base64(extra)))?;
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", to_base64(&hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::note::{NoteSigner, Role};
    use crate::tiles::{Tiles, prove_inclusion, root};
    use zeroize::Zeroizing;

    fn proof() -> (EntryProof, Trust) {
        let log = NoteSigner::new("example.com/log", Role::Log, &Zeroizing::new([1; 32])).unwrap();
        let mut tiles = Tiles::default();
        for n in 0..6_u8 {
            tiles.append(u64::from(n), leaf_hash(&[n])).unwrap();
        }
        let origin = log.verifier().name().to_owned();
        let mut checkpoint = Checkpoint { origin, size: 6, root: root(6, &tiles).unwrap() }.note().unwrap();
        log.sign(&mut checkpoint, 0).unwrap();
        let path = prove_inclusion(4, 6, &tiles).unwrap();
        (
            EntryProof { index: 4, extra: None, path, checkpoint },
            Trust::new(log.verifier().clone(), Vec::new(), 0).unwrap(),
        )
    }

    #[test]
    fn proof_reads_back_and_holds_for_its_entry_alone() {
        let (proof, trust) = proof();
        let text = proof.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 4\n"), "{text}");
        assert_eq!(EntryProof::parse(text.as_bytes()).unwrap(), proof);
        let extra = text.replace("index", "extra AAAA\nindex");
        let extra = EntryProof::parse(extra.as_bytes()).unwrap();
        assert_eq!(extra, EntryProof { extra: Some(vec![0; 3]), ..proof.clone() });
        assert_eq!(EntryProof::parse(extra.to_string().as_bytes()).unwrap(), extra);
        assert_eq!(proof.verify(&[4], &trust).unwrap().size(), 6);
        assert_eq!(proof.verify(&[5], &trust).unwrap_err().code, Code::LogProofInvalid);
        let elsewhere = EntryProof { index: 5, ..proof.clone() };
        assert_eq!(elsewhere.verify(&[4], &trust).unwrap_err().code, Code::LogProofInvalid);
        let unsigned = text.replace("example.com/log\n6", "example.com/log\n7");
        let unsigned = EntryProof::parse(unsigned.as_bytes()).unwrap();
        assert_eq!(unsigned.verify(&[4], &trust).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn text_that_is_no_proof_refused() {
        let text = proof().0.to_string();
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 4", "index 04"),
            ("index 4", "indexes 4"),
            ("index 4\n", ""),
            ("index 4\n", "index 4\nAAAA\n"),
            ("index 4\n", "index 4\n%\n"),
            ("index 4", "extra %\nindex 4"),
            ("index 4", "extra extra AAAA\nindex 4"),
            ("index 4", "extra AAAA\nextra AAAA\nindex 4"),
            ("\n\n", "\n"),
        ] {
            let wrong = text.replace(from, to);
            assert_eq!(EntryProof::parse(wrong.as_bytes()).map_err(|r| r.code), Err(Code::Malformed), "{wrong}");
        }
        let hash = to_base64(&[0; 32]) + "\n";
        let deep = |depth: usize| text.replace("index 4\n", &format!("index 4\n{}", hash.repeat(depth - 2)));
        assert!(EntryProof::parse(deep(limits::LOG_DEPTH).as_bytes()).is_ok());
        assert_eq!(EntryProof::parse(deep(limits::LOG_DEPTH + 1).as_bytes()).unwrap_err().code, Code::TooLarge);
        assert_eq!(EntryProof::parse(&vec![b'a'; limits::NOTE + 1]).unwrap_err().code, Code::TooLarge);
    }
}
