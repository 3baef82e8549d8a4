//! Those whom Strongroom defends against, each doing its real worst.

pub(crate) mod patched_enclave;
pub(crate) mod relay;
pub(crate) mod thief;
