//! Public promises point at tests that are there.

use crate::system::root;
use std::fs;
use strongroom_wire::Code;

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

#[test]
fn table_of_refusals_has_every_code_with_its_fault_and_advice_and_no_other() {
    let table = fs::read_to_string(root().join("docs/refusals.md")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for code in Code::ALL {
        let row = rows.iter().find(|row| row.first() == Some(&format!("`{code}`").as_str()));
        let row = row.unwrap_or_else(|| panic!("no row for `{code}`"));
        let fault = format!("{:?}", code.fault()).to_lowercase();
        let advice = if code.advice().is_empty() { "–" } else { code.advice() };
        assert_eq!((row[1], *row.last().unwrap()), (fault.as_str(), advice), "`{code}`");
    }
    assert_eq!(rows.len(), Code::ALL.len());
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut named = 0;
    for document in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "tests/fuzz/README.md", "tests/mutants.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let commands = text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("make "));
        for command in commands.chain(text.split("`make ").skip(1)) {
            let target: String = command.chars().take_while(char::is_ascii_lowercase).collect();
            assert!(makefile.contains(&format!("\n{target}:")), "{document} names `make {target}`");
            named += 1;
        }
    }
    assert!(named > 8, "{named} named");
}
