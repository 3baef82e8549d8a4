//! Azure's confidential guests: a virtual TPM whose quote is rooted in the hardware's report through the paravisor.
//!
//! A platform of its own. Nothing falls back to it, and it falls back to nothing: who calls [`authenticate_snp`] or
//! [`authenticate_tdx`] says that the guest is one of Azure's on that hardware. The guest chooses neither the hardware's report
//! data nor its measurement; the paravisor does. What is known of the guest's software are the PCRs, and of the
//! paravisor's the hardware's measurement. [`appraise_snp`] and [`appraise_tdx`] judge both by a policy's section for it.

mod appraise;
mod authenticate;
mod vtpm;

pub use appraise::{appraise_snp, appraise_tdx};
pub use authenticate::{
    authenticate_snp, authenticate_snp_recording, authenticate_snp_traced, authenticate_tdx,
    authenticate_tdx_recording, authenticate_tdx_traced, verify_tdx_vtpm,
};
pub use vtpm::AuthenticVtpm;
