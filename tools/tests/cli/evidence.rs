//! `evidence`: every captured report of `../shared/vectors` has its stated verdict.

use crate::run::strongroom;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: `../shared/vectors` is absent");
    None
}

fn reports(folder: &Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    index.as_array().unwrap().iter().filter(|entry| entry["kind"] == "snp-report").cloned().collect()
}

/// A day after the first day of validity, in seconds since 1970, by the civil-calendar formula.
fn at(entry: &Value) -> String {
    let Some(date) = entry["vek_validity"][0].as_str() else { return "1750000000".to_owned() };
    let mut parts = date.split('-').map(|part| part.parse::<u64>().unwrap());
    let (y, m, d) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + d - 719_469;
    (days * 86_400 + 129_600).to_string()
}

fn verify(folder: &Path, entry: &Value, more: &[&str]) -> crate::run::Run {
    let path = |file: &Value| folder.join(file.as_str().unwrap()).to_str().unwrap().to_owned();
    let mut arguments = vec!["evidence".to_owned(), "verify".to_owned(), path(&entry["file"]), "--json".to_owned()];
    for name in ["vek", "ask", "ark"].iter().filter(|name| entry[**name].is_string()) {
        arguments.extend(["--endorsement".to_owned(), path(&entry[*name])]);
    }
    arguments.extend(["--at".to_owned(), at(entry)]);
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    strongroom(arguments)
}

#[test]
fn every_captured_report_has_its_stated_verdict() {
    let Some(folder) = folder() else { return };
    let (mut valid, mut seen) = (0, 0);
    for entry in reports(&folder) {
        let file = entry["file"].as_str().unwrap();
        let run = verify(&folder, &entry, &["--authenticate-only"]);
        let json = run.json();
        seen += 1;
        if entry["verdict"] == "VALID" {
            valid += 1;
            assert_eq!((run.code, json["verdict"].as_str()), (0, Some("authentic")), "{file}: {}", run.stdout);
            assert_eq!((&json["product"], &json["measurement"]), (&entry["product"], &entry["measurement"]), "{file}");
            assert_eq!((json["root"].as_str(), &json["debug"]), (Some("amd"), &entry["debug"]), "{file}");
            continue;
        }
        assert_eq!(run.code, 1, "{file}: {}", run.stdout);
        // What no report could be read from has no report to show.
        let code = json.get("refused").map_or(&json["code"], |refused| &refused["code"]);
        assert!(code.is_string() && json["verdict"] != "authentic", "{file}: {}", run.stdout);
        if entry["verdict"] == "NO-VEK" {
            assert_eq!(code, "endorsement-missing", "{file}");
        }
    }
    assert!(valid >= 5 && seen >= 30, "{valid} of {seen}");
}

#[test]
fn debugged_guest_refused_by_the_platform_defaults_and_authentic_without_them() {
    let Some(folder) = folder() else { return };
    let is = |entry: &&Value, debug: bool| entry["verdict"] == "VALID" && entry["debug"] == debug && entry["vmpl"] == 0;
    let reports = reports(&folder);
    let debugged = reports.iter().find(|entry| is(entry, true)).unwrap();
    let run = verify(&folder, debugged, &[]);
    assert_eq!((run.code, run.json()["code"].as_str()), (1, Some("debug-enabled")));
    assert_eq!(verify(&folder, debugged, &["--authenticate-only"]).done().json()["verdict"], "authentic");

    let other = reports.iter().find(|entry| is(entry, false)).unwrap();
    assert_eq!(verify(&folder, other, &[]).done().json()["verdict"], "authentic");
}

#[test]
fn inspection_shows_fields_and_vouches_for_nothing() {
    let Some(folder) = folder() else { return };
    let reports = reports(&folder);
    let entry = reports.iter().find(|entry| entry["verdict"] == "NO-VEK").unwrap();
    let file = folder.join(entry["file"].as_str().unwrap());
    let run = strongroom(["evidence", "inspect", file.to_str().unwrap()]).done();
    assert!(run.stdout.contains(entry["measurement"].as_str().unwrap()));
    assert!(run.stdout.contains("nothing was verified"));
    strongroom(["evidence", "inspect", "Cargo.toml", "--json"]).refused(1, "malformed");
}
