//! The enclave's leases: it shows evidence again before each ends, and stops where it is told to, or is told nothing for too long.
//!
//! A lease is renewed half way to its end. A refusal that says that this guest shall go on no more ends it at once; any other, or
//! none, is met by asking again, for as long as the deployment document allows, counted by the guest's own clock from the moment in
//! which the last lease was asked for: a host that cuts the network gains no more than that.

mod source;

pub use source::{OfVerifier, Source};

use crate::staple::earlier;
use core::time::Duration;
use strongroom_wire::{Code, Refusal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The first wait after a failure; doubled after each further one, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// That the enclave may go on. It ends once, for good.
#[derive(Debug)]
pub struct Tenure(Option<watch::Receiver<Option<Refusal>>>);

impl Tenure {
    /// One that lasts as long as `source` gives leases, with at most `max_unleased` from one to the next. The first is asked for now.
    pub fn hold(source: impl Source, max_unleased: Duration) -> Self {
        let (end, ended) = watch::channel(None);
        tokio::spawn(async move {
            tokio::select! {
                refusal = renew(source, max_unleased) => {
                    // Told first: who reads the log may be slow, and may be the host.
                    end.send_replace(Some(refusal.clone()));
                    tracing::error!(%refusal, "no lease any more");
                }
                () = end.closed() => {}
            }
        });
        Self(Some(ended))
    }

    /// One that does not end: of a deployment whose verifier gives no leases, or that needs no verifier.
    pub const fn without_lease() -> Self {
        Self(None)
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        // The task that renews it has ended where it was told to stop, or panicked; then nobody would end it any more.
        self.0.as_ref().is_none_or(|ended| ended.has_changed().is_ok() && ended.borrow().is_none())
    }

    /// Resolves when it has ended, with why.
    pub async fn ended(&self) -> Refusal {
        let Some(mut ended) = self.0.clone() else { return core::future::pending().await };
        let refusal = ended.wait_for(Option::is_some).await.ok().and_then(|refusal| refusal.clone());
        refusal.unwrap_or_else(|| Refusal::new(Code::Internal, "task that renews leases").got("its end"))
    }
}

/// Takes one lease after the other; gives why there is none any more.
async fn renew(source: impl Source, max_unleased: Duration) -> Refusal {
    let unleased = |end: Instant| end.checked_add(max_unleased).unwrap_or(end);
    let mut end = unleased(Instant::now());
    let mut wait = FIRST_WAIT;
    loop {
        let asked = Instant::now();
        let none = || Refusal::new(Code::Unleased, "lease").want(format!("one at least every {max_unleased:?}"));
        let pause = match timeout_at(end, source.take()).await {
            Ok(Ok(lease)) => {
                tracing::info!(id = lease.jti, expires = lease.exp, routes = ?lease.routes, "lease");
                (end, wait) = (unleased(asked), FIRST_WAIT);
                let half = Duration::from_secs(lease.exp.saturating_sub(lease.iat)).min(max_unleased) / 2;
                earlier(half)
            }
            Ok(Err(refusal)) if is_final(refusal.code) => return refusal,
            Ok(Err(refusal)) if Instant::now() >= end => return none().because(refusal),
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, ?wait, "lease not renewed");
                let longer = wait.saturating_mul(2).min(LONGEST_WAIT);
                core::mem::replace(&mut wait, longer)
            }
            Err(_) => return none().got("no answer"),
        };
        sleep_until(Instant::now().checked_add(pause).map_or(end, |next| next.min(end))).await;
    }
}

/// Whether the verifier says by it that guests like this one shall not go on; what another host, network or clock could mend is not.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Revoked
            | Code::Quarantined
            | Code::NoPolicy
            | Code::MeasurementNotApproved
            | Code::DeploymentNotApproved
            | Code::DeploymentMismatch
            | Code::PlatformNotApproved
            | Code::PlatformStateMismatch
            | Code::WorkloadMismatch
            | Code::RealmMismatch
            | Code::DebugEnabled
            | Code::MigrationAgentEnabled
            | Code::VmplMismatch
            | Code::TcbTooOld
            | Code::TcbRevoked
            | Code::CertificateRevoked
            // What was promoted after it, or again elsewhere, speaks against no guest that runs.
            | Code::PromotionDemoted
    )
}

#[cfg(test)]
mod tests;
