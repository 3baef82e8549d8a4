//! Who signed this report: the recipe of authentication, first failure ends it.

use super::vek::{VekExtensions, product_of_cpuid};
use super::verified_vek::VerifiedVek;
use crate::crl::Edition;
use crate::newest::Sightings;
use crate::trace::traced;
use crate::{Endorsements, Roots, UnixTime};
use std::sync::Arc;
use strongroom_wire::snp::{Report, SigningKey, Tcb};
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// A report whose signature, chain, chip and TCB held at a given time. What it says of the guest is the hardware's word;
/// whether that is what anybody wants is judged by [`crate::appraise`].
///
/// ```compile_fail,E0451
/// // There is no other way to one than `authenticate`.
/// let forged = strongroom_appraisal::AuthenticReport { report: todo!(), vek: todo!(), at: 0, checks: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct AuthenticReport {
    report: Arc<Report>,
    vek: Arc<VerifiedVek>,
    at: UnixTime,
    checks: Arc<[Check]>,
}

/// Authenticates the raw bytes of an SNP report at `now`.
///
/// 1. Parse the report; its algorithm is ECDSA P-384, its key VCEK or VLEK.
/// 2. Find the endorsement key's certificate among the endorsements.
/// 3. Find the intermediate that signed it: given, or built in.
/// 4. Find the trusted root that signed the intermediate.
/// 5. All three are within their validity, and of the right kind.
/// 6. No revocation list that the root signed names them, where one is given.
/// 7. The endorsement key signed the report, over the bytes as received.
/// 8. Product, TCB and chip of the report are those that the certificate was issued for.
pub fn authenticate(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
) -> Result<AuthenticReport> {
    authenticate_traced(evidence, endorsements, roots, now, &mut Vec::new())
}

