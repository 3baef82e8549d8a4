//! `make bench`: what a verification takes from the allocator of Rust, as `name value unit limit ratio`, and the same as JSON
//! in the file named as argument. What the crypto backend takes for itself, in C, is not in it.
//!
//! A program of its own, because counting slows what is counted. Peak memory is held against the bytes that are verified.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions)]

mod cases;
mod figure;

use allocation_counter::measure;
use cases::{Snp, Tdx};
use figure::Figure;

fn main() {
    let (snp, tdx) = (Snp::new(), Tdx::new());
    let (report, quote) = (snp.report.len(), tdx.quote.len());
    let mut figures =
        Vec::from(memory("snp-verify-from-scratch", report + snp.table.len(), || snp.verify_from_scratch()));
    figures.extend(memory("snp-verify-chain-kept", report, || snp.verify_with_chain_kept()));
    figures.extend(memory("tdx-verify-from-scratch", quote + tdx.collateral.len(), || tdx.verify_from_scratch()));
    figures.extend(memory("tdx-verify-collateral-kept", quote, || tdx.verify_with_collateral_kept()));
    figure::publish(&figures);
}

/// One verification of `input` bytes, after one that fills what is filled once.
fn memory(name: &str, input: usize, verify: impl Fn()) -> [Figure; 3] {
    verify();
    let taken = measure(&verify);
    assert_eq!(taken.bytes_current, 0, "{name} keeps memory");
    let figure = |what: &str, value: u64, unit, limit| Figure::new(format!("{name}-{what}"), value as f64, unit, limit);
    [
        figure("allocations", taken.count_total, "allocations", None),
        figure("allocated", taken.bytes_total, "bytes", None),
        figure("peak", taken.bytes_max, "bytes", Some(input as f64)),
    ]
}
