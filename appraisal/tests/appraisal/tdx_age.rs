//! How old Intel's collateral may be under a policy: one part of it older by one.

use super::pair::Pair;
use super::tdx_case::{Case, NOW};
use super::tdx_policy::{EXPECTED, guest, judged, policy};
use strongroom_devkit::intel::{CollateralSpec, qe_identity, tcb_info};
use strongroom_wire::Code;

/// Under a policy that bounds the age of what Intel says, collateral with one part older by one.
pub(crate) fn pairs() -> Vec<Pair> {
    let from = |begins: u64| begins..NOW + 100;
    let documents = |info: u64, identity: u64| CollateralSpec {
        tcb_info: tcb_info(&from(info)),
        qe_identity: qe_identity(&from(identity)),
        ..CollateralSpec::default()
    };
    let lists = |root: u64, pck: u64| CollateralSpec {
        root_crl_window: from(root),
        pck_crl_window: from(pck),
        ..CollateralSpec::default()
    };
    let numbers = |root_crl_number, pck_crl_number| CollateralSpec {
        root_crl_number,
        pck_crl_number,
        ..CollateralSpec::default()
    };
    let age = |name: &str| format!("{name} = {{ at-most = 50 }}");
    let number = |name: &str| format!("{name} = {{ at-least = 7 }}");
    let (old, old_list) = (Code::CollateralTooOld, Code::CrlTooOld);
    let (kept, late) = (NOW - 50, NOW - 51);
    let fresh = || documents(kept, kept);
    let cases = vec![
        ("age of the TCB info", age("collateral-age"), fresh(), documents(late, kept), "collateral-age", old),
        ("age of the QE identity", age("collateral-age"), fresh(), documents(kept, late), "collateral-age", old),
        ("age of the PCK list", age("crl-age"), lists(late, kept), lists(late, late), "crl-age", old_list),
        ("age of the root's list", age("root-crl-age"), lists(kept, late), lists(late, late), "root-crl-age", old_list),
        ("PCK list", number("crl-number"), numbers(None, Some(7)), numbers(Some(9), Some(6)), "crl-number", old_list),
        (
            "PCK list unnumbered",
            number("crl-number"),
            numbers(None, Some(7)),
            numbers(Some(9), None),
            "crl-number",
            old_list,
        ),
        (
            "root's list",
            number("root-crl-number"),
            numbers(Some(7), None),
            numbers(Some(6), Some(9)),
            "root-crl-number",
            old_list,
        ),
        (
            "root's list unnumbered",
            number("root-crl-number"),
            numbers(Some(7), None),
            numbers(None, Some(9)),
            "root-crl-number",
            old_list,
        ),
    ];
    let row = |(what, line, accepted, refused, check, code): (&str, String, _, _, &'static str, _)| {
        let judge = |collateral, line: &str| {
            let authentic = Case { quote: guest(), collateral, ..Case::sound() }.run().unwrap();
            judged(&authentic, &policy(line), &EXPECTED)
        };
        let again = line.clone();
        Pair::new(what, move || judge(accepted, &line), move || judge(refused, &again), check, code)
    };
    cases.into_iter().map(row).collect()
}

#[test]
fn collateral_older_than_the_policy_allows_refused_by_its_own_check_and_its_twin_accepted() {
    Pair::hold(pairs());
}
