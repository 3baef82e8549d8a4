//! The authorities of the verifier's trust domain: sealed under the master key as one entry, since whoever reads one reads all, and
//! one of which only some were put back would not open.

use super::Transaction;
use core::ops::Range;
use serde::{Deserialize, Serialize};
use strongroom_appraisal::UnixTime;
use strongroom_svid::Authority;
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The name in `meta`. No key id, since it has no slashes.
pub(super) const AUTHORITIES: &str = "authorities";

/// How long one is valid after it was made, in seconds.
const LIFE: u64 = 48 * HOUR;
/// How much of that is left when the next is made.
const NEXT: u64 = 24 * HOUR;
/// How long others may have known one before it issues: they ask for the bundle far more often.
const KNOWN: u64 = HOUR;
/// How long before it was made one is valid: clocks that go back do not stop it.
const BEFORE: u64 = HOUR;
const HOUR: u64 = 3600;

/// Those that are kept.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorities {
    /// Grows with every change.
    sequence: u64,
    /// The oldest first.
    kept: Vec<Kept>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Kept {
    domain: String,
    made: UnixTime,
    certificate: Vec<u8>,
    /// PKCS #8.
    secret: Vec<u8>,
}

impl Kept {
    fn valid(&self) -> Range<UnixTime> {
        self.made.saturating_sub(BEFORE)..self.made.saturating_add(LIFE)
    }
}

impl Authorities {
    /// Those of `domain` that are valid at `now`.
    fn of<'a>(&'a self, domain: &'a TrustDomain, now: UnixTime) -> impl DoubleEndedIterator<Item = &'a Kept> {
        self.kept.iter().filter(move |kept| kept.domain == domain.as_str() && kept.valid().contains(&now))
    }

    /// Which edition it is.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The certificates (DER) by which others verify what was issued in `domain`.
    pub(crate) fn certificates(&self, domain: &TrustDomain, now: UnixTime) -> Vec<Vec<u8>> {
        self.of(domain, now).map(|kept| kept.certificate.clone()).collect()
    }

    /// The one that issues: the newest that others had time to know, else the oldest.
    ///
    /// # Errors
    /// `certificate-expired`: there is none, as after a clock that jumped, until the next is made; `key-invalid`.
    pub(crate) fn issuing(&self, domain: &TrustDomain, now: UnixTime) -> Result<Authority> {
        let known = self.of(domain, now).rfind(|kept| kept.made.saturating_add(KNOWN) <= now);
        let kept = known.or_else(|| self.of(domain, now).next()).ok_or_else(|| {
            Refusal::new(Code::CertificateExpired, "authorities of the trust domain").got("none that is valid")
        })?;
        Authority::load(domain.clone(), kept.valid(), kept.certificate.clone(), &kept.secret)
    }

    /// Makes the next one where it is time; those that are over are forgotten with that.
    ///
    /// # Errors
    /// `internal`.
    fn renew(&mut self, domain: &TrustDomain, now: UnixTime) -> Result<Option<Authority>> {
        let newest = self.of(domain, now).next_back();
        if newest.is_some_and(|newest| now.saturating_add(NEXT) < newest.valid().end) {
            return Ok(None);
        }
        let mut kept = Kept { domain: domain.to_string(), made: now, certificate: Vec::new(), secret: Vec::new() };
        let authority = Authority::generate(domain.clone(), kept.valid())?;
        kept.certificate = authority.certificate().to_vec();
        kept.secret = authority.secret()?.to_vec();
        self.kept.retain(|kept| kept.domain == domain.as_str() && kept.valid().contains(&now));
        self.kept.push(kept);
        self.sequence = self.sequence.saturating_add(1);
        Ok(Some(authority))
    }
}

