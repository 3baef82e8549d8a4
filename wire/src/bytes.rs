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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_those_of_rfc_4648_and_are_read_back() {
        let bytes = [0xfb, 0xff, 0xfe, 0x01];
        assert_eq!((to_base64(&bytes), to_base64url(&bytes)), ("+//+AQ==".to_owned(), "-__-AQ".to_owned()));
        assert_eq!(from_base64("+//+AQ==", "text").unwrap(), bytes);
        assert_eq!(from_base64url("-__-AQ", "text").unwrap(), bytes);
        assert_eq!(hex_array::<4>("fbfffe01", "text").unwrap(), bytes);
    }

    #[test]
    fn text_in_another_form_refused() {
        for other in ["-__-AQ==", "+//+AQ", "+//+AR==", "+//+AQ==\n"] {
            assert_eq!(from_base64(other, "text").unwrap_err().code, Code::Malformed, "{other}");
        }
        for other in ["+//+AQ", "-__-AQ==", "-__-AR", "-__-AQ\n"] {
            assert_eq!(from_base64url(other, "text").unwrap_err().code, Code::Malformed, "{other}");
        }
        for other in ["FBFFFE01", "fbfffe0", "fbfffe0101", "fbfffe0g"] {
            assert_eq!(hex_array::<4>(other, "text").unwrap_err().code, Code::Malformed, "{other}");
        }
    }

    #[test]
    fn integers_are_little_endian_and_the_end_is_the_end() {
        let bytes: Vec<u8> = (1..=16).collect();
        let mut at = Cursor::new(&bytes, "test");
        assert_eq!((at.u8().unwrap(), at.u16_le().unwrap()), (0x01, 0x0302));
        assert_eq!((at.u32_le().unwrap(), at.u64_le().unwrap()), (0x0706_0504, 0x0f0e_0d0c_0b0a_0908));
        assert_eq!(at.clone().finish().unwrap_err().code, Code::Malformed);
        assert_eq!(at.u16_le().unwrap_err().got.as_deref(), Some("1 bytes left"));
        assert_eq!(at.take(1).unwrap(), [16]);
        assert_eq!(at.u8().unwrap_err().code, Code::Malformed);
        at.finish().unwrap();
    }
}
