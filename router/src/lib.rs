//! `strongroom-router`: brings TLS connections to guests that hold a lease. `service.rs` is its recipe.
//!
//! It reads who holds one from a feed that the verifier signs ([`strongroom_wire::feed`]), and the name that a client asks
//! for from its ClientHello; everything after that passes through as it came. A feed that is too old opens no connection.
//!
//! This crate does not terminate TLS, hold a key, appraise evidence, or decide who gets a lease. Clients trust it with
//! nothing: they verify the guest at the other end themselves.

mod backends;
pub mod config;
mod connection;
mod feed;
mod greetings;
mod hello;
mod metrics;
mod pick;
mod service;
mod tenants;

pub use config::Config;
pub use service::Service;
