//! `evidence` with TDX quotes: those captured, and those of a fake hierarchy.

use crate::run::{Run, strongroom};
use serde_json::Value;
use std::path::Path;
use strongroom_devkit::intel::{CollateralSpec, Hierarchy, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::vectors::{entries, folder};

fn verify(folder: &Path, entry: &Value, peer: Option<&Value>, more: &[&str]) -> Run {
    let path = |file: &Value| folder.join(file.as_str().unwrap()).to_str().unwrap().to_owned();
    let mut arguments = vec!["evidence".to_owned(), "verify".to_owned(), path(&entry["file"]), "--json".to_owned()];
    let at = peer.map_or(1_786_700_000, |peer| peer["unix"].as_u64().unwrap());
    arguments.extend(["--at".to_owned(), at.to_string()]);
    if let Some(peer) = peer {
        arguments.extend(["--endorsement".to_owned(), path(&peer["collateral"])]);
    }
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    strongroom(arguments)
}

#[test]
fn every_captured_quote_has_its_stated_verdict_with_its_latest_collateral() {
    let Some(folder) = folder() else { return };
    let (mut authentic, mut seen) = (0, 0);
    for entry in entries(&folder, "tdx-quote").unwrap().iter() {
        let file = entry["file"].as_str().unwrap();
        let peer = entry["peer_results"].as_array().unwrap().last();
        let run = verify(&folder, entry, peer, &["--authenticate-only"]);
        let json = run.json();
        seen += 1;
        assert_eq!((json["platform"].as_str(), &json["debug"]), (Some("tdx"), &entry["debug"]), "{file}");
        assert_eq!((&json["measurement"], &json["report_data"]), (&entry["mrtd"], &entry["report_data"]), "{file}");
        let said = peer.map_or("ERR", |peer| peer["result"].as_str().unwrap());
        let code = match (entry["verdict"].as_str().unwrap(), said) {
            ("VALID", "ERR No matching TCB level found") => "tcb-not-supported",
            ("VALID", "ERR") => "collateral-missing",
            ("VALID", _) => {
                authentic += 1;
                assert_eq!((run.code, json["verdict"].as_str()), (0, Some("authentic")), "{file}: {}", run.stdout);
                assert_eq!((json["root"].as_str(), &json["fmspc"]), (Some("intel"), &entry["fmspc"]), "{file}");
                if let Some(status) = said.strip_prefix("OK ").and_then(|said| said.split(' ').next()) {
                    assert_eq!(json["tcb_status"], status, "{file}");
                }
                continue;
            }
            ("INVALID", _) => "evidence-signature-invalid",
            ("UNTRUSTED-ROOT", _) => "root-untrusted",
            ("NO-PCK", _) => "malformed",
            (verdict, _) => panic!("{file}: {verdict}"),
        };
        assert_eq!((run.code, json["code"].as_str()), (1, Some(code)), "{file}: {}", run.stdout);
        assert_eq!((json["verdict"].as_str(), &json["tcb_status"]), (Some("refused"), &Value::Null), "{file}");
    }
    assert!(seen >= 44 && authentic >= 30, "{authentic} of {seen}");
}

#[test]
fn platform_defaults_demand_an_up_to_date_platform_and_sept_ve_disable() {
    let Some(folder) = folder() else { return };
    let mut seen = [false; 4];
    for entry in entries(&folder, "tdx-quote").unwrap().iter().filter(|entry| entry["verdict"] == "VALID") {
        let Some(peer) = entry["peer_results"].as_array().and_then(|peers| peers.first()) else { continue };
        let said = peer["result"].as_str().unwrap();
        let run = verify(&folder, entry, Some(peer), &[]);
        let json = run.json();
        let (case, want) = match (entry["debug"] == true, said) {
            (true, _) => (0, (1, Some("debug-enabled"))),
            (false, said) if said.starts_with("OK UpToDate") => (1, (0, None)),
            (false, said) if said.starts_with("OK OutOfDate") => (2, (1, Some("tcb-status-not-accepted"))),
            (false, "ERR SEPT_VE_DISABLE is not enabled") => (3, (1, Some("platform-state-mismatch"))),
            _ => continue,
        };
        seen[case] = true;
        assert_eq!((run.code, json["code"].as_str()), want, "{}: {}", entry["file"], run.stdout);
    }
    assert_eq!(seen, [true; 4]);
}

#[test]
fn quote_accepted_by_a_policy_that_fixes_its_software_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let hierarchy = Hierarchy::generate().unwrap();
    let pck = hierarchy.issue(PckSpec::default()).unwrap();
    let mut mrconfigid = [0; 48];
    mrconfigid[..32].fill(0x44);
    let quote = QuoteSpec { mrconfigid, ..QuoteSpec::default() };
    std::fs::write(path("quote"), quote.sign(&pck).unwrap()).unwrap();
    std::fs::write(path("collateral"), hierarchy.collateral(&CollateralSpec::default()).unwrap()).unwrap();
    std::fs::write(path("root"), hierarchy.root.certificate()).unwrap();
    let verify = |mrtd: &str| {
        let exactly = |byte: &str, n: usize| format!("{{ exactly = \"{}\" }}", byte.repeat(n));
        let policy = format!(
            "version = 1\n[tdx]\nmrtd = {}\nrtmr0 = {}\nrtmr1 = {}\nrtmr2 = {}\ndeployment = {}\nppid = {}\n",
            exactly(mrtd, 48),
            exactly("70", 48),
            exactly("71", 48),
            exactly("72", 48),
            exactly("44", 32),
            exactly("99", 16),
        );
        std::fs::write(path("policy"), policy).unwrap();
        let (quote, collateral, root, policy) = (path("quote"), path("collateral"), path("root"), path("policy"));
        let given =
            ["--endorsement", &collateral, "--root", &root, "--policy", &policy, "--at", "1800000000", "--json"];
        strongroom(["evidence", "verify", &quote].into_iter().chain(given))
    };
    let accepted = verify("4d").done().json();
    assert_eq!((accepted["verdict"].as_str(), accepted["tcb_status"].as_str()), (Some("accepted"), Some("UpToDate")));
    assert_eq!(accepted["root"], format!("test:{}", hierarchy.root.key_digest().unwrap()));
    let refused = verify("4e");
    assert_eq!((refused.code, refused.json()["code"].as_str()), (1, Some("measurement-not-approved")));
    let names = |document: &Value| -> Vec<String> {
        let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
        checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&refused.json()), ["mrtd"]);
}

