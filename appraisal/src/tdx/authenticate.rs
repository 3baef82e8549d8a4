//! Who signed this quote, and what Intel says of its platform: the recipe, first failure ends it.

use super::event_log::ReplayedLog;
use super::pck::PckChain;
use super::platform::VerifiedPlatform;
use super::status::TcbStatus;
use super::tcb::{Level, level, verify_module, verify_qe};
use super::verified_collateral::Record;
use crate::newest::Sightings;
use crate::trace::traced;
use crate::{Endorsements, Roots, UnixTime};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use std::sync::Arc;
use strongroom_wire::tdx::{Authentication, Certification, Quote};
use strongroom_wire::{Check, Code, Refusal, Result, Root};

/// A quote whose signatures, chains, collateral and TCB level held at a given time. What it says of the TD is the hardware's
/// word; whether that is what anybody wants, and whether the TCB status is good enough, is judged by [`super::appraise`].
///
/// ```compile_fail,E0451
/// // There is no other way to one than `tdx::authenticate`.
/// let forged = strongroom_appraisal::tdx::AuthenticQuote {
///     quote: todo!(), platform: todo!(), level: todo!(), at: 0, checks: todo!(), event_log: None,
/// };
/// ```
#[derive(Debug, Clone)]
pub struct AuthenticQuote {
    quote: Arc<Quote>,
    platform: Arc<VerifiedPlatform>,
    level: Level,
    at: UnixTime,
    checks: Arc<[Check]>,
    pub(super) event_log: Option<Arc<ReplayedLog>>,
}

/// Authenticates the raw bytes of a TDX quote at `now`.
///
/// 1. Parse the quote; it carries its platform's certificate chain.
/// 2. The chain ends at a trusted root, is valid, and of the right kinds.
/// 3. The platform's key signed the quoting enclave's report.
/// 4. That report vouches for the attestation key.
/// 5. The attestation key signed the quote, over the bytes as received.
/// 6. Collateral was given, signed, and is current ([`super::VerifiedCollateral::verify`]).
/// 7. It is for this platform, and neither revocation list names its certificates.
/// 8. The quoting enclave is Intel's.
/// 9. The TDX module is Intel's.
/// 10. The platform, its module and the quoting enclave meet a TCB level.
pub fn authenticate(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
) -> Result<AuthenticQuote> {
    authenticate_traced(evidence, endorsements, roots, now, &mut Vec::new())
}

/// [`authenticate`], with each check that was made appended to `trace`, the failed one included.
pub fn authenticate_traced(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticQuote> {
    authenticate_recording(evidence, endorsements, roots, now, trace, &mut Sightings::default())
}

/// [`authenticate_traced`], with how new each list and document was that was verified added to `sightings`, also where it
/// ends in a refusal.
pub fn authenticate_recording(
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    now: UnixTime,
    trace: &mut Vec<Check>,
    sightings: &mut Sightings,
) -> Result<AuthenticQuote> {
    let (quote, chain) = traced(trace, "quote-format", parse(evidence))?; // 1
    let pck = traced(trace, "pck-chain", PckChain::verify(&chain, roots, now))?; // 2
    verify_signatures(&quote, &pck, trace)?; // 3 to 5
    let mut record = Record { trace: &mut *trace, sightings };
    let platform = VerifiedPlatform::verify(pck, endorsements, roots, now, &mut record)?; // 6, 7
    judge(quote, Arc::new(platform), now, trace) // 8 to 10
}

/// Parses a quote that brings its PCK certificate chain.
pub(super) fn parse(evidence: &[u8]) -> Result<(Quote, Vec<u8>)> {
    let quote = Quote::parse(evidence)?;
    match quote.authentication.certification.clone() {
        Certification::PckChain(chain) => Ok((quote, chain)),
        Certification::Other(kind) => Err(Refusal::new(Code::EndorsementMissing, "PCK certificate chain")
            .got(format!("certification data type {kind}"))
            .want("type 5, a chain inside the quote")),
    }
}

/// Steps 3 to 5.
pub(super) fn verify_signatures(quote: &Quote, pck: &PckChain, trace: &mut Vec<Check>) -> Result<()> {
    let authentication = &quote.authentication;
    traced(trace, "qe-report-signature", verify_qe_report(authentication, pck))?;
    traced(trace, "attestation-key", verify_attestation_key(authentication))?;
    traced(trace, "signature", verify_quote(quote))
}

/// Steps 8 to 10.
pub(super) fn judge(
    quote: Quote,
    platform: Arc<VerifiedPlatform>,
    now: UnixTime,
    trace: &mut Vec<Check>,
) -> Result<AuthenticQuote> {
    let collateral = &platform.collateral;
    let qe = traced(trace, "qe-identity", verify_qe(&collateral.qe_identity, &quote.authentication.qe_report))?;
    traced(trace, "tdx-module", verify_module(&collateral.tcb_info, &quote.body))?;
    let level = level(&collateral.tcb_info, &platform.pck.facts, &quote.body, qe);
    let level = traced(trace, "tcb-level", level)?;
    let checks = trace.as_slice().into();
    Ok(AuthenticQuote { quote: Arc::new(quote), platform, level, at: now, checks, event_log: None })
}

fn verify_qe_report(authentication: &Authentication, pck: &PckChain) -> Result<()> {
    pck.pck.p256_key()?.verify_sig(authentication.qe_report.raw(), &authentication.qe_report_signature).map_err(|_| {
        Refusal::new(Code::QeReportSignatureInvalid, "QE report").got("does not verify").want(format!(
            "a signature by {} sha256:{}",
            pck.pck.subject,
            pck.pck.key_id()
        ))
    })
}

/// Report data = SHA-256(attestation key ‖ QE authentication data) ‖ 32 zero bytes.
fn verify_attestation_key(authentication: &Authentication) -> Result<()> {
    let mut bound = authentication.attestation_key.to_vec();
    bound.extend_from_slice(&authentication.qe_auth_data);
    let mut want = digest(&SHA256, &bound).as_ref().to_vec();
    want.resize(64, 0);
    let got = authentication.qe_report.report_data;
    if got == *want {
        return Ok(());
    }
    Err(Refusal::new(Code::AttestationKeyMismatch, "report data of the quoting enclave")
        .got(hex::encode(got))
        .want(hex::encode(want)))
}

fn verify_quote(quote: &Quote) -> Result<()> {
    let mut point = vec![0x04];
    point.extend_from_slice(&quote.authentication.attestation_key);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(quote.signed(), &quote.authentication.signature).map_err(|_| {
        Refusal::new(Code::EvidenceSignatureInvalid, "quote")
            .got("does not verify")
            .want("a signature by its attestation key")
    })
}

impl AuthenticQuote {
    /// The quote.
    pub fn quote(&self) -> &Quote {
        &self.quote
    }

    /// The root that it was verified under.
    pub fn root(&self) -> Root {
        self.platform.root()
    }

    /// What Intel says of the TCB of platform, module and quoting enclave together.
    pub const fn tcb_status(&self) -> TcbStatus {
        self.level.status
    }

    /// Intel's advisories that explain the status, in order.
    pub fn advisories(&self) -> impl Iterator<Item = &str> {
        self.level.advisories.iter().map(String::as_str)
    }

    /// The platform and its collateral. Kept, it authenticates further quotes of that platform with two verifications.
    pub const fn platform(&self) -> &Arc<VerifiedPlatform> {
        &self.platform
    }

    /// When it was authenticated.
    pub const fn at(&self) -> UnixTime {
        self.at
    }

    /// The checks that authentication made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}
