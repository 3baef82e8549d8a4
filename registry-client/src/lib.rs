//! An OCI registry as a place for models (distribution specification 1.1): verified bytes only.
//!
//! One registry is a [`RegistryClient`], reached as [`Access`] says; a [`Reference`] names what is in it. The recipes are
//! made of its requests: [`push_model`] seals, signs and pushes a directory; [`reseal_model`] gives a model another data key;
//! [`sign_model`] adds another signer's signature, [`attach_bundle`] a signature or promotion that was made elsewhere;
//! [`verify_model`] fetches a manifest with its signatures and promotions and judges them by a trust file; [`open_model`] streams,
//! verifies and opens every layer into a [`ModelSink`]; [`import_model`] fetches what other tools pushed.
//!
//! Long blobs come in [`Ranges`] side by side; what a [`Cache`] has is not fetched, and what was interrupted goes on from it;
//! a [`Mirror`] may give what has a digest.
//!
//! Nothing that a registry, a mirror, a proxy or the cache says is believed: manifests and blobs are held to their digests and
//! lengths, an error is never taken for absence, and what was obtained for one host is sent to no other.
//!
//! This crate does not decide whom to trust, make or keep keys, or run on anything but a Tokio runtime. It reads a clock only to
//! note in the cache what was used last. Only [`Credentials::users_folder`] reads the environment, and only
//! [`Credentials::load`] runs other programs, credential helpers: both are for the command line.

mod access;
mod auth;
mod blobs;
mod cache;
mod cached;
mod challenge;
mod client;
mod content;
mod destination;
mod directory_sink;
mod docker_config;
mod import;
mod manifests;
mod mirror;
mod publish;
mod pull;
mod push;
mod reference;
mod referrers;
mod reseal;
mod sign;
mod signatures;
mod sink;
mod status;
mod store;
mod uploads;
mod verify;

pub use access::{Access, Credentials, Password};
pub use blobs::{BlobStream, Ranges};
pub use cache::{Cache, CacheLimits, Collected};
pub use client::{BlobListener, RegistryClient};
pub use directory_sink::DirectorySink;
pub use import::import_model;
pub use manifests::{FetchedManifest, PushedManifest};
pub use mirror::Mirror;
pub use publish::{SignAsIdentity, SignBy, Signing};
pub use pull::open_model;
pub use push::{Progress, ProgressListener, PushOptions, Pushed, push_model};
pub use reference::Reference;
pub use referrers::Referrer;
pub use reseal::{ResealOptions, reseal_model};
pub use sign::{SignOptions, attach_bundle, sign_model};
pub use sink::{FileSink, Filled, ModelSink};
pub use strongroom_transport::pace::Pace;
pub use strongroom_transport::{Patience, Proxies};
pub use uploads::Blob;
pub use verify::{Shown, fetch_promotions, verify_model, verify_signed};
