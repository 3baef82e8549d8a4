//! The one crate that may hold `unsafe`, a block at a time, each with why it is sound.
//!
//! There is one: [`sha256`] calls a function that is compiled for instructions which not every processor has. What reads
//! and writes memory there is safe code.
//!
//! This crate does not read or write files, open sockets, or hold a secret.

pub mod sha256;
