//! The endorsements that evidence comes without: those that are kept, or else those that their vendor is asked for. Clients
//! of the KBS protocol send SNP reports without a VCEK as often as not.
//!
//! What is asked for, and on whose behalf, is bounded by `vendors/admission.rs`. A question is a task of its own: it holds up
//! the one who needs its answer for [`PATIENCE`] at most, nobody else at all, and goes on when that one has gone, so that
//! the answer is there when it comes back.
//!
//! None of it is trusted. What does not verify under the roots is forgotten, and not asked for again too soon.

mod admission;
mod lists;
mod set;

pub(crate) use admission::PASSING;

use crate::Verifier;
use crate::attest::Claim;
use crate::budget::{PeerBudgets, Rate};
use crate::store::StoredPolicy;
use admission::{Admission, Question};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_appraisal::{Hex, SnpPolicy, UnixTime};
use strongroom_endorsements::{Dated, Fetcher, Kind, Product};
use strongroom_wire::snp::Report;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::timeout;

/// How long one attestation waits for a vendor: with the policy and the log, less than the minute after which KBS clients
/// give up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Endorsement sets that a peer may ask for: a guest asks a few times a day, and many may be behind one address.
const SETS: Rate = Rate { burst: 60, interval: 1 };

/// Where endorsements come from.
#[derive(Debug)]
pub(crate) struct Vendors {
    fetcher: Arc<Fetcher>,
    admission: Arc<Admission>,
    sets: Mutex<PeerBudgets>,
}

/// What was added to a claim.
#[derive(Debug, Default)]
pub(crate) struct Supplied {
    /// Everything that the claim is verified with.
    all: bool,
    /// Why there is no revocation list, where there could be one.
    pub(crate) without_list: Option<Refusal>,
}

impl Verifier {
    /// Adds to `claim` what it came without.
    ///
    /// A revocation list that cannot be had is no reason to refuse: that is the policy's to say.
    ///
    /// # Errors
    /// Of a claim whose VCEK is neither given nor kept: the first reason why it would be refused if it were authentic, which
    /// it cannot become then (`report-data-mismatch`, `deployment-mismatch`, `no-policy`, `measurement-not-approved`,
    /// `deployment-not-approved`, `platform-not-approved`); `busy`; `endorsement-unavailable`, `endorsement-unknown`,
    /// `endorsement-not-cached`; of an answer `endorsement-mismatch`, `malformed`, `too-large`, `certificate-expired`; `io`.
    pub(crate) async fn supply(&self, claim: &mut Claim, peer: Option<IpAddr>, now: UnixTime) -> Result<Supplied> {
        let mut supplied = Supplied { all: claim.lacks.all, without_list: None };
        // Of a report that no such key signed, authentication says what is wrong.
        let (Some(vendors), Ok(kind)) = (&self.vendors, Kind::of(&claim.report)) else { return Ok(supplied) };
        let mut products = Product::candidates(&claim.report, None)?;
        if claim.lacks.key && kind == Kind::Vcek {
            let (product, vcek) = match vendors.fetcher.kept_vcek(&claim.report, now)? {
                Some(kept) => kept,
                None => {
                    verify_worth_asking(claim, &self.store.begin().await?.policies().await?)?;
                    vendors.vcek(&claim.report, peer, now).await?
                }
            };
            products = vec![product];
            claim.endorsements.add(&vcek.value)?;
            for authority in vendors.authorities(kind, product, now).await?.value {
                claim.endorsements.add(&authority)?;
            }
        }
        if claim.lacks.list {
            // Before version 3 a report does not say which root's list it is. Another root's names nobody in the chain.
            for product in products {
                match vendors.list(kind, product, now).await {
                    Ok(list) => claim.endorsements.add(&list.value)?,
                    Err(refusal) => supplied.without_list = Some(refusal),
                }
            }
        }
        Ok(supplied)
    }

    /// Forgets what was kept for `claim` where that is what `refusal` is about: a service that lies once, or a damaged file,
    /// must not keep a chip out for ever.
    pub(crate) fn doubt(&self, claim: &Claim, supplied: &Supplied, refusal: &Refusal, now: UnixTime) {
        let about_chain = matches!(
            refusal.code,
            Code::CertificateSignatureInvalid
                | Code::CertificateUnsuitable
                | Code::IntermediateMissing
                | Code::RootUntrusted
                | Code::CrlSignatureInvalid
        );
        // Where the guest gave a certificate, it may be that one.
        if let (true, true, Some(vendors)) = (about_chain, supplied.all, &self.vendors) {
            vendors.forget(&claim.report, refusal, now);
        }
    }
}

