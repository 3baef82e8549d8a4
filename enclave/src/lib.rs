//! The measured workload: it proves what it is, opens the models that its deployment document names, and serves them to
//! those whom the document lets in.
//!
//! [`boot`](mod@boot) is the recipe; [`service`] the process around it. Evidence comes from an [`attester`], keys from the
//! verifier that [`kbs`] speaks to, models from a registry into sealed [`memory`]; [`inference`] runs them in the
//! [`runtime`] that the document names, [`api`] answers requests, and [`evidence`] whoever asks what is behind the channel, with
//! endorsements to [`staple`] where the host gives none. It goes on as long as the verifier gives it a [`lease`], and knows by those
//! what time it is at the least ([`clock`]). Where the document lets it, it replaces a model while it serves ([`mod@change`]).
//!
//! This crate does not appraise evidence, its own or another's: an attester does not grade itself. It does not verify a
//! signature on a model or open a seal by itself (`strongroom-artifact` does), does not write to a disk, does not read the
//! environment, and does not log, quote in an error or keep a prompt, an answer, a key or a weight.

pub mod api;
pub mod attester;
pub mod boot;
pub mod change;
pub mod clock;
pub mod config;
pub mod evidence;
pub mod heartbeat;
pub mod inference;
pub mod kbs;
pub mod lease;
pub mod memory;
pub mod process;
pub mod prompt;
pub mod runtime;
pub mod service;
pub mod stage;
pub mod staple;

#[cfg(test)]
#[path = "../tests/boot/setup.rs"]
#[allow(clippy::print_stderr)]
mod setup;
