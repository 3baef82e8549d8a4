//! Nothing: this crate is its tests, which run the crate graph, real peers and the real programs end to end
//! (`tests/strongroom`), and its benches (`benches`). `peers` holds the Python counterparts and brings the real peers.
//!
//! This crate does not hold code that anything else uses.
