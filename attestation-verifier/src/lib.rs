//! The verifier service
