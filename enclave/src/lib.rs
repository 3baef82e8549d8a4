//! The measured workload
