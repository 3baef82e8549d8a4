//! A sealed model as a directory: `<path>.sealed` for every file (`<path>.sealed.<part>` where it has several), beside an
//! index that says how each is opened.
//!
//! What is written appears under its final name when it is whole, and what is opened when all of it was verified.

mod index;
mod open;
mod seal;
mod staging;

pub use index::{INDEX, Index, SealedFile, SealedPart};
pub use open::open_directory;
pub use seal::seal_directory;
pub use staging::Staging;

#[cfg(test)]
mod tests;
