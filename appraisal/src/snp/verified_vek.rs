//! An endorsement key, verified up to a trusted root: what is kept between reports.

use super::authenticate::{AuthenticReport, judge, parse, verify_chip, verify_tcb};
use super::vek::VekExtensions;
use crate::certificate::Certificate;
use crate::crl::{Edition, Revocations};
use crate::newest::Sightings;
use crate::trace::{found, traced};
use crate::window::Window;
use crate::{Endorsements, Roots, UnixTime};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use core::ops::RangeInclusive;
use std::sync::Arc;
use strongroom_wire::snp::{Report, SigningKey};
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// A VCEK or VLEK whose chain ended at a trusted root, was valid and was not revoked, as far as lists were given.
///
/// ```compile_fail,E0451
/// // There is no other way to one than an authentic report.
/// let forged = strongroom_appraisal::VerifiedVek {
///     certificate: todo!(), key: todo!(), kind: todo!(), facts: todo!(), root: todo!(), revocations: todo!(),
///     window: todo!(),
/// };
/// ```
#[derive(Debug)]
pub struct VerifiedVek {
    pub(super) certificate: Certificate,
    pub(super) key: ParsedPublicKey,
    pub(super) kind: SigningKey,
    pub(super) facts: VekExtensions,
    pub(super) root: Root,
    /// The root's current list, where one was given.
    pub(super) revocations: Option<Edition>,
    window: Window,
}

impl VerifiedVek {
    /// Steps 2 to 6 of [`crate::authenticate`].
    pub(super) fn verify(
        report: &Report,
        endorsements: &Endorsements,
        roots: &Roots,
        now: UnixTime,
        trace: &mut Vec<Check>,
        sightings: &mut Sightings,
    ) -> Result<Self> {
        let kind = report.key_info.signing_key();
        let (vek, facts) = traced(trace, "endorsement-key", find_vek(report, kind, endorsements))?;
        let issuer = traced(trace, "intermediate", find_intermediate(vek, endorsements, roots))?;
        let root = traced(trace, "root", roots.issuer_of(issuer, Root::Amd, &endorsements.certificates))?;
        let chain = [vek, issuer, root];
        traced(trace, "validity", chain.iter().try_for_each(|certificate| certificate.verify_validity(now)))?;
        traced(trace, "authorities", [issuer, root].into_iter().try_for_each(Certificate::verify_authority))?;
        let mut sighted = |list: Edition| {
            sightings.extend(list.sightings(&format!("{}/{}", roots.label(root), facts.product)));
        };
        let revocation = verify_revocation(endorsements, chain, now, &mut sighted);
        let (edition, listed) = traced(trace, "revocation", revocation)?;
        found(trace, &edition.map_or_else(|| "no list given".to_owned(), |edition| edition.describe()));
        let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, vek.p384_point()?)
            .map_err(|e| Refusal::new(Code::CertificateUnsuitable, &vek.subject).because(e))?;
        let valid = chain.iter().fold(Window::ALWAYS, |window, certificate| window.and(certificate.validity()));
        Ok(Self {
            certificate: vek.clone(),
            key,
            kind,
            facts,
            root: roots.label(root),
            revocations: edition,
            window: valid.and(listed.bounds()),
        })
    }

    /// Authenticates another report of this key, with one P-384 verification: what was verified before is not verified
    /// again while it is valid.
    ///
    /// # Errors
    /// `certificate-expired`, `certificate-not-yet-valid`: this proof does not reach to `now`; `signing-key-unsupported`,
    /// `tcb-mismatch`, `chip-id-mismatch`, `evidence-signature-invalid`: the report is of another key. All of them call for
    /// [`crate::authenticate`].
    pub fn authenticate(self: &Arc<Self>, evidence: &[u8], now: UnixTime) -> Result<AuthenticReport> {
        let mut trace = Vec::new();
        let report = traced(&mut trace, "report-format", parse(evidence))?;
        traced(&mut trace, "kept-key", self.verify_kind(&report))?;
        traced(
            &mut trace,
            "kept-dates",
            self.window.verify("verified endorsement key", now, Code::CertificateNotYetValid, Code::CertificateExpired),
        )?;
        judge(report, Arc::clone(self), now, &mut trace)
    }

    fn verify_kind(&self, report: &Report) -> Result<()> {
        let kind = report.key_info.signing_key();
        if kind == self.kind {
            return Ok(());
        }
        let refused = Refusal::new(Code::SigningKeyUnsupported, "SIGNING_KEY");
        Err(refused.got(format!("{kind:?}")).want(format!("{:?}", self.kind)))
    }

    /// The first and the last second in which this proof holds: the tightest of all dates in it.
    pub fn valid(&self) -> RangeInclusive<UnixTime> {
        self.window.range()
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

/// How new the root's list is, where one was given, and the time in which every list that was looked at is current; a listed
/// certificate, a forged list or only stale lists are refused. The root's list is `sighted` before anybody looks at what it
/// revokes.
fn verify_revocation(
    endorsements: &Endorsements,
    [vek, issuer, root]: [&Certificate; 3],
    now: UnixTime,
    sighted: &mut impl FnMut(Edition),
) -> Result<(Option<Edition>, Window)> {
    let crls = &endorsements.crls;
    let (mut edition, mut window) = (None, Window::ALWAYS);
    if let Some(revocations) = Revocations::verify(crls, root, now)? {
        edition = revocations.edition(now);
        edition.into_iter().for_each(&mut *sighted);
        revocations.verify_absent(issuer)?;
        revocations.verify_absent(root)?;
        window = window.and(revocations.window(now).bounds());
    }
    // AMD publishes no list of endorsement keys today; one signed by the intermediate would be honoured.
    if let Some(revocations) = Revocations::verify(crls, issuer, now)? {
        revocations.verify_absent(vek)?;
        window = window.and(revocations.window(now).bounds());
    }
    Ok((edition, window))
}
