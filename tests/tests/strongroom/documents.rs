//! Public promises point at tests that are there.

use crate::arrow::root;
use std::fs;

#[test]
fn every_test_that_a_claim_names_exists() {
    let claims = fs::read_to_string(root().join("CLAIMS.md")).unwrap();
    let named: Vec<_> = claims.split('`').filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 50, "{} tests named", named.len());
    let absent = |(file, test): &&(&str, &str)| {
        let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        !source.contains(&format!("fn {test}("))
    };
    let absent: Vec<_> = named.iter().filter(absent).collect();
    assert!(absent.is_empty(), "no such tests: {absent:#?}");
}