impl Vendors {
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        let sets = Mutex::new(PeerBudgets::new(SETS));
        Self { fetcher: Arc::new(fetcher), admission: Arc::default(), sets }
    }

    async fn vcek(
        &self,
        report: &Report,
        peer: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<(Product, Dated<bytes::Bytes>)> {
        // It may have come while the policies were read; who asks for nothing spends nothing.
        if let Some(kept) = self.fetcher.kept_vcek(report, now)? {
            return Ok(kept);
        }
        // Before version 3 each product is asked for the chip.
        let requests = u32::try_from(Product::candidates(report, None)?.len()).unwrap_or(u32::MAX);
        let (fetcher, report) = (Arc::clone(&self.fetcher), report.clone());
        let question = Question::vcek(&report);
        self.ask(question, requests, peer, now, async move { fetcher.fetch_vcek(&report, now).await }).await
    }

    async fn authorities(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Dated<Vec<bytes::Bytes>>> {
        let fetcher = Arc::clone(&self.fetcher);
        let work = async move { fetcher.fetch_authorities(kind, product, now).await };
        self.ask(Question::Authorities(kind, product), 1, None, now, work).await
    }

    /// The list that is kept, if it is current, whatever a question met a short time ago.
    async fn list(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Dated<bytes::Bytes>> {
        if let Some(kept) = self.fetcher.kept_list(kind, product, now)? {
            return Ok(kept);
        }
        let fetcher = Arc::clone(&self.fetcher);
        let work = async move { fetcher.fetch_list(kind, product, now).await };
        self.ask(Question::List(kind, product), 1, None, now, work).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: Question,
        requests: u32,
        peer: Option<IpAddr>,
        now: UnixTime,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let admitted = self.admission.admit(question, requests, peer, now)?;
        let answer = tokio::spawn(async move { admitted.end(work.await, now) });
        match timeout(PATIENCE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(Refusal::new(Code::Internal, "asking for an endorsement").because(error)),
            Err(_) => Err(Refusal::new(Code::EndorsementUnavailable, "endorsement service")
                .got("no answer yet")
                .want(format!("one within {PATIENCE:?}"))),
        }
    }

    fn forget(&self, report: &Report, refusal: &Refusal, now: UnixTime) {
        tracing::warn!(%refusal, "what the endorsement service gave does not verify");
        if let Err(refusal) = self.fetcher.forget(report) {
            tracing::error!(%refusal, "what does not verify is still kept");
        }
        self.admission.failed(Question::vcek(report), refusal.clone(), now);
    }
}

/// Whatever keeps a vendor from being asked is one thing to who waits for the answer.
fn unavailable(refusal: Refusal) -> Refusal {
    match refusal.code {
        Code::Network | Code::Timeout | Code::TlsFailed | Code::HandshakeSignatureInvalid => {
            Refusal { code: Code::EndorsementUnavailable, ..refusal }.within("endorsement service")
        }
        _ => refusal.within("endorsement service"),
    }
}

/// That a claim would be accepted as far as can be said before it is authentic: it was made for this session and document,
/// and a release policy names what it says it is.
fn verify_worth_asking(claim: &Claim, policies: &[StoredPolicy]) -> Result<()> {
    let (report, expected) = (&claim.report, &claim.expected);
    if expected.report_data != Some(report.report_data) {
        let refusal =
            Refusal::new(Code::ReportDataMismatch, "report without its VCEK").got(hex::encode(report.report_data));
        return Err(refusal.want(expected.report_data.map(hex::encode).unwrap_or_default()));
    }
    if expected.deployment.map(|digest| digest.0) != Some(report.host_data) {
        let refusal =
            Refusal::new(Code::DeploymentMismatch, "report without its VCEK").got(hex::encode(report.host_data));
        return Err(refusal.want(expected.deployment.map(|digest| digest.to_string()).unwrap_or_default()));
    }
    let mut policies: Vec<&SnpPolicy> = policies.iter().filter_map(|stored| stored.policy.appraisal().snp()).collect();
    let mut narrow = |code: Code, got: String, allows: &dyn Fn(&SnpPolicy) -> bool| {
        policies.retain(|policy| allows(policy));
        if policies.is_empty() {
            return Err(Refusal::new(code, "report without its VCEK").got(got).want("what a release policy names"));
        }
        Ok(())
    };
    narrow(Code::NoPolicy, "no policy for SNP".into(), &|_| true)?;
    narrow(Code::MeasurementNotApproved, hex::encode(report.measurement), &|policy| {
        policy.measurement.allows(&Hex(report.measurement))
    })?;
    narrow(Code::DeploymentNotApproved, hex::encode(report.host_data), &|policy| {
        policy.deployment.allows(&Hex(report.host_data))
    })?;
    narrow(Code::PlatformNotApproved, hex::encode(report.chip_id), &|policy| policy.chip.allows(&Hex(report.chip_id)))
}
