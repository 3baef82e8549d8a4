//! What a verifier hands a guest whose host gave it no endorsements: `POST /v1/endorsements` with the guest's own raw
//! evidence as the body, and the set as the answer. The guest staples it to its evidence answers.
//!
//! Nobody believes a set. The guest cannot judge it, and whoever is shown it verifies every signature in it under roots of
//! its own: a wrong set costs the guest that its evidence is refused, and gives nobody anything.

use crate::evidence::Endorsement;
use crate::{Code, Refusal, Result, bytes, document, limits};
use serde::{Deserialize, Serialize};

/// The path of the endpoint.
pub const PATH: &str = "/v1/endorsements";

/// The longest time, in seconds, that a set is used before it is asked for again: vendors may issue a new revocation list
/// long before the old one ends.
const LONGEST: u64 = 24 * 60 * 60;
/// The shortest, however soon the set ends.
const SHORTEST: u64 = 60;

/// Endorsements of one guest, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorsementSet {
    /// Version of this format: 1.
    pub v: u32,
    /// `snp`.
    pub platform: String,
    /// Whether the certificate of the very key that signed the evidence is among [`Self::endorsements`].
    pub endorsement_key: bool,
    /// Certificates and revocation lists, in DER.
    pub endorsements: Vec<Endorsement>,
    /// When the first of them ends, in seconds since 1970-01-01T00:00:00Z.
    pub expires: u64,
}

impl Endorsement {
    /// A certificate in DER.
    pub fn certificate(der: &[u8]) -> Self {
        Self { r#type: "certificate".to_owned(), data: bytes::to_base64(der) }
    }

    /// A revocation list in DER.
    pub fn crl(der: &[u8]) -> Self {
        Self { r#type: "crl".to_owned(), data: bytes::to_base64(der) }
    }
}

impl EndorsementSet {
    /// Parses a set of at most [`limits::ENDORSEMENT_SET`] bytes, down to the base64 of each member: what does not have the
    /// shape is not stapled.
    ///
    /// # Errors
    /// `too-large`; `malformed`; `unknown-field`; `version-unsupported`; `platform-unsupported`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let set: Self = document::parse_json(json, "endorsement set", limits::ENDORSEMENT_SET, Code::Malformed)?;
        if set.v != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, "endorsement set").got(set.v).want(1));
        }
        if set.platform != "snp" {
            return Err(Refusal::new(Code::PlatformUnsupported, "endorsement set").got(set.platform).want("snp"));
        }
        // Stapled beside the host's table and what else an answer holds.
        let most = limits::ENDORSEMENTS / 2;
        if set.endorsements.len() > most {
            return Err(Refusal::too_large("endorsement set", set.endorsements.len(), most));
        }
        for endorsement in &set.endorsements {
            if !matches!(endorsement.r#type.as_str(), "certificate" | "crl") {
                return Err(Refusal::malformed("endorsement type", "unknown").got(&endorsement.r#type));
            }
            bytes::from_base64(&endorsement.data, "endorsement")?;
        }
        Ok(set)
    }
}

/// In how many seconds, from `now`, what `expires` is to be asked for again: half of the time that it still lasts, at most
/// a day and at least a minute. Whoever asks then has failed many times before the old one is of no use.
pub fn renew_after(expires: u64, now: u64) -> u64 {
    (expires.saturating_sub(now) / 2).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set() -> EndorsementSet {
        EndorsementSet {
            v: 1,
            platform: "snp".into(),
            endorsement_key: true,
            endorsements: vec![Endorsement::certificate(b"vcek"), Endorsement::crl(b"list")],
            expires: 1_800_000_000,
        }
    }

    fn code(change: impl FnOnce(&mut EndorsementSet)) -> Option<Code> {
        let mut set = set();
        change(&mut set);
        EndorsementSet::parse(&serde_json::to_vec(&set).unwrap()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn set_survives_json_and_each_departure_has_its_code() {
        assert_eq!(EndorsementSet::parse(&serde_json::to_vec(&set()).unwrap()).unwrap(), set());
        assert_eq!(code(|_| {}), None);
        assert_eq!(code(|set| set.v = 2), Some(Code::VersionUnsupported));
        assert_eq!(code(|set| set.platform = "tdx".into()), Some(Code::PlatformUnsupported));
        assert_eq!(code(|set| set.endorsements[0].r#type = "certificate-table".into()), Some(Code::Malformed));
        assert_eq!(code(|set| set.endorsements[1].data = "not base64".into()), Some(Code::Malformed));
        let many = |count: usize| code(|set| set.endorsements = vec![Endorsement::crl(b""); count]);
        assert_eq!((many(32), many(33)), (None, Some(Code::TooLarge)));
        let more = serde_json::to_string(&set()).unwrap().replacen('{', r#"{"x":1,"#, 1);
        assert_eq!(EndorsementSet::parse(more.as_bytes()).unwrap_err().code, Code::UnknownField);
    }

    #[test]
    fn renewal_is_half_way_and_within_a_minute_and_a_day() {
        assert_eq!(renew_after(1_000_000, 990_000), 5_000);
        assert_eq!((renew_after(1_000_000, 0), renew_after(u64::MAX, 0)), (86_400, 86_400));
        assert_eq!((renew_after(1_000, 999), renew_after(1_000, 2_000)), (60, 60));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(EndorsementSet::parse(&bytes).is_err());
        }
    }
}
