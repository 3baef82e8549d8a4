//! Fake vendor hierarchies, report builders and a registry, for every crate's tests
