//! Text forms of bytes (hex, base64) and a cursor that reads binary formats without ever looking past their end.

use crate::{Code, Refusal, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Exactly `N` bytes as `2 * N` lower-case hex digits.
pub fn hex_array<const N: usize>(text: &str, what: &str) -> Result<[u8; N]> {
    let mut out = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    if lower && hex::decode_to_slice(text, &mut out).is_ok() {
        return Ok(out);
    }
    Err(Refusal::new(Code::Malformed, what).got(text).want(format!("{} lower-case hex digits", 2 * N)))
}

/// Base64 of RFC 4648 §4, padded.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Base64 of RFC 4648 §4, padded, canonical.
pub fn from_base64(text: &str, what: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|e| Refusal::malformed(format!("{what}: base64"), e))
}

/// Base64url of RFC 4648 §5 without padding, as JOSE uses it.
pub fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Base64url of RFC 4648 §5 without padding, canonical.
pub fn from_base64url(text: &str, what: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).map_err(|e| Refusal::malformed(format!("{what}: base64url"), e))
}

/// Reads a binary format from front to back. Every method fails, without a panic, where the bytes end.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    format: &'static str,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`; `format` names them in refusals.
    pub const fn new(bytes: &'a [u8], format: &'static str) -> Self {
        Self { rest: bytes, format }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn short(&self, wanted: usize) -> Refusal {
        Refusal::new(Code::Malformed, format!("{}: too short", self.format))
            .got(format!("{} bytes left", self.rest.len()))
            .want(format!("{wanted} bytes"))
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or_else(|| self.short(n))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.short(N))?;
        self.rest = tail;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// The next little-endian `u16`.
    pub fn u16_le(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// The next little-endian `u32`.
    pub fn u32_le(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next little-endian `u64`.
    pub fn u64_le(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Succeeds only where nothing is left.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(Code::Malformed, format!("{}: trailing bytes", self.format))
            .got(format!("{} bytes", self.rest.len()))
            .want("none"))
    }
}
