//! The tables whose rows the master key authenticates, one by one and as a set. Who adds a table adds it here, at the end;
//! that is all it takes for its rows to be in the set and to be carried to another master key.

use super::{
    changes, documents, keys, leases, openings, policies, policy_sets, promotion_facts, promotions, revocations,
    routes, seen,
};
use crate::master_key::MasterKey;
use sqlx::any::AnyRow;
use sqlx::{Result as SqlResult, Row as _};
use strongroom_wire::Result;

/// All of them, in an order that does not change.
pub(super) const TABLES: [Table; 11] = [
    keys::TABLE,
    policies::TABLE,
    seen::TABLE,
    documents::TABLE,
    promotions::TABLE,
    promotion_facts::TABLE,
    policy_sets::TABLE,
    changes::TABLE,
    revocations::TABLE,
    openings::TABLE,
    routes::TABLE,
];

/// Those whose rows are authenticated one by one alone, and carried to another master key as well.
pub(super) const APART: [Table; 1] = [leases::TABLE];

/// A table, each row of which its column `mac` authenticates.
pub(super) struct Table {
    /// What it is called.
    pub(super) name: &'static str,
    /// The columns of its primary key, in its order.
    pub(super) key: &'static [&'static str],
    /// SQL that selects of each row the columns that its id is made of, its version, and its `mac`; in an order that does not
    /// change, which text and bytes have by their bytes.
    pub(super) names: &'static str,
    /// Verifies a row under the first key and gives what it has under the second.
    pub(super) rewrap: fn(&AnyRow, &MasterKey, &MasterKey) -> Result<Rewrapped>,
}

/// What a row is found by, and what authenticates the rest of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The columns of its id, with a space between; bytes in hex.
    pub(super) id: String,
    /// 0 where there are no versions.
    pub(super) version: i64,
    pub(super) mac: Vec<u8>,
}

/// What a row has under another master key.
pub(super) struct Rewrapped {
    pub(super) mac: Vec<u8>,
    /// The encrypted value, where the table has one.
    pub(super) sealed: Option<Vec<u8>>,
}

/// A value of some column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Datum {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    /// Of a row of [`Table::names`].
    pub(super) fn of(row: &AnyRow) -> SqlResult<Self> {
        let of_id = row.len().saturating_sub(2);
        let id = (0..of_id).map(|at| Datum::of(row, at).map(Datum::in_id)).collect::<SqlResult<Vec<_>>>()?;
        Ok(Self { id: id.join(" "), version: row.try_get(of_id)?, mac: row.try_get(of_id.saturating_add(1))? })
    }
}

impl Datum {
    /// Of a column of a row, whatever its type is.
    pub(super) fn of(row: &AnyRow, at: usize) -> SqlResult<Self> {
        let number = row.try_get(at).map(Self::Number);
        number.or_else(|_| row.try_get(at).map(Self::Text)).or_else(|_| row.try_get(at).map(Self::Bytes))
    }

    fn in_id(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
            Self::Bytes(bytes) => hex::encode_upper(bytes),
        }
    }
}
