//! Files as JWE in the compact serialization (RFC 7516 §3.1), as KServe's confidential models are: one for each file, its content
//! key wrapped by `A256KW` (RFC 7518 §4.4) or given itself (`dir`, §4.5), and `A256GCM` (§5.3).
//!
//! One tag at the very end covers a whole file, so that all of it is held in memory until it is known to be sound.

use crate::jwe::A256GCM;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::{BufRead, Read};
use strongroom_wire::bytes::from_base64url;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// What a JWE in the compact serialization begins with: `{"` in base64url.
pub const COMPACT_MAGIC: &[u8; 3] = b"eyJ";

/// The key of a file, which says what it is used for: no header chooses that.
#[derive(Clone, Copy)]
pub enum FileKey<'a> {
    /// `A256KW`: each file has a content key of its own, wrapped to this one.
    Wrapping(&'a [u8; 32]),
    /// `dir`: this is the content key.
    Content(&'a [u8; 32]),
}

impl core::fmt::Debug for FileKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FileKey").field(&self.algorithm()).finish()
    }
}

impl FileKey<'_> {
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Wrapping(_) => "A256KW",
            Self::Content(_) => "dir",
        }
    }

    /// The content key, from what stands in its place.
    fn content_key(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        match self {
            Self::Content(key) if wrapped.is_empty() => Ok(Zeroizing::new(**key)),
            Self::Content(_) => Err(malformed("encrypted key").got("some").want("none, as `dir` has it")),
            Self::Wrapping(key) => {
                if wrapped.len() != 40 {
                    return Err(malformed("encrypted key").got(format!("{} bytes", wrapped.len())).want("40 bytes"));
                }
                let kek = AesKek::new(&AES_256, key.as_slice()).map_err(|_| invalid("key"))?;
                let mut content_key = Zeroizing::new([0; 32]);
                kek.unwrap(wrapped, content_key.as_mut())
                    .map_err(|_| invalid("content key does not unwrap").because("another key, or a changed file"))?;
                Ok(content_key)
            }
        }
    }
}

/// A protected header. Members that say no more than what the content is may be there (RFC 7516 §4); those that change how it is
/// read may not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    zip: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

/// Opens the file that `source` reads, of `length` bytes. Holds the plaintext once, its ciphertext in the same place, and a buffer.
///
/// # Errors
/// `too-large`: the plaintext would be over [`limits::JWE_FILE`]; `malformed`: not a JWE in the compact serialization;
/// `model-unsupported`: other algorithms than the key's and `A256GCM`, or a header that wants more; `seal-invalid`: it does not
/// authenticate; `io`.
pub fn open_compact(source: impl BufRead, length: u64, key: FileKey<'_>) -> Result<Zeroizing<Vec<u8>>> {
    if length / 4 > limits::JWE_FILE / 3 {
        return Err(Refusal::too_large("jwe", format!("{length} bytes"), limits::JWE_FILE));
    }
    // However long it has become since: memory was asked for by this length.
    let mut source = source.take(length);
    let protected = part(&mut source, "header", limits::JWE_HEADER)?;
    verify_header(&decode(&protected, "header")?, key)?;
    let content_key = key.content_key(&decode(&part(&mut source, "encrypted key", 64)?, "encrypted key")?)?;
    let iv = decode(&part(&mut source, "iv", 64)?, "iv")?;
    let iv: [u8; 12] = iv.try_into().map_err(|_| malformed("iv").want("12 bytes"))?;
    let mut text = ciphertext(&mut source, length)?;
    let tag = tag(source)?;
    let key = UnboundKey::new(&AES_256_GCM, content_key.as_slice()).map_err(|_| invalid("content key"))?;
    let (nonce, aad) = (Nonce::assume_unique_for_key(iv), Aad::from(protected.as_bytes()));
    // Where it does not authenticate, what is in its place is no plaintext, and goes.
    text.extend_from_slice(&tag);
    let opened = LessSafeKey::new(key).open_in_place(nonce, aad, &mut text).map(|plain| plain.len());
    let opened = opened.map_err(|_| invalid("file does not authenticate").because("another key, or a changed file"))?;
    text.truncate(opened);
    Ok(text)
}

fn verify_header(json: &[u8], key: FileKey<'_>) -> Result<()> {
    let header: Header = serde_json::from_slice(json).map_err(|e| malformed("header").because(e))?;
    let unsupported = |got: String| Refusal::new(Code::ModelUnsupported, "header").within("jwe").got(got);
    if header.zip.is_some() || header.crit.is_some() {
        return Err(unsupported("`zip` or `crit`".to_owned()).want("neither"));
    }
    if (header.alg.as_str(), header.enc.as_str()) != (key.algorithm(), A256GCM) {
        let shown = |text: &str| text.chars().take(40).collect::<String>();
        return Err(unsupported(format!("{} {}", shown(&header.alg), shown(&header.enc)))
            .want(format!("{} {A256GCM}", key.algorithm())));
    }
    Ok(())
}

