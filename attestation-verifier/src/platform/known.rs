//! Endorsement keys of AMD's whose chains were verified: of the next report that comes with the very same endorsements, one signature
//! is verified, and not those above it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::{AuthenticReport, UnixTime, VerifiedVek};
use strongroom_wire::Check;
use strongroom_wire::digest::Sha256;

/// Keys that are remembered: some KiB each. A fleet has one for each chip and TCB.
const CAPACITY: usize = 1024;

/// By the digest of all endorsements that they were verified with ([`super::Given::digest`]), under the roots of this process. Only of
/// guests that were accepted: others are clients' to show again with whatever beside them, and would take up the place.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    keys: BTreeMap<Sha256, Known>,
    /// How often one was used or remembered.
    uses: u64,
}

#[derive(Debug, Clone)]
struct Known {
    key: Arc<VerifiedVek>,
    /// What was verified of its chain.
    checks: Vec<Check>,
    /// Which use of any was its last.
    last: u64,
}

impl KnownKeys {
    /// The report, where a known key of these endorsements signed it and its proof reaches to `now`, and every check that holds.
    /// `None`: whatever is wrong, authentication says.
    pub(super) fn authenticate(
        &self,
        endorsements: Sha256,
        report: &[u8],
        now: UnixTime,
    ) -> Option<(AuthenticReport, Vec<Check>)> {
        let known = self.lock().find(endorsements)?;
        let authentic = known.key.authenticate(report, now).ok()?;
        let checks = known.checks.into_iter().chain(authentic.checks().iter().cloned()).collect();
        Some((authentic, checks))
    }

    /// Remembers the key of a report that was authenticated with these endorsements, of a guest that was accepted; where there is no
    /// room, in the place of the one that was used least lately.
    pub(crate) fn remember(&self, endorsements: Sha256, authentic: &AuthenticReport) {
        let of_chain = |check: &&Check| !OF_REPORT.contains(&check.name.as_str());
        let checks = authentic.checks().iter().filter(of_chain).cloned().collect();
        self.lock().put(endorsements, Arc::clone(authentic.endorsement_key()), checks);
    }

    /// A panic between two map operations leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn find(&mut self, endorsements: Sha256) -> Option<Known> {
        let known = self.keys.get_mut(&endorsements)?;
        self.uses = self.uses.saturating_add(1);
        known.last = self.uses;
        Some(known.clone())
    }

    fn put(&mut self, endorsements: Sha256, key: Arc<VerifiedVek>, checks: Vec<Check>) {
        self.uses = self.uses.saturating_add(1);
        self.keys.insert(endorsements, Known { key, checks, last: self.uses });
        if self.keys.len() > CAPACITY
            && let Some(oldest) = self.keys.iter().min_by_key(|(_, known)| known.last).map(|(digest, _)| *digest)
        {
            self.keys.remove(&oldest);
        }
    }
}

/// The checks of one report, which are made again for each.
const OF_REPORT: [&str; 5] = ["report-format", "signature", "product", "reported-tcb", "chip-id"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Given;
    use strongroom_appraisal::{Roots, authenticate};
    use strongroom_devkit::amd::{Hierarchy, VekSpec};
    use strongroom_devkit::report::ReportSpec;

    const NOW: UnixTime = 1_800_000_000;

    #[test]
    fn report_of_a_known_key_is_authentic_within_its_dates_and_one_that_is_changed_or_of_other_endorsements_not() {
        let hierarchy = Hierarchy::shared().unwrap();
        let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
        let [vek, other] =
            [1, 2].map(|chip| hierarchy.issue(VekSpec { hwid: Some(vec![chip; 64]), ..VekSpec::default() }).unwrap());
        let list = hierarchy.ark.crl(&[], NOW - 10..NOW + 10).unwrap();
        let mut given = Given::default();
        for der in [&vek.certificate[..], hierarchy.ask.certificate(), &list] {
            given.add(der).unwrap();
        }
        let sign = |vek| ReportSpec::default().report(vek).unwrap().raw().to_vec();
        let report = sign(&vek);
        let known = KnownKeys::default();
        assert!(known.authenticate(given.digest(), &report, NOW).is_none(), "nothing is known yet");
        let first = authenticate(&report, given.parsed(), &roots, NOW).unwrap();
        known.remember(given.digest(), &first);

        let (authentic, checks) = known.authenticate(given.digest(), &report, NOW + 10).unwrap();
        assert!(Arc::ptr_eq(authentic.endorsement_key(), first.endorsement_key()));
        for name in ["root", "revocation", "kept-dates", "signature", "chip-id"] {
            assert_eq!(checks.iter().filter(|check| check.name == name && check.ok).count(), 1, "{name}");
        }
        let mut changed = report.clone();
        changed[0x50] ^= 1;
        let mut more = given.clone();
        more.add(&other.certificate).unwrap();
        for (endorsements, report, now) in [
            (given.digest(), &report, NOW + 11),
            (given.digest(), &changed, NOW),
            (given.digest(), &sign(&other), NOW),
            (more.digest(), &report, NOW),
        ] {
            assert!(known.authenticate(endorsements, report, now).is_none());
        }

        // A thousand others come; the one that is used stays, and of the others those that came last.
        let of = |n: u64| Sha256::of(&n.to_be_bytes());
        let most = u64::try_from(CAPACITY).unwrap();
        for n in 0..most + 2 {
            known.remember(of(n), &first);
            assert!(known.authenticate(given.digest(), &report, NOW).is_some());
        }
        let kept = (0..most + 2).filter(|n| known.authenticate(of(*n), &report, NOW).is_some());
        assert!(kept.eq(3..most + 2));
    }
}
