//! The checks of an authentication, in the order in which they were made.

use strongroom_wire::{Check, Result};

/// Appends the outcome of a check and hands it on.
pub(crate) fn traced<T>(trace: &mut Vec<Check>, name: &str, outcome: Result<T>) -> Result<T> {
    let check = match &outcome {
        Ok(_) => Check { name: name.to_owned(), ok: true, code: None, got: None, want: None },
        Err(refusal) => Check {
            name: name.to_owned(),
            ok: false,
            code: Some(refusal.code),
            got: Some(refusal.got.clone().unwrap_or_else(|| refusal.what.clone())),
            want: refusal.want.clone(),
        },
    };
    trace.push(check);
    outcome
}

/// Says of the check that was made last on what it was decided.
pub(crate) fn found(trace: &mut [Check], got: &str) {
    if let Some(check) = trace.last_mut() {
        check.got = Some(got.to_owned());
    }
}
