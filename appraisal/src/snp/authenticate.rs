//! Who signed this report: the recipe of authentication, first failure ends it.

use super::vek::{VekExtensions, product_of_cpuid};
use crate::certificate::Certificate;
use crate::crl::Revocations;
use crate::trace::{found, traced};
use crate::{Endorsements, Roots, UnixTime};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use strongroom_wire::snp::{Report, SigningKey, Tcb};
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// A report whose signature, chain, chip and TCB held at a given time. What it says of the guest is the hardware's word;
/// whether that is what anybody wants is judged by [`crate::appraise`].
///
/// ```compile_fail,E0451
/// // There is no other way to one than `authenticate`.
/// let forged = strongroom_appraisal::AuthenticReport { report: todo!(), root: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct AuthenticReport {
    report: Report,
    root: Root,
    product: String,
    tcb: Tcb,
    provider: Option<String>,
    crl_held: bool,
    checks: Vec<Check>,
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
    let report = traced(trace, "report-format", parse(evidence))?;
    let kind = report.key_info.signing_key();
    let (vek, facts) = traced(trace, "endorsement-key", find_vek(&report, kind, endorsements))?;
    let issuer = traced(trace, "intermediate", find_intermediate(vek, endorsements, roots))?;
    let root = traced(trace, "root", roots.issuer_of(issuer, Root::Amd, &endorsements.certificates))?;
    traced(trace, "validity", [vek, issuer, root].into_iter().try_for_each(|c| c.verify_validity(now)))?;
    traced(trace, "authorities", [issuer, root].into_iter().try_for_each(Certificate::verify_authority))?;
    let crl_held = traced(trace, "revocation", verify_revocation(&endorsements.crls, issuer, root, vek, now))?;
    found(trace, if crl_held { "a current list" } else { "no list given" });
    traced(trace, "signature", verify_signature(&report, vek))?;
    traced(trace, "product", verify_product(&report, &facts))?;
    traced(trace, "reported-tcb", verify_tcb(&report, &facts))?;
    traced(trace, "chip-id", verify_chip(&report, kind, &facts))?;
    let VekExtensions { product, tcb, csp_id: provider, .. } = facts;
    let (root, checks) = (roots.label(root), trace.clone());
    Ok(AuthenticReport { report, root, product, tcb, provider, crl_held, checks })
}

impl AuthenticReport {
    /// The report.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The root that it was verified under.
    pub const fn root(&self) -> Root {
        self.root
    }

    /// `Milan`, `Genoa` or `Turin`, as the endorsement certificate says.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The TCB that the endorsement key was derived for; equal to REPORTED_TCB.
    pub const fn tcb(&self) -> Tcb {
        self.tcb
    }

    /// The cloud provider that a VLEK was issued to.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// Whether a current revocation list of the root was given and names nobody in the chain.
    pub const fn revocation_judged(&self) -> bool {
        self.crl_held
    }

    /// The checks that authentication made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

fn parse(evidence: &[u8]) -> Result<Report> {
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

/// The certificate of the report's key. Among several, one that fits chip and TCB is taken; where none fits, the first, so
/// that the refusal says what does not fit.
fn find_vek<'a>(
    report: &Report,
    kind: SigningKey,
    endorsements: &'a Endorsements,
) -> Result<(&'a Certificate, VekExtensions)> {
    let subject = if kind == SigningKey::Vlek { "SEV-VLEK" } else { "SEV-VCEK" };
    let mut first: Option<Result<(&Certificate, VekExtensions)>> = None;
    for certificate in endorsements.certificates.iter().filter(|certificate| certificate.subject == subject) {
        let read = VekExtensions::read(certificate, kind).map(|facts| (certificate, facts));
        let fits = |facts: &VekExtensions| verify_tcb(report, facts).and(verify_chip(report, kind, facts)).is_ok();
        match read {
            Ok((_, ref facts)) if fits(facts) => return read,
            other => first = first.or(Some(other)),
        }
    }
    first.unwrap_or_else(|| {
        Err(Refusal::new(Code::EndorsementMissing, "endorsement key").got("none given").want(format!(
            "{subject} of chip {} at TCB {}",
            hex::encode(report.chip_id),
            report.tcb_layout().read(report.reported_tcb)
        )))
    })
}

fn find_intermediate<'a>(vek: &Certificate, given: &'a Endorsements, roots: &'a Roots) -> Result<&'a Certificate> {
    let mut named =
        given.certificates.iter().chain(roots.intermediates()).filter(|c| c.subject == vek.issuer).peekable();
    if named.peek().is_none() {
        return Err(Refusal::new(Code::IntermediateMissing, "issuer of the endorsement key")
            .got("none")
            .want(&vek.issuer));
    }
    named.find(|candidate| vek.is_signed_by(candidate)).ok_or_else(|| {
        Refusal::new(Code::CertificateSignatureInvalid, &vek.subject).want(format!("a signature by {}", vek.issuer))
    })
}

/// Whether a current list was there; a listed certificate, a forged list or only stale lists are refused.
fn verify_revocation(
    crls: &[crate::crl::Crl],
    issuer: &Certificate,
    root: &Certificate,
    vek: &Certificate,
    now: UnixTime,
) -> Result<bool> {
    let mut held = false;
    if let Some(revocations) = Revocations::verify(crls, root, now)? {
        revocations.verify_absent(issuer)?;
        revocations.verify_absent(root)?;
        held = true;
    }
    // AMD publishes no list of endorsement keys today; one signed by the intermediate would be honoured.
    if let Some(revocations) = Revocations::verify(crls, issuer, now)? {
        revocations.verify_absent(vek)?;
    }
    Ok(held)
}

/// ECDSA P-384 with SHA-384. R and S stand in the report little-endian in 72 bytes each, of which 48 count.
fn verify_signature(report: &Report, vek: &Certificate) -> Result<()> {
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
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, vek.p384_point()?);
    key.verify(report.signed(), &fixed).map_err(|_| {
        Refusal::new(Code::EvidenceSignatureInvalid, "SIGNATURE").got("does not verify").want(format!(
            "a signature by {} sha256:{}",
            vek.subject,
            vek.key_id()
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

fn verify_tcb(report: &Report, facts: &VekExtensions) -> Result<()> {
    let reported = report.tcb_layout().read(report.reported_tcb);
    // Written back and compared as bytes, so that reserved bytes of TCB_VERSION are zero too.
    if reported == facts.tcb && report.tcb_layout().write(&reported) == report.reported_tcb {
        return Ok(());
    }
    Err(Refusal::new(Code::TcbMismatch, "REPORTED_TCB").got(reported).want(facts.tcb))
}

/// A VLEK names a provider instead of a chip. Turin's id has eight bytes, the rest of the field is zero.
fn verify_chip(report: &Report, kind: SigningKey, facts: &VekExtensions) -> Result<()> {
    let (SigningKey::Vcek, Some(hwid)) = (kind, &facts.hwid) else {
        return Ok(());
    };
    let padding = report.chip_id.get(hwid.len()..).unwrap_or_default();
    if report.chip_id.starts_with(hwid) && padding.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Refusal::new(Code::ChipIdMismatch, "CHIP_ID").got(hex::encode(report.chip_id)).want(hex::encode(hwid)))
}
