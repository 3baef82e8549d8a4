//! A platform and its collateral, verified together: what is kept between quotes.

use super::authenticate::{AuthenticQuote, judge, parse, verify_signatures};
use super::collateral::Collateral;
use super::pck::{PckChain, PlatformFacts};
use super::verified_collateral::{Record, VerifiedCollateral};
use crate::newest::{Sighting, Sightings};
use crate::trace::traced;
use crate::window::Window;
use crate::{Endorsements, Roots, UnixTime};
use core::ops::RangeInclusive;
use std::sync::Arc;
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// A platform whose certificate chain and collateral held, fit each other, and name nobody revoked.
///
/// ```compile_fail,E0451
/// // There is no other way to one than an authentic quote.
/// let forged = strongroom_appraisal::tdx::VerifiedPlatform {
///     pck: todo!(), collateral: todo!(), sightings: todo!(), window: todo!(),
/// };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedPlatform {
    pub(super) pck: PckChain,
    pub(super) collateral: VerifiedCollateral,
    /// Of the collateral, and of the lists of every set that was given beside it.
    sightings: Sightings,
    window: Window,
}

impl VerifiedPlatform {
    /// Verifies the collateral for `pck` among `endorsements`. Where several sets would do, the newest counts: the one with
    /// the highest evaluation number, then the latest issue date. A revocation list counts in whatever set it came, for no set
    /// takes back what another one proves.
    pub(super) fn verify(
        pck: PckChain,
        endorsements: &Endorsements,
        roots: &Roots,
        now: UnixTime,
        record: &mut Record<'_>,
    ) -> Result<Self> {
        let mut best: Option<(VerifiedCollateral, Vec<Check>)> = None;
        let mut refused: Option<(Refusal, Vec<Check>)> = None;
        let mut sighted = Sightings::default();
        for given in &endorsements.collateral {
            let mut checks = Vec::new();
            let mut own = Record { trace: &mut checks, sightings: &mut sighted };
            match Self::fitting(&pck, given, &endorsements.collateral, roots, now, &mut own) {
                Ok(collateral) if best.as_ref().is_none_or(|(other, _)| other.age() < collateral.age()) => {
                    best = Some((collateral, checks));
                }
                Ok(_) => {}
                Err(refusal) if refused.as_ref().is_none_or(|(other, _)| weight(&refusal) > weight(other)) => {
                    refused = Some((refusal, checks));
                }
                Err(_) => {}
            }
        }
        let Record { trace, sightings } = record;
        sightings.extend(sighted.iter());
        match (best, refused) {
            (Some((collateral, checks)), _) => {
                trace.extend(checks);
                let window = pck.window.and(collateral.window().bounds());
                let mut sightings = Sightings::default();
                sightings.extend(collateral.sightings().into_iter().chain(sighted.lists()));
                Ok(Self { pck, collateral, sightings, window })
            }
            (None, Some((refusal, checks))) => {
                trace.extend(checks);
                Err(refusal)
            }
            (None, None) => {
                let want = format!("TCB info and QE identity for FMSPC {}", hex::encode(pck.facts.fmspc));
                let missing = Refusal::new(Code::CollateralMissing, "collateral").got("none given").want(want);
                traced(trace, "collateral", Err(missing))
            }
        }
    }

    fn fitting(
        pck: &PckChain,
        given: &Collateral,
        among: &[Collateral],
        roots: &Roots,
        now: UnixTime,
        record: &mut Record<'_>,
    ) -> Result<VerifiedCollateral> {
        let collateral = VerifiedCollateral::verify_among(given, among, Some(pck), roots, now, record)?;
        traced(record.trace, "collateral-platform", verify_fit(pck, &collateral))?;
        traced(record.trace, "revocation", verify_not_revoked(pck, among))?;
        Ok(collateral)
    }

    /// Authenticates another quote of this platform, with two P-256 verifications: what was verified before is not verified
    /// again while it is valid.
    ///
    /// # Errors
    /// `collateral-mismatch`: the quote is of another platform; `collateral-expired`, `collateral-not-yet-valid`: this proof
    /// does not reach to `now`. Both call for [`super::authenticate`].
    pub fn authenticate(self: &Arc<Self>, evidence: &[u8], now: UnixTime) -> Result<AuthenticQuote> {
        let mut trace = Vec::new();
        let (quote, chain) = traced(&mut trace, "quote-format", parse(evidence))?;
        let same = if chain == self.pck.text {
            Ok(())
        } else {
            Err(Refusal::new(Code::CollateralMismatch, "PCK certificate chain").got("of another platform"))
        };
        traced(&mut trace, "kept-platform", same)?;
        traced(
            &mut trace,
            "kept-dates",
            self.window.verify("verified platform", now, Code::CollateralNotYetValid, Code::CollateralExpired),
        )?;
        verify_signatures(&quote, &self.pck, &mut trace)?;
        judge(quote, Arc::clone(self), now, &mut trace)
    }

    /// The first and the last second in which this proof holds: the tightest of all dates in it.
    pub fn valid(&self) -> RangeInclusive<UnixTime> {
        self.window.range()
    }

    /// The root that it was verified under.
    pub const fn root(&self) -> Root {
        self.pck.label
    }

    /// What Intel states of the platform.
    pub const fn facts(&self) -> &PlatformFacts {
        &self.pck.facts
    }

    /// What is remembered of it.
    pub(crate) fn sightings(&self) -> impl Iterator<Item = Sighting> {
        self.sightings.iter()
    }

    /// The collateral.
    pub const fn collateral(&self) -> &VerifiedCollateral {
        &self.collateral
    }
}

/// A set that fails for itself says more than one that belongs to somebody else, and a revocation more than either.
fn weight(refusal: &Refusal) -> u8 {
    match refusal.code {
        Code::CollateralMismatch => 0,
        Code::CertificateRevoked => 2,
        _ => 1,
    }
}

/// Refuses a PCK, or its authority, that a list of its issuer names, whichever set brought that list.
fn verify_not_revoked(pck: &PckChain, sets: &[Collateral]) -> Result<()> {
    sets.iter().try_for_each(|set| {
        set.root_ca_crl.verify_absent_under(&pck.root, &pck.authority)?;
        set.pck_crl.verify_absent_under(&pck.authority, &pck.pck)
    })
}

fn verify_fit(pck: &PckChain, collateral: &VerifiedCollateral) -> Result<()> {
    let mismatch =
        |what: &str, got: String, want: String| Err(Refusal::new(Code::CollateralMismatch, what).got(got).want(want));
    if collateral.root.spki != pck.root.spki {
        return mismatch("root of the collateral", collateral.root.key_id().to_string(), pck.root.key_id().to_string());
    }
    if collateral.pck_authority.spki != pck.authority.spki {
        return mismatch("PCK authority", collateral.pck_authority.subject.clone(), pck.authority.subject.clone());
    }
    let (info, facts) = (&collateral.tcb_info, &pck.facts);
    if info.fmspc.0 != facts.fmspc {
        return mismatch("FMSPC", hex::encode(info.fmspc.0), hex::encode(facts.fmspc));
    }
    if info.pce_id.0 != facts.pce_id {
        return mismatch("PCEID", hex::encode(info.pce_id.0), hex::encode(facts.pce_id));
    }
    Ok(())
}
