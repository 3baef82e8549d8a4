//! Every socket Strongroom opens or accepts, so that TLS, timeouts and limits are decided in one place.
//!
//! Outgoing: whom to believe ([`ServerTrust`], [`client_config`]), the HTTP client ([`HttpClient`]), and the one
//! connection whose peer is judged after the handshake ([`connect_provisional`]). Incoming: who we are
//! ([`ServerIdentity`], [`server_config`]), who a client is ([`ClientAuthority`]) and the server loop ([`serve()`]). Through which proxy a server is reached is
//! [`Proxies`]; how often a failing one is asked again is [`Patience`]. What services count is told by [`exposition`],
//! and what took them how long, to a collector, by [`spans`].
//!
//! TLS 1.3 (RFC 8446) of rustls over aws-lc-rs. No session is ever resumed, no ticket issued or kept, no early data
//! sent or taken, no key logged; whatever is not known about a peer's certificate, its CertificateVerify is verified.
//!
//! Every service begins here, so that it is also here that it keeps its memory to itself ([`process`]).
//!
//! This crate does not appraise evidence, follow redirects, decide which peers may be called, or read a file of anybody's or an
//! environment variable.

pub mod client_certificate;
pub mod exposition;
pub mod failure;
pub mod http;
pub mod identity;
pub mod pace;
pub mod patience;
pub mod process;
pub mod provisional;
pub mod proxy;
pub mod serve;
pub mod spans;
pub mod trace;
pub mod trust;

pub use client_certificate::{ClientAuthority, PeerCertificates, server_config_asking};
pub use http::{Body, BoxError, HttpClient, read_body};
pub use identity::{ServerIdentity, server_config};
pub use patience::Patience;
pub use process::{forbid_dumps, lock_memory};
pub use provisional::{ProvisionalStream, connect_provisional};
pub use proxy::Proxies;
pub use serve::{Bound, PeerAddr, ServeLimits, bind, serve, shutdown_signal};
pub use trust::{Protocol, ServerTrust, client_config, client_config_for, install_crypto};
