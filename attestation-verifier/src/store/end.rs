//! Where this verifier last saw the store end: its log, and which rows are authenticated with that. What is in the database goes on
//! from there, or was put back. No row is ever changed without an entry of the log, so that a log of one length has one set of rows,
//! whichever verifier looks at it.

use super::rows::Rows;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_tlog::SignedNote;

/// An end of the store that was verified, or committed here.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The checkpoint.
    pub(super) note: SignedNote,
    /// How many entries there are.
    pub(super) size: u64,
    /// The code of the set of rows.
    pub(super) code: Vec<u8>,
    /// The set that has it, where that was looked at.
    rows: Option<Arc<Rows>>,
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct LastEnd(Mutex<Option<Arc<End>>>);

impl End {
    pub(super) const fn new(note: SignedNote, size: u64, code: Vec<u8>) -> Self {
        Self { note, size, code, rows: None }
    }

    /// The set of rows, where it has this code.
    pub(super) fn rows_of(&self, code: &[u8]) -> Option<Arc<Rows>> {
        self.rows.as_ref().filter(|_| self.code == code).map(Arc::clone)
    }
}

impl LastEnd {
    pub(super) fn get(&self) -> Option<Arc<End>> {
        self.lock().clone()
    }

    /// Keeps one that was verified to go on from `before`, unless that is not the last any more.
    pub(super) fn keep(&self, before: Option<&Arc<End>>, end: End) {
        let mut last = self.lock();
        if last.as_ref().map(Arc::as_ptr) == before.map(Arc::as_ptr) {
            replace(&mut last, end);
        }
    }

    /// Keeps one that was committed here.
    pub(super) fn commit(&self, end: End) {
        replace(&mut self.lock(), end);
    }

    /// Keeps the set of rows of the last, where this is its code.
    pub(super) fn learn(&self, code: &[u8], rows: &Arc<Rows>) {
        let mut last = self.lock();
        if let Some(end) = last.as_ref().filter(|end| end.code == code) {
            *last = Some(Arc::new(End { rows: Some(Arc::clone(rows)), ..End::clone(end) }));
        }
    }

    /// Keeps none any more: all of it is put under another master key.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// It is never half changed.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<End>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows that have the same code are the same.
fn replace(last: &mut Option<Arc<End>>, end: End) {
    let rows = last.as_ref().and_then(|last| last.rows_of(&end.code));
    *last = Some(Arc::new(End { rows, ..end }));
}
