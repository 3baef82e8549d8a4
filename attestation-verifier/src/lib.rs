//! The verifier service: it appraises guests and releases keys to those that a release policy accepts, over the KBS
//! attestation protocol 0.4.0. `release.rs` is its recipe.
//!
//! The key owner trusts it with keys; clients of an enclave trust it with nothing. What it decides on is the evidence, the
//! deployment document that the hardware names, the signatures of the models in it, and its own policies: a typed one for
//! each key says which guests and models are judged sound, and Cedar policies which of those may have which key. Never what a
//! request says of itself. No decision takes effect before it is in the audit log.
//!
//! This crate does not serve models, verify evidence itself (that is `strongroom-appraisal`), believe a token that another
//! service signed, or have a mode without authentication. A key's value leaves it in one form only: wrapped to an attested
//! key.

mod admin;
mod admin_gate;
mod admin_log;
mod attest;
mod audit;
mod authorization;
mod backup;
mod budget;
mod clock;
pub mod config;
mod custody;
mod custody_keys;
mod erased;
mod feed;
mod identity;
mod issuance;
mod key_values;
mod lease;
mod master_key;
mod measured;
mod metrics;
mod models;
mod networks;
mod passport;
mod platform;
mod private_file;
mod problem;
mod promotions;
mod release;
mod revocation;
mod rewrap;
mod route_table;
mod routes;
mod service;
mod sessions;
mod shared_tokens;
mod state_lock;
mod store;
mod tags;
mod token;
mod token_keys;
mod trail;
mod unproven;
mod vendors;

pub use admin::Change;
pub use admin_gate::Role;
pub use backup::backup;
pub use clock::Clock;
pub use config::Config;
pub use custody_keys::{init_custody, make_master_key};
pub use identity::{Identity, PublicIdentity};
pub use measured::AuditLog;
pub use networks::Network;
pub use release::Released;
pub use rewrap::{Rewrap, rewrap};
pub use service::{Service, Verifier, public_identity, store_path};
pub use sessions::LIFETIME;
pub use token::ISSUER;
