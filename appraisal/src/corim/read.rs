//! From a CoRIM to a bundle.

use super::cbor::Item;
use super::*;
use crate::{Hex, Label, ReferenceValues, SnpGuest, SnpReferenceValues, TdxGuest, TdxReferenceValues};
use core::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_wire::{Code, Refusal, Result};

impl ReferenceValues {
    /// The guests of an unsigned CoRIM of at most [`strongroom_wire::limits::CORIM`] bytes. Who published it is for the caller
    /// to know.
    ///
    /// # Errors
    /// `malformed`, `too-large`; `reference-values-invalid`: another profile, a value that a bundle cannot say and that was
    /// not left out, or values that make no bundle.
    pub fn from_corim(corim: &[u8], import: &CorimImport<'_>) -> Result<Self> {
        let corim = Item::parse(corim, "CoRIM")?;
        let corim = corim.untagged(CORIM).ok_or_else(|| refused("CoRIM", "tag 501: an unsigned CoRIM"))?;
        let (issued, expires) = import.validity.map_or_else(|| validity(corim), Ok)?;
        let mut values = Self {
            format: 1,
            name: import.name.to_owned(),
            version: import.version,
            issued,
            expires,
            snp: None,
            tdx: None,
        };
        let platform = platform(corim)?;
        let import = Reading { of: import, left_out: RefCell::default() };
        // Identifier, tags, profile, validity and entities; of these the first and the last say nothing of a guest.
        import.verify_keys(corim, &[0, 1, 3, 4, 5], "corim")?;
        for tag in corim.at(1).and_then(Item::array).ok_or_else(|| refused("tags of a CoRIM", "a list"))? {
            let comid =
                tag.untagged(COMID).and_then(Item::byte_string).ok_or_else(|| refused("tag of a CoRIM", "a CoMID"))?;
            read_comid(&Item::parse(comid, "CoMID")?, platform, &import, &mut values)?;
        }
        import.verify_all_left_out()?;
        // Reads it as whoever gets it will.
        Self::parse(&values.to_json()?)
    }
}

fn platform(corim: &Item) -> Result<CorimPlatform> {
    let profile = corim.at(3).map(|profile| match profile {
        Item::Array(profiles) => profiles.first().unwrap_or(&Item::Null),
        one => one,
    });
    let snp = |uri: &str| SNP_PROFILES.contains(&uri);
    match profile {
        Some(Item::Tag(URI, uri)) if uri.string().is_some_and(snp) => Ok(CorimPlatform::Snp),
        Some(Item::Tag(OID, oid)) if oid.byte_string() == Some(INTEL_PROFILE) => Ok(CorimPlatform::Tdx),
        _ => Err(refused("profile of a CoRIM", "AMD's of SEV-SNP or Intel's")),
    }
}

fn validity(corim: &Item) -> Result<(UnixTime, UnixTime)> {
    let moment = |key| corim.at(4)?.at(key)?.untagged(EPOCH)?.unsigned();
    moment(0).zip(moment(1)).ok_or_else(|| refused("validity of a CoRIM", "both moments, or the caller's"))
}

fn read_comid(comid: &Item, platform: CorimPlatform, import: &Reading<'_>, values: &mut ReferenceValues) -> Result<()> {
    // Language, identity, entities and triples. Linked tags (3) may supplement or replace this one.
    import.verify_keys(comid, &[0, 1, 2, 4], "comid")?;
    let label = label(comid).ok_or_else(|| refused("identity of a CoMID", "a text"))?;
    let triples = comid.at(4).and_then(Item::entries).ok_or_else(|| refused("triples of a CoMID", "a map"))?;
    for (kind, triples) in triples {
        let triples = triples.array().filter(|_| *kind == Item::Integer(0));
        for triple in triples.ok_or_else(|| refused("triples of a CoMID", "reference triples alone"))? {
            let parts = triple.array().and_then(|parts| match parts {
                [environment, measurements] => Some((environment, measurements.array()?)),
                _ => None,
            });
            let (environment, measurements) =
                parts.ok_or_else(|| refused("reference triple", "environment and measurements"))?;
            match platform {
                CorimPlatform::Snp => read_snp(&label, environment, measurements, import, values)?,
                CorimPlatform::Tdx => read_tdx(&label, environment, measurements, import, values)?,
            }
        }
    }
    Ok(())
}

