//! What an administrator says of a key, for policies to ask about: whose it is, and labels.

use core::fmt;
use serde::Serialize;
use std::collections::BTreeSet;
use strongroom_wire::{Code, Refusal, Result, limits};

/// An owner and labels, of letters, digits, `-`, `_`, `.`, `:` and `@`: nothing that a query has to encode or a table to escape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tags {
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
}

impl Tags {
    /// Those of a query, `owner=NAME&label=NAME&label=NAME`, all of which may be absent.
    ///
    /// # Errors
    /// `request-invalid`; `too-large`: more than [`limits::KEY_LABELS`].
    pub(crate) fn parse(query: &str) -> Result<Self> {
        let mut tags = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let invalid = || {
                let want = format!(
                    "owner=NAME once and label=NAME, each once, of at most {} letters, digits, `-`, `_`, `.`, `:` and `@`",
                    limits::KEY_LABEL
                );
                Refusal::new(Code::RequestInvalid, "query").got(pair).want(want)
            };
            let new = match pair.split_once('=').filter(|(_, name)| is_name(name)).ok_or_else(invalid)? {
                ("owner", name) => tags.owner.replace(name.to_owned()).is_none(),
                ("label", name) => tags.labels.insert(name.to_owned()),
                _ => false,
            };
            if !new {
                return Err(invalid());
            }
        }
        if tags.labels.len() > limits::KEY_LABELS {
            return Err(Refusal::too_large("labels of a key", tags.labels.len(), limits::KEY_LABELS));
        }
        Ok(tags)
    }

    /// Those of a row, as [`Self::owner`] and [`Self::lines`] gave them.
    pub(crate) fn stored(owner: String, lines: &str) -> Self {
        let owner = Some(owner).filter(|owner| !owner.is_empty());
        Self { owner, labels: lines.lines().map(str::to_owned).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owner.is_none() && self.labels.is_empty()
    }

    /// The owner's name; empty where there is none.
    pub(crate) fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or_default()
    }

    /// All labels, sorted.
    pub(crate) const fn labels(&self) -> &BTreeSet<String> {
        &self.labels
    }

    /// All labels, each followed by a line feed.
    pub(crate) fn lines(&self) -> String {
        self.labels.iter().flat_map(|label| [label, "\n"]).collect()
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(String::as_str).collect();
        write!(f, "owner `{}`, labels `{}`", self.owner(), labels.join(" "))
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    (1..=limits::KEY_LABEL).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(query: &str) -> Option<Code> {
        Tags::parse(query).err().map(|refusal| refusal.code)
    }

    #[test]
    fn owner_and_labels_are_read_and_stored_and_read_again() {
        for (query, owner, lines) in [
            ("", "", ""),
            ("owner=alice@example.org", "alice@example.org", ""),
            ("label=eu&owner=team:a&label=a_b.c-D9", "team:a", "a_b.c-D9\neu\n"),
        ] {
            let tags = Tags::parse(query).unwrap();
            assert_eq!((tags.owner(), tags.lines().as_str()), (owner, lines), "{query}");
            assert_eq!(tags.is_empty(), query.is_empty());
            assert_eq!(Tags::stored(owner.into(), lines), tags, "{query}");
        }
    }

    #[test]
    fn queries_that_name_something_else_or_twice_refused() {
        for query in [
            "owner",
            "owner=",
            "owner=a&owner=a",
            "label=a&label=a",
            "label=a/b",
            "label=a%20b",
            "label=a b",
            "x=y",
            "label=\u{e4}",
        ] {
            assert_eq!(code(query), Some(Code::RequestInvalid), "{query}");
        }
    }

    #[test]
    fn as_much_as_the_limits_accepted_and_more_refused() {
        let labels = |count: usize| (0..count).map(|n| format!("label={n}&")).collect::<String>();
        assert_eq!(code(&labels(limits::KEY_LABELS)), None);
        assert_eq!(code(&labels(limits::KEY_LABELS + 1)), Some(Code::TooLarge));
        for name in ["owner", "label"] {
            assert_eq!(code(&format!("{name}={}", "a".repeat(limits::KEY_LABEL))), None);
            assert_eq!(code(&format!("{name}={}", "a".repeat(limits::KEY_LABEL + 1))), Some(Code::RequestInvalid));
        }
    }
}
