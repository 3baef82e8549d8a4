//! Accepted and rejected twins that differ in one thing. Each is one row of a table, so that they can be counted.

use super::{
    azure_policy, inventory, newest, pairs, reference_values, snp_policy_pairs, tdx_age, tdx_pairs, tdx_policy, tdx_tcb,
};
use std::collections::BTreeSet;
use strongroom_wire::Code;

/// The name and code of the only check that failed, or `None` where all held.
pub(crate) type Outcome = Option<(String, Code)>;

/// One thing that is right in one twin and wrong in the other.
pub(crate) struct Pair {
    what: String,
    accepted: Box<dyn FnOnce() -> Outcome>,
    refused: Box<dyn FnOnce() -> Outcome>,
    want: (&'static str, Code),
}

impl Pair {
    pub(crate) fn new(
        what: impl Into<String>,
        accepted: impl FnOnce() -> Outcome + 'static,
        refused: impl FnOnce() -> Outcome + 'static,
        check: &'static str,
        code: Code,
    ) -> Self {
        Self { what: what.into(), accepted: Box::new(accepted), refused: Box::new(refused), want: (check, code) }
    }

    /// Runs both twins of each.
    pub(crate) fn hold(pairs: Vec<Self>) {
        for Self { what, accepted, refused, want: (check, code) } in pairs {
            assert_eq!(accepted(), None, "{what}: the accepted twin");
            assert_eq!(refused(), Some((check.to_owned(), code)), "{what}: the refused twin");
        }
    }
}

#[test]
fn pairs_are_this_many_and_no_two_of_them_are_the_same() {
    let tables = [
        ("snp authentication", pairs::pairs()),
        ("snp guest", snp_policy_pairs::guest_pairs()),
        ("snp policy", snp_policy_pairs::policy_pairs()),
        ("snp revocation", snp_policy_pairs::revocation_pairs()),
        ("tdx collateral", tdx_pairs::platform_pairs()),
        ("tdx identity", tdx_tcb::identity_pairs()),
        ("tdx guest", tdx_policy::guest_pairs()),
        ("tdx policy", tdx_policy::policy_pairs()),
        ("tdx age", tdx_age::pairs()),
        ("newest", newest::pairs()),
        ("inventory", inventory::pairs()),
        ("reference values", reference_values::pairs()),
        ("azure guest", azure_policy::guest_pairs()),
        ("azure policy", azure_policy::policy_pairs()),
    ];
    let names: Vec<String> = tables
        .iter()
        .flat_map(|(table, pairs)| pairs.iter().map(move |pair| format!("{table}: {}", pair.what)))
        .collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(names.len(), 314);
}
