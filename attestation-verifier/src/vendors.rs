//! The endorsements that evidence comes without: those that are kept, or else those that their vendor is asked for. Clients
//! of the KBS protocol send SNP reports without a VCEK as often as not, and TDX quotes never bring their collateral.
//!
//! What is asked for, and on whose behalf, is bounded by `vendors/admission.rs`. A question is a task of its own: it holds up
//! the one who needs its answer for [`PATIENCE`] at most, nobody else at all, and goes on when that one has gone, so that
//! the answer is there when it comes back.
//!
//! None of it is trusted. Chains, lists and collateral are kept only where they verify under the roots; a VCEK that does not is forgotten,
//! and not asked for again too soon.

mod admission;
mod collateral;
mod renewal;
mod set;

pub(crate) use admission::{PASSING, PEER_QUESTIONS, QUESTIONS};

use crate::Verifier;
use crate::attest::Shown;
use crate::budget::{PeerBudgets, Rate};
use crate::clock::Clock;
use crate::platform::Evidence;
use crate::store::PolicyInForce;
use admission::{Admission, Question};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_appraisal::{Floor, Hex, Roots, SnpPolicy, UnixTime, verify_authorities, verify_revocation_list};
use strongroom_endorsements::{Dated, Fetcher, Kind, Offered, Platform, Product, Published};
use strongroom_wire::snp::{Report, Tcb};
use strongroom_wire::{Code, Realm, Refusal, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// How long one request waits for a vendor, whatever it asks for: with the policy and the log, less than the minute after which KBS clients
/// give up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many may wait for a vendor at one time: each holds its shown. Beyond them, `busy`.
const WAITING: usize = 128;

/// What a peer may ask that proved nothing: endorsement sets, and what the release policies say of a report without its VCEK.
/// A guest asks a few times a day, and many may be behind one address.
const UNPROVEN: Rate = Rate { burst: 60, interval: 1 };

/// Where endorsements come from.
#[derive(Debug)]
pub(crate) struct Vendors {
    fetcher: Arc<Fetcher>,
    admission: Arc<Admission>,
    unproven: Mutex<PeerBudgets>,
    /// The kinds of platform that genuine quotes were of since the start: their collateral is kept current.
    platforms: Mutex<BTreeSet<Platform>>,
    waiting: Semaphore,
}

/// On whose behalf a vendor is asked, when, and until when the answer is waited for.
#[derive(Debug, Clone, Copy)]
struct Asking {
    peer: Option<IpAddr>,
    now: UnixTime,
    until: Instant,
}

/// What was added to a shown.
#[derive(Debug, Default)]
pub(crate) struct Supplied {
    /// Everything that it is verified with.
    all: bool,
    /// The revocation lists that are kept.
    kept: Vec<bytes::Bytes>,
    /// Why there is no revocation list, where there could be one.
    pub(crate) without_list: Option<Refusal>,
}

impl Verifier {
    /// Adds to `shown` what it came without, and the revocation list that is kept beside one that it came with.
    ///
    /// A revocation list that cannot be had is no reason to refuse: that is the policy's to say.
    ///
    /// # Errors
    /// Of evidence whose VCEK or collateral is not given, what would be refused if it were authentic: `report-data-mismatch`,
    /// `nonce-mismatch`, `deployment-mismatch`, `tcb-mismatch`, `chip-id-mismatch`, and of a quote those of its authentication; and where it is not kept, `no-policy`,
    /// `measurement-not-approved`, `deployment-not-approved`, `platform-not-approved`, `tcb-too-old`, or what the only policies lack; `busy`; of a chain those
    /// of [`verify_authorities`]; `endorsement-unavailable`, `endorsement-unknown`,
    /// `endorsement-not-cached`; of an answer `endorsement-mismatch`, `malformed`, `too-large`, `certificate-expired`; `io`.
    pub(crate) async fn supply(&self, shown: &mut Shown, peer: Option<IpAddr>, now: UnixTime) -> Result<Supplied> {
        let Some(vendors) = &self.vendors else { return Ok(Supplied::default()) };
        let asking = Asking { peer, now, until: Instant::now() + PATIENCE };
        if let Some(quote) = shown.evidence.quote()
            && let Some(collateral) = vendors.collateral_of(shown, quote, &self.roots, asking).await?
        {
            shown.endorsements.add(&collateral.value)?;
        }
        match shown.evidence.report().cloned() {
            Some(report) => self.supply_report(vendors, shown, &report, asking).await,
            None => Ok(Supplied::default()),
        }
    }

    /// Adds what AMD vouches with for the report of `shown`.
    async fn supply_report(
        &self,
        vendors: &Vendors,
        shown: &mut Shown,
        report: &Report,
        asking: Asking,
    ) -> Result<Supplied> {
        let now = asking.now;
        let mut supplied = Supplied { all: shown.lacks.all(), ..Supplied::default() };
        // Of a report that no such key signed, authentication says what is wrong.
        let Ok(kind) = Kind::of(report) else { return Ok(supplied) };
        let mut products = Product::candidates(report, None)?;
        let asks_for_key = shown.lacks.key && kind == Kind::Vcek;
        if asks_for_key {
            shown.evidence.verify_made_for(&shown.bound)?;
            let (product, vcek) = match vendors.fetcher.kept_vcek(report, now)? {
                Some(kept) => kept,
                None => {
                    vendors.admit_unproven("reports without their VCEK", asking.peer, now)?;
                    let policies = self.store.begin_reading().await?.policies_in_force(now).await?;
                    verify_worth_asking(&shown.evidence, report, &policies)?;
                    vendors.vcek(report, asking).await?
                }
            };
            products = vec![product];
            shown.endorsements.add(&vcek.value)?;
        }
        // The vendors' own authorities are built in.
        let built_in = self.roots.realm() == Realm::Vendor;
        if let (true, [product]) = (asks_for_key || (shown.lacks.authority && !built_in), products.as_slice()) {
            for authority in vendors.authorities(kind, *product, asking).await?.value {
                shown.endorsements.add(&authority)?;
            }
        }
        // Before version 3 a report does not say which root's list it is. Another root's names nobody in the chain.
        for product in products {
            let list = if shown.lacks.list {
                vendors.list(kind, product, asking).await.map(Some)
            } else {
                // The guest chose what it brings: it may be older than what is known here.
                vendors.fetcher.kept_list(kind, product, now)
            };
            match list {
                Ok(Some(list)) => {
                    shown.endorsements.add(&list.value)?;
                    supplied.kept.push(list.value);
                }
                Ok(None) => {}
                Err(refusal) => supplied.without_list = Some(refusal),
            }
        }
        Ok(supplied)
    }

    /// Adds to `shown` the vendor's revocation list or collateral as it is now, whatever is kept: for a guest that was judged by an
    /// older one than was seen. Says whether one came.
    pub(crate) async fn renew(&self, shown: &mut Shown, peer: Option<IpAddr>, now: UnixTime) -> Result<bool> {
        let Some(vendors) = &self.vendors else { return Ok(false) };
        let asking = Asking { peer, now, until: Instant::now() + PATIENCE };
        if let Some(quote) = shown.evidence.quote() {
            let newest = vendors.newest_collateral(quote, asking).await;
            return newest.map_or(Ok(false), |newest| shown.endorsements.add(&newest.value).map(|()| true));
        }
        let Some(report) = shown.evidence.report().cloned() else { return Ok(false) };
        let Ok(kind) = Kind::of(&report) else { return Ok(false) };
        let mut renewed = false;
        for product in Product::candidates(&report, None)? {
            let fetcher = Arc::clone(&vendors.fetcher);
            let work = async move { fetcher.renew_list(kind, product, now).await };
            match vendors.ask(Question::List(kind, product), 1, asking, work).await {
                Ok(list) => {
                    shown.endorsements.add(&list.value)?;
                    renewed = true;
                }
                Err(refusal) => tracing::warn!(%refusal, "no newer revocation list could be had"),
            }
        }
        Ok(renewed)
    }

    /// Keeps the revocation list of AMD's that `shown` came with, where it is newer than the one that is kept: who asks for endorsements
    /// gets the newest that was shown here, whichever verifier of several saw it first. To be called for authentic evidence.
    pub(crate) async fn keep_newer_lists(&self, shown: &Shown, supplied: &Supplied, now: UnixTime) {
        let (Some(vendors), Some(report)) = (&self.vendors, shown.evidence.report()) else { return };
        let (Ok(kind), Ok(products)) = (Kind::of(report), Product::candidates(report, None)) else { return };
        let brought = shown.endorsements.lists().filter(|list| !supplied.kept.iter().any(|kept| kept == *list));
        let brought: Vec<_> = brought.cloned().collect();
        if brought.is_empty() {
            return;
        }
        let fetcher = Arc::clone(&vendors.fetcher);
        // It verifies, and writes to a disk.
        let keep = tokio::task::spawn_blocking(move || {
            for product in products {
                // It may be that of another product.
                if brought.iter().any(|der| matches!(fetcher.offer_list(kind, product, der, now), Ok(true))) {
                    tracing::info!(
                        product = product.as_str(),
                        "a guest brought a newer revocation list, which is kept"
                    );
                }
            }
        });
        if let Err(error) = keep.await {
            tracing::error!(%error, "a guest's revocation list could not be looked at");
        }
    }

    /// Forgets what was kept for `shown` where that is what `refusal` is about: a service that lies once, or a damaged file,
    /// must not keep a chip out for ever.
    pub(crate) fn doubt(&self, shown: &Shown, supplied: &Supplied, refusal: &Refusal) {
        let about_chain = matches!(
            refusal.code,
            Code::CertificateSignatureInvalid
                | Code::CertificateUnsuitable
                | Code::IntermediateMissing
                | Code::RootUntrusted
        );
        // Where the guest gave a certificate, it may be that one.
        if let (true, true, Some(vendors), Some(report)) =
            (about_chain, supplied.all, &self.vendors, shown.evidence.report())
        {
            vendors.forget(report, refusal);
        }
    }
}

impl Vendors {
    /// Chains and lists are kept only where they verify under `roots`; a peer may ask for `peer_questions` chips at once.
    pub(crate) fn new(fetcher: Fetcher, roots: Roots, clock: Clock, peer_questions: u32) -> Self {
        let fetcher = fetcher.judged_by(move |offered| judge(offered, &roots));
        let admission = Arc::new(Admission::new(clock, peer_questions));
        let (unproven, waiting) = (Mutex::new(PeerBudgets::new(UNPROVEN)), Semaphore::new(WAITING));
        Self { fetcher: Arc::new(fetcher), admission, unproven, platforms: Mutex::default(), waiting }
    }

    async fn vcek(&self, report: &Report, asking: Asking) -> Result<(Product, Dated<bytes::Bytes>)> {
        let now = asking.now;
        // It may have come while the policies were read; who asks for nothing spends nothing.
        if let Some(kept) = self.fetcher.kept_vcek(report, now)? {
            return Ok(kept);
        }
        // Before version 3 each product is asked for the chip.
        let requests = u32::try_from(Product::candidates(report, None)?.len()).unwrap_or(u32::MAX);
        let (fetcher, report) = (Arc::clone(&self.fetcher), report.clone());
        let question = Question::vcek(&report);
        self.ask(question, requests, asking, async move { fetcher.fetch_vcek(&report, now).await }).await
    }

    async fn authorities(&self, kind: Kind, product: Product, asking: Asking) -> Result<Dated<Vec<bytes::Bytes>>> {
        let now = asking.now;
        if let Some(kept) = self.fetcher.kept_authorities(kind, product, now)? {
            return Ok(kept);
        }
        let fetcher = Arc::clone(&self.fetcher);
        let work = async move { fetcher.fetch_authorities(kind, product, now).await };
        self.ask(Question::Authorities(kind, product), 1, asking, work).await
    }

    /// The list that is kept, if it is current, whatever a question met a short time ago.
    async fn list(&self, kind: Kind, product: Product, asking: Asking) -> Result<Dated<bytes::Bytes>> {
        let now = asking.now;
        if let Some(kept) = self.fetcher.kept_list(kind, product, now)? {
            return Ok(kept);
        }
        let fetcher = Arc::clone(&self.fetcher);
        let work = async move { fetcher.fetch_list(kind, product, now).await };
        self.ask(Question::List(kind, product), 1, asking, work).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: Question,
        requests: u32,
        asking: Asking,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::new(Code::Busy, "waiting for endorsements"))?;
        let admitted = self.admission.admit(question, requests, asking.peer, asking.now)?;
        let answer = tokio::spawn(async move { admitted.end(work.await) });
        match timeout_at(asking.until, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(Refusal::new(Code::Internal, "asking for an endorsement").because(error)),
            Err(_) => Err(Refusal::new(Code::EndorsementUnavailable, "endorsement service")
                .got("no answer yet")
                .want(format!("one within {PATIENCE:?}"))),
        }
    }

    /// Lets `peer` ask for what costs something here, though it proved nothing.
    fn admit_unproven(&self, what: &str, peer: Option<IpAddr>, now: UnixTime) -> Result<()> {
        // A panic between two map operations leaves the map whole.
        let mut budgets = self.unproven.lock().unwrap_or_else(PoisonError::into_inner);
        if !budgets.has(peer, 1, now) {
            return Err(Refusal::new(Code::Busy, format!("{what} of one peer")));
        }
        budgets.spend(peer, 1, now);
        Ok(())
    }

    fn forget(&self, report: &Report, refusal: &Refusal) {
        tracing::warn!(%refusal, "what the endorsement service gave does not verify");
        if let Err(refusal) = self.fetcher.forget(report) {
            tracing::error!(%refusal, "what does not verify is still kept");
        }
        self.admission.failed(Question::vcek(report), refusal.clone());
    }
}

