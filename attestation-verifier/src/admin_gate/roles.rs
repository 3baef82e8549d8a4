//! What people may do, and which of the configuration's entries speak of a login.

use core::fmt;
use serde::Deserialize;
use std::collections::BTreeSet;

use super::{Administrator, Login, Person};
use crate::config::AdminEntry;

/// What the break-glass token's bearer is called, and how they came in. Nobody knows who that is, so it is always the same person.
pub(super) const BREAK_GLASS: &str = "break-glass";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads. Every role does.
    Viewer,
    /// Changes.
    Operator,
    /// Approves what others want to change, and rejects it.
    Approver,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
        })
    }
}

/// Those of one person.
#[derive(Debug, Default)]
pub(super) struct Roles(BTreeSet<Role>);

impl Roles {
    pub(super) fn have(&self, role: Role) -> bool {
        self.0.contains(&role) || (role == Role::Viewer && !self.0.is_empty())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<String> = self.0.iter().map(Role::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

/// The `[[admin]]` entries of the configuration.
#[derive(Debug)]
pub(super) struct Entries(Vec<AdminEntry>);

impl Entries {
    pub(super) const fn new(entries: Vec<AdminEntry>) -> Self {
        Self(entries)
    }

    /// The person behind a login, with the roles of all entries that speak of it.
    pub(super) fn administrator(&self, login: &Login) -> Administrator {
        let entries = self.0.iter().filter(|entry| speaks_of(entry, login));
        let (mut roles, mut name) = (BTreeSet::new(), None);
        for entry in entries {
            roles.extend(&entry.roles);
            name = name.or(entry.name.clone());
        }
        let (called, by) = match login {
            Login::BreakGlass => {
                // No approver: who asked for a change as somebody else may have the token too.
                roles.extend([Role::Viewer, Role::Operator]);
                (BREAK_GLASS.to_owned(), BREAK_GLASS)
            }
            Login::Certificate(name) => (name.clone(), "certificate"),
            Login::Token { issuer, subject, .. } => (format!("{issuer}#{subject}"), "token"),
        };
        let person = match name {
            Some(name) => Person { name, by: by.to_owned(), login: Some(called) },
            None => Person { name: called, by: by.to_owned(), login: None },
        };
        Administrator { person, roles: Roles(roles) }
    }
}

fn speaks_of(entry: &AdminEntry, login: &Login) -> bool {
    match login {
        Login::BreakGlass => false,
        Login::Certificate(name) => entry.certificate.as_deref().is_some_and(|pattern| matches(pattern, name)),
        Login::Token { issuer, subject, groups } => {
            entry.issuer.as_ref() == Some(issuer)
                && (entry.subject.as_ref() == Some(subject)
                    || entry.group.as_ref().is_some_and(|group| groups.contains(group)))
        }
    }
}

/// Whether `name` is `pattern`, in which one `*` stands for one or more characters other than `/`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let rest = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            rest.is_some_and(|any| !any.is_empty() && !any.contains('/'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_one_part_of_a_name() {
        for (pattern, name, want) in [
            ("spiffe://a/ops/x", "spiffe://a/ops/x", true),
            ("spiffe://a/ops/x", "spiffe://a/ops/xy", false),
            ("spiffe://a/ops/*", "spiffe://a/ops/x", true),
            ("spiffe://a/ops/*", "spiffe://a/ops/", false),
            ("spiffe://a/ops/*", "spiffe://a/ops/x/y", false),
            ("mailto:*@example.org", "mailto:a@example.org", true),
            ("mailto:*@example.org", "mailto:a@example.org.evil", false),
            ("mailto:*@example.org", "mailto:@example.org", false),
            ("aXa*aXa", "aXa", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    fn entry(toml: &str) -> AdminEntry {
        toml::from_str(toml).unwrap()
    }

    fn token(subject: &str, groups: &[&str]) -> Login {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Login::Token { issuer: "i".into(), subject: subject.into(), groups }
    }

    #[test]
    fn roles_of_all_entries_that_speak_of_a_login_are_a_person_s() {
        let entries = Entries::new(vec![
            entry("issuer = 'i'\ngroup = 'g'\nroles = ['operator']"),
            entry("name = 'alice'\nissuer = 'i'\nsubject = 's'\nroles = ['approver']"),
            entry("name = 'alice'\ncertificate = 'mailto:a@b'\nroles = ['viewer']"),
            entry("issuer = 'other'\nsubject = 'x'\nroles = ['operator']"),
        ]);
        let of = |login: &Login| {
            let administrator = entries.administrator(login);
            (administrator.person.name.clone(), administrator.roles.to_string())
        };
        assert_eq!(of(&token("s", &["g"])), ("alice".into(), "operator, approver".into()));
        assert_eq!(of(&token("s", &[])), ("alice".into(), "approver".into()));
        assert_eq!(of(&token("t", &["f", "g"])), ("i#t".into(), "operator".into()));
        assert_eq!(of(&token("x", &[])), ("i#x".into(), "none".into()), "of another issuer");
        assert_eq!(of(&Login::Certificate("mailto:a@b".into())), ("alice".into(), "viewer".into()));
        assert_eq!(of(&Login::Certificate("s".into())), ("s".into(), "none".into()));
    }

    #[test]
    fn every_role_reads_and_no_role_is_another_s() {
        let all = [Role::Viewer, Role::Operator, Role::Approver];
        for own in all {
            let roles = Roles(BTreeSet::from([own]));
            for asked in all {
                assert_eq!(roles.have(asked), asked == own || asked == Role::Viewer, "{own} {asked}");
            }
        }
        assert!(!Roles::default().have(Role::Viewer));
    }
}
