//! From a bundle to a CoRIM.

use super::cbor::Item;
use super::*;
use crate::{Hex, Label, ReferenceValues, SnpGuest, SnpReferenceValues, TdxGuest, TdxReferenceValues};
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Code, Refusal, Result};

impl ReferenceValues {
    /// The guests of `platform` as an unsigned CoRIM. What was measured stands in no place of it (`inputs`).
    ///
    /// # Errors
    /// `reference-values-invalid`: no guests of that platform, or a value that its profile has no place for.
    pub fn to_corim(&self, platform: CorimPlatform) -> Result<Vec<u8>> {
        let (profile, comids) = match platform {
            CorimPlatform::Snp => {
                let snp = self.snp.as_ref().ok_or_else(|| unwritable("no SNP guests"))?;
                let [profile, ..] = SNP_PROFILES;
                (Item::tagged(URI, Item::text(profile)), snp.comids(self.version))
            }
            CorimPlatform::Tdx => {
                let tdx = self.tdx.as_ref().ok_or_else(|| unwritable("no TDX guests"))?;
                (Item::tagged(OID, Item::bytes(INTEL_PROFILE)), tdx.comids(self.version)?)
            }
        };
        let moment = |seconds: UnixTime| Item::tagged(EPOCH, Item::Integer(seconds.into()));
        let corim = Item::map([
            (0, Item::text(&format!("{}/{}", self.name, self.version))),
            (1, Item::Array(comids)),
            (3, profile),
            (4, Item::map([(0, moment(self.issued)), (1, moment(self.expires))])),
        ]);
        Ok(Item::tagged(CORIM, corim).encode())
    }
}

impl SnpReferenceValues {
    fn comids(&self, version: u64) -> Vec<Item> {
        self.guests
            .iter()
            .map(|guest| comid(&guest.label, version, class(Item::map([(0, self.class())])), self.measurements(guest)))
            .collect()
    }

    fn class(&self) -> Item {
        let [by_chip, _] = SNP_CLASSES;
        Item::tagged(OID, Item::bytes(by_chip))
    }

    fn measurements(&self, guest: &SnpGuest) -> Vec<Item> {
        let keyed = |key: i128, value: (i128, Item)| Item::map([(0, Item::Integer(key)), (1, Item::map([value]))]);
        let host_data = |digest: Hex<32>| (RAW_VALUE, Item::tagged(BYTES, Item::bytes(&digest.0)));
        let mut measurements = vec![keyed(MEASUREMENT, (DIGESTS, digests(&guest.measurement)))];
        measurements.extend(guest.deployment.map(|digest| keyed(HOST_DATA, host_data(digest))));
        let tcb = self.tcb.zip(self.product.as_deref()).map(|(tcb, product)| raw_tcb(&tcb, product));
        measurements.extend(tcb.map(|raw| {
            keyed(REPORTED_TCB, (SVN, Item::tagged(MIN_SVN, Item::Integer(u64::from_le_bytes(raw).into()))))
        }));
        measurements
    }
}

impl TdxReferenceValues {
    fn comids(&self, version: u64) -> Result<Vec<Item>> {
        let [vendor, model] = TD_CLASS.map(Item::text);
        let td = class(Item::map([(1, vendor), (2, model)]));
        let write = |guest: &TdxGuest| Ok(comid(&guest.label, version, td.clone(), vec![self.measurement(guest)?]));
        self.guests.iter().map(write).collect()
    }

    fn measurement(&self, guest: &TdxGuest) -> Result<Item> {
        if guest.deployment.is_some() {
            return Err(unwritable("a deployment document: Intel's profile has no place for MRCONFIGID"));
        }
        let registers = (0..).zip([guest.rtmr0, guest.rtmr1, guest.rtmr2, guest.rtmr3]);
        let registers: Vec<_> = registers.filter_map(|(key, rtmr)| Some((key, digests(&rtmr?)))).collect();
        let mut values = vec![(MRTEE, digest(&guest.mrtd))];
        if !registers.is_empty() {
            values.push((REGISTERS, Item::map(registers)));
        }
        values.extend(self.tcb_evaluation.map(|number| {
            let expression = vec![Item::Integer(AT_LEAST), Item::Integer(number.into())];
            (EVALUATION, Item::tagged(NUMERIC, Item::Array(expression)))
        }));
        Ok(Item::map([(1, Item::map(values))]))
    }
}

/// TCB_VERSION as the product's reports have it.
fn raw_tcb(tcb: &Tcb, product: &str) -> [u8; 8] {
    layout(product).write(tcb)
}

fn comid(label: &Label, version: u64, environment: Item, measurements: Vec<Item>) -> Item {
    let identity =
        Item::map([(0, Item::text(&format!("{} {}", label.image, label.version))), (1, Item::Integer(version.into()))]);
    let triple = Item::Array(vec![environment, Item::Array(measurements)]);
    let comid = Item::map([(1, identity), (4, Item::map([(0, Item::Array(vec![triple]))]))]);
    Item::tagged(COMID, Item::Bytes(comid.encode()))
}

fn class(class: Item) -> Item {
    Item::map([(0, class)])
}

fn digest(value: &Hex<48>) -> Item {
    Item::Array(vec![Item::Integer(SHA384), Item::bytes(&value.0)])
}

fn digests(value: &Hex<48>) -> Item {
    Item::Array(vec![digest(value)])
}

fn unwritable(what: &str) -> Refusal {
    Refusal::new(Code::ReferenceValuesInvalid, "reference values as CoRIM").got(what)
}
