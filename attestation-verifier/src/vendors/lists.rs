//! Revocation lists are renewed before anybody needs the next one.

use super::Vendors;
use crate::Verifier;
use std::collections::BTreeMap;
use std::time::Duration;
use strongroom_appraisal::UnixTime;
use strongroom_endorsements::{Kind, Product};
use strongroom_wire::Result;
use strongroom_wire::endorsements::renew_after;

/// Seconds until the lists are looked at again, at most: attestations bring new ones in between.
const LONGEST: u64 = 600;
/// Seconds until a list that could not be renewed is asked for again: half a minute, doubled each time up to an hour.
const FIRST_WAIT: u64 = 30;
const LONGEST_WAIT: u64 = 3600;

/// When each list that is kept is due, as far as was looked.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<(Kind, Product), Due>);

#[derive(Debug, Clone, Copy)]
struct Due {
    at: UnixTime,
    /// After the next failure.
    wait: u64,
}

impl Verifier {
    /// Renews revocation lists until `stopped`.
    pub(crate) async fn renew_lists_until(&self, stopped: impl Future<Output = ()>) {
        let Some(vendors) = &self.vendors else { return };
        let renew = async {
            let mut schedule = Schedule::default();
            loop {
                let seconds = vendors.renew_due(&mut schedule, self.clock.now()).await;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
        };
        tokio::select! {
            () = renew => {}
            () = stopped => {}
        }
    }
}

impl Vendors {
    /// Renews every list that is due at `now`, and says in how many seconds to come again.
    pub(super) async fn renew_due(&self, schedule: &mut Schedule, now: UnixTime) -> u64 {
        for (kind, product) in Kind::ALL.into_iter().flat_map(|kind| Product::ALL.map(|product| (kind, product))) {
            if let Err(refusal) = self.renew_if_due(schedule, kind, product, now).await {
                tracing::warn!(%refusal, %product, "revocation list not renewed");
            }
        }
        let next = schedule.0.values().map(|due| due.at.saturating_sub(now)).min();
        next.unwrap_or(LONGEST).clamp(1, LONGEST)
    }

    async fn renew_if_due(&self, schedule: &mut Schedule, kind: Kind, product: Product, now: UnixTime) -> Result<()> {
        // One that has ended is asked for when it is needed, and by nobody before.
        let Some(kept) = self.fetcher.kept_list(kind, product, now)? else {
            schedule.0.remove(&(kind, product));
            return Ok(());
        };
        let fresh = |expires| Due { at: now.saturating_add(renew_after(expires, now)), wait: FIRST_WAIT };
        let due = *schedule.0.entry((kind, product)).or_insert_with(|| fresh(kept.expires));
        if now < due.at {
            return Ok(());
        }
        let renewed = self.fetcher.renew_list(kind, product, now).await;
        let next = match &renewed {
            Ok(list) => fresh(list.expires),
            Err(_) => Due { at: now.saturating_add(due.wait), wait: due.wait.saturating_mul(2).min(LONGEST_WAIT) },
        };
        schedule.0.insert((kind, product), next);
        renewed.map(drop)
    }
}