/// `evidence verify` of a captured quote with its collateral of then and a log.
fn with_log(folder: &Path, quote: &str, collateral: &str, at: &str, log: &str) -> Run {
    let path = |name: String| folder.join(name).to_str().unwrap().to_owned();
    let (quote, log) = (path(format!("tdx-event-logs/{quote}")), path(format!("tdx-event-logs/{log}")));
    let collateral = path(format!("tdx/_collateral/{collateral}.json"));
    let given = ["--event-log", &log, "--endorsement", &collateral, "--at", at, "--authenticate-only", "--json"];
    strongroom(["evidence", "verify", &quote].into_iter().chain(given))
}

#[test]
fn captured_event_log_of_the_quotes_boot_accepted_and_that_of_another_boot_refused() {
    let Some(folder) = folder() else { return };
    let newest = ("b0c06f000000-20260813-ev20-620d99", "1786704338");
    let live = |log: &str| with_log(&folder, "live.quote.bin", newest.0, newest.1, log);
    let cos = ("00806f050000-20260630-ev19-6a6788", "1782893539");
    let cos = with_log(&folder, "cos-113.quote.bin", cos.0, cos.1, "cos-113.ccel.bin");
    for (run, events) in [(live("live.ccel.bin"), 20), (cos, 43)] {
        let json = run.done().json();
        assert_eq!((json["verdict"].as_str(), json["events"].as_array().unwrap().len()), (Some("authentic"), events));
    }
    let other = live("other-boot.ccel.bin");
    let json = other.json();
    assert_eq!((other.code, json["code"].as_str()), (1, Some("event-log-mismatch")));
    let last = json["checks"].as_array().unwrap().last().unwrap();
    assert_eq!((last["name"].as_str(), &last["want"]), (Some("event-log"), &json["rtmr"][2]));
    assert!(json.get("events").is_none());
}

#[test]
fn event_log_beside_a_report_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report");
    std::fs::write(&file, [2, 0, 0, 0]).unwrap();
    let file = file.to_str().unwrap();
    let run = strongroom(["evidence", "verify", file, "--event-log", file]);
    assert_eq!(run.code, 2, "{}", run.stdout);
}

#[test]
fn inspection_of_a_quote_shows_fields_and_vouches_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pck = Hierarchy::generate().unwrap().issue(PckSpec::default()).unwrap();
    let file = folder.path().join("quote");
    std::fs::write(&file, QuoteSpec { td_attributes: 1, ..QuoteSpec::default() }.sign(&pck).unwrap()).unwrap();
    let run = strongroom(["evidence", "inspect", file.to_str().unwrap()]).done();
    assert!(run.stdout.contains(&format!("MRTD           {}", "4d".repeat(48))), "{}", run.stdout);
    assert!(run.stdout.contains("(debugging allowed)") && run.stdout.contains("nothing was verified"));
    let json = strongroom(["evidence", "inspect", file.to_str().unwrap(), "--json"]).done().json();
    assert_eq!((json["platform"].as_str(), json["report_version"].as_u64()), (Some("tdx"), Some(4)));
    assert_eq!((&json["tcb_status"], &json["fmspc"]), (&Value::Null, &Value::Null));
}
