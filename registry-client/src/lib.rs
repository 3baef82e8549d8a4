//! OCI distribution client (distribution specification 1.1): verified blobs only.
mod access;
mod auth;
mod blobs;
mod challenge;
mod client;
mod content;
mod manifests;
mod reference;
mod referrers;
mod sink;
mod status;
mod uploads;

pub use access::{Access, Credentials, Password, Patience};
pub use blobs::BlobStream;
pub use client::RegistryClient;
pub use manifests::{FetchedManifest, PushedManifest};
pub use reference::Reference;
pub use referrers::Referrer;
pub use sink::{FileSink, ModelSink};
pub use uploads::Blob;
