//! The whole system on one machine without a TEE
fn main() {}
