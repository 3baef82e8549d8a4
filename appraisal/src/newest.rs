//! Collateral against the memory of what was seen: an older list or document than one that was, while still in its window,
//! is what somebody hands out who wants to hide what was withdrawn since.

use crate::AuthenticReport;
use crate::azure::AuthenticVtpm;
use crate::seen::{Seen, SeenKind};
use crate::tdx::AuthenticQuote;
use strongroom_wire::Result;

/// A number that only grows: what kind it is, whose, and what it is now.
pub(crate) type Sighting = (SeenKind, String, u64);

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
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        raise_all(self.platform().collateral().sightings().into_iter(), seen)
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
