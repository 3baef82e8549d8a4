//! Which rows there are, in memory: each by what it is found by and its own code, table by table, as the master key authenticates
//! all of them together. A decision asks here first what the database has to have, and is refused where that has something else.
//!
//! Nobody reads it anew while it is known to be so: in one decision, and from one to the next where nobody but this verifier can have
//! committed anything between them (`database.rs`). Who reads alone goes by the set that was verified last where the code of the
//! whole set is still that one, and compares each row with it.

use super::authentic::Content;
use super::failed;
use super::tables::{Name, TABLES, Table};
use futures_util::TryStreamExt as _;
use sqlx::{AnyConnection, AssertSqlSafe, Either};
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};

/// All rows that are authenticated as a set.
#[derive(Debug, Clone)]
pub(super) struct Rows(Vec<OfTable>);

/// Those of one table, in its order.
#[derive(Debug, Clone)]
struct OfTable {
    names: Arc<Vec<Name>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They are authenticated.
    Authentic,
    /// They are what is in the database and is to be authenticated.
    Changed,
    /// Some were changed: which there are, the database alone knows.
    Unknown,
}

impl Rows {
    /// Those that the database has. Nothing is verified.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn read(sql: &mut AnyConnection) -> Result<Self> {
        let error = failed("rows");
        let selects = TABLES.iter().map(|table| table.names).collect::<Vec<_>>().join(";\n");
        // In one go: each of them would be a round trip.
        let mut answers = sqlx::raw_sql(AssertSqlSafe(selects)).fetch_many(sql);
        let mut tables = vec![Vec::new()];
        while let Some(answer) = answers.try_next().await.map_err(&error)? {
            match (answer, tables.last_mut()) {
                (Either::Right(row), Some(names)) => names.push(Name::of(&row).map_err(&error)?),
                _ => tables.push(Vec::new()),
            }
        }
        // Behind each table's rows stands that they are all.
        tables.pop();
        if tables.len() != TABLES.len() {
            return Err(Refusal::new(Code::StoreFailed, "store: tables").got(tables.len()).want(TABLES.len()));
        }
        let authentic = |names| OfTable { names: Arc::new(names), state: State::Authentic };
        Ok(Self(tables.into_iter().map(authentic).collect()))
    }

    /// What their code covers.
    pub(super) fn content(&self) -> Content {
        set(TABLES.iter().zip(&self.0).map(|(table, rows)| (table.name, rows.names.as_slice())))
    }

    /// Those of `table`; `None`: the database alone knows.
    pub(super) fn of(&self, table: &Table) -> Option<&Arc<Vec<Name>>> {
        let rows = self.0.get(place(table)?)?;
        (rows.state != State::Unknown).then_some(&rows.names)
    }

    /// Says that rows of `table` were put in, changed or taken out.
    pub(super) fn change(&mut self, table: &Table) {
        if let Some(rows) = place(table).and_then(|place| self.0.get_mut(place)) {
            rows.state = State::Unknown;
        }
    }

    /// Says that the row with this id, in a table without versions, has that code now.
    pub(super) fn change_row(&mut self, table: &Table, id: &str, mac: &[u8]) {
        let Some(rows) = place(table).and_then(|place| self.0.get_mut(place)) else { return };
        let at = rows.names.iter().position(|name| name.id == id);
        match at.and_then(|at| Arc::make_mut(&mut rows.names).get_mut(at)) {
            Some(name) if rows.state != State::Unknown => {
                name.mac = mac.to_vec();
                rows.state = State::Changed;
            }
            _ => rows.state = State::Unknown,
        }
    }

    /// Whether they are to be authenticated anew.
    pub(super) fn are_changed(&self) -> bool {
        self.0.iter().any(|rows| rows.state != State::Authentic)
    }

    /// Finds out what is not known. What has to be authenticated then is what [`Self::content`] says.
    ///
    /// # Errors
    /// `store-failed`.
    pub(super) async fn settle(&mut self, sql: &mut AnyConnection) -> Result<()> {
        for (table, rows) in TABLES.iter().zip(&mut self.0) {
            if rows.state == State::Unknown {
                rows.names = Arc::new(names(sql, table).await?);
            }
            rows.state = State::Authentic;
        }
        Ok(())
    }
}

/// The rows of one table as the database has them.
///
/// # Errors
/// `store-failed`.
pub(super) async fn names(sql: &mut AnyConnection, table: &Table) -> Result<Vec<Name>> {
    let error = failed("rows");
    let rows = sqlx::query(table.names).fetch_all(sql).await.map_err(&error)?;
    rows.iter().map(Name::of).collect::<sqlx::Result<_>>().map_err(&error)
}

fn place(table: &Table) -> Option<usize> {
    TABLES.iter().position(|one| one.name == table.name)
}

/// What all rows are authenticated by: each by what it is found by and its own code, which would only be looked at once it was
/// found.
fn set<'a>(tables: impl Iterator<Item = (&'static str, &'a [Name])>) -> Content {
    tables.enumerate().fold(Content::of("strongroom/stored-rows/v2"), |content, (at, (table, rows))| {
        let content = match at {
            // Keys and policies, which every store had from the start.
            0 | 1 => content,
            // A table that came later says nothing while it is empty: a store from before it still authenticates.
            _ if rows.is_empty() => return content,
            _ => content.field(table.as_bytes()),
        };
        // Lengths in memory are below 2^64.
        let content = content.number(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        rows.iter().fold(content, |content, row| {
            content.field(row.id.as_bytes()).field(&row.version.to_be_bytes()).field(&row.mac)
        })
    })
}

/// The code of the empty set, which is what a new store holds.
pub(super) fn nothing() -> Content {
    set(TABLES.iter().map(|table| (table.name, [].as_slice())))
}
