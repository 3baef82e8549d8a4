//! The binary `strongroom`, run as users run it: exit codes, JSON documents and refusal codes are what scripts rely on.

mod admin;
mod deployment;
mod enclave;
mod evidence;
mod model;
mod registry;
mod run;
mod usage;
mod verify;