/// The characters up to the next dot, at most `limit`.
fn part(source: &mut impl BufRead, name: &str, limit: u64) -> Result<String> {
    let mut text = Vec::new();
    let read = Read::take(&mut *source, limit).read_until(b'.', &mut text);
    read.map_err(|e| Refusal::io("jwe", &e))?;
    if text.pop() != Some(b'.') {
        return Err(malformed(name).want(format!("at most {limit} characters and a dot")));
    }
    String::from_utf8(text).map_err(|e| malformed(name).because(e))
}

/// The ciphertext, decoded as it is read.
fn ciphertext(source: &mut impl BufRead, length: u64) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |why: &str| Refusal::new(Code::Io, "memory for a jwe").got(why);
    // With all of its capacity from the start, tag included: what grows leaves copies behind.
    let capacity = usize::try_from(length / 4 * 3 + 64).map_err(|_| failed("more than can be addressed"))?;
    let mut text = Zeroizing::new(Vec::new());
    text.try_reserve_exact(capacity).map_err(|_| failed("less than the file takes"))?;
    let mut left = Vec::with_capacity(4);
    loop {
        let buffer = source.fill_buf().map_err(|e| Refusal::io("jwe", &e))?;
        if buffer.is_empty() {
            return Err(malformed("ciphertext").want("a dot behind it"));
        }
        let end = buffer.iter().position(|byte| *byte == b'.');
        let mut chars = end.and_then(|end| buffer.get(..end)).unwrap_or(buffer);
        let taken = chars.len() + usize::from(end.is_some());
        // Four characters are three bytes: those that a chunk leaves over wait for the next.
        while !left.is_empty()
            && left.len() < 4
            && let Some((first, rest)) = chars.split_first()
        {
            left.push(*first);
            chars = rest;
        }
        if left.len() == 4 {
            append(&mut text, &left)?;
            left.clear();
        }
        let (whole, rest) = chars.split_at_checked(chars.len() / 4 * 4).unwrap_or((chars, &[]));
        append(&mut text, whole)?;
        left.extend_from_slice(rest);
        source.consume(taken);
        if end.is_some() {
            append(&mut text, &left)?;
            return Ok(text);
        }
    }
}

fn append(text: &mut Vec<u8>, chars: &[u8]) -> Result<()> {
    URL_SAFE_NO_PAD.decode_vec(chars, text).map_err(|e| malformed("ciphertext").because(e))
}

/// The tag, which the end of the file follows, or of a line.
fn tag(source: impl BufRead) -> Result<[u8; 16]> {
    let mut text = Vec::new();
    source.take(64).read_to_end(&mut text).map_err(|e| Refusal::io("jwe", &e))?;
    let text = core::str::from_utf8(text.trim_ascii_end()).map_err(|e| malformed("tag").because(e))?;
    decode(text, "tag")?.try_into().map_err(|_| malformed("tag").want("16 bytes, and nothing behind it"))
}

