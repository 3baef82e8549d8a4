//! What a caller is known by.

use core::fmt;
use std::sync::Arc;
use strongroom_wire::deployment::IdentityKind;

/// Somebody who calls: a name, and by what they are known by it. Two that are equal are one, for policies, limits, queues and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    kind: IdentityKind,
    name: Arc<str>,
}

impl Identity {
    pub(super) fn new(kind: IdentityKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// By what it is known.
    pub const fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// The name of a principal, a SPIFFE id, or `<issuer>#<subject>`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    /// The kind, a colon, and the name: no two identities have the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
