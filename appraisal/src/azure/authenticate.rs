//! Who signed an Azure guest's evidence: the recipe, first failure ends it.

use super::vtpm::{AuthenticVtpm, verify_vtpm};
use crate::newest::Sightings;
use crate::tdx::AuthenticQuote;
use crate::trace::traced;
use crate::{AuthenticReport, Endorsements, Roots, UnixTime, tdx};
use strongroom_wire::azure::{Evidence, HclReport, Platform};
use strongroom_wire::{Check, Code, Refusal, Result};

/// Authenticates evidence of an Azure guest on SEV-SNP at `now`. `nonce` is what the guest was asked to have quoted.
///
/// 1. Parse the paravisor's report; it is one of SNP.
/// 2. The SNP report in it is authentic ([`crate::authenticate`]). The VCEK is among `endorsements`, where the caller put
///    [`Evidence::vcek`] if the evidence brought one.
/// 3. The report was asked for at VMPL 0, where the paravisor is and the guest is not.
/// 4. REPORT_DATA is SHA-256 of the runtime data and 32 zero bytes, all 64 compared.
/// 5. The attestation key in the runtime data signed the TPM's quote.
/// 6. The quote's extra data is the nonce, whole.
/// 7. The quote is over all PCRs of the SHA-256 bank, and they are those given.
///
/// # Errors
/// Of step 1 `platform-unsupported` for another platform; of step 2 those of [`crate::authenticate`]; then `vmpl-mismatch`,
/// `report-data-mismatch`, `evidence-signature-invalid`, `nonce-mismatch`, `pcr-mismatch`.
pub fn authenticate_snp(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
) -> Result<AuthenticVtpm<AuthenticReport>> {
    authenticate_snp_traced(evidence, nonce, endorsements, roots, now, &mut Vec::new())
}

/// [`authenticate_snp`], with each check that was made appended to `trace`, the failed one included.
pub fn authenticate_snp_traced(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticVtpm<AuthenticReport>> {
    authenticate_snp_recording(evidence, nonce, endorsements, roots, now, trace, &mut Sightings::default())
}

/// [`authenticate_snp_traced`], with how new each list and document was that was verified added to `sightings`, also where it
/// ends in a refusal.
pub fn authenticate_snp_recording(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
    sightings: &mut Sightings,
) -> Result<AuthenticVtpm<AuthenticReport>> {
    let hcl = traced(trace, "hcl-report", parse(evidence, Platform::AzureSnpVtpm))?; // 1
    let hardware = crate::authenticate_recording(hcl.hardware.as_ref(), endorsements, roots, now, trace, sightings)?; // 2
    traced(trace, "paravisor-vmpl", verify_vmpl(hardware.report().vmpl))?; // 3
    let data = hardware.report().report_data;
    verify_vtpm(hardware, &data, hcl, evidence, nonce, trace) // 4 to 7
}

/// Authenticates evidence of an Azure guest on TDX at `now`. `nonce` is what the guest was asked to have quoted.
///
/// As [`authenticate_snp`], but for the steps 1 to 4: the paravisor's report is one of TDX; the quote that comes beside it is
/// authentic ([`tdx::authenticate`]); its REPORTDATA is SHA-256 of the runtime data and 32 zero bytes. The TDREPORT in
/// the paravisor's report counts for nothing: only the machine that made it can verify it.
///
/// # Errors
/// Those of [`authenticate_snp`] and [`tdx::authenticate`], and `malformed` where there is no quote.
pub fn authenticate_tdx(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
) -> Result<AuthenticVtpm<AuthenticQuote>> {
    authenticate_tdx_traced(evidence, nonce, endorsements, roots, now, &mut Vec::new())
}

/// [`authenticate_tdx`], with each check that was made appended to `trace`, the failed one included.
pub fn authenticate_tdx_traced(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticVtpm<AuthenticQuote>> {
    authenticate_tdx_recording(evidence, nonce, endorsements, roots, now, trace, &mut Sightings::default())
}

/// [`authenticate_tdx_traced`], with how new each list and document was that was verified added to `sightings`, also where it
/// ends in a refusal.
pub fn authenticate_tdx_recording(
    evidence: &Evidence,
    nonce: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
    sightings: &mut Sightings,
) -> Result<AuthenticVtpm<AuthenticQuote>> {
    let hcl = traced(trace, "hcl-report", parse(evidence, Platform::AzureTdxVtpm))?;
    let missing = || Refusal::malformed("Azure evidence", "no TDX quote");
    let quote = traced(trace, "td-quote", evidence.td_quote.as_ref().ok_or_else(missing))?;
    let hardware = tdx::authenticate_recording(quote, endorsements, roots, now, trace, sightings)?;
    let data = hardware.quote().body.report_data;
    verify_vtpm(hardware, &data, hcl, evidence, nonce, trace)
}

/// Steps 4 to 7 of [`authenticate_tdx`] alone, for hardware whose report data is that: what can be said of the virtual TPM before
/// there is collateral.
///
/// # Errors
/// As [`authenticate_tdx`] of those steps.
pub fn verify_tdx_vtpm(evidence: &Evidence, report_data: &[u8; 64], nonce: &[u8]) -> Result<()> {
    let hcl = parse(evidence, Platform::AzureTdxVtpm)?;
    verify_vtpm((), report_data, hcl, evidence, nonce, &mut Vec::new()).map(drop)
}

fn parse(evidence: &Evidence, want: Platform) -> Result<HclReport> {
    let hcl = HclReport::parse(&evidence.hcl_report)?;
    if hcl.platform == want {
        return Ok(hcl);
    }
    Err(Refusal::new(Code::PlatformUnsupported, "HCL report").got(hcl.platform).want(want))
}

/// A report from another level may be the guest's own, with report data of its choice.
fn verify_vmpl(vmpl: u32) -> Result<()> {
    if vmpl == 0 { Ok(()) } else { Err(Refusal::new(Code::VmplMismatch, "VMPL").got(vmpl).want(0)) }
}
