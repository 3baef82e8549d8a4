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

use crate::dsse::Signers;
use crate::policy::Floor;
use crate::seen::{Seen, SeenKind};
use crate::window::{Validity, Window};
use crate::{Hex, Policy, UnixTime};
use core::ops::RangeInclusive;
use serde::Deserialize;
use std::collections::BTreeMap;
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::inventory::{Inventory, Machine};
use strongroom_wire::{Code, Refusal, Result};

/// An inventory that a policy takes machines from: an entry of its `[[inventory]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InventorySource {
    /// The inventory's name. Versions of inventories of different names are never compared.
    pub name: String,
    /// Who must have signed it.
    pub signers: Signers,
    /// Its version; by default any, which leaves rollback to the memory of what was seen.
    #[serde(default = "remembered")]
    pub version: Floor<u64>,
}

fn remembered() -> Floor<u64> {
    Floor::any("the memory of what was seen judges it")
}

/// An inventory that enough of a source's keys signed and that was valid when it was looked at.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `InventorySource::verify`.
/// let forged = strongroom_appraisal::VerifiedInventory { inventory: todo!(), digest: todo!(), signers: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedInventory {
    inventory: Inventory,
    digest: Sha256,
    /// Of the source's signers.
    signers: Sha256,
}

/// Verified inventories by name.
pub(crate) type Inventories = BTreeMap<String, VerifiedInventory>;

impl InventorySource {
    /// Verifies that `envelope` is this source's inventory at `now`: signatures first, then shape, name, dates and version.
    ///
    /// # Errors
    /// `signature-invalid`; what [`Inventory::parse`] refuses; `inventory-invalid`: of another name; `inventory-not-yet-valid`,
    /// `inventory-expired`; `inventory-rolled-back` below the policy's version.
    pub fn verify(&self, envelope: &Envelope, now: UnixTime) -> Result<VerifiedInventory> {
        let what = format!("inventory `{}`", self.name);
        let payload =
            self.signers.verify(envelope, Inventory::PAYLOAD_TYPE).map_err(|refusal| refusal.within(&what))?;
        let inventory = Inventory::parse(&payload)?;
        if inventory.name != self.name {
            let refusal = Refusal::new(Code::InventoryInvalid, "name of an inventory");
            return Err(refusal.got(&inventory.name).want(&self.name));
        }
        validity(&inventory).verify(now)?;
        let code = Code::InventoryRolledBack;
        let newest = self.version.check(&format!("version of {what}"), code, Some(&inventory.version), u64::ge);
        if let Some(refusal) = newest.refusal() {
            return Err(refusal);
        }
        Ok(VerifiedInventory { inventory, digest: Sha256::of(&payload), signers: self.signers.digest() })
    }
}

impl VerifiedInventory {
    /// The machines, each with the times at which it may be used.
    pub fn machines(&self) -> &[Machine] {
        &self.inventory.machines
    }

    /// Refuses a version lower than one of the same name from a source with the same signers that `seen` remembers, and another
    /// document of that version (`inventory-rolled-back`); else remembers this one.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        let Inventory { name, version, .. } = &self.inventory;
        seen.check_and_raise_document(SeenKind::Inventory, &format!("{name}/{}", self.signers), *version, self.digest)
    }

    /// The ids of one kind.
    pub(crate) fn ids<const N: usize>(
        &self,
        id: impl Fn(&Machine) -> Option<[u8; N]>,
    ) -> Vec<(Hex<N>, RangeInclusive<UnixTime>)> {
        let listed = |machine: &Machine| Some((Hex(id(machine)?), machine.from..=machine.until));
        self.machines().iter().filter_map(listed).collect()
    }

    /// When it is valid.
    pub(crate) fn validity(&self) -> Validity {
        validity(&self.inventory)
    }
}

fn validity(inventory: &Inventory) -> Validity {
    Validity {
        of: format!("inventory `{}`", inventory.name),
        window: Window::ALWAYS.and((inventory.issued, inventory.expires)),
        early: Code::InventoryNotYetValid,
        late: Code::InventoryExpired,
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
    /// What [`InventorySource::verify`] and [`VerifiedInventory::verify_newest`] refuse; `inventory-invalid`: one that the
    /// policy does not name, or two of one name; `inventory-missing`: one was not given.
    pub fn with_inventories(&self, envelopes: &[&[u8]], seen: &mut Seen, now: UnixTime) -> Result<Self> {
        let sources = self.inventory_sources();
        let (mut given, mut raised) = (Inventories::new(), seen.clone());
        for envelope in envelopes {
            let envelope = Envelope::parse(envelope)?;
            // The name is not verified yet. It only chooses whose keys are asked, and is compared again under their signature.
            let name = Inventory::parse(&envelope.payload)?.name;
            let source = sources.iter().find(|source| source.name == name).ok_or_else(|| {
                let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
                Refusal::new(Code::InventoryInvalid, "inventory that the policy does not name")
                    .got(&name)
                    .want(names.join(" or "))
            })?;
            let verified = source.verify(&envelope, now)?;
            verified.verify_newest(&mut raised)?;
            if given.insert(name, verified).is_some() {
                let what = format!("inventory `{}`", source.name);
                return Err(Refusal::new(Code::InventoryInvalid, what).got("given twice").want("once"));
            }
        }
        if let Some(missing) = sources.iter().find(|source| !given.contains_key(&source.name)) {
            let what = format!("inventory `{}`", missing.name);
            return Err(Refusal::new(Code::InventoryMissing, what).got("not given").want("the signed inventory"));
        }
        let policy = if given.is_empty() { self.clone() } else { self.listing(&given, self.digest_with(&given)) };
        *seen = raised;
        Ok(policy)
    }

    /// `SHA-256("strongroom/policy-with-inventories/v1\0" ‖ policy digest ‖ digest of each document, in the order of names)`.
    fn digest_with(&self, inventories: &Inventories) -> Sha256 {
        let mut bytes = b"strongroom/policy-with-inventories/v1\0".to_vec();
        bytes.extend_from_slice(&self.digest().0);
        inventories.values().for_each(|inventory| bytes.extend_from_slice(&inventory.digest.0));
        Sha256::of(&bytes)
    }
}
