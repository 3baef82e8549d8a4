//! Signed inventories: which machines are ours, kept by whoever runs them, so that a policy names the keeper instead of
//! repeating every machine.
//!
//! An inventory ([`strongroom_wire::inventory`]) is the payload of a DSSE envelope. The policy says who must have signed it:
//!
//! ```toml
//! [[inventory]]
//! name    = "fleet"
//! signers = { keys = ["-----BEGIN PUBLIC KEY----- …"], threshold = 1 }
//! version = { at-least = 7 }                                  # by default any
//! [snp]
//! chip = { inventory = "fleet" }
//! ```

use crate::seen::{Seen, SeenKind};
use crate::signed_document::{DocumentCodes, SignedDocument, Source, Verified, judge_each, verify_each};
use crate::{Hex, Listing, Policy, UnixTime};
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::inventory::{Inventory, Machine};
use strongroom_wire::{Code, Result};

/// An inventory that a policy takes machines from: an entry of its `[[inventory]]`.
pub type InventorySource = Source<Inventory>;

/// An inventory that enough of a source's keys signed and that was valid when it was looked at.
pub type VerifiedInventory = Verified<Inventory>;

/// Verified inventories by name.
pub(crate) type Inventories<'a> = BTreeMap<&'a str, &'a VerifiedInventory>;

impl SignedDocument for Inventory {
    const PAYLOAD_TYPE: &'static str = Self::PAYLOAD_TYPE;
    const WHAT: &'static str = "inventory";
    const SEEN: SeenKind = SeenKind::Inventory;
    const CODES: DocumentCodes = DocumentCodes {
        invalid: Code::InventoryInvalid,
        early: Code::InventoryNotYetValid,
        late: Code::InventoryExpired,
        missing: Code::InventoryMissing,
    };

    fn parse(payload: &[u8]) -> Result<Self> {
        Self::parse(payload)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn validity(&self) -> (UnixTime, UnixTime) {
        (self.issued, self.expires)
    }
}

impl VerifiedInventory {
    /// The ids of one kind, each with what is said of its machine.
    pub(crate) fn ids<const N: usize>(&self, id: impl Fn(&Machine) -> Option<[u8; N]>) -> Vec<(Hex<N>, Listing)> {
        let listing = |machine: &Machine| Listing { times: machine.from..=machine.until, zone: machine.zone.clone() };
        let listed = |machine: &Machine| Some((Hex(id(machine)?), listing(machine)));
        self.document().machines.iter().filter_map(listed).collect()
    }
}

impl Policy {
    /// The policy with the machines of every inventory that it names, which must be valid at `now` and again at the moment of
    /// each appraisal, as each machine must be. Its digest covers the policy and every inventory. A policy that names none
    /// stays as it is.
    ///
    /// `envelopes` are the signed inventories, in any order, one for each entry of the policy's `[[inventory]]`. On success
    /// `seen` remembers their versions; else it stays as it was. Under a policy whose inventories were not taken so, no
    /// machine is one of them (`inventory-missing`).
    ///
    /// # Errors
    /// What [`Source::verify`] and [`Verified::verify_newest`] refuse; `inventory-invalid`: one that the
    /// policy does not name, or two of one name; `inventory-missing`: one was not given.
    pub fn with_inventories(&self, envelopes: &[&[u8]], seen: &mut Seen, now: UnixTime) -> Result<Self> {
        let mut raised = seen.clone();
        let given = verify_each(self.inventory_sources(), envelopes, &mut raised, now)?;
        let policy = self.of_inventories(given.iter());
        *seen = raised;
        Ok(policy)
    }

    /// [`Self::with_inventories`] of inventories that were verified before.
    pub(crate) fn with_verified_inventories(&self, given: &[&VerifiedInventory], now: UnixTime) -> Result<Self> {
        Ok(self.of_inventories(judge_each(self.inventory_sources(), given, now)?.into_iter()))
    }

    fn of_inventories<'a>(&self, given: impl Iterator<Item = &'a VerifiedInventory>) -> Self {
        let given: Inventories<'_> = given.map(|one| (one.document().name.as_str(), one)).collect();
        if given.is_empty() { self.clone() } else { self.listing(&given, self.digest_with(&given)) }
    }

    /// `SHA-256("strongroom/policy-with-inventories/v1\0" ‖ policy digest ‖ digest of each document, in the order of names)`.
    fn digest_with(&self, inventories: &Inventories<'_>) -> Sha256 {
        let mut bytes = b"strongroom/policy-with-inventories/v1\0".to_vec();
        bytes.extend_from_slice(&self.digest().0);
        inventories.values().for_each(|inventory| bytes.extend_from_slice(&inventory.digest().0));
        Sha256::of(&bytes)
    }
}
