//! Collateral against the memory of what was seen: an older list or document than one that was, while still in its window,
//! is what somebody hands out who wants to hide what was withdrawn since.

use crate::AuthenticReport;
use crate::azure::AuthenticVtpm;
use crate::seen::{Seen, SeenKind};
use crate::tdx::AuthenticQuote;
use std::collections::BTreeMap;
use strongroom_wire::Result;

/// A number that only grows: what kind it is, whose, and what it is now.
pub(crate) type Sighting = (SeenKind, String, u64);

/// How new the revocation lists and the collateral were that were verified on the way to a judgement, also to a refusal: the
/// list that revokes is remembered by it, so that an older one does not undo it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    highest: BTreeMap<(SeenKind, String), u64>,
}

impl Sightings {
    /// Remembers all of it in `seen` and refuses nothing: what is older than what `seen` has changes nothing. For evidence that
    /// was refused; for authentic evidence there is [`AuthenticReport::verify_newest`] and its kind, which compare.
    pub fn remember(&self, seen: &mut Seen) {
        self.highest.iter().for_each(|((kind, subject), number)| seen.remember(*kind, subject, *number));
    }

    /// Only of what was verified.
    pub(crate) fn extend(&mut self, sightings: impl IntoIterator<Item = Sighting>) {
        for (kind, subject, number) in sightings {
            let highest = self.highest.entry((kind, subject)).or_insert(number);
            *highest = number.max(*highest);
        }
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Sighting> {
        self.highest.iter().map(|((kind, subject), number)| (*kind, subject.clone(), *number))
    }

    /// Those of revocation lists.
    pub(crate) fn lists(&self) -> impl Iterator<Item = Sighting> {
        self.iter().filter(|(kind, ..)| matches!(kind, SeenKind::CrlNumber | SeenKind::CrlThisUpdate))
    }
}

impl AuthenticReport {
    /// Refuses a revocation list that is older than one of the same root that `seen` remembers (`collateral-rolled-back`);
    /// else remembers this one. Where none was given there is nothing to compare: that one must be given is the policy's to say.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        let subject = format!("{}/{}", self.root(), self.product());
        let list = self.revocations().into_iter().flat_map(|list| list.sightings(&subject));
        raise_all(list, seen)
    }
}

impl AuthenticQuote {
    /// Refuses collateral any part of which is older than one that `seen` remembers (`collateral-rolled-back`): a revocation
    /// list by number or thisUpdate, TCB info or QE identity by tcbEvaluationDataNumber or issueDate. Else remembers all of it.
    /// Of several sets, every revocation list counts, as it counted for what it revokes.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        raise_all(self.platform().sightings(), seen)
    }
}

impl AuthenticVtpm<AuthenticReport> {
    /// [`AuthenticReport::verify_newest`] of the hardware's evidence.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        self.hardware().verify_newest(seen)
    }
}

impl AuthenticVtpm<AuthenticQuote> {
    /// [`AuthenticQuote::verify_newest`] of the hardware's evidence.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        self.hardware().verify_newest(seen)
    }
}

/// All or none: what is refused for one part leaves the memory as it was.
fn raise_all(mut sightings: impl Iterator<Item = Sighting>, seen: &mut Seen) -> Result<()> {
    let mut raised = seen.clone();
    sightings.try_for_each(|(kind, subject, number)| raised.check_and_raise(kind, &subject, number))?;
    *seen = raised;
    Ok(())
}
