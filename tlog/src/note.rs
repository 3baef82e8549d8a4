//! A text and who signed it (c2sp.org/signed-note): the form that checkpoints are kept and exchanged in.

mod key;

use core::fmt;
pub use key::{NoteSigner, NoteVerifier, Role};
use strongroom_wire::bytes::{Cursor, from_base64, to_base64};
use strongroom_wire::{Code, Refusal, Result, limits};

/// A text with signatures, none of which is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<Signature>,
}

/// A line below a text that says who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// What no part of a note holds: ASCII control characters but the end of a line.
fn has_control(text: &str) -> bool {
    text.contains(|c: char| c < ' ' && c != '\n')
}

const DASH: &str = "\u{2014} ";

impl SignedNote {
    /// A text that nobody signed yet.
    ///
    /// # Errors
    /// `malformed`: it is not lines without control characters, each ended; `too-large`.
    pub fn new(text: String) -> Result<Self> {
        if text.len() > limits::NOTE {
            return Err(Refusal::too_large("note", text.len(), limits::NOTE));
        }
        if !text.ends_with('\n') || has_control(&text) {
            return Err(Refusal::new(Code::Malformed, "text of a note").want("lines without control characters"));
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Parses a note: its text, an empty line, and at least one signature.
    ///
    /// # Errors
    /// `malformed`; `too-large`: longer than [`limits::NOTE`], or of more than [`limits::NOTE_SIGNATURES`] signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = || Refusal::new(Code::Malformed, "note").want("a text, an empty line and lines of signatures");
        if bytes.len() > limits::NOTE {
            return Err(Refusal::too_large("note", bytes.len(), limits::NOTE));
        }
        let note = core::str::from_utf8(bytes).map_err(|e| wrong().because(e))?;
        // The text may hold empty lines: the last one is where it ends.
        let at = note.rfind("\n\n").ok_or_else(wrong)?;
        let (text, lines) = note.split_at_checked(at.saturating_add(1)).ok_or_else(wrong)?;
        let mut parsed = Self::new(text.to_owned())?;
        let lines = lines.strip_prefix('\n').filter(|lines| lines.ends_with('\n')).ok_or_else(wrong)?;
        parsed.add(lines)?;
        Ok(parsed)
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Who signed it, as they say.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds signatures that were made elsewhere, one to a line, as a witness answers with. All of them or none.
    ///
    /// # Errors
    /// `malformed`; `too-large`.
    pub fn add(&mut self, lines: &str) -> Result<()> {
        let signatures = lines.split_terminator('\n').take(limits::NOTE_SIGNATURES + 1).map(Signature::parse);
        self.extend(signatures.collect::<Result<_>>()?)
    }

    /// Adds signatures where what becomes of the note is one that [`Self::parse`] reads.
    fn extend(&mut self, signatures: Vec<Signature>) -> Result<()> {
        let count = self.signatures.len() + signatures.len();
        if count > limits::NOTE_SIGNATURES {
            return Err(Refusal::too_large("signatures of a note", count, limits::NOTE_SIGNATURES));
        }
        let all = self.signatures.iter().chain(&signatures).map(|signature| signature.to_string().len() + 1);
        let length = self.text.len() + 1 + all.sum::<usize>();
        if length > limits::NOTE {
            return Err(Refusal::too_large("note", length, limits::NOTE));
        }
        self.signatures.extend(signatures);
        Ok(())
    }

    /// Verifies what `verifier` signed. Gives the time that a witness says; a log says none.
    ///
    /// # Errors
    /// `log-untrusted`: it did not sign; `signature-invalid`: a signature in its name and of its key's id does not hold.
    pub fn verify(&self, verifier: &NoteVerifier) -> Result<Option<u64>> {
        let what = || format!("signature of `{}` on a note", verifier.name());
        let mut theirs = self.signatures.iter().filter(|s| s.is_of(verifier)).peekable();
        if theirs.peek().is_none() {
            return Err(Refusal::new(Code::LogUntrusted, what()));
        }
        let verified = theirs.map(|signature| verifier.verify(&self.text, &signature.bytes));
        // Several by one key may be there, a witness' at several times: all hold, and the latest time counts.
        let times = verified.collect::<Option<Vec<_>>>().ok_or_else(|| Refusal::new(Code::SignatureInvalid, what()))?;
        Ok(times.into_iter().flatten().max())
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl Signature {
    /// Whether it is in the name, and of the id, of this key. Only [`SignedNote::verify`] says whether it holds.
    pub fn is_of(&self, verifier: &NoteVerifier) -> bool {
        self.name == verifier.name() && self.id == verifier.id()
    }

    fn parse(line: &str) -> Result<Self> {
        let wrong = || Refusal::new(Code::Malformed, "signature of a note").want("`— <name> <base64>`");
        let (name, base64) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
        let bytes = from_base64(base64, "signature of a note")?;
        let mut cursor = Cursor::new(&bytes, "signature of a note");
        let id = cursor.array()?;
        let is_part = |c: char| !c.is_whitespace() && c != '+';
        if name.is_empty() || !name.chars().all(is_part) || has_control(name) || cursor.rest().is_empty() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), id, bytes: cursor.rest().to_vec() })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DASH}{} {}", self.name, to_base64(&[&self.id[..], &self.bytes].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    // The example of Go's golang.org/x/mod/sumdb/note.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(name: &str, role: Role) -> NoteSigner {
        NoteSigner::new(name, role, &Zeroizing::new([7; 32])).unwrap()
    }

