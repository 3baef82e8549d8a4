//! Which machines: named one by one, or as an inventory that somebody signed.

use super::{Hex, Rule};
use crate::UnixTime;
use core::ops::RangeInclusive;
use serde::Deserialize;
use std::collections::BTreeMap;
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
        /// Their ids, each with what is said of it.
        ids: BTreeMap<Hex<N>, Vec<Listing>>,
    },
    /// Whichever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// What an inventory says of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// When it may be used.
    pub times: RangeInclusive<UnixTime>,
    /// Where it stands.
    pub zone: Option<String>,
}

impl<const N: usize> Machines<N> {
    /// Whether the machine of this id is one of them, at whatever time. An appraisal asks [`Self::allows_at`].
    pub fn allows(&self, id: &Hex<N>) -> bool {
        match self {
            Self::Exactly(want) => want == id,
            Self::OneOf(wanted) => wanted.contains(id),
            Self::Inventory(_) => false,
            Self::Listed { ids, .. } => ids.contains_key(id),
            Self::Any { .. } => true,
        }
    }

    /// Whether the machine of this id is one of them that may be used at that moment.
    pub fn allows_at(&self, id: &Hex<N>, at: UnixTime) -> bool {
        match self {
            Self::Listed { ids, .. } => {
                ids.get(id).is_some_and(|listed| listed.iter().any(|one| one.times.contains(&at)))
            }
            _ => self.allows(id),
        }
    }

    /// Where the machine of this id stands at that moment, as the inventory says that was taken. Entries that count at once and
    /// name different zones, or one and none, say nothing.
    pub fn zone_at(&self, id: &Hex<N>, at: UnixTime) -> Option<&str> {
        let Self::Listed { ids, .. } = self else { return None };
        let mut zones = ids.get(id)?.iter().filter(|one| one.times.contains(&at)).map(|one| one.zone.as_deref());
        let zone = zones.next()??;
        zones.all(|other| other == Some(zone)).then_some(zone)
    }

    /// The check of that name.
    pub(crate) fn check(&self, name: &str, got: [u8; N], at: UnixTime) -> Check {
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
        Check::new(name, self.allows_at(&got, at), code, shown, want)
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
    pub(super) fn list(&mut self, listed: impl FnOnce(&str) -> Option<Vec<(Hex<N>, Listing)>>) {
        if let Self::Inventory(name) = self
            && let Some(listed) = listed(name)
        {
            let mut ids: BTreeMap<_, Vec<_>> = BTreeMap::new();
            listed.into_iter().for_each(|(id, listing)| ids.entry(id).or_default().push(listing));
            *self = Self::Listed { inventory: core::mem::take(name), ids };
        }
    }

    /// Whichever it is, for that reason.
    pub(super) fn any(because: &str) -> Self {
        Self::Any { because: because.to_owned() }
    }
}
