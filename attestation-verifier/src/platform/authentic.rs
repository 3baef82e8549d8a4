//! What a vendor's root vouches for, and what policies say of it.

use super::Bound;
use core::ops::RangeInclusive;
use strongroom_appraisal::azure::{AuthenticVtpm, appraise_snp, appraise_tdx};
use strongroom_appraisal::tdx::{self, AuthenticQuote};
use strongroom_appraisal::{Appraisal, AuthenticReport, Policy, Seen, UnixTime, appraise};
use strongroom_wire::kbs::Tee;
use strongroom_wire::{Check, Refusal, Result, Root};

/// Authentic evidence. There is no other way to one than [`super::Evidence::authenticate`]: each variant holds a proof that only
/// `appraisal` makes.
#[derive(Debug, Clone)]
pub(crate) enum Authentic {
    /// An SNP report.
    Snp(AuthenticReport),
    /// A TDX quote.
    Tdx(AuthenticQuote),
    /// Azure's on SNP.
    AzureSnp(AuthenticVtpm<AuthenticReport>),
    /// Azure's on TDX.
    AzureTdx(AuthenticVtpm<AuthenticQuote>),
}

/// What one policy says.
#[derive(Debug)]
pub(crate) struct Appraised {
    checks: Vec<Check>,
    verified: Result<Verified>,
}

/// Authentic evidence that satisfied a policy which fixes its software, for its session and document.
#[derive(Debug)]
pub(crate) struct Verified(Authentic);

impl Authentic {
    /// Which platform.
    pub(crate) const fn tee(&self) -> Tee {
        match self {
            Self::Snp(_) => Tee::Snp,
            Self::Tdx(_) => Tee::Tdx,
            Self::AzureSnp(_) => Tee::AzSnpVtpm,
            Self::AzureTdx(_) => Tee::AzTdxVtpm,
        }
    }

    /// The report, on AMD's hardware.
    pub(crate) const fn report(&self) -> Option<&AuthenticReport> {
        match self {
            Self::Snp(report) => Some(report),
            Self::AzureSnp(vtpm) => Some(vtpm.hardware()),
            Self::Tdx(_) | Self::AzureTdx(_) => None,
        }
    }

    /// The quote, on Intel's hardware.
    pub(crate) const fn quote(&self) -> Option<&AuthenticQuote> {
        match self {
            Self::Tdx(quote) => Some(quote),
            Self::AzureTdx(vtpm) => Some(vtpm.hardware()),
            Self::Snp(_) | Self::AzureSnp(_) => None,
        }
    }

    /// The machine: CHIP_ID, or the platform instance that Intel names. A masked chip id and a platform without one are none.
    pub(crate) fn machine(&self) -> Option<String> {
        if let Some(report) = self.report() {
            let chip = report.report().chip_id;
            return (chip != [0; 64]).then(|| hex::encode(chip));
        }
        self.quote()?.platform().facts().platform_instance.map(hex::encode)
    }

    /// MEASUREMENT or MRTD, in hex: of the paravisor, where there is one.
    pub(crate) fn measurement(&self) -> String {
        match self {
            Self::Snp(report) => hex::encode(report.report().measurement),
            Self::Tdx(quote) => hex::encode(quote.quote().body.mrtd),
            Self::AzureSnp(vtpm) => hex::encode(vtpm.hardware().report().measurement),
            Self::AzureTdx(vtpm) => hex::encode(vtpm.hardware().quote().body.mrtd),
        }
    }

    /// The root that it was verified under.
    pub(crate) fn root(&self) -> Root {
        match self {
            Self::Snp(report) => report.root(),
            Self::Tdx(quote) => quote.root(),
            Self::AzureSnp(vtpm) => vtpm.hardware().root(),
            Self::AzureTdx(vtpm) => vtpm.hardware().root(),
        }
    }

    /// The first and the last second in which what vouches for it holds.
    pub(crate) fn valid(&self) -> RangeInclusive<UnixTime> {
        match self {
            Self::Snp(report) => report.endorsement_key().valid(),
            Self::Tdx(quote) => quote.platform().valid(),
            Self::AzureSnp(vtpm) => vtpm.hardware().endorsement_key().valid(),
            Self::AzureTdx(vtpm) => vtpm.hardware().platform().valid(),
        }
    }

    /// Refuses what vouches for it where a newer one was seen; else remembers it.
    ///
    /// # Errors
    /// `collateral-rolled-back`.
    pub(crate) fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        match self {
            Self::Snp(report) => report.verify_newest(seen),
            Self::Tdx(quote) => quote.verify_newest(seen),
            Self::AzureSnp(vtpm) => vtpm.verify_newest(seen),
            Self::AzureTdx(vtpm) => vtpm.verify_newest(seen),
        }
    }

    /// Whether it was made for this session: whoever asks an enclave for evidence has authentic evidence of another one.
    pub(crate) fn is_made_for(&self, bound: &Bound) -> bool {
        match self {
            Self::Snp(report) => report.report().report_data == bound.report_data,
            Self::Tdx(quote) => quote.quote().body.report_data == bound.report_data,
            // The TPM's quote is not authentic for another nonce.
            Self::AzureSnp(_) | Self::AzureTdx(_) => true,
        }
    }

    /// Whether `policy` speaks of its platform at all.
    pub(crate) const fn is_named_by(&self, policy: &Policy) -> bool {
        match self {
            Self::Snp(_) => policy.snp().is_some(),
            Self::Tdx(_) => policy.tdx().is_some(),
            Self::AzureSnp(_) => policy.azure_snp().is_some(),
            Self::AzureTdx(_) => policy.azure_tdx().is_some(),
        }
    }

    /// Judges it by `policy`, making every check.
    pub(crate) fn appraise(&self, policy: &Policy, bound: &Bound) -> Appraised {
        let (expected, document) = ((*bound).into(), Some(bound.document));
        match self {
            Self::Snp(report) => self.concluded(appraise(report, policy, &expected)),
            Self::Tdx(quote) => self.concluded(tdx::appraise(quote, policy, &expected)),
            Self::AzureSnp(vtpm) => self.concluded(appraise_snp(vtpm, policy, document)),
            Self::AzureTdx(vtpm) => self.concluded(appraise_tdx(vtpm, policy, document)),
        }
    }

    fn concluded<E>(&self, appraisal: Appraisal<E>) -> Appraised {
        let checks = appraisal.checks().to_vec();
        Appraised { checks, verified: appraisal.into_verified().map(|_| Verified(self.clone())) }
    }
}

impl Appraised {
    /// Every check that was made, in a fixed order.
    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The first check that did not hold.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.checks.iter().find_map(Check::refusal)
    }

    /// The proof.
    ///
    /// # Errors
    /// The first failed check; `no-reference-values`: the policy does not fix the software.
    pub(crate) fn into_verified(self) -> Result<Verified> {
        self.verified
    }
}

impl Verified {
    /// The authentic evidence.
    pub(crate) const fn authentic(&self) -> &Authentic {
        &self.0
    }
}