/// `<image> <version>` as we write it, or the tag's version beside any other name.
fn label(comid: &Item) -> Option<Label> {
    let identity = comid.at(1)?;
    let id = identity.at(0)?.string()?;
    let version = || identity.at(1).and_then(Item::unsigned).unwrap_or_default().to_string();
    let (image, version) =
        id.rsplit_once(' ').map_or_else(|| (id, version()), |(image, version)| (image, version.to_owned()));
    Some(Label { image: image.to_owned(), version })
}

fn read_snp(
    label: &Label,
    environment: &Item,
    measurements: &[Item],
    import: &Reading<'_>,
    values: &mut ReferenceValues,
) -> Result<()> {
    let class = read_environment(environment, import)?;
    let known = class.at(0).and_then(|id| id.untagged(OID)).and_then(Item::byte_string);
    if !known.is_some_and(|oid| SNP_CLASSES.contains(&oid)) || class.entries().is_some_and(|entries| entries.len() != 1)
    {
        return Err(refused("class of an SNP environment", "1.3.6.1.4.1.3704.3.1 or .2 alone"));
    }
    let (mut measurement, mut deployment, mut tcb) = (None, None, None);
    for entry in measurements {
        let (key, value) = entry
            .at(0)
            .and_then(Item::integer)
            .zip(entry.at(1))
            .ok_or_else(|| refused("measurement", "a number and values"))?;
        let only = |of: i128| value.entries().filter(|entries| entries.len() == 1).and_then(|_| value.at(of));
        let unreadable = || refused(&format!("measurement {key}"), "one value of the profile's form");
        let plain = entry.entries().is_some_and(|entries| entries.len() == 2);
        match key {
            _ if import.leaves_out(&key.to_string()) => {}
            _ if !plain => return Err(unreadable()),
            MEASUREMENT => {
                once(&mut measurement, only(DIGESTS).and_then(one_digest), &unreadable)?;
            }
            HOST_DATA => {
                once(&mut deployment, only(RAW_VALUE).and_then(|raw| raw.untagged(BYTES)).and_then(hex), &unreadable)?;
            }
            REPORTED_TCB => {
                let floor = only(SVN).and_then(|svn| svn.untagged(MIN_SVN)).and_then(Item::unsigned);
                once(&mut tcb, floor.map(u64::to_le_bytes), &unreadable)?;
            }
            _ => return Err(unsayable(&key.to_string())),
        }
    }
    let measurement = measurement.ok_or_else(|| refused("SNP reference triple", "measurement 641"))?;
    let tcb = match (tcb, import.of.product) {
        (Some(_), None) => return Err(refused("measurement 647", "the product whose TCB it is, from the caller")),
        (tcb, product) => tcb.zip(product).map(|(raw, product)| (raw, layout(product), layout(product).read(raw))),
    };
    // Bytes that the layout has no component for would be dropped without a word: the TCB is of another product.
    let of_the_layout = |(raw, layout, read): (_, TcbLayout, _)| Some(read).filter(|read| layout.write(read) == raw);
    let another = || refused("measurement 647", "a TCB laid out as the product's");
    let tcb = tcb.map(|tcb| of_the_layout(tcb).ok_or_else(another)).transpose()?;
    let first = values.snp.is_none();
    let snp = values.snp.get_or_insert_with(SnpReferenceValues::default);
    if first {
        snp.product = import.of.product.map(str::to_owned);
        snp.tcb = tcb;
    } else if snp.tcb != tcb {
        return Err(refused("measurement 647", "the same in every reference triple"));
    }
    snp.guests.push(SnpGuest { label: label.clone(), measurement, deployment, inputs: BTreeMap::new() });
    Ok(())
}

