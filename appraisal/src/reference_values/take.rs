//! Policy fields that take their values from verified bundles.

use super::{ReferenceValues, SnpGuest, TdxGuest, VerifiedReferenceValues};
use crate::policy::{Floor, Hex, Policy, Rule, SnpPolicy, TdxPolicy};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Gives the bundle of a name: `None` while a policy is only parsed, and a refusal for a name that the policy does not have.
pub(crate) type Bundles<'a> = dyn Fn(&str) -> Result<Option<&'a ReferenceValues>> + 'a;

impl Policy {
    /// The policy whose fields took their values from `bundles`, which are all that it names.
    pub(super) fn taking(&self, bundles: &[VerifiedReferenceValues]) -> Result<Self> {
        let mut digests: Vec<_> = bundles.iter().map(VerifiedReferenceValues::digest).collect();
        digests.sort_unstable();
        let label: [&[u8]; 2] = [b"strongroom/policy-with-reference-values/v1\0", &self.digest().0];
        let parts: Vec<&[u8]> = label.into_iter().chain(digests.iter().map(|digest| digest.0.as_slice())).collect();
        let digest = Sha256::of_parts(&parts);
        let find = |name: &str| bundles.iter().map(VerifiedReferenceValues::values).find(|values| values.name == name);
        let find = |name: &str| find(name).map(Some).ok_or_else(|| unnamed(name));
        self.taking_from(&find, digest)
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
}

impl TdxPolicy {
    /// Replaces the fields that take values: `mrtd`, `rtmr0` to `rtmr3`, `deployment` and `tcb-evaluation`.
    pub(crate) fn take(&mut self, bundles: &Bundles<'_>) -> Result<()> {
        type Register = fn(&TdxGuest) -> Option<Hex<48>>;
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
