//! Who signs notes: a name, a role and a key.

use super::{Signature, SignedNote};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use core::fmt;
use strongroom_wire::bytes::{from_base64, hex_array, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// As whom a key signs: it decides what the signature is over, and is part of the key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The log itself: Ed25519 over the text, signature type 1 of c2sp.org/signed-note.
    Log,
    /// A witness, who saw that the log only grew: Ed25519 over a time and the text, type 4 of c2sp.org/tlog-cosignature.
    Witness,
}

impl Role {
    const fn signature_type(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }

    fn parse(signature_type: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|role| role.signature_type() == signature_type)
    }
}

/// The public half of a key that signs notes, under the name that it signs as.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    role: Role,
    key: [u8; 32],
}

impl NoteVerifier {
    fn new(name: &str, role: Role, key: [u8; 32]) -> Result<Self> {
        if name.is_empty() || name.len() > limits::NOTE_NAME || name.contains(|c: char| c.is_whitespace() || c == '+') {
            let want = format!("1 to {} bytes without white space and `+`", limits::NOTE_NAME);
            return Err(Refusal::new(Code::Malformed, "name of a note's signer").got(name).want(want));
        }
        Ok(Self { name: name.to_owned(), role, key })
    }

    /// Parses `<name>+<id, 8 hex digits>+<base64 of signature type and key>`.
    ///
    /// # Errors
    /// `malformed`, also where the id is not this name's and key's.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Refusal::new(Code::Malformed, "key of a log or witness").want("<name>+<8 hex digits>+<base64>");
        // A name holds no `+`, base64 may.
        let (name, rest) = text.split_once('+').ok_or_else(wrong)?;
        let (id, key) = rest.split_once('+').ok_or_else(wrong)?;
        let (id, key) = (hex_array(id, "id of a note's key")?, from_base64(key, "key of a log or witness")?);
        let (signature_type, key) = key.split_first().ok_or_else(wrong)?;
        let role =
            Role::parse(*signature_type).ok_or_else(|| wrong().got(format!("signature type {signature_type}")))?;
        let verifier = Self::new(name, role, key.try_into().map_err(|_| wrong())?)?;
        if verifier.id() != id {
            return Err(wrong()
                .got(format!("id {}", Hex(&id)))
                .want(format!("{}, as name and key give", Hex(&verifier.id()))));
        }
        Ok(verifier)
    }

    /// The name that it signs as; a log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the Ed25519 public key (RFC 8032 §5.1.5).
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether it is the same key, whatever its name and role.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// As whom it signs.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The first four bytes of `SHA-256(name ‖ "\n" ‖ signature type ‖ key)`: by which signatures are found, not trusted.
    pub(super) fn id(&self) -> [u8; 4] {
        let hash = Sha256::of_parts(&[self.name.as_bytes(), b"\n", &[self.role.signature_type()], &self.key]);
        let [a, b, c, d, ..] = hash.0;
        [a, b, c, d]
    }

    /// The time that a cosignature of the right shape and over this text says; a log's says none.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let (time, signature) = match self.role {
            Role::Log => (None, signature),
            Role::Witness => {
                let (time, signature) = signature.split_first_chunk()?;
                // c2sp.org/tlog-cosignature: no more than 63 bits, which is also what keeps it from being later than any time.
                let time = u64::from_be_bytes(*time);
                (Some(i64::try_from(time).is_ok().then_some(time)?), signature)
            }
        };
        let message = message(time, text);
        UnparsedPublicKey::new(&ED25519, self.key).verify(message.as_bytes(), signature).ok()?;
        Some(time)
    }
}

/// What is signed: c2sp.org/signed-note "Signatures", and c2sp.org/tlog-cosignature "Format" where there is a time.
fn message(time: Option<u64>, text: &str) -> String {
    match time {
        None => text.to_owned(),
        Some(time) => format!("cosignature/v1\ntime {time}\n{text}"),
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.role.signature_type()], &self.key[..]].concat();
        write!(f, "{}+{}+{}", self.name, Hex(&self.id()), to_base64(&key))
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that signs notes. Never shown, cloned or serialised.
pub struct NoteSigner {
    verifier: NoteVerifier,
    pair: Ed25519KeyPair,
}

impl NoteSigner {
    /// The key of this seed (the 32 bytes of RFC 8032 §5.1.5), signing as `name`.
    ///
    /// # Errors
    /// `malformed`: no name; `key-invalid`.
    pub fn new(name: &str, role: Role, seed: &Zeroizing<[u8; 32]>) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|e| Refusal::new(Code::KeyInvalid, "key of a log or witness").because(e))?;
        let key = pair.public_key().as_ref().try_into().map_err(|e| Refusal::malformed("Ed25519 key", e))?;
        Ok(Self { verifier: NoteVerifier::new(name, role, key)?, pair })
    }

    /// The public half.
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// Adds its signature to a note. A witness says that the time is `now`, in seconds of Unix time; a log says none.
    ///
    /// # Errors
    /// `too-large`: the note has as many signatures, or bytes, as one may have.
    pub fn sign(&self, note: &mut SignedNote, now: u64) -> Result<()> {
        let time = (self.verifier.role == Role::Witness).then_some(now);
        let signature = self.pair.sign(message(time, &note.text).as_bytes());
        let bytes = [time.map(u64::to_be_bytes).as_ref().map_or(&[][..], |time| time), signature.as_ref()].concat();
        note.extend(vec![Signature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes }])
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NoteSigner").field(&self.verifier).finish()
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
