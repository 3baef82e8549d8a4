//! What was seen at its highest: the memory by which an older document is told from the newest.
//!
//! Signed documents that are replaced by newer ones (revocation lists, TCB info, reference values, inventories) stay
//! validly signed when they are replaced. Who hands them out may therefore hand out an old one, until it expires. Whoever
//! remembers the highest number that it ever saw of each refuses that.
//!
//! [`Seen`] is a value and keeps nothing by itself: the caller gives it, gets it back raised, and persists it where nobody
//! but itself writes. Only what was authenticated may raise it, or anybody could block what is genuine with a huge number.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// What kind of number it is. Numbers of different kinds are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenKind {
    /// cRLNumber of a revocation list (RFC 5280 §5.2.3).
    CrlNumber,
    /// thisUpdate of a revocation list (RFC 5280 §5.1.2.4), in seconds since 1970.
    CrlThisUpdate,
    /// tcbEvaluationDataNumber of Intel's TCB info or QE identity.
    TcbEvaluation,
    /// issueDate of Intel's TCB info or QE identity, in seconds since 1970.
    IssueDate,
    /// The version of a bundle of reference values.
    ReferenceValues,
    /// The version of an inventory of machines.
    Inventory,
}

/// The highest of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Highest {
    number: u64,
    /// SHA-256 of the document of that number, where documents of one number must be one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Sha256>,
}

/// The highest number seen of each kind and subject. Empty where nothing was ever seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    entries: BTreeMap<SeenKind, BTreeMap<String, Highest>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    seen: BTreeMap<SeenKind, BTreeMap<String, Highest>>,
}

impl SeenKind {
    /// What an older one than was seen is refused with.
    pub const fn code(self) -> Code {
        match self {
            Self::CrlNumber | Self::CrlThisUpdate | Self::TcbEvaluation | Self::IssueDate => Code::CollateralRolledBack,
            Self::ReferenceValues => Code::ReferenceValuesRolledBack,
            Self::Inventory => Code::InventoryRolledBack,
        }
    }

    /// As persisted and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrlNumber => "crl-number",
            Self::CrlThisUpdate => "crl-this-update",
            Self::TcbEvaluation => "tcb-evaluation",
            Self::IssueDate => "issue-date",
            Self::ReferenceValues => "reference-values",
            Self::Inventory => "inventory",
        }
    }
}

impl Seen {
    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// `state-invalid`: not such a document; `too-large`: longer than [`limits::SEEN`].
    pub fn parse(json: &[u8]) -> Result<Self> {
        let Document { version, seen } =
            document::parse_json(json, "memory of what was seen", limits::SEEN, Code::StateInvalid)
                .map_err(|refusal| Refusal { code: not_unknown_field(refusal.code), ..refusal })?;
        if version != 1 {
            return Err(Refusal::new(Code::StateInvalid, "version of the memory of what was seen")
                .got(version)
                .want(1));
        }
        Ok(Self { entries: seen })
    }

    /// The JSON document to persist. Equal values give equal bytes.
    ///
    /// # Errors
    /// `too-large`: longer than [`limits::SEEN`], so that it could not be read again.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let document = Document { version: 1, seen: self.entries.clone() };
        let bytes = serde_json::to_vec(&document)
            .map_err(|error| Refusal::new(Code::Internal, "memory of what was seen").because(error))?;
        match bytes.len() > limits::SEEN {
            true => Err(Refusal::too_large("memory of what was seen", bytes.len(), limits::SEEN)),
            false => Ok(bytes),
        }
    }

    /// The highest number of that kind that was seen of `subject`, if any was.
    pub fn highest(&self, kind: SeenKind, subject: &str) -> Option<u64> {
        self.entry(kind, subject).map(|highest| highest.number)
    }

    /// Everything that was seen, ordered.
    pub fn iter(&self) -> impl Iterator<Item = (SeenKind, &str, u64)> {
        self.entries.iter().flat_map(|(kind, subjects)| {
            subjects.iter().map(|(subject, highest)| (*kind, subject.as_str(), highest.number))
        })
    }

    /// Refuses `number` where a higher one of that kind was seen of `subject` ([`SeenKind::code`]), else remembers it.
    ///
    /// `subject` says whose number it is and must keep apart what may have numbers of its own: realms, vendors, products.
    /// Call it only for a document whose signature held.
    pub fn check_and_raise(&mut self, kind: SeenKind, subject: &str, number: u64) -> Result<()> {
        self.raise(kind, subject, Highest { number, digest: None })
    }

    /// The same of a document that only changes with its number: another document of the number that was seen is refused too.
    pub fn check_and_raise_document(
        &mut self,
        kind: SeenKind,
        subject: &str,
        number: u64,
        digest: Sha256,
    ) -> Result<()> {
        self.raise(kind, subject, Highest { number, digest: Some(digest) })
    }

    /// Remembers `number` where it is higher than what was seen. The rule of [`Self::check_and_raise`] holds here too.
    pub(crate) fn remember(&mut self, kind: SeenKind, subject: &str, number: u64) {
        if self.highest(kind, subject).is_none_or(|before| before < number) {
            self.entries.entry(kind).or_default().insert(subject.to_owned(), Highest { number, digest: None });
        }
    }

    fn entry(&self, kind: SeenKind, subject: &str) -> Option<&Highest> {
        self.entries.get(&kind).and_then(|subjects| subjects.get(subject))
    }

    fn raise(&mut self, kind: SeenKind, subject: &str, now: Highest) -> Result<()> {
        let what = || format!("{} of `{subject}`", kind.as_str());
        if let Some(before) = self.entry(kind, subject) {
            if now.number < before.number {
                let want = format!("at least {}, which was seen", before.number);
                return Err(Refusal::new(kind.code(), what()).got(now.number).want(want));
            }
            let digests = before.digest.zip(now.digest).filter(|_| now.number == before.number);
            if let Some((seen, other)) = digests.filter(|(seen, other)| seen != other) {
                let got = format!("another document of the same number {}, SHA-256 {other}", now.number);
                return Err(Refusal::new(kind.code(), what()).got(got).want(seen));
            }
        }
        self.entries.entry(kind).or_default().insert(subject.to_owned(), now);
        Ok(())
    }
}

