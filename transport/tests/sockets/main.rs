//! Clients and servers of this crate against each other and against peers that misbehave, over loopback sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test helpers fail their test by panicking")]

mod peers;
mod proxying;
mod serving;
mod trusting;
