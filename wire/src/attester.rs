//! The exchange with a security processor behind a Unix stream socket, as one short connection per report:
//! 64 bytes of report data go in; the report and the GHCB certificate table come back, each as `u32be length ‖ bytes`.
//! It mirrors configfs-tsm's `inblob`, `outblob` and `auxblob`.

use crate::bytes::Cursor;
use crate::{Refusal, Result, limits};

/// Evidence as a security processor gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// SNP: the raw 1184-byte report. TDX: the quote.
    pub evidence: Vec<u8>,
    /// SNP: the GHCB certificate table; may be empty. TDX: nothing.
    pub certificates: Vec<u8>,
}

impl Quote {
    /// The answer's bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(8 + self.evidence.len() + self.certificates.len());
        for part in [&self.evidence, &self.certificates] {
            let length = u32::try_from(part.len()).map_err(|e| Refusal::malformed("attester answer", e))?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// Parses an answer; both parts are limited ([`limits::EVIDENCE`], [`limits::CERTIFICATE_TABLE`]).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, "attester answer");
        let evidence = part(&mut cursor, limits::EVIDENCE)?;
        let certificates = part(&mut cursor, limits::CERTIFICATE_TABLE)?;
        cursor.finish()?;
        Ok(Self { evidence, certificates })
    }
}

/// The longest answer that [`Quote::parse`] accepts.
pub const LONGEST_ANSWER: usize = 8 + limits::EVIDENCE + limits::CERTIFICATE_TABLE;

fn part(cursor: &mut Cursor<'_>, limit: usize) -> Result<Vec<u8>> {
    let length = usize::try_from(u32::from_be_bytes(cursor.array()?)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Refusal::too_large("attester answer", length, limit));
    }
    cursor.take(length).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn answer_survives_encode_and_parse(evidence: Vec<u8>, certificates: Vec<u8>) {
            let quote = Quote { evidence, certificates };
            prop_assert_eq!(Quote::parse(&quote.encode().unwrap()).unwrap(), quote);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Quote::parse(&bytes);
        }
    }

    #[test]
    fn answer_with_a_trailing_byte_refused() {
        let mut bytes = Quote { evidence: vec![1], certificates: vec![] }.encode().unwrap();
        assert!(Quote::parse(&bytes).is_ok());
        bytes.push(0);
        assert_eq!(Quote::parse(&bytes).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn parts_at_their_limits_make_the_longest_answer_and_one_byte_more_is_refused() {
        let quote = |evidence: usize, certificates: usize| Quote {
            evidence: vec![1; limits::EVIDENCE + evidence],
            certificates: vec![2; limits::CERTIFICATE_TABLE + certificates],
        };
        let longest = quote(0, 0).encode().unwrap();
        assert_eq!(longest.len(), LONGEST_ANSWER);
        assert_eq!(Quote::parse(&longest).unwrap(), quote(0, 0));
        for above in [quote(1, 0), quote(0, 1)] {
            assert_eq!(Quote::parse(&above.encode().unwrap()).unwrap_err().code, Code::TooLarge);
        }
    }
}
