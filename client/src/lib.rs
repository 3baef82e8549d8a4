//! The attested channel for applications: verify an enclave's evidence over the very connection that is then used, and
//! only then send it anything.
//!
//! [`Terms`] say what is accepted and exist only where they fix measurement, deployment document and model. Under them
//! [`Provisional::connect`] makes a connection to somebody who holds a key; [`Provisional::attest`] finds out that the
//! somebody is an approved enclave and gives an [`Attested`] connection, the one type that can send. What was found is a
//! [`Verified`]. [`AttestedClient`] keeps several such connections, and [`serve_proxy`] puts a local OpenAI-compatible
//! endpoint in front of them.
//!
//! This crate does not fetch endorsements (they are stapled to the answer), ask anybody else for a verdict, trust a
//! certificate authority or a name, send a byte of a request to a peer that is not attested, or repeat a request
//! towards another key.

mod attested;
mod channel;
mod known_keys;
mod pool;
mod provisional;
mod proxy;
mod report;
mod response;
mod terms;
mod verify;

pub use attested::Attested;
pub use pool::{AttestedClient, Lease, PoolOptions};
pub use provisional::Provisional;
pub use proxy::serve_proxy;
pub use report::{Verified, VerifiedModel};
pub use response::ResponseBody;
pub use terms::{Memory, Terms, system_time};
