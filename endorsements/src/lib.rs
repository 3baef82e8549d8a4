//! Fetches what vendors vouch with, and keeps it: VCEKs, certificate chains and revocation lists from AMD's Key
//! Distribution Service ([`Fetcher::fetch_snp`]), collateral from Intel's Provisioning Certification Service, or from a
//! PCCS or mirror in their place ([`Fetcher::fetch_tdx`]).
//!
//! Both services count requests and shut out who makes too many. So a VCEK, which never changes, is asked for once in the
//! life of a cache folder, whichever process asks; everything else is asked for again when its next update is due; one
//! question is under way at a time; and `Retry-After` is kept to. A service that asks on behalf of others, and keeps its
//! lists current before anybody needs them, asks for each part by itself ([`Fetcher::fetch_vcek`] and those beside it).
//!
//! What is fetched is not trusted, and neither is the cache: an answer has to parse, to be of the platform that was asked
//! for, and to be current. This crate does not verify a signature, does not know a root, and judges no evidence: that is
//! `appraisal`, with what comes from here as its input; who knows roots may judge what is kept ([`Fetcher::judged_by`]). It reads no clock but for waiting: `now` is an argument.

mod cache;
mod certificate;
mod fetcher;
mod flight;
mod http;
mod judge;
mod kds;
mod parts;
mod pcs;
mod platform;

pub use cache::Cache;
pub use fetcher::{Access, Collateral, Fetcher, SnpEndorsements};
pub use http::PATIENCE;
pub use judge::{Offered, Published};
pub use kds::{KDS, Kind, Product};
pub use parts::Dated;
pub use pcs::PCS;
pub use platform::Platform;
pub use strongroom_transport::Patience;

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixTime = u64;