/// [`authenticate`], with each check that was made appended to `trace`, the failed one included.
pub fn authenticate_traced(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticReport> {
    authenticate_recording(evidence, endorsements, roots, now, trace, &mut Sightings::default())
}

/// [`authenticate_traced`], with how new the revocation list was, once it is verified, added to `sightings`, also where
/// it ends in a refusal.
pub fn authenticate_recording(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
    sightings: &mut Sightings,
) -> Result<AuthenticReport> {
    let report = traced(trace, "report-format", parse(evidence))?; // 1
    let vek = VerifiedVek::verify(&report, endorsements, roots, now, trace, sightings)?; // 2 to 6
    judge(report, Arc::new(vek), now, trace) // 7, 8
}

/// Steps 7 and 8.
pub(super) fn judge(
    report: Report,
    vek: Arc<VerifiedVek>,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticReport> {
    traced(trace, "signature", verify_signature(&report, &vek))?;
    traced(trace, "product", verify_product(&report, &vek.facts))?;
    traced(trace, "reported-tcb", verify_tcb(&report, &vek.facts))?;
    traced(trace, "chip-id", verify_chip(&report, vek.kind, &vek.facts))?;
    Ok(AuthenticReport { report: Arc::new(report), vek, at: now, checks: trace.as_slice().into() })
}

impl AuthenticReport {
    /// The report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The endorsement key that signed it, to be kept for further reports of that key.
    pub const fn endorsement_key(&self) -> &Arc<VerifiedVek> {
        &self.vek
    }

    /// The root that it was verified under.
    pub fn root(&self) -> Root {
        self.vek.root
    }

    /// When it was authenticated.
    pub const fn at(&self) -> UnixTime {
        self.at
    }

    /// `Milan`, `Genoa` or `Turin`, as the endorsement certificate says.
    pub fn product(&self) -> &str {
        &self.vek.facts.product
    }

    /// The TCB that the endorsement key was derived for; equal to REPORTED_TCB.
    pub fn tcb(&self) -> Tcb {
        self.vek.facts.tcb
    }

    /// The cloud provider that a VLEK was issued to.
    pub fn provider(&self) -> Option<&str> {
        self.vek.facts.csp_id.as_deref()
    }

    /// Whether a current revocation list of the root was given and names nobody in the chain.
    pub fn revocation_judged(&self) -> bool {
        self.vek.revocations.is_some()
    }

    /// How new that list is.
    pub(crate) fn revocations(&self) -> Option<Edition> {
        self.vek.revocations
    }

    /// The cRLNumber of that list; `None` also where it has none.
    pub fn crl_number(&self) -> Option<u64> {
        self.vek.revocations?.number
    }

    /// Seconds from that list's thisUpdate to the moment at which the report was authenticated.
    pub fn crl_age(&self) -> Option<u64> {
        Some(self.at.saturating_sub(self.vek.revocations?.this_update))
    }

    /// The checks that authentication made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

pub(super) fn parse(evidence: &[u8]) -> Result<Report> {
    let report = Report::parse(evidence)?;
    if report.signature_algo != 1 {
        return Err(Refusal::new(Code::SigningKeyUnsupported, "SIGNATURE_ALGO").got(report.signature_algo).want(1));
    }
    match report.key_info.signing_key() {
        SigningKey::Vcek | SigningKey::Vlek => Ok(report),
        other => {
            Err(Refusal::new(Code::SigningKeyUnsupported, "SIGNING_KEY").got(format!("{other:?}")).want("VCEK or VLEK"))
        }
    }
}

/// ECDSA P-384 with SHA-384. R and S stand in the report little-endian in 72 bytes each, of which 48 count.
fn verify_signature(report: &Report, vek: &VerifiedVek) -> Result<()> {
    let mut fixed = [0; 96];
    let (r, s) = fixed.split_at_mut(48);
    for (half, component) in [(r, &report.signature_r), (s, &report.signature_s)] {
        let (low, high) =
            component.split_first_chunk::<48>().ok_or_else(|| Refusal::new(Code::Internal, "signature"))?;
        if high.iter().any(|byte| *byte != 0) {
            return Err(Refusal::new(Code::EvidenceSignatureInvalid, "SIGNATURE").got("a component over 384 bits"));
        }
        half.iter_mut().zip(low.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    vek.key.verify_sig(report.signed(), &fixed).map_err(|_| {
        Refusal::new(Code::EvidenceSignatureInvalid, "SIGNATURE").got("does not verify").want(format!(
            "a signature by {} sha256:{}",
            vek.certificate.subject,
            vek.certificate.key_id()
        ))
    })
}

/// From version 3 a report names its CPU.
fn verify_product(report: &Report, facts: &VekExtensions) -> Result<()> {
    if report.version < 3 {
        return Ok(());
    }
    let [family, model, _] = report.cpuid;
    if product_of_cpuid(family, model) == Some(facts.product.as_str()) {
        return Ok(());
    }
    Err(Refusal::new(Code::ProductMismatch, "CPUID of the report")
        .got(format!("family {family:#x} model {model:#x}"))
        .want(&facts.product))
}

pub(super) fn verify_tcb(report: &Report, facts: &VekExtensions) -> Result<()> {
    let reported = report.tcb_layout().read(report.reported_tcb);
    // Written back and compared as bytes, so that reserved bytes of TCB_VERSION are zero too.
    if reported == facts.tcb && report.tcb_layout().write(&reported) == report.reported_tcb {
        return Ok(());
    }
    Err(Refusal::new(Code::TcbMismatch, "REPORTED_TCB").got(reported).want(facts.tcb))
}

/// A VLEK names a provider instead of a chip. Turin's id has eight bytes, the rest of the field is zero.
pub(super) fn verify_chip(report: &Report, kind: SigningKey, facts: &VekExtensions) -> Result<()> {
    let (SigningKey::Vcek, Some(hwid)) = (kind, &facts.hwid) else {
        return Ok(());
    };
    let padding = report.chip_id.get(hwid.len()..).unwrap_or_default();
    if report.chip_id.starts_with(hwid) && padding.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Refusal::new(Code::ChipIdMismatch, "CHIP_ID").got(hex::encode(report.chip_id)).want(hex::encode(hwid)))
}
