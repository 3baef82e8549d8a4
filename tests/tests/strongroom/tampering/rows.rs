//! What is changed, and what it is refused with.

mod directory;
mod signed;
mod stored;

use super::stage::Stage;
use strongroom_wire::Code;

/// The command that refuses.
#[derive(Clone, Copy)]
pub(super) enum By {
    Verify,
    Pull,
    Open,
}

/// One change.
pub(super) struct Row {
    pub(super) part: &'static str,
    pub(super) change: &'static str,
    pub(super) by: By,
    pub(super) code: Code,
    /// Makes the change, and gives what the command is to be called with.
    pub(super) tamper: fn(&Stage) -> String,
    /// Whether it is about the signature of an identity.
    pub(super) needs_identity: bool,
}

const fn row(part: &'static str, change: &'static str, by: By, code: Code, tamper: fn(&Stage) -> String) -> Row {
    Row { part, change, by, code, tamper, needs_identity: false }
}

const fn keyless(part: &'static str, change: &'static str, code: Code, tamper: fn(&Stage) -> String) -> Row {
    Row { part, change, by: By::Verify, code, tamper, needs_identity: true }
}

/// All of them, in the order of the document.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    [stored::ROWS, signed::ROWS, directory::ROWS].into_iter().flatten()
}