/// A member that is not known is a damaged memory too: nobody writes it by hand.
const fn not_unknown_field(code: Code) -> Code {
    match code {
        Code::UnknownField => Code::StateInvalid,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [SeenKind; 6] = [
        SeenKind::CrlNumber,
        SeenKind::CrlThisUpdate,
        SeenKind::TcbEvaluation,
        SeenKind::IssueDate,
        SeenKind::ReferenceValues,
        SeenKind::Inventory,
    ];

    #[test]
    fn equal_or_higher_number_accepted_and_lower_refused_with_the_code_of_its_kind() {
        for kind in KINDS {
            let mut seen = Seen::default();
            for number in [7, 7, 8] {
                seen.check_and_raise(kind, "subject", number).unwrap();
            }
            let refusal = seen.check_and_raise(kind, "subject", 7).unwrap_err();
            assert_eq!(refusal.code, kind.code());
            assert_eq!(seen.highest(kind, "subject"), Some(8));
        }
    }

    #[test]
    fn other_kinds_and_subjects_have_numbers_of_their_own() {
        let mut seen = Seen::default();
        seen.check_and_raise(SeenKind::CrlNumber, "amd/Milan", 9).unwrap();
        seen.check_and_raise(SeenKind::CrlNumber, "amd/Genoa", 1).unwrap();
        seen.check_and_raise(SeenKind::CrlThisUpdate, "amd/Milan", 1).unwrap();
        assert_eq!(seen.iter().count(), 3);
    }

    #[test]
    fn same_document_of_one_number_accepted_and_another_refused() {
        let mut seen = Seen::default();
        let (first, second) = (Sha256::of(b"first"), Sha256::of(b"second"));
        let kind = SeenKind::ReferenceValues;
        seen.check_and_raise_document(kind, "guest", 1, first).unwrap();
        seen.check_and_raise_document(kind, "guest", 1, first).unwrap();
        let refusal = seen.check_and_raise_document(kind, "guest", 1, second).unwrap_err();
        assert_eq!(refusal.code, Code::ReferenceValuesRolledBack);
        seen.check_and_raise_document(kind, "guest", 2, second).unwrap();
    }

    #[test]
    fn remembering_a_number_again_does_not_forget_which_document_had_it() {
        let mut seen = Seen::default();
        let kind = SeenKind::ReferenceValues;
        seen.check_and_raise_document(kind, "guest", 1, Sha256::of(b"first")).unwrap();
        seen.remember(kind, "guest", 1);
        let other = seen.check_and_raise_document(kind, "guest", 1, Sha256::of(b"second"));
        assert_eq!(other.unwrap_err().code, Code::ReferenceValuesRolledBack);
        seen.remember(kind, "guest", 2);
        assert_eq!(seen.highest(kind, "guest"), Some(2));
    }

    #[test]
    fn names_of_kinds_are_those_persisted() {
        for kind in KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn damaged_memory_refused() {
        let good = br#"{"version":1,"seen":{"crl-number":{"amd":{"number":1}}}}"#;
        assert_eq!(Seen::parse(good).unwrap().highest(SeenKind::CrlNumber, "amd"), Some(1));
        let bad: [&[u8]; 7] = [
            b"",
            b"{}",
            br#"{"version":2,"seen":{}}"#,
            br#"{"version":1,"seen":{},"more":1}"#,
            br#"{"version":1,"seen":{"other":{}}}"#,
            br#"{"version":1,"seen":{"crl-number":{"amd":{"number":-1}}}}"#,
            br#"{"version":1,"seen":{"crl-number":{"amd":{"number":1,"more":1}}}}"#,
        ];
        for bad in bad {
            assert_eq!(Seen::parse(bad).unwrap_err().code, Code::StateInvalid, "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(Seen::parse(&vec![b' '; limits::SEEN + 1]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn memory_that_could_not_be_read_again_is_not_written() {
        let of = |subject: usize| {
            let mut seen = Seen::default();
            seen.check_and_raise(SeenKind::CrlNumber, &"x".repeat(subject), 1).unwrap();
            seen.to_json().map_err(|refusal| refusal.code)
        };
        let longest = limits::SEEN - of(0).unwrap().len();
        assert!(Seen::parse(&of(longest).unwrap()).is_ok());
        assert_eq!(of(longest + 1), Err(Code::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(raised: Vec<(u8, String, u64, bool)>) {
            let mut seen = Seen::default();
            for (kind, subject, number, document) in raised {
                let kind = KINDS[usize::from(kind) % KINDS.len()];
                let _ = match document {
                    true => seen.check_and_raise_document(kind, &subject, number, Sha256::of(subject.as_bytes())),
                    false => seen.check_and_raise(kind, &subject, number),
                };
            }
            prop_assert_eq!(Seen::parse(&seen.to_json().unwrap()).unwrap(), seen);
        }
    }
}
