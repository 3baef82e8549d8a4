//! What verifying the store, its documents and policies came to, in memory: each of these is read, verified and parsed once, however often anybody makes
//! this verifier look at its policies. Which document is the one of a name and its signers, the rows alone say; whether it
//! counts is judged each time.

use super::end::LastEnd;
use super::openings::Opening;
use super::policies::StoredPolicy;
use super::policy_sets::Parsed;
use super::tables::Name;
use crate::revocation::{Mark, Revocation};
use crate::route_table::RouteTable;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::{ReferenceValues, Seen, Verified};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;
use strongroom_wire::inventory::Inventory;

/// Documents of one kind that are remembered, of up to [`strongroom_wire::limits::STORED_DOCUMENT`] bytes each.
const DOCUMENTS: usize = 128;

/// What verifying a document under its signers came to, whatever its dates are.
pub(super) type Outcome<D> = Arc<Result<Verified<D>>>;

/// All kinds, what whole tables came to, and where the store ended last.
#[derive(Debug, Default)]
pub(super) struct VerifiedDocuments {
    pub(super) reference_values: Memory<ReferenceValues>,
    pub(super) inventories: Memory<Inventory>,
    pub(super) policies: Parsed,
    pub(super) last: LastEnd,
    pub(super) release_policies: Whole<Vec<Arc<StoredPolicy>>>,
    pub(super) seen: Whole<Seen>,
    pub(super) revocations: Whole<BTreeMap<Mark, Revocation>>,
    pub(super) routes: Whole<RouteTable>,
    pub(super) openings: Whole<BTreeMap<String, Vec<Opening>>>,
}

/// What all rows of a table came to when it had just these rows, each of which was verified. A row that is changed has another code,
/// and the set of all codes is verified before this is asked: what is here is what is in force, however often it is asked for.
#[derive(Debug)]
pub(super) struct Whole<T>(Mutex<Option<OfRows<T>>>);

/// Rows of a table, and what they came to.
type OfRows<T> = (Arc<Vec<Name>>, Arc<T>);

impl<T> Whole<T> {
    /// What the table came to that has these rows.
    pub(super) fn get(&self, names: Option<&Arc<Vec<Name>>>) -> Option<Arc<T>> {
        let (names, mut whole) = (names?, self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (of, value) = whole.as_mut()?;
        if !Arc::ptr_eq(names, of) {
            if names != of {
                return None;
            }
            // Found at once the next time.
            *of = Arc::clone(names);
        }
        Some(Arc::clone(value))
    }

    /// Keeps it. `None`: which rows it has is not known, so that nothing is kept.
    pub(super) fn put(&self, names: Option<Arc<Vec<Name>>>, value: T) -> Arc<T> {
        let value = Arc::new(value);
        if let Some(names) = names {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((names, Arc::clone(&value)));
        }
        value
    }
}

impl<T> Default for Whole<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Documents of one kind.
#[derive(Debug)]
pub(super) struct Memory<D>(Mutex<BTreeMap<(String, Sha256), Remembered<D>>>);

#[derive(Debug)]
struct Remembered<D> {
    /// The code of the row, which covers kind, name, signers and envelope.
    mac: Vec<u8>,
    outcome: Outcome<D>,
}

impl<D> Memory<D> {
    /// What the document of `name` by `signers` came to, if it was in a row of this code.
    pub(super) fn get(&self, name: &str, signers: Sha256, mac: &[u8]) -> Option<Outcome<D>> {
        let documents = self.lock();
        let remembered = documents.get(&(name.to_owned(), signers)).filter(|remembered| remembered.mac == mac)?;
        Some(Arc::clone(&remembered.outcome))
    }

    /// Remembers it in the place of what was of that name and signers; where there is no room, in that of any other.
    pub(super) fn put(&self, name: &str, signers: Sha256, mac: Vec<u8>, outcome: Outcome<D>) {
        let mut documents = self.lock();
        documents.insert((name.to_owned(), signers), Remembered { mac, outcome });
        if documents.len() > DOCUMENTS {
            documents.pop_first();
        }
    }

    /// No entry is ever half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Sha256), Remembered<D>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Default for Memory<D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::{Code, Refusal};

    #[test]
    fn what_rows_came_to_is_kept_for_the_same_rows_and_for_no_others() {
        let (whole, name) = (Whole::default(), |mac| Name { id: "a".into(), version: 1, mac: vec![mac] });
        let [rows, same, others] = [7, 7, 8].map(|mac| Arc::new(vec![name(mac)]));
        assert_eq!(whole.get(Some(&rows)), None::<Arc<u8>>);
        whole.put(Some(Arc::clone(&rows)), 1);
        assert_eq!(whole.get(Some(&same)), Some(Arc::new(1)));
        assert_eq!(Arc::strong_count(&same), 2, "told by where it is the next time, not by what is in it");
        assert_eq!((whole.get(Some(&others)), whole.get(None)), (None, None));
        whole.put(None, 2);
        assert_eq!(whole.get(Some(&same)), Some(Arc::new(1)), "of rows that nobody knows nothing is kept");
    }

    #[test]
    fn outcome_is_of_one_row_and_no_more_are_remembered_than_there_is_room_for() {
        let memory = Memory::<Inventory>::default();
        let outcome = || Arc::new(Err(Refusal::new(Code::SignatureInvalid, "test")));
        let [one, other] = [Sha256([1; 32]), Sha256([2; 32])];
        memory.put("fleet", one, vec![7], outcome());
        assert!(memory.get("fleet", one, &[7]).is_some());
        for (name, signers, mac) in [("fleet", one, [8]), ("fleet", other, [7]), ("image", one, [7])] {
            assert!(memory.get(name, signers, &mac).is_none());
        }
        memory.put("fleet", one, vec![8], outcome());
        assert!(memory.get("fleet", one, &[7]).is_none() && memory.get("fleet", one, &[8]).is_some());
        (0..2 * DOCUMENTS).for_each(|n| memory.put(&n.to_string(), one, vec![7], outcome()));
        assert_eq!(memory.lock().len(), DOCUMENTS);
    }
}
