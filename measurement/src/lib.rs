//! What hardware must measure when it launches a guest, computed from the files and the machine it is launched with.
//!
//! [`snp`] gives AMD SEV-SNP's MEASUREMENT, [`tdx`] gives Intel TDX' MRTD and, where it can be known beforehand, the RTMRs; [`uki`] gives
//! what a unified kernel image puts into the PCRs of a TPM.
//! Each has its recipe, with numbered steps, in the file of its name. What comes out is a reference value: it is worth what
//! its inputs are worth, and says nothing about any guest that runs.
//!
//! This crate does not read files, open sockets, read a clock, parse evidence or judge it, and it executes nothing of what it
//! measures.

mod boot;
mod chain;
mod firmware;
mod guid;
mod pe;
#[cfg(test)]
mod sample;
pub mod snp;
pub mod tdx;
pub mod uki;

pub use boot::DirectBoot;
pub use chain::Sha384;
pub use firmware::Firmware;
