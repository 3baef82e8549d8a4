//! The tables whose rows the master key authenticates, one by one and as a set. Who adds a table adds it here, at the end;
//! that is all it takes for its rows to be in the set and to be carried to another master key.

use super::{documents, keys, policies, policy_sets, promotion_facts, promotions, seen};
use crate::master_key::MasterKey;
use sqlx::sqlite::SqliteRow;
use strongroom_wire::Result;

/// All of them, in an order that does not change.
pub(super) const TABLES: [Table; 7] = [
    keys::TABLE,
    policies::TABLE,
    seen::TABLE,
    documents::TABLE,
    promotions::TABLE,
    promotion_facts::TABLE,
    policy_sets::TABLE,
];

/// A table, each row of which its column `mac` authenticates. Statements are SQL.
pub(super) struct Table {
    /// What it is called.
    pub(super) name: &'static str,
    /// Selects of each row what [`Name`] has, in its order and in one that does not change.
    pub(super) names: &'static str,
    /// Selects all columns of the row whose `rowid` is the first parameter.
    pub(super) select: &'static str,
    /// Puts the second parameter in the place of the `mac` of that row and, where values are encrypted, the third in the place
    /// of the encrypted one.
    pub(super) update: &'static str,
    /// Verifies a row under the first key and gives what it has under the second.
    pub(super) rewrap: fn(&SqliteRow, &MasterKey, &MasterKey) -> Result<Rewrapped>,
}

/// What a row is found by, and what authenticates the rest of it.
pub(super) struct Name {
    pub(super) id: String,
    /// 0 where there are no versions.
    pub(super) version: i64,
    pub(super) mac: Vec<u8>,
    /// Its `rowid`.
    pub(super) row: i64,
}

/// What a row has under another master key.
pub(super) struct Rewrapped {
    pub(super) mac: Vec<u8>,
    /// The encrypted value, where the table has one.
    pub(super) sealed: Option<Vec<u8>>,
}
