//! TPM 2.0 quotes: `TPMS_ATTEST` of type `TPM_ST_ATTEST_QUOTE` (TPM 2.0 Library, Part 2, §10.12). Integers are big-endian.
//!
//! Parsing verifies nothing: who signed a quote, and whether the PCRs at hand are those it was made over, is
//! `appraisal`'s matter.

use crate::bytes::Cursor;
use crate::{Code, Refusal, Result, limits};

/// PCRs of a bank that a PC Client TPM has (TCG PC Client Platform TPM Profile, §4.6).
pub const PCRS: usize = 24;

/// TPM_GENERATED_VALUE: no TPM signs other people's bytes that begin so with a restricted key.
const GENERATED: [u8; 4] = [0xff, b'T', b'C', b'G'];
/// TPM_ST_ATTEST_QUOTE.
const QUOTE: u16 = 0x8018;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
const FORMAT: &str = "TPM quote";

/// What a TPM says of all PCRs of its SHA-256 bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    raw: Vec<u8>,
    /// extraData: what the caller of the TPM put in, such as a nonce.
    pub extra_data: Vec<u8>,
    /// clockInfo.resetCount: how often the TPM was started anew.
    pub reset_count: u32,
    /// clockInfo.restartCount: how often it was resumed.
    pub restart_count: u32,
    /// firmwareVersion.
    pub firmware_version: u64,
    /// pcrDigest: SHA-256 over PCR 0 to 23 of the SHA-256 bank, one after the other.
    pub pcr_digest: [u8; 32],
}

impl Quote {
    /// Parses a quote over all 24 PCRs of the SHA-256 bank and over nothing else.
    ///
    /// # Errors
    /// `malformed`: also a structure that is no quote, and one over other PCRs or banks; `too-large`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::TPM_QUOTE {
            return Err(Refusal::too_large(FORMAT, bytes.len(), limits::TPM_QUOTE));
        }
        let mut at = Cursor::new(bytes, FORMAT);
        let (magic, kind): ([u8; 4], u16) = (at.array()?, u16_be(&mut at)?);
        if magic != GENERATED || kind != QUOTE {
            return Err(Refusal::new(Code::Malformed, FORMAT)
                .got(format!("{} {kind:#06x}", hex::encode(magic)))
                .want(format!("{} {QUOTE:#06x}", hex::encode(GENERATED))));
        }
        sized(&mut at)?; // qualifiedSigner: the key is known by what vouches for it
        let extra_data = sized(&mut at)?.to_vec();
        at.take(8)?; // clock
        let (reset_count, restart_count) = (u32_be(&mut at)?, u32_be(&mut at)?);
        at.take(1)?; // safe
        let firmware_version = u64::from_be_bytes(at.array()?);
        read_selection(&mut at)?;
        let mut digest = Cursor::new(sized(&mut at)?, "PCR digest");
        let pcr_digest = digest.array()?;
        digest.finish()?;
        at.finish()?;
        Ok(Self { raw: bytes.to_vec(), extra_data, reset_count, restart_count, firmware_version, pcr_digest })
    }

    /// The bytes as received, which the TPM signed.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

/// TPML_PCR_SELECTION of one bank with all of its PCRs.
fn read_selection(at: &mut Cursor<'_>) -> Result<()> {
    let (banks, hash, len) = (u32_be(at)?, u16_be(at)?, at.u8()?);
    let selected = at.take(usize::from(len))?;
    if (banks, hash, selected) == (1, SHA256, &[0xff; PCRS / 8]) {
        return Ok(());
    }
    Err(Refusal::new(Code::Malformed, "PCR selection")
        .got(format!("{banks} banks, algorithm {hash:#06x}, PCRs {}", hex::encode(selected)))
        .want(format!("1 bank, algorithm {SHA256:#06x}, PCRs ffffff")))
}

/// TPM2B: a length of two bytes and so many bytes.
fn sized<'a>(at: &mut Cursor<'a>) -> Result<&'a [u8]> {
    let len = u16_be(at)?;
    at.take(usize::from(len))
}

fn u16_be(at: &mut Cursor<'_>) -> Result<u16> {
    Ok(u16::from_be_bytes(at.array()?))
}

fn u32_be(at: &mut Cursor<'_>) -> Result<u32> {
    Ok(u32::from_be_bytes(at.array()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quote(extra: &[u8]) -> Vec<u8> {
        let mut bytes = [&GENERATED[..], &QUOTE.to_be_bytes(), &[0, 2, 9, 9]].concat();
        bytes.extend(u16::try_from(extra.len()).unwrap().to_be_bytes());
        bytes.extend(extra);
        bytes.extend([0; 8]);
        bytes.extend([0, 0, 0, 5, 0, 0, 0, 6, 1]);
        bytes.extend(0x2020_0312_0012_0003_u64.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 11, 3, 0xff, 0xff, 0xff, 0, 32]);
        bytes.extend([7; 32]);
        bytes
    }

    fn code(bytes: &[u8]) -> Code {
        Quote::parse(bytes).expect_err("parsed").code
    }

    #[test]
    fn fields_are_those_of_the_structure() {
        let bytes = quote(b"nonce");
        let quote = Quote::parse(&bytes).unwrap();
        assert_eq!((quote.raw(), &quote.extra_data[..], quote.pcr_digest), (&bytes[..], &b"nonce"[..], [7; 32]));
        assert_eq!((quote.reset_count, quote.restart_count, quote.firmware_version), (5, 6, 0x2020_0312_0012_0003));
    }

    #[test]
    fn quote_cut_short_or_longer_refused() {
        let mut bytes = quote(b"nonce");
        for end in 0..bytes.len() {
            assert_eq!(code(&bytes[..end]), Code::Malformed, "{end}");
        }
        bytes.push(0);
        assert_eq!(code(&bytes), Code::Malformed);
        assert_eq!(code(&[0; limits::TPM_QUOTE + 1]), Code::TooLarge);
    }

    #[test]
    fn other_structure_bank_or_selection_refused() {
        let selection = quote(b"").len() - 34 - 10;
        for (at, value) in [(0, 0xfe), (5, 0x17), (selection + 3, 2), (selection + 5, 12), (selection + 7, 0xfe)] {
            let mut bytes = quote(b"");
            assert_ne!(bytes[at], value);
            bytes[at] = value;
            assert_eq!(code(&bytes), Code::Malformed, "{at}");
        }
    }

    proptest! {
        #[test]
        fn damaged_quotes_never_panic(at in 0usize..120, value: u8) {
            let mut bytes = quote(b"nonce");
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = Quote::parse(&bytes);
        }
    }

    #[test]
    fn quote_of_the_longest_length_accepted_and_one_byte_more_refused() {
        let rest = quote(b"").len();
        assert!(Quote::parse(&quote(&vec![1; limits::TPM_QUOTE - rest])).is_ok());
        assert_eq!(code(&quote(&vec![1; limits::TPM_QUOTE - rest + 1])), Code::TooLarge);
    }
}