fn decode(text: &str, name: &str) -> Result<Vec<u8>> {
    from_base64url(text, name).map_err(|refusal| refusal.within("jwe"))
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(Code::Malformed, what).within("jwe")
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::SealInvalid, what).within("jwe")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;
    use strongroom_wire::bytes::to_base64url;

    // Made with Python's `cryptography` (aes_key_wrap, AESGCM): the key is 00…1f, the content key 20…3f, the IV 40…4b.
    const WRAPPED: &str = "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0.BPijw8MC07C36UsU3Pha0dppzXQFbteQfTy0n7J3maQQTbBY8pAa2w.\
        QEFCQ0RFRkdISUpL.tTHU5jgCtis9VHBJpSc-FnbisaOTMsizTq7tdAiFoQ.ag-stencUISwoEIkljDZBw";
    const DIRECT: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwia2lkIjoiayJ9..QEFCQ0RFRkdISUpL.\
        ldzHRE5I9COiojdXuwl8PxyqfnzRR2BOVxc3kf98gw.T403I1aLxOfhQb_GhaFN0A";
    const PLAIN: &[u8] = b"weights of a model, from Python";

    fn key() -> [u8; 32] {
        core::array::from_fn(|i| u8::try_from(i).unwrap())
    }

    fn open(text: &str, key: FileKey<'_>) -> Result<Vec<u8>> {
        let length = u64::try_from(text.len()).unwrap();
        // A short buffer, so that chunks end everywhere.
        open_compact(BufReader::with_capacity(7, text.as_bytes()), length, key).map(|plain| plain.to_vec())
    }

    fn code(text: &str, key: FileKey<'_>) -> Code {
        open(text, key).unwrap_err().code
    }

    /// A file under `dir` with this header, sealed as the format says.
    fn seal(header: &str, plain: &[u8]) -> String {
        let protected = to_base64url(header.as_bytes());
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key()).unwrap());
        let mut text = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key([9; 12]);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut text).unwrap();
        let [iv, text, tag] = [&[9; 12][..], &text, tag.as_ref()].map(to_base64url);
        format!("{protected}..{iv}.{text}.{tag}")
    }

    #[test]
    fn files_that_another_implementation_made_open() {
        let key = key();
        for end in ["", "\n", "\r\n"] {
            assert_eq!(open(&format!("{WRAPPED}{end}"), FileKey::Wrapping(&key)).unwrap(), PLAIN);
            assert_eq!(open(&format!("{DIRECT}{end}"), FileKey::Content(&key)).unwrap(), PLAIN);
        }
        for text in [WRAPPED, DIRECT] {
            assert!(text.as_bytes().starts_with(COMPACT_MAGIC));
        }
    }

    #[test]
    fn key_is_used_for_what_it_is_for_alone() {
        let (key, other) = (key(), [7; 32]);
        assert_eq!(code(WRAPPED, FileKey::Content(&key)), Code::ModelUnsupported);
        assert_eq!(code(DIRECT, FileKey::Wrapping(&key)), Code::ModelUnsupported);
        assert_eq!(code(WRAPPED, FileKey::Wrapping(&other)), Code::SealInvalid);
        assert_eq!(code(DIRECT, FileKey::Content(&other)), Code::SealInvalid);
    }

    #[test]
    fn every_changed_character_and_every_cut_refused() {
        let key = key();
        for (text, key) in [(WRAPPED, FileKey::Wrapping(&key)), (DIRECT, FileKey::Content(&key))] {
            for at in 0..text.len() {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                let codes = [Code::SealInvalid, Code::Malformed, Code::ModelUnsupported];
                assert!(codes.contains(&code(&changed, key)), "character {at}");
                let cut = text.get(..at).unwrap();
                assert!([Code::SealInvalid, Code::Malformed].contains(&code(cut, key)), "cut at {at}");
            }
        }
    }

    #[test]
    fn header_that_says_more_accepted_and_one_that_wants_more_refused() {
        let key = key();
        let header = |more: &str| format!(r#"{{"alg":"dir","enc":"A256GCM"{more}}}"#);
        for (more, want) in [
            ("", None),
            (r#","kid":"k","typ":"JWE""#, None),
            (r#","zip":"DEF""#, Some(Code::ModelUnsupported)),
            (r#","crit":["x"]"#, Some(Code::ModelUnsupported)),
            (r#","alg":"dir""#, Some(Code::Malformed)),
        ] {
            let opened = open(&seal(&header(more), b"x"), FileKey::Content(&key));
            assert_eq!(opened.err().map(|refusal| refusal.code), want, "{more}");
        }
        for bad in [r#"{"alg":"dir","enc":"A128GCM"}"#, r#"{"alg":"none","enc":"A256GCM"}"#] {
            assert_eq!(code(&seal(bad, b"x"), FileKey::Content(&key)), Code::ModelUnsupported);
        }
        let long = header(&format!(r#","kid":"{}""#, "k".repeat(4000)));
        assert_eq!(code(&seal(&long, b"x"), FileKey::Content(&key)), Code::Malformed);
    }

    #[test]
    fn file_over_the_limit_refused_before_memory_is_asked_for() {
        let refused = |length| open_compact(DIRECT.as_bytes(), length, FileKey::Content(&key())).unwrap_err().code;
        assert_eq!(refused(limits::JWE_FILE / 3 * 4 + 1000), Code::TooLarge);
        assert_eq!(refused(u64::MAX), Code::TooLarge);
    }

    #[test]
    fn file_with_more_behind_it_or_a_wrapped_key_where_none_is_refused() {
        let key = key();
        for more in ["A", ".", "\n\nA", &"A".repeat(100)] {
            assert_eq!(code(&format!("{DIRECT}{more}"), FileKey::Content(&key)), Code::Malformed, "{more}");
        }
        assert_eq!(code(&DIRECT.replacen("..", ".AAAA.", 1), FileKey::Content(&key)), Code::Malformed);
        assert_eq!(code("", FileKey::Content(&key)), Code::Malformed);
    }

    proptest! {
        #[test]
        fn every_length_opens(plain in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = seal(r#"{"alg":"dir","enc":"A256GCM"}"#, &plain);
            prop_assert_eq!(open(&text, FileKey::Content(&key())).unwrap(), plain);
        }

        #[test]
        fn arbitrary_characters_never_open(text in "[A-Za-z0-9_.-]{0,200}") {
            prop_assert!(open(&text, FileKey::Content(&key())).is_err());
        }
    }
}
