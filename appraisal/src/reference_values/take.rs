//! Policy fields that take their values from verified bundles.

use super::{ReferenceValues, SnpGuest, TdxGuest, VerifiedReferenceValues};
use crate::policy::ReferenceGuests;
use crate::policy::{Floor, Hex, Policy, Rule, SnpPolicy, TdxPolicy};
use std::collections::BTreeSet;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Gives the bundle of a name: `None` while a policy is only parsed, and a refusal for a name that the policy does not have.
pub(crate) type Bundles<'a> = dyn Fn(&str) -> Result<Option<&'a ReferenceValues>> + 'a;

impl Policy {
    /// The policy whose fields took their values from `bundles`, which are all that it names.
    pub(super) fn taking(&self, bundles: &[&VerifiedReferenceValues]) -> Result<Self> {
        if bundles.is_empty() {
            return Ok(self.clone());
        }
        let mut digests: Vec<_> = bundles.iter().map(|bundle| bundle.digest()).collect();
        digests.sort_unstable();
        let label: [&[u8]; 2] = [b"strongroom/policy-with-reference-values/v1\0", &self.digest().0];
        let parts: Vec<&[u8]> = label.into_iter().chain(digests.iter().map(|digest| digest.0.as_slice())).collect();
        let digest = Sha256::of_parts(&parts);
        let find = |name: &str| bundles.iter().map(|bundle| bundle.document()).find(|values| values.name == name);
        let find = |name: &str| find(name).map(Some).ok_or_else(|| unnamed(name));
        self.taking_from(&find, bundles.iter().map(|bundle| bundle.validity()), digest)
    }
}

/// A name that no `[[reference-values]]` entry has.
pub(crate) fn unnamed(name: &str) -> Refusal {
    let want = "the name of an entry of [[reference-values]]";
    Refusal::new(Code::PolicyInvalid, "reference-values").got(name).want(want)
}

impl SnpPolicy {
    /// Replaces the fields that take values: `measurement`, `deployment`, `product` and the TCB floors.
    pub(crate) fn take(&mut self, bundles: &Bundles<'_>) -> Result<()> {
        let snp = |values: &ReferenceValues| values.snp.clone();
        self.verify_floors(bundles)?;
        self.guests = guests(
            bundles,
            [("measurement", self.measurement.source()), ("deployment", self.deployment.source())],
            |values| {
                let guest =
                    |guest: &SnpGuest| [Some(guest.measurement.0.to_vec()), guest.deployment.map(|hex| hex.0.to_vec())];
                values.snp.iter().flat_map(|snp| &snp.guests).map(guest).collect()
            },
        )?;
        rule(&mut self.measurement, "snp.measurement", bundles, |values| {
            all(&snp(values)?.guests, |guest: &SnpGuest| Some(guest.measurement))
        })?;
        rule(&mut self.deployment, "snp.deployment", bundles, |values| {
            all(&snp(values)?.guests, |guest: &SnpGuest| guest.deployment)
        })?;
        if let Some(product) = &mut self.product {
            rule(product, "snp.product", bundles, |values| Some(vec![snp(values)?.product?]))?;
        }
        let own = [&mut self.committed_tcb, &mut self.current_tcb, &mut self.launch_tcb];
        for tcb in own.into_iter().flatten().chain([&mut self.tcb]) {
            floor(tcb, "snp.tcb", bundles, |values| snp(values)?.tcb)?;
        }
        Ok(())
    }

    /// Refuses a TCB floor whose bundle is of another product than the policy's, or of one that the policy does not name: patch
    /// levels of different products are different scales.
    fn verify_floors(&self, bundles: &Bundles<'_>) -> Result<()> {
        let own = [&self.committed_tcb, &self.current_tcb, &self.launch_tcb];
        for floor in own.into_iter().flatten().chain([&self.tcb]) {
            let Floor::ReferenceValues(name) = floor else { continue };
            let of = |values: &ReferenceValues| values.snp.as_ref()?.product.clone();
            let product = match &self.product {
                Some(Rule::Exactly(product)) => Some(product.clone()),
                Some(Rule::ReferenceValues(source)) => match bundles(source)? {
                    Some(values) => Some(of(values).ok_or_else(|| lacking("snp.product", source))?),
                    None => continue,
                },
                _ => None,
            };
            let scale = match bundles(name)? {
                Some(values) => Some(of(values).ok_or_else(|| lacking("snp.tcb", name))?),
                None => product.clone(),
            };
            if product.is_none() || product != scale {
                let want = scale.unwrap_or_else(|| "one product, whose scale the floor is of".to_owned());
                let got = product.unwrap_or_else(|| "not one".to_owned());
                return Err(Refusal::new(Code::PolicyInvalid, "product of a TCB floor").got(got).want(want));
            }
        }
        Ok(())
    }
}