fn read_tdx(
    label: &Label,
    environment: &Item,
    measurements: &[Item],
    import: &Reading<'_>,
    values: &mut ReferenceValues,
) -> Result<()> {
    let class = read_environment(environment, import)?;
    let names = [1, 2].map(|key| class.at(key).and_then(Item::string));
    if names != TD_CLASS.map(Some) || class.entries().is_some_and(|entries| entries.len() != 2) {
        return Err(refused("class of a TDX environment", "vendor `Intel Corporation`, model `TDX TD`"));
    }
    let one = match measurements {
        [one] => one.at(1).and_then(Item::entries).filter(|_| one.entries().is_some_and(|entries| entries.len() == 1)),
        _ => None,
    };
    let (mut mrtd, mut evaluation, mut rtmr) = (None, None, [None; 4]);
    for (key, value) in one.ok_or_else(|| refused("TDX reference triple", "one measurement without a key"))? {
        let key = key.integer().ok_or_else(|| refused("measurement", "a number"))?;
        let unreadable = || refused(&format!("measurement {key}"), "one value of the profile's form");
        match key {
            _ if import.leaves_out(&key.to_string()) => {}
            MRTEE => mrtd = Some(value.array().and_then(digest).or_else(|| one_digest(value)).ok_or_else(unreadable)?),
            EVALUATION => {
                let floor = value.untagged(NUMERIC).and_then(Item::array).and_then(|expression| match expression {
                    [Item::Integer(AT_LEAST), number] => {
                        number.unsigned().and_then(|number| u32::try_from(number).ok())
                    }
                    _ => None,
                });
                evaluation = Some(floor.ok_or_else(unreadable)?);
            }
            REGISTERS => {
                for (register, value) in value.entries().ok_or_else(unreadable)? {
                    let place = register.integer().and_then(|register| usize::try_from(register).ok());
                    let place = place.and_then(|place| rtmr.get_mut(place)).ok_or_else(unreadable)?;
                    *place = Some(one_digest(value).ok_or_else(unreadable)?);
                }
            }
            _ => return Err(unsayable(&key.to_string())),
        }
    }
    let first = values.tdx.is_none();
    let tdx = values.tdx.get_or_insert_with(TdxReferenceValues::default);
    if first {
        tdx.tcb_evaluation = evaluation;
    } else if tdx.tcb_evaluation != evaluation {
        return Err(refused("measurement -86", "the same in every reference triple"));
    }
    let mrtd = mrtd.ok_or_else(|| refused("TDX reference triple", "measurement -83"))?;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
    let (label, inputs) = (label.clone(), BTreeMap::new());
    tdx.guests.push(TdxGuest { label, mrtd, rtmr0, rtmr1, rtmr2, rtmr3, deployment: None, inputs });
    Ok(())
}

/// The class; an instance or group that was not left out is refused, for a bundle speaks of every machine.
fn read_environment<'a>(environment: &'a Item, import: &Reading<'_>) -> Result<&'a Item> {
    for (key, name) in [(1, "instance"), (2, "group")] {
        if environment.at(key).is_some() && !import.leaves_out(name) {
            return Err(unsayable(name));
        }
    }
    import.verify_keys(environment, &[0, 1, 2], "environment")?;
    environment.at(0).ok_or_else(|| refused("environment", "a class"))
}

/// An import, and what of its list was left out so far.
struct Reading<'a> {
    of: &'a CorimImport<'a>,
    left_out: RefCell<BTreeSet<String>>,
}

impl Reading<'_> {
    /// Asked of what is there.
    fn leaves_out(&self, name: &str) -> bool {
        let named = self.of.leave_out.iter().any(|left_out| left_out == name);
        if named {
            self.left_out.borrow_mut().insert(name.to_owned());
        }
        named
    }

    /// Refuses a key of the map that is not known and not left out, as `<map>-<key>`.
    fn verify_keys(&self, map: &Item, known: &[i128], name: &str) -> Result<()> {
        for (key, _) in map.entries().unwrap_or_default() {
            let key = key.integer().ok_or_else(|| refused(name, "numbers as keys"))?;
            let name = format!("{name}-{key}");
            if !known.contains(&key) && !self.leaves_out(&name) {
                return Err(unsayable(&name));
            }
        }
        Ok(())
    }

    /// Refuses a name that stands for nothing in the CoRIM: whoever wrote it meant something that was read.
    fn verify_all_left_out(&self) -> Result<()> {
        let left_out = self.left_out.borrow();
        match self.of.leave_out.iter().find(|name| !left_out.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(refused("what is left out", "a name of something in the CoRIM").got(name)),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>, unreadable: &impl Fn() -> Refusal) -> Result<()> {
    let value = value.ok_or_else(unreadable)?;
    if place.replace(value).is_some() { Err(unreadable()) } else { Ok(()) }
}

/// The digest of a list of one.
fn one_digest(item: &Item) -> Option<Hex<48>> {
    match item.array()? {
        [one] => digest(one.array()?),
        _ => None,
    }
}

fn digest(parts: &[Item]) -> Option<Hex<48>> {
    match parts {
        [Item::Integer(SHA384), value] => hex(value),
        [Item::Text(name), value] if name == "sha-384" => hex(value),
        _ => None,
    }
}

fn hex<const N: usize>(item: &Item) -> Option<Hex<N>> {
    item.byte_string()?.try_into().ok().map(Hex)
}

pub(super) fn refused(what: &str, want: &str) -> Refusal {
    Refusal::new(Code::ReferenceValuesInvalid, what).want(want)
}

fn unsayable(what: &str) -> Refusal {
    refused("CoRIM", "nothing but what a bundle can say, or that it is left out").got(what)
}
