//! The one crate that may hold `unsafe`, a block at a time, each with why it is sound.
//!
//! There are three. [`sha256`] calls a function that is compiled for instructions which not every processor has; what reads
//! and writes memory there is safe code. [`memory`] gives out the bytes of a mapped file, each of them once. [`tdx`] asks the kernel
//! for a report by an ioctl.
//!
//! This crate does not read or write files of a disk, open sockets, or know what is secret.

pub mod memory;
pub mod sha256;
pub mod tdx;