/// What does not verify takes the place of nothing, and is not used.
fn judge(offered: &Offered<'_>, roots: &Roots) -> Result<()> {
    let Offered { part, bytes, kept, now } = *offered;
    match part {
        Published::Authorities(product) => verify_authorities(bytes, product.as_str(), roots),
        Published::List(product) => verify_revocation_list(bytes, kept, product.as_str(), roots, now),
        Published::Collateral => collateral::verify(bytes, kept, roots, now),
    }
}

/// Whatever keeps a vendor from being asked is one thing to who waits for the answer.
fn unavailable(refusal: Refusal) -> Refusal {
    match refusal.code {
        Code::Network | Code::Timeout | Code::TlsFailed | Code::HandshakeSignatureInvalid | Code::Io => {
            Refusal { code: Code::EndorsementUnavailable, ..refusal }.within("endorsement service")
        }
        _ => refusal.within("endorsement service"),
    }
}

/// That a report would be accepted as far as can be said before it is authentic: one release policy names what it says it
/// is, and no TCB of it is below that policy's floors.
fn verify_worth_asking(evidence: &Evidence, report: &Report, policies: &[PolicyInForce]) -> Result<()> {
    let lacks = policies.iter().find_map(|one| one.lacks.clone());
    let whole = policies.iter().filter(|one| one.lacks.is_none());
    let mut policies: Vec<&SnpPolicy> =
        whole.filter_map(|one| evidence.snp_section(one.stored.policy.appraisal())).collect();
    if let (true, Some(refusal)) = (policies.is_empty(), lacks) {
        return Err(refusal);
    }
    let mut narrow = |code: Code, got: String, allows: &dyn Fn(&SnpPolicy) -> bool| {
        policies.retain(|policy| allows(policy));
        if policies.is_empty() {
            return Err(Refusal::new(code, "report without its VCEK").got(got).want("what a release policy names"));
        }
        Ok(())
    };
    narrow(Code::NoPolicy, format!("no policy for {}", evidence.tee().platform()), &|_| true)?;
    narrow(Code::MeasurementNotApproved, hex::encode(report.measurement), &|policy| {
        policy.measurement.allows(&Hex(report.measurement))
    })?;
    narrow(Code::DeploymentNotApproved, hex::encode(report.host_data), &|policy| {
        policy.deployment.allows(&Hex(report.host_data))
    })?;
    narrow(Code::PlatformNotApproved, hex::encode(report.chip_id), &|policy| policy.chip.allows(&Hex(report.chip_id)))?;
    let layout = report.tcb_layout();
    let meets = |floor: &Floor<Tcb>, raw| match floor {
        Floor::AtLeast(floor) => layout.read(raw).at_least(floor),
        Floor::ReferenceValues(_) => false,
        Floor::Any { .. } => true,
    };
    narrow(Code::TcbTooOld, layout.read(report.reported_tcb).to_string(), &|policy| {
        let own = |own: &Option<Floor<Tcb>>, raw| meets(own.as_ref().unwrap_or(&policy.tcb), raw);
        meets(&policy.tcb, report.reported_tcb)
            && own(&policy.committed_tcb, report.committed_tcb)
            && own(&policy.current_tcb, report.current_tcb)
            && own(&policy.launch_tcb, report.launch_tcb)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_endorsements::{Access, Cache};

    #[tokio::test]
    async fn attestations_beyond_those_that_may_wait_are_busy_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(Access { offline: true, ..Access::default() }, Cache::new(folder.path())).unwrap();
        let (clock, roots) = (Clock::of(|| 100), Roots::builtin().unwrap());
        let vendors = Vendors::new(fetcher, roots, clock, 8);
        let asking = Asking { peer: None, now: 100, until: Instant::now() + PATIENCE };
        let list = async || vendors.list(Kind::Vcek, Product::Milan, asking).await.unwrap_err().code;
        let mut waiting = vendors.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert_eq!(list().await, Code::Busy);
        drop(waiting.split(1));
        assert_eq!(list().await, Code::EndorsementNotCached);
    }
}
