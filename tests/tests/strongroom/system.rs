//! The real programs, started as an operator would start them, around a fake vendor and in a folder of their own.

pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod world;

pub(crate) use programs::{program, root, strongroom, text};

/// `len` bytes that repeat only after 256 · 251 of them.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + 3) ^ (i / 251)) as u8).collect()
}
