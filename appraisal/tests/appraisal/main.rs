//! Each check of authentication and appraisal as a pair that differs in one thing, and captured evidence of real machines.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod azure;
mod azure_policy;
mod bit_flips;
mod boundaries;
mod corim;
mod corim_refusals;
mod inventory;
mod models;
mod newest;
mod pair;
mod pairs;
mod reference_values;
mod schema;
mod signed_corim;
mod snp_case;
mod snp_policy;
mod snp_policy_pairs;
mod tdx_age;
mod tdx_case;
mod tdx_event_log;
mod tdx_pairs;
mod tdx_policy;
mod tdx_tcb;
mod tdx_vectors;
mod vectors;
