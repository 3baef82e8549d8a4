//! Places of which nobody has more than a part, whoever came first, so that there are some for others.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::{Code, Refusal, Result};

/// How many places each identity has taken; clones are the same.
#[derive(Clone)]
pub(super) struct Shares {
    most: usize,
    taken: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// A place of one identity, until it is dropped.
pub(super) struct Share {
    identity: Arc<str>,
    of: Shares,
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("most", &self.most).finish_non_exhaustive()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share")
    }
}

impl Shares {
    /// Of `most` places each.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place for `identity`.
    ///
    /// # Errors
    /// `busy` it has all that one may have.
    pub(super) fn take(&self, identity: &Arc<str>) -> Result<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(identity).copied().unwrap_or(0);
        if own >= self.most {
            return Err(Refusal::new(Code::Busy, "requests of one identity").got(own).want(self.most));
        }
        taken.insert(Arc::clone(identity), own.saturating_add(1));
        drop(taken);
        Ok(Share { identity: Arc::clone(identity), of: self.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.identity) {
            Some(own) if *own > 1 => *own = own.saturating_sub(1),
            // Whoever has none left is forgotten.
            _ => drop(taken.remove(&self.identity)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_identity_at_their_number_accepted_one_more_refused_and_others_served() {
        let (shares, a, b) = (Shares::new(2), Arc::from("a"), Arc::from("b"));
        let (one, two) = (shares.take(&a).unwrap(), shares.take(&a).unwrap());
        assert_eq!(shares.take(&a).unwrap_err().code, Code::Busy);
        let other = shares.take(&b).unwrap();
        drop(one);
        let again = shares.clone().take(&a).unwrap();
        assert_eq!(shares.take(&a).unwrap_err().code, Code::Busy);
        drop((two, other, again));
        assert!(shares.taken.lock().unwrap().is_empty());
    }
}
