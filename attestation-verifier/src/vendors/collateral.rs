//! Intel's collateral, which no guest of the KBS protocol brings: one set for each kind of platform (FMSPC and authority).
//!
//! A quote carries its platform's certificates, so that it proves to be genuine before anybody is asked, unlike a report without
//! its VCEK. Whoever has one genuine machine can ask for its kind, and for no other.

use super::admission::Question;
use super::{Asking, Vendors};
use crate::attest::Shown;
use std::sync::{Arc, PoisonError};
use strongroom_appraisal::tdx::{Collateral, VerifiedCollateral, authenticate};
use strongroom_appraisal::{Endorsements, Roots, UnixTime};
use strongroom_endorsements::{Dated, Platform};
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Code, Refusal, Result};

/// Kinds of platform whose collateral is kept current; Intel makes some dozens.
const PLATFORMS: usize = 256;

impl Vendors {
    /// The collateral of `quote`, which is that of `shown`: kept, or asked for where it brought none and the quote is genuine and made for its
    /// session. Beside one that it brought, the one that is kept counts too.
    pub(super) async fn collateral_of(
        &self,
        shown: &Shown,
        quote: &Quote,
        roots: &Roots,
        asking: Asking,
    ) -> Result<Option<Dated<bytes::Bytes>>> {
        let (platform, now) = (Platform::of(quote)?, asking.now);
        if let Some(kept) = self.fetcher.kept_collateral(&platform, now)? {
            self.keep_current(platform);
            return Ok(Some(kept));
        }
        if !shown.lacks.collateral {
            return Ok(None);
        }
        shown.evidence.verify_made_for(&shown.bound)?;
        verify_genuine(quote, roots, now)?;
        let fetcher = Arc::clone(&self.fetcher);
        let work = async move { fetcher.fetch_collateral(&platform, now).await };
        let collateral = self.ask(Question::Collateral(platform), 1, asking, work).await?;
        self.keep_current(platform);
        Ok(Some(collateral))
    }

    /// The collateral of `quote` as Intel has it now.
    pub(super) async fn newest_collateral(&self, quote: &Quote, asking: Asking) -> Option<Dated<bytes::Bytes>> {
        let (fetcher, now) = (Arc::clone(&self.fetcher), asking.now);
        let newest = async {
            let platform = Platform::of(quote)?;
            let work = async move { fetcher.renew_collateral(&platform, now).await };
            self.ask(Question::Collateral(platform), 1, asking, work).await
        };
        newest.await.inspect_err(|refusal| tracing::warn!(%refusal, "no newer collateral could be had")).ok()
    }

    /// Has the collateral of `platform`, which is kept, renewed before it ends.
    fn keep_current(&self, platform: Platform) {
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        if platforms.len() < PLATFORMS {
            platforms.insert(platform);
        }
    }
}

/// That a platform whose certificates a root vouches for made `quote`: all of its authentication that needs no collateral.
fn verify_genuine(quote: &Quote, roots: &Roots, now: UnixTime) -> Result<()> {
    match authenticate(quote.raw(), &Endorsements::new(), roots, now) {
        // What comes next is the collateral's.
        Err(refusal) if refusal.code == Code::CollateralMissing => Ok(()),
        Err(refusal) => Err(refusal),
        Ok(_) => Err(Refusal::new(Code::Internal, "quote that is authentic without collateral")),
    }
}

/// That a set verifies under `roots`, and is not older than the one that it would take the place of.
pub(super) fn verify(set: &[u8], kept: Option<&[u8]>, roots: &Roots, now: UnixTime) -> Result<()> {
    let verified = |set: &[u8]| VerifiedCollateral::verify(&Collateral::parse(set)?, roots, now);
    let age = |set: &VerifiedCollateral| (set.evaluation(), set.issued());
    let new = verified(set)?;
    // What is kept may be anything.
    let Some(kept) = kept.and_then(|kept| verified(kept).ok()) else { return Ok(()) };
    if age(&new) >= age(&kept) {
        return Ok(());
    }
    let show = |(evaluation, issued): (u32, UnixTime)| format!("evaluation {evaluation}, issued at {issued}");
    Err(Refusal::new(Code::CollateralRolledBack, "collateral").got(show(age(&new))).want(show(age(&kept))))
}
