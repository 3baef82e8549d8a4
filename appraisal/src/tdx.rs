//! Intel TDX: who signed a quote, what Intel says of its platform, and whether it is what a policy approves.
//!
//! Follows Intel's "PCK certificate and CRL profile", the PCS API specification ("Get TDX TCB Info", "Get Quoting Enclave
//! Identity") and the TDX module architecture. [`authenticate`] starts from nothing; the [`VerifiedPlatform`] of its result
//! can be kept, and authenticates further quotes of the same platform with two P-256 verifications each.

mod appraise;
mod authenticate;
mod collateral;
mod documents;
mod event_log;
mod pck;
mod platform;
mod status;
mod tcb;
mod verified_collateral;

pub use appraise::appraise;
pub(crate) use appraise::hardware_checks;
pub use authenticate::{AuthenticQuote, authenticate, authenticate_recording, authenticate_traced};
pub use collateral::Collateral;
pub use event_log::ReplayedLog;
pub use pck::{Configuration, PlatformFacts};
pub use platform::VerifiedPlatform;
pub use status::TcbStatus;
pub use verified_collateral::VerifiedCollateral;
