//! TDX evidence as the KBS protocol carries it (its notes, section 7).

use crate::bytes::{from_base64, to_base64};
use crate::tdx::Quote;
use crate::{Refusal, Result, limits};
use serde::{Deserialize, Serialize};

/// `primary_evidence` of tee `tdx`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TdxEvidence {
    /// Base64 of the memory of the ACPI table CCEL, where the guest shows its event log.
    #[serde(default)]
    cc_eventlog: Option<String>,
    /// Base64 of the quote.
    quote: String,
}

impl TdxEvidence {
    /// The JSON form of a quote and, where there is one, its event log.
    pub fn new(quote: &[u8], event_log: Option<&[u8]>) -> Self {
        Self { cc_eventlog: event_log.map(to_base64), quote: to_base64(quote) }
    }

    /// Decodes and parses the quote.
    ///
    /// # Errors
    /// `too-large`: over [`limits::EVIDENCE`]; `malformed`; those of [`Quote::parse`].
    pub fn quote(&self) -> Result<Quote> {
        Quote::parse(&decoded(&self.quote, "quote", limits::EVIDENCE)?)
    }

    /// The raw event log.
    ///
    /// # Errors
    /// `too-large`: over [`limits::EVENT_LOG`]; `malformed`.
    pub fn event_log(&self) -> Result<Option<Vec<u8>>> {
        self.cc_eventlog.as_deref().map(|text| decoded(text, "cc_eventlog", limits::EVENT_LOG)).transpose()
    }
}

fn decoded(text: &str, what: &str, limit: usize) -> Result<Vec<u8>> {
    let longest = limit.div_ceil(3).saturating_mul(4);
    if text.len() > longest {
        return Err(Refusal::too_large(what, text.len(), longest));
    }
    from_base64(text, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn event_log_of_the_limit_is_decoded_and_a_longer_one_refused() {
        let log = |length: usize| TdxEvidence::new(b"", Some(&vec![7; length])).event_log();
        assert_eq!(log(limits::EVENT_LOG).unwrap().unwrap().len(), limits::EVENT_LOG);
        assert_eq!(log(limits::EVENT_LOG + 3).unwrap_err().code, Code::TooLarge);
        let parse = |json: &str| serde_json::from_str::<TdxEvidence>(json).unwrap();
        assert_eq!(parse(r#"{"quote":"AAAA"}"#).event_log().unwrap(), None);
        assert_eq!(parse(r#"{"cc_eventlog":null,"quote":"AAAA"}"#).event_log().unwrap(), None);
        assert_eq!(parse(r#"{"cc_eventlog":"A","quote":"AAAA"}"#).event_log().unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn quote_that_is_not_base64_too_long_or_no_quote_refused() {
        let quote = |quote: String| TdxEvidence { cc_eventlog: None, quote }.quote().unwrap_err().code;
        assert_eq!(quote("%".into()), Code::Malformed);
        assert_eq!(quote("A".repeat(limits::EVIDENCE * 2)), Code::TooLarge);
        assert_eq!(quote("AAAA".into()), Code::VersionUnsupported);
    }
}