impl core::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Authorities").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Transaction<'_> {
    /// Those that are kept; none before the first was made.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`.
    pub(crate) async fn authorities(&mut self) -> Result<Authorities> {
        let Some(sealed) = self.meta(AUTHORITIES).await? else { return Ok(Authorities::default()) };
        let json = self.master.open(AUTHORITIES, &sealed)?;
        serde_json::from_slice(&json).map_err(|e| Refusal::new(Code::StoreTampered, "stored authorities").because(e))
    }

    /// Makes the next authority of `domain` where it is time.
    ///
    /// # Errors
    /// `store-failed`, `store-tampered`; `internal`.
    pub(crate) async fn renew_authorities(&mut self, domain: &TrustDomain, now: UnixTime) -> Result<Option<Authority>> {
        let mut authorities = self.authorities().await?;
        let made = authorities.renew(domain, now)?;
        if made.is_some() {
            let json = serde_json::to_vec(&authorities).map(Zeroizing::new);
            let json = json.map_err(|e| Refusal::new(Code::Internal, "authorities as JSON").because(e))?;
            self.set_meta(AUTHORITIES, &self.master.seal(AUTHORITIES, &json)?).await?;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::digest::Sha256;

    const NOW: UnixTime = 1_800_000_000;

    fn domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn which(authorities: &Authorities, now: UnixTime) -> core::result::Result<Sha256, Code> {
        let issuing = authorities.issuing(&domain(), now);
        issuing.map(|authority| Sha256::of(authority.certificate())).map_err(|refusal| refusal.code)
    }

    #[test]
    fn next_authority_is_in_the_bundle_for_an_hour_before_it_issues_and_the_last_as_long_as_it_is_valid() {
        let mut authorities = Authorities::default();
        assert_eq!(which(&authorities, NOW), Err(Code::CertificateExpired));
        let first = authorities.renew(&domain(), NOW).unwrap().unwrap();
        let first = Sha256::of(first.certificate());
        // Nobody knows it, and there is no other.
        assert_eq!(which(&authorities, NOW), Ok(first));
        assert!(authorities.renew(&domain(), NOW + LIFE - NEXT - 1).unwrap().is_none());
        let made = NOW + LIFE - NEXT;
        let second = authorities.renew(&domain(), made).unwrap().unwrap();
        let second = Sha256::of(second.certificate());
        assert!(authorities.renew(&domain(), made).unwrap().is_none());
        for (now, issuing, certificates) in [
            (made, first, 2),
            (made + KNOWN - 1, first, 2),
            (made + KNOWN, second, 2),
            (NOW + LIFE - 1, second, 2),
            (NOW + LIFE, second, 1),
        ] {
            assert_eq!(which(&authorities, now), Ok(issuing), "{now}");
            assert_eq!(authorities.certificates(&domain(), now).len(), certificates, "{now}");
        }
        assert_eq!(authorities.sequence(), 2);
        authorities.renew(&domain(), made + LIFE - NEXT).unwrap().unwrap();
        assert_eq!((authorities.kept.len(), authorities.sequence()), (2, 3));
    }

    #[test]
    fn clock_that_goes_back_an_hour_stops_nothing() {
        let mut authorities = Authorities::default();
        let made = authorities.renew(&domain(), NOW).unwrap().unwrap();
        assert_eq!(which(&authorities, NOW - BEFORE), Ok(Sha256::of(made.certificate())));
        assert!(made.valid().contains(&(NOW - BEFORE)));
    }

    #[test]
    fn authorities_of_another_trust_domain_issue_nothing() {
        let mut authorities = Authorities::default();
        authorities.renew(&domain(), NOW).unwrap().unwrap();
        let other = TrustDomain::parse("example.com").unwrap();
        assert_eq!(authorities.issuing(&other, NOW).unwrap_err().code, Code::CertificateExpired);
        assert!(authorities.certificates(&other, NOW).is_empty());
        assert!(authorities.renew(&other, NOW).unwrap().is_some());
        assert_eq!(which(&authorities, NOW), Err(Code::CertificateExpired));
    }
}
