//! How much a verification takes from the allocator; `make bench` prints the figures. A binary of its own, because counting
//! replaces the allocator of the program.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/cases.rs"]
mod cases;

use allocation_counter::{AllocationInfo, measure};
use cases::{Snp, Tdx};

/// Of the second of two: the first fills what is filled once, such as the parsed key of a trusted root.
fn taken(verify: impl Fn()) -> AllocationInfo {
    verify();
    measure(verify)
}

#[test]
fn verification_with_what_is_kept_takes_little_and_keeps_nothing() {
    let (snp, tdx) = (Snp::new(), Tdx::new());
    for (name, taken) in
        [("report", taken(|| snp.verify_with_chain_kept())), ("quote", taken(|| tdx.verify_with_collateral_kept()))]
    {
        assert_eq!((taken.count_current, taken.bytes_current), (0, 0), "{name} keeps memory");
        assert!(taken.count_total < 400, "{name}: {} allocations", taken.count_total);
        assert!(taken.bytes_max < 32 << 10, "{name}: {} bytes at once", taken.bytes_max);
    }
}

#[test]
fn verification_from_scratch_takes_a_small_multiple_of_its_input_and_keeps_nothing() {
    let (snp, tdx) = (Snp::new(), Tdx::new());
    let inputs = [snp.report.len() + snp.table.len(), tdx.quote.len() + tdx.collateral.len()];
    for (input, taken) in
        inputs.into_iter().zip([taken(|| snp.verify_from_scratch()), taken(|| tdx.verify_from_scratch())])
    {
        assert_eq!((taken.count_current, taken.bytes_current), (0, 0));
        assert!(taken.bytes_max < 8 * u64::try_from(input).unwrap(), "{} bytes for {input}", taken.bytes_max);
    }
}
