//! Every byte format that crosses a trust boundary of Strongroom, and the one definition of each commitment.
//!
//! Evidence ([`snp`], [`tdx`], [`event_log`], [`azure`], [`tpm`]), what binds it to software, channel and model ([`binding`], [`merkle`]),
//! what a guest is told ([`deployment`], [`trust`]), what it answers ([`evidence`]), how it asks for keys ([`kbs`],
//! [`ear`]) and how that is recorded ([`audit`]), how an enclave may go on ([`lease`]), what routers are told ([`feed`]), how anything is refused ([`Refusal`], [`Code`]) and how much is read before it is ([`limits`]).
//!
//! This crate does not sign, verify a signature, decrypt, open a socket or a file, or read a clock. It hashes.

pub mod attester;
pub mod audit;
pub mod azure;
pub mod binding;
pub mod bytes;
mod canonical;
mod code;
pub mod deployment;
pub mod digest;
pub mod document;
pub mod dsse;
pub mod ear;
pub mod endorsements;
pub mod event_log;
pub mod evidence;
pub mod feed;
pub mod identity;
pub mod inventory;
pub mod kbs;
pub mod lease;
pub mod limits;
pub mod merkle;
pub mod passport;
mod refusal;
mod root;
pub mod snp;
pub mod spiffe;
pub mod tdx;
pub mod time;
pub mod tpm;
pub mod trust;

pub use code::{Code, Fault};
pub use refusal::{Check, Refusal, Result};
pub use root::{Realm, Root};
