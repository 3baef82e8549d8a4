//! The one error of Strongroom: a stable code, what was looked at, what was found and what was wanted.
//!
//! Three readers: the operator sees all of it ([`fmt::Display`], never a secret), calling code matches on [`Refusal::code`],
//! the remote peer gets the code alone unless the answer's own specification says otherwise.

use crate::{Code, Fault};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize};

/// What every fallible function of Strongroom's libraries returns.
pub type Result<T> = core::result::Result<T, Refusal>;

/// Something that was not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What was looked at or attempted: lower case, one line, no full stop.
    #[serde(deserialize_with = "printable_text")]
    pub what: String,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "printable_option")]
    pub got: Option<String>,
    /// What would have been accepted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "printable_option")]
    pub want: Option<String>,
}

/// Characters of a part of a refusal. A list of a few approved measurements stays whole; whatever a peer sends does not
/// fill a log.
const LONGEST: usize = 1000;

/// A peer's text cannot erase, move or forge lines of a terminal or a log: control characters are replaced, and what is
/// over [`LONGEST`] is cut.
fn printable(mut text: String) -> String {
    // Nearly all of it is ASCII, and a verification makes some forty texts.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        if text.len() > LONGEST {
            text.truncate(LONGEST);
            text.push('…');
        }
        return text;
    }
    if text.len() <= LONGEST && !text.contains(char::is_control) {
        return text;
    }
    let mut shown: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn printable_text<'de, D: Deserializer<'de>>(deserializer: D) -> core::result::Result<String, D::Error> {
    String::deserialize(deserializer).map(printable)
}

fn printable_option<'de, D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(printable))
}

impl Refusal {
    /// A refusal of `code` about `what`.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: printable(what.into()), got: None, want: None }
    }

    /// Adds what was found. Never a secret.
    #[must_use]
    pub fn got(mut self, got: impl fmt::Display) -> Self {
        self.got = Some(printable(got.to_string()));
        self
    }

    /// Adds what would have been accepted.
    #[must_use]
    pub fn want(mut self, want: impl fmt::Display) -> Self {
        self.want = Some(printable(want.to_string()));
        self
    }

    /// Adds the cause after a colon.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.what = printable(format!("{}: {cause}", self.what));
        self
    }

    /// Says where it happened, before what happened.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.what = printable(format!("{place}: {}", self.what));
        self
    }

    /// Bytes without the shape that `format` demands.
    pub fn malformed(format: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::new(Code::Malformed, format).because(cause)
    }

    /// An input over its limit, both in bytes (or items).
    pub fn too_large(what: impl Into<String>, got: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self::new(Code::TooLarge, what).got(got).want(format!("at most {limit}"))
    }

    /// A failed system call on `path`.
    pub fn io(path: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Code::Io, format!("`{path}`")).because(error)
    }

    /// Who has to act.
    pub const fn fault(&self) -> Fault {
        self.code.fault()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.what)?;
        if let Some(got) = &self.got {
            write!(f, ", got `{got}`")?;
        }
        if let Some(want) = &self.want {
            write!(f, ", want `{want}`")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// One check of an appraisal, held or not. An appraisal makes all of them and reports all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The check's stable name, kebab-case.
    pub name: String,
    /// Whether it held. A check that could not run did not hold.
    pub ok: bool,
    /// The refusal code where it did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// What policy or specification demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub want: Option<String>,
}

impl Check {
    /// A check whose outcome is `ok`; `code` is what it refuses with.
    pub fn new(name: &str, ok: bool, code: Code, got: impl fmt::Display, want: impl fmt::Display) -> Self {
        Self {
            name: printable(name.to_owned()),
            ok,
            code: (!ok).then_some(code),
            got: Some(printable(got.to_string())),
            want: Some(printable(want.to_string())),
        }
    }

    /// The refusal of a check that did not hold.
    pub fn refusal(&self) -> Option<Refusal> {
        let code = self.code.filter(|_| !self.ok)?;
        Some(Refusal { code, what: self.name.clone(), got: self.got.clone(), want: self.want.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_cannot_forge_lines_and_is_cut() {
        let forged = "x\u{1b}[2J\naccepted under root amd";
        let refusal = Refusal::new(Code::Malformed, forged).got(forged).want(forged).because(forged).within(forged);
        let check = Check::new(forged, false, Code::Malformed, forged, forged);
        let json = serde_json::json!({ "code": "malformed", "what": forged, "got": forged, "want": forged });
        let received: Refusal = serde_json::from_value(json).unwrap();
        for text in [refusal.to_string(), received.to_string(), check.refusal().unwrap().to_string()] {
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains("accepted under root amd"));
        }
        assert_eq!(Refusal::new(Code::Malformed, "x".repeat(1001)).what, format!("{}…", "x".repeat(1000)));
        assert_eq!(Refusal::new(Code::Malformed, "x".repeat(1000)).what, "x".repeat(1000));
    }

    #[test]
    fn refusal_survives_json_and_is_shown_with_all_that_it_has() {
        let refusal = Refusal::new(Code::TooLarge, "thing").got(2).want("at most 1").because("cause").within("place");
        let json = serde_json::to_value(&refusal).unwrap();
        let want =
            serde_json::json!({ "code": "too-large", "what": "place: thing: cause", "got": "2", "want": "at most 1" });
        assert_eq!(json, want);
        assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
        assert_eq!(refusal.to_string(), "too-large: place: thing: cause, got `2`, want `at most 1`");
        assert_eq!(refusal.fault(), Fault::Refused);
        let bare: Refusal = serde_json::from_str(r#"{"code":"io","what":"x"}"#).unwrap();
        assert_eq!((bare.to_string(), bare.fault()), ("io: x".to_owned(), Fault::Environment));
    }

    #[test]
    fn only_a_check_that_did_not_hold_is_a_refusal() {
        let check = |ok| Check::new("name", ok, Code::TooLarge, 2, 1);
        assert_eq!(check(true).refusal(), None);
        assert_eq!(check(false).refusal().unwrap(), Refusal::new(Code::TooLarge, "name").got(2).want(1));
        assert_eq!((check(true).code, check(false).code), (None, Some(Code::TooLarge)));
        let contradictory = Check { ok: true, ..check(false) };
        assert_eq!(contradictory.refusal(), None);
    }
}
