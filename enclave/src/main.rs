//! The measured workload
fn main() {}
