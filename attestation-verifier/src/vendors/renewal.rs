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

/// When each part that is kept is due.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<Part, Due>);

#[derive(Debug, Clone, Copy)]
struct Due {
    at: UnixTime,
    /// After the next failure.
    wait: u64,
}

impl Due {
    /// Of what was fetched then and ends then.
    fn of(since: UnixTime, expires: UnixTime) -> Self {
        Self { at: since.saturating_add(renew_after(expires, since)), wait: FIRST_WAIT }
    }
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
        // It counts from when it was fetched, whoever was started anew since. What is of a time to come is of another clock.
        let since = self.kept_since(part).filter(|since| *since <= now).unwrap_or(now);
        let due = *schedule.0.entry(part).or_insert_with(|| Due::of(since, expires));
        if now < due.at {
            return Ok(());
        }
        let renewed = match part {
            Part::List(kind, product) => self.fetcher.renew_list(kind, product, now).await,
            Part::Collateral(platform) => self.fetcher.renew_collateral(&platform, now).await,
        };
        let next = match &renewed {
            Ok(part) => Due::of(now, part.expires),
            Err(_) => Due { at: now.saturating_add(due.wait), wait: due.wait.saturating_mul(2).min(LONGEST_WAIT) },
        };
        schedule.0.insert(part, next);
        renewed.map(drop)
    }

    fn kept_since(&self, part: Part) -> Option<UnixTime> {
        match part {
            Part::List(kind, product) => self.fetcher.list_kept_since(kind, product),
            Part::Collateral(platform) => self.fetcher.collateral_kept_since(&platform),
        }
    }

    fn kept_until(&self, part: Part, now: UnixTime) -> Result<Option<UnixTime>> {
        let kept = match part {
            Part::List(kind, product) => self.fetcher.kept_list(kind, product, now)?,
            Part::Collateral(platform) => self.fetcher.kept_collateral(&platform, now)?,
        };
        Ok(kept.map(|kept| kept.expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use strongroom_appraisal::Roots;
    use strongroom_devkit::amd::{Hierarchy, VekSpec};
    use strongroom_devkit::vendors::{self, Fault};
    use strongroom_endorsements::{Access, Cache, Fetcher};

    const NOW: UnixTime = 1_800_000_000;
    const DAY: u64 = 86_400;

    #[tokio::test]
    async fn list_is_renewed_a_day_after_it_was_fetched_whoever_was_started_anew_since() {
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let amd = vendors::Vendors::start().await.unwrap();
        amd.add_amd(&hierarchy, &vek, NOW - 10..NOW + 100 * DAY).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let started = || {
            let access = Access { kds: amd.url().to_owned(), plain_http: true, ..Access::default() };
            let fetcher = Fetcher::new(access, Cache::new(folder.path())).unwrap();
            let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
            (Vendors::new(fetcher, roots, Clock::of(|| NOW), 8), Schedule::default())
        };
        let (one, mut schedule) = started();
        assert_eq!((one.renew_due(&mut schedule, NOW).await, amd.asked().len()), (LONGEST, 0), "none is kept");
        one.fetcher.fetch_list(Kind::Vcek, Product::Milan, NOW).await.unwrap();
        assert_eq!((one.renew_due(&mut schedule, NOW).await, amd.asked().len()), (LONGEST, 1));
        // Each looks at it for the first time.
        for (now, next, asked) in [(DAY - 100, 100, 1), (DAY, LONGEST, 2), (DAY + 1, LONGEST, 2), (2 * DAY, LONGEST, 3)]
        {
            let (another, mut schedule) = started();
            assert_eq!(another.renew_due(&mut schedule, NOW + now).await, next, "{now}");
            assert_eq!(amd.asked().len(), asked, "{now}");
        }
        // What cannot be had is asked for again by the same one in half a minute; and whose clock is behind counts from there.
        let (another, mut schedule) = started();
        amd.fail_next(Fault::Status(404, None));
        assert_eq!(another.renew_due(&mut schedule, NOW + 3 * DAY).await, FIRST_WAIT);
        assert_eq!(another.renew_due(&mut schedule, NOW + 3 * DAY + FIRST_WAIT - 1).await, 1);
        assert_eq!(amd.asked().len(), 4);
        assert_eq!(another.renew_due(&mut schedule, NOW + 3 * DAY + FIRST_WAIT).await, LONGEST);
        assert_eq!(amd.asked().len(), 5);
        let (behind, mut schedule) = started();
        assert_eq!((behind.renew_due(&mut schedule, NOW).await, amd.asked().len()), (LONGEST, 5));
        assert_eq!(behind.renew_due(&mut schedule, NOW + DAY).await, LONGEST);
        assert_eq!(amd.asked().len(), 6);
    }
}
