//! The binary `strongroom`, run as users run it: exit codes, JSON documents and refusal codes are what scripts rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod admin;
mod audit;
mod azure;
mod change;
mod deployment;
mod enclave;
mod evidence;
mod fetch;
mod import;
mod inventory;
mod model;
mod policy;
mod publishing;
mod quotes;
mod reference_values;
mod registry;
mod run;
mod usage;
mod verify;
