//! Which machines: named one by one, or as an inventory that somebody signed.

use super::{Hex, Rule};
use serde::Deserialize;
use std::collections::BTreeSet;
use strongroom_wire::{Check, Code};

/// Which machines, by an id of `N` bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Machines<const N: usize> {
    /// This one.
    Exactly(Hex<N>),
    /// One of these, at least one.
    OneOf(Vec<Hex<N>>),
    /// Those of the inventory of that name (`Policy::with_inventories`). Before it is taken there are none.
    Inventory(String),
    /// Those of an inventory that was taken.
    #[serde(skip)]
    Listed {
        /// Its name.
        inventory: String,
        /// Their ids.
        ids: BTreeSet<Hex<N>>,
    },
    /// Whichever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

impl<const N: usize> Machines<N> {
    /// Whether the machine of this id is one of them.
    pub fn allows(&self, id: &Hex<N>) -> bool {
        match self {
            Self::Exactly(want) => want == id,
            Self::OneOf(wanted) => wanted.contains(id),
            Self::Inventory(_) => false,
            Self::Listed { ids, .. } => ids.contains(id),
            Self::Any { .. } => true,
        }
    }

    /// The check of that name.
    pub(crate) fn check(&self, name: &str, got: [u8; N]) -> Check {
        let (got, shown) = (Hex(got), Hex(got).to_string());
        let (code, want) = match self {
            Self::Exactly(want) => (Code::PlatformNotApproved, want.to_string()),
            Self::OneOf(wanted) => (Code::PlatformNotApproved, Rule::OneOf(wanted.clone()).describe(Hex::to_string)),
            Self::Inventory(name) => (Code::InventoryMissing, format!("a machine of inventory `{name}`, not given")),
            Self::Listed { inventory, ids } => {
                (Code::PlatformNotApproved, format!("one of {} machines of inventory `{inventory}`", ids.len()))
            }
            Self::Any { because } => (Code::PlatformNotApproved, format!("any, because {because}")),
        };
        Check::new(name, self.allows(&got), code, shown, want)
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Exactly(_) | Self::Inventory(_) | Self::Listed { .. } => true,
            Self::OneOf(wanted) => !wanted.is_empty(),
            Self::Any { because } => !because.trim().is_empty(),
        }
    }

    /// The inventory that is still to be taken.
    pub(super) fn inventory(&self) -> Option<&str> {
        match self {
            Self::Inventory(name) => Some(name),
            _ => None,
        }
    }

    /// Takes the ids of the inventory that it names.
    pub(super) fn list(&mut self, ids: impl FnOnce(&str) -> Option<Vec<Hex<N>>>) {
        if let Self::Inventory(name) = self
            && let Some(ids) = ids(name)
        {
            *self = Self::Listed { inventory: core::mem::take(name), ids: ids.into_iter().collect() };
        }
    }

    /// Whichever it is, for that reason.
    pub(super) fn any(because: &str) -> Self {
        Self::Any { because: because.to_owned() }
    }
}
