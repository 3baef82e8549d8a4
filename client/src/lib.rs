//! The attested channel for applications
