//! AMD SEV-SNP: who signed a report, and whether it is what a policy approves.

mod appraise;
mod authenticate;
mod published;
mod vek;
mod verified_vek;

pub use appraise::appraise;
pub(crate) use appraise::hardware_checks;
pub use authenticate::{AuthenticReport, authenticate, authenticate_recording, authenticate_traced};
pub use published::{verify_authorities, verify_revocation_list};
pub use verified_vek::VerifiedVek;