impl TdxPolicy {
    /// Replaces the fields that take values: `mrtd`, `rtmr0` to `rtmr3`, `deployment` and `tcb-evaluation`.
    pub(crate) fn take(&mut self, bundles: &Bundles<'_>) -> Result<()> {
        type Register = fn(&TdxGuest) -> Option<Hex<48>>;
        let fields = [
            ("mrtd", self.mrtd.source()),
            ("rtmr0", self.rtmr0.source()),
            ("rtmr1", self.rtmr1.source()),
            ("rtmr2", self.rtmr2.source()),
            ("rtmr3", self.rtmr3.source()),
            ("deployment", self.deployment.source()),
        ];
        self.guests = guests(bundles, fields, |values| {
            let guest = |guest: &TdxGuest| {
                let registers = [Some(guest.mrtd), guest.rtmr0, guest.rtmr1, guest.rtmr2, guest.rtmr3];
                let [mrtd, rtmr0, rtmr1, rtmr2, rtmr3] = registers.map(|register| Some(register?.0.to_vec()));
                [mrtd, rtmr0, rtmr1, rtmr2, rtmr3, guest.deployment.map(|hex| hex.0.to_vec())]
            };
            values.tdx.iter().flat_map(|tdx| &tdx.guests).map(guest).collect()
        })?;
        let registers: [(&mut Rule<Hex<48>>, &str, Register); 5] = [
            (&mut self.mrtd, "tdx.mrtd", |guest| Some(guest.mrtd)),
            (&mut self.rtmr0, "tdx.rtmr0", |guest| guest.rtmr0),
            (&mut self.rtmr1, "tdx.rtmr1", |guest| guest.rtmr1),
            (&mut self.rtmr2, "tdx.rtmr2", |guest| guest.rtmr2),
            (&mut self.rtmr3, "tdx.rtmr3", |guest| guest.rtmr3),
        ];
        for (field, name, register) in registers {
            rule(field, name, bundles, |values| all(&values.tdx.as_ref()?.guests, register))?;
        }
        rule(&mut self.deployment, "tdx.deployment", bundles, |values| {
            all(&values.tdx.as_ref()?.guests, |guest: &TdxGuest| guest.deployment)
        })?;
        floor(&mut self.tcb_evaluation, "tdx.tcb-evaluation", bundles, |values| values.tdx.as_ref()?.tcb_evaluation)
    }
}

/// Of each bundle that more than one of `fields` is taken from, what its guests are in these.
fn guests<const N: usize>(
    bundles: &Bundles<'_>,
    fields: [(&'static str, Option<&str>); N],
    values: impl Fn(&ReferenceValues) -> Vec<[Option<Vec<u8>>; N]>,
) -> Result<Vec<ReferenceGuests>> {
    let names: BTreeSet<&str> = fields.iter().filter_map(|(_, source)| *source).collect();
    let mut all = Vec::new();
    for name in names {
        let taken = fields.map(|(field, source)| (field, source == Some(name)));
        let Some(bundle) = bundles(name)? else { continue };
        if taken.iter().filter(|(_, taken)| *taken).count() < 2 {
            continue;
        }
        let guest = |guest: [Option<Vec<u8>>; N]| {
            let values = taken.into_iter().zip(guest).filter(|((_, taken), _)| *taken);
            values.filter_map(|((field, _), value)| Some((field, value?))).collect()
        };
        let guests = values(bundle).into_iter().map(guest).collect();
        all.push(ReferenceGuests { bundle: name.to_owned(), guests });
    }
    Ok(all)
}

/// The value of every guest; none where one guest has none, for it would be judged by the values of another.
fn all<G, T>(guests: &[G], value: impl Fn(&G) -> Option<T>) -> Option<Vec<T>> {
    guests.iter().map(value).collect()
}

fn rule<T: PartialEq + Clone>(
    rule: &mut Rule<T>,
    field: &str,
    bundles: &Bundles<'_>,
    values: impl Fn(&ReferenceValues) -> Option<Vec<T>>,
) -> Result<()> {
    let Rule::ReferenceValues(name) = &*rule else { return Ok(()) };
    let Some(bundle) = bundles(name)? else {
        *rule = Rule::any("it is taken from reference values");
        return Ok(());
    };
    let mut distinct: Vec<T> = Vec::new();
    for value in values(bundle).ok_or_else(|| lacking(field, name))? {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    *rule = match distinct.as_slice() {
        [one] => Rule::Exactly(one.clone()),
        _ => Rule::OneOf(distinct),
    };
    Ok(())
}

fn floor<T>(
    floor: &mut Floor<T>,
    field: &str,
    bundles: &Bundles<'_>,
    value: impl Fn(&ReferenceValues) -> Option<T>,
) -> Result<()> {
    let Floor::ReferenceValues(name) = &*floor else { return Ok(()) };
    *floor = match bundles(name)? {
        None => Floor::any("it is taken from reference values"),
        Some(bundle) => Floor::AtLeast(value(bundle).ok_or_else(|| lacking(field, name))?),
    };
    Ok(())
}

fn lacking(field: &str, name: &str) -> Refusal {
    let refusal = Refusal::new(Code::ReferenceValuesMissing, format!("`{field}`"));
    refusal.got(format!("not stated for every guest of reference values `{name}`")).want("a value")
}
