//! The first process of the measured guest: brings the machine up, hands the deployment document to `strongroom-enclave`, runs it
//! with as few rights as it needs, and ends the machine when it ends.
//!
//! [`boot`](mod@boot) is the recipe. Nothing that the host says is believed for more than it must be: module files and programs are of
//! the measured image, addresses and time are the host's and trusted by nobody, and the document is compared with the hardware's
//! field by the enclave. The first step that fails ends the machine.
//!
//! This crate does not speak TLS, judge evidence, know what a model is, mount a disk, start a shell, or let anybody log in.

pub mod boot;
pub mod clock;
pub mod cloud;
pub mod confine;
pub mod console;
pub mod document;
pub mod entropy;
pub mod metadata;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod power;
pub mod supervise;
mod watchdog;
