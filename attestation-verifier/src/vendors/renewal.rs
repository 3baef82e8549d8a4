//! Revocation lists and collateral are renewed before anybody needs the next one.

use super::Vendors;
use crate::Verifier;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;
use strongroom_appraisal::UnixTime;
use strongroom_endorsements::{Kind, Platform, Product};
use strongroom_wire::Result;
use strongroom_wire::endorsements::renew_after;

/// Seconds until all are looked at again, at most: attestations bring new ones in between.
const LONGEST: u64 = 600;
/// Seconds until what could not be renewed is asked for again: half a minute, doubled each time up to an hour.
const FIRST_WAIT: u64 = 30;
const LONGEST_WAIT: u64 = 3600;

/// What ends and has a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    List(Kind, Product),
    Collateral(Platform),
}

/// When each part that is kept is due, as far as was looked.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<Part, Due>);

#[derive(Debug, Clone, Copy)]
struct Due {
    at: UnixTime,
    /// After the next failure.
    wait: u64,
}

impl Verifier {
    /// Renews revocation lists and collateral until `stopped`.
    pub(crate) async fn renew_until(&self, stopped: impl Future<Output = ()>) {
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
    /// Renews every part that is due at `now`, and says in how many seconds to come again.
    pub(super) async fn renew_due(&self, schedule: &mut Schedule, now: UnixTime) -> u64 {
        let lists = Kind::ALL.into_iter().flat_map(|kind| Product::ALL.map(|product| Part::List(kind, product)));
        for part in lists.chain(self.platforms_in_use().map(Part::Collateral)) {
            if let Err(refusal) = self.renew_if_due(schedule, part, now).await {
                tracing::warn!(%refusal, ?part, "not renewed");
            }
        }
        let next = schedule.0.values().map(|due| due.at.saturating_sub(now)).min();
        next.unwrap_or(LONGEST).clamp(1, LONGEST)
    }

    fn platforms_in_use(&self) -> impl Iterator<Item = Platform> {
        self.platforms.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter()
    }

    async fn renew_if_due(&self, schedule: &mut Schedule, part: Part, now: UnixTime) -> Result<()> {
        // One that has ended is asked for when it is needed, and by nobody before.
        let Some(expires) = self.kept_until(part, now)? else {
            schedule.0.remove(&part);
            return Ok(());
        };
        let fresh = |expires| Due { at: now.saturating_add(renew_after(expires, now)), wait: FIRST_WAIT };
        let due = *schedule.0.entry(part).or_insert_with(|| fresh(expires));
        if now < due.at {
            return Ok(());
        }
        let renewed = match part {
            Part::List(kind, product) => self.fetcher.renew_list(kind, product, now).await,
            Part::Collateral(platform) => self.fetcher.renew_collateral(&platform, now).await,
        };
        let next = match &renewed {
            Ok(part) => fresh(part.expires),
            Err(_) => Due { at: now.saturating_add(due.wait), wait: due.wait.saturating_mul(2).min(LONGEST_WAIT) },
        };
        schedule.0.insert(part, next);
        renewed.map(drop)
    }

    fn kept_until(&self, part: Part, now: UnixTime) -> Result<Option<UnixTime>> {
        let kept = match part {
            Part::List(kind, product) => self.fetcher.kept_list(kind, product, now)?,
            Part::Collateral(platform) => self.fetcher.kept_collateral(&platform, now)?,
        };
        Ok(kept.map(|kept| kept.expires))
    }
}
