//! The verifier service
fn main() {}