    #[test]
    fn note_of_another_implementation_verifies_and_is_written_as_it_was_read() {
        let key = NoteVerifier::parse(KEY).unwrap();
        let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
        assert_eq!((key.to_string().as_str(), note.to_string().as_str()), (KEY, NOTE));
        assert_eq!(note.verify(&key), Ok(None));
        let changed = SignedNote::parse(NOTE.replace("answer", "Answer").as_bytes()).unwrap();
        assert_eq!(changed.verify(&key).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn signature_of_the_very_key_and_role_counts_and_no_other() {
        let (log, witness) = (signer("example.com/log", Role::Log), signer("example.com/log", Role::Witness));
        let mut note = SignedNote::new("text\n".into()).unwrap();
        log.sign(&mut note, 5).unwrap();
        assert_eq!(note.verify(log.verifier()), Ok(None));
        assert_eq!(note.verify(witness.verifier()).unwrap_err().code, Code::LogUntrusted);
        assert_eq!(
            note.verify(signer("example.com/other", Role::Log).verifier()).unwrap_err().code,
            Code::LogUntrusted
        );
        witness.sign(&mut note, 5).unwrap();
        witness.sign(&mut note, 9).unwrap();
        witness.sign(&mut note, 7).unwrap();
        assert_eq!(note.verify(witness.verifier()), Ok(Some(9)));
        assert_eq!(SignedNote::parse(note.to_string().as_bytes()).unwrap(), note);
    }

    #[test]
    fn cosignature_of_another_time_refused() {
        let witness = signer("w", Role::Witness);
        let mut note = SignedNote::new("text\n".into()).unwrap();
        witness.sign(&mut note, 5).unwrap();
        note.signatures[0].bytes[7] = 6;
        assert_eq!(note.verify(witness.verifier()).unwrap_err().code, Code::SignatureInvalid);
        note.signatures[0].bytes.truncate(7);
        assert_eq!(note.verify(witness.verifier()).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn cosignature_of_63_bits_of_time_accepted_and_of_64_refused() {
        let witness = signer("w", Role::Witness);
        for (time, expected) in [(u64::MAX >> 1, Ok(Some(u64::MAX >> 1))), (1 << 63, Err(Code::SignatureInvalid))] {
            let mut note = SignedNote::new("text\n".into()).unwrap();
            witness.sign(&mut note, time).unwrap();
            assert_eq!(note.verify(witness.verifier()).map_err(|refusal| refusal.code), expected);
        }
    }

    #[test]
    fn signatures_are_added_all_or_none() {
        let mut note = SignedNote::new("text\n".into()).unwrap();
        let refused = note.add("\u{2014} a AAAAAAA=\n- b AAAAAAA=\n").unwrap_err();
        assert_eq!((refused.code, note.signatures.len()), (Code::Malformed, 0));
        note.add("\u{2014} a AAAAAAA=\n").unwrap();
        assert_eq!(note.signatures.len(), 1);
    }

    #[test]
    fn one_signature_that_does_not_hold_spoils_those_that_do() {
        let log = signer("l", Role::Log);
        let mut note = SignedNote::new("text\n".into()).unwrap();
        log.sign(&mut note, 0).unwrap();
        let mut second = note.signatures[0].clone();
        second.bytes[0] ^= 1;
        note.signatures.push(second);
        assert_eq!(note.verify(log.verifier()).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn key_that_is_not_written_as_its_own_refused() {
        for wrong in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10Q=",
        ] {
            assert_eq!(NoteVerifier::parse(wrong).unwrap_err().code, Code::Malformed, "{wrong}");
        }
    }

    #[test]
    fn text_that_is_no_note_refused() {
        let line = "\u{2014} a AAAAAAA=\n";
        assert!(SignedNote::parse(format!("a\n\nb\n\n{line}").as_bytes()).is_ok());
        for wrong in [
            String::new(),
            "a\n".into(),
            "a\n\n".into(),
            format!("a\n{line}"),
            format!("a\n\n{line}b\n"),
            format!("a\n\n{}", line.trim_end()),
            format!("a\t\n\n{line}"),
            format!("\n{line}"),
            "a\n\n- a AAAAAAA=\n".into(),
            "a\n\n\u{2014} a+b AAAAAAA=\n".into(),
            "a\n\n\u{2014} AAAAAAA=\n".into(),
            "a\n\n\u{2014} a\u{1}b AAAAAAA=\n".into(),
            "a\n\n\u{2014} a AAAAAA==\n".into(),
            "a\n\n\u{2014} a %\n".into(),
        ] {
            assert_eq!(SignedNote::parse(wrong.as_bytes()).map_err(|r| r.code), Err(Code::Malformed), "{wrong:?}");
        }
        assert_eq!(SignedNote::parse(b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n").unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn as_many_signatures_as_the_limit_accepted_and_one_more_refused() {
        let note = |count: usize| format!("a\n\n{}", "\u{2014} a AAAAAAA=\n".repeat(count));
        let mut most = SignedNote::parse(note(limits::NOTE_SIGNATURES).as_bytes()).unwrap();
        assert_eq!(SignedNote::parse(note(limits::NOTE_SIGNATURES + 1).as_bytes()).unwrap_err().code, Code::TooLarge);
        let before = most.clone();
        assert_eq!(most.add("\u{2014} a AAAAAAA=\n").unwrap_err().code, Code::TooLarge);
        assert_eq!(signer("l", Role::Log).sign(&mut most, 0).unwrap_err().code, Code::TooLarge);
        assert_eq!(most, before);
        let long = "a".repeat(limits::NOTE - 1) + "\n";
        let mut full = SignedNote::new(long.clone()).unwrap();
        assert_eq!(signer("l", Role::Log).sign(&mut full, 0).unwrap_err().code, Code::TooLarge);
        assert_eq!(SignedNote::new(format!("a{long}")).unwrap_err().code, Code::TooLarge);
        assert_eq!(SignedNote::parse(&vec![b'a'; limits::NOTE + 1]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn secret_key_is_not_shown() {
        let shown = format!("{:?}", signer("l", Role::Log));
        assert!(shown.starts_with("NoteSigner(l+"), "{shown}");
    }
}
