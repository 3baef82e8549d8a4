//! Transparency logs as C2SP specifies them: an append-only list of entries under an RFC 6962 Merkle tree, so that whoever
//! keeps one small signed text, the checkpoint, can hold the whole log to it.
//!
//! | what | where | specification |
//! |---|---|---|
//! | the shape of the tree, and proofs in it | [`prove_inclusion`], [`prove_consistency`], [`verify_inclusion`], [`verify_consistency`] | RFC 9162 §2.1 |
//! | how the tree is stored and served | [`Tile`], [`Tiles`], [`entries`] | c2sp.org/tlog-tiles |
//! | a tree's size and root | [`Checkpoint`] | c2sp.org/tlog-checkpoint |
//! | a text and who signed it | [`SignedNote`], [`NoteSigner`], [`NoteVerifier`] | c2sp.org/signed-note |
//! | what witnesses add to a checkpoint | [`Role::Witness`] | c2sp.org/tlog-cosignature |
//! | one entry's proof, in a file | [`EntryProof`] | c2sp.org/tlog-proof |
//!
//! A [`VerifiedCheckpoint`] is the only thing that proofs are verified against, and only signatures make one.
//!
//! This crate does not open a socket or a file, read a clock, or know what an entry means. It does not decide which log or
//! which witnesses to trust: their keys are arguments.

#[cfg(test)]
mod agreement;
mod checkpoint;
pub mod entries;
mod entry_proof;
mod note;
mod proof;
mod shape;
mod tile;
mod tiles;

pub use checkpoint::{Checkpoint, Trust, VerifiedCheckpoint};
pub use entry_proof::EntryProof;
pub use note::{NoteSigner, NoteVerifier, Role, Signature, SignedNote};
pub use proof::{verify_consistency, verify_inclusion};
pub use shape::Node;
pub use tile::Tile;
pub use tiles::{
    Tiles, prove_consistency, prove_inclusion, root, tiles_of_consistency, tiles_of_inclusion, tiles_of_root,
};
