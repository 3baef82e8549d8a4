//! Captured quotes of real machines and the collateral of their time, read from `../shared/vectors` beside the workspace.
//! Where we judge otherwise than the recorded peer, `tests/vectors/exceptions.md` says why.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use strongroom_appraisal::tdx::{self, AuthenticQuote, TcbStatus};
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, authenticate};
use strongroom_devkit::vectors::{entries, folder, midnight};
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Check, Code, Root};

/// Inside the validity of every certificate of the captured quotes.
const SOME_TIME: u64 = 1_786_700_000;

fn read(folder: &Path, file: &Value) -> Vec<u8> {
    std::fs::read(folder.join(file.as_str().unwrap())).unwrap()
}

fn collateral(folder: &Path, file: &Value) -> Endorsements {
    let mut endorsements = Endorsements::new();
    endorsements.add(&read(folder, file)).unwrap();
    endorsements
}

/// Seconds since 1970 of `YYYY-MM-DD hh:mm:ss+00:00` or `YYYY-MM-DDThh:mm:ssZ`.
fn seconds(text: &Value) -> u64 {
    let text = text.as_str().unwrap();
    let clock: Vec<u64> = text.get(11..19).unwrap().split(':').map(|part| part.parse().unwrap()).collect();
    midnight(text) + clock[0] * 3600 + clock[1] * 60 + clock[2]
}

#[test]
fn every_parsed_field_equals_the_index() {
    let Some(folder) = folder() else { return };
    for entry in entries(&folder, "tdx-quote").unwrap() {
        let file = &entry["file"];
        let quote = Quote::parse(&read(&folder, file)).unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
        let body = &quote.body;
        assert_eq!(entry["version"], quote.header.version, "{file}");
        assert_eq!(entry["body_type"].as_u64().unwrap_or(2), u64::from(quote.body_type), "{file}");
        assert_eq!(entry["debug"], body.td_attributes.debug(), "{file}");
        assert_eq!(entry["td_attributes"], hex::encode(body.td_attributes.0.to_le_bytes()), "{file}");
        assert_eq!(entry["mrtd"], hex::encode(body.mrtd), "{file}");
        assert_eq!(entry["mrconfigid"], hex::encode(body.mrconfigid), "{file}");
        assert_eq!(entry["report_data"], hex::encode(body.report_data), "{file}");
        let rtmr: Vec<String> = body.rtmr.iter().map(hex::encode).collect();
        assert_eq!(entry["rtmr"], Value::from(rtmr), "{file}");
        assert!(
            body.xfam.fixed_bits_hold() && body.td_attributes.unnamed() == 0 && quote.header.reserved_zero,
            "{file}"
        );
    }
}

/// Without collateral a verdict cannot be reached, but who signed is known before it is asked for.
#[test]
fn every_captured_quote_has_the_stated_verdict_up_to_its_collateral() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let mut seen = 0;
    for entry in entries(&folder, "tdx-quote").unwrap() {
        let file = &entry["file"];
        let mut trace = Vec::new();
        let evidence = read(&folder, file);
        let refusal =
            tdx::authenticate_traced(&evidence, &Endorsements::new(), &roots, SOME_TIME, &mut trace).unwrap_err();
        let held: Vec<&str> = trace.iter().filter(|check| check.ok).map(|check| check.name.as_str()).collect();
        let signed = ["quote-format", "pck-chain", "qe-report-signature", "attestation-key", "signature"];
        match entry["verdict"].as_str().unwrap() {
            "VALID" => {
                assert_eq!((refusal.code, &held[..]), (Code::CollateralMissing, &signed[..]), "{file}: {refusal}");
            }
            "INVALID" => {
                assert_eq!((refusal.code, &held[..]), (Code::EvidenceSignatureInvalid, &signed[..4]), "{file}");
            }
            "UNTRUSTED-ROOT" => assert_eq!((refusal.code, &held[..]), (Code::RootUntrusted, &signed[..1]), "{file}"),
            // Somebody cut a name out of the first certificate: its base64 no longer decodes.
            "NO-PCK" => assert_eq!(refusal.code, Code::Malformed, "{file}: {refusal}"),
            verdict => panic!("{file}: {verdict}"),
        }
        seen += 1;
    }
    assert!(seen >= 44, "{seen}");
}

/// The peer's `OK <status> [<advisories>]`, and whether the record holds all advisories: it is cut after 160 characters.
fn accepted_by_peer(result: &str) -> Option<(String, BTreeSet<String>, bool)> {
    let (status, list) = result.strip_prefix("OK ")?.split_once(' ').unwrap();
    let whole = list.ends_with(']');
    let list = if whole { list.to_owned() } else { format!("{}]", list.rsplit_once(", ").unwrap().0) };
    let advisories: Vec<String> = serde_json::from_str(&list).unwrap();
    Some((status.to_owned(), advisories.into_iter().collect(), whole))
}

fn judged(authentic: &AuthenticQuote) -> (String, BTreeSet<String>) {
    (authentic.tcb_status().to_string(), authentic.advisories().map(str::to_owned).collect())
}

#[test]
fn every_collateral_set_at_its_time_gives_the_peers_status_and_advisories() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let mut seen = [0; 4];
    for entry in entries(&folder, "tdx-quote").unwrap() {
        let evidence = read(&folder, &entry["file"]);
        for peer in entry["peer_results"].as_array().unwrap() {
            let name = format!("{} with {}", entry["file"], peer["collateral"]);
            let endorsements = collateral(&folder, &peer["collateral"]);
            let now = peer["unix"].as_u64().unwrap();
            let result = tdx::authenticate(&evidence, &endorsements, &roots, now);
            let said = peer["result"].as_str().unwrap();
            match (accepted_by_peer(said), said) {
                (Some((status, advisories, whole)), _) => {
                    let authentic = result.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
                    let (our_status, ours) = judged(&authentic);
                    assert_eq!(our_status, status, "{name}");
                    assert!(if whole { ours == advisories } else { ours.is_superset(&advisories) }, "{name}: {ours:?}");
                    assert_eq!(authentic.root(), Root::Intel);
                    assert_eq!(entry["fmspc"], hex::encode(authentic.platform().facts().fmspc));
                    seen[0] += 1;
                }
                (None, "ERR No matching TCB level found") => {
                    assert_eq!(result.unwrap_err().code, Code::TcbNotSupported, "{name}");
                    seen[1] += 1;
                }
                (None, "ERR SEPT_VE_DISABLE is not enabled") => {
                    // Policy's matter: see exceptions.md.
                    let authentic = result.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
                    let appraisal = tdx::appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
                    let failed: Vec<&str> =
                        appraisal.checks().iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
                    assert!(failed.contains(&"sept-ve-disable"), "{name}: {failed:?}");
                    seen[2] += 1;
                }
                (None, "ERR ISV enclave report signature is invalid") => {
                    assert_eq!(result.unwrap_err().code, Code::EvidenceSignatureInvalid, "{name}");
                    seen[3] += 1;
                }
                (None, other) => panic!("{name}: {other}"),
            }
        }
    }
    assert!(seen[0] >= 150 && seen[1] >= 50 && seen[2] >= 20 && seen[3] >= 3, "{seen:?}");
}

/// That date of TCB info and of QE identity.
fn dates(folder: &Path, file: &Value, name: &str) -> [u64; 2] {
    let document: Value = serde_json::from_slice(&read(folder, file)).unwrap();
    ["tcb_info", "qe_identity"].map(|member| {
        let inner: Value = serde_json::from_str(document[member].as_str().unwrap()).unwrap();
        seconds(&inner[name])
    })
}

#[test]
fn one_second_outside_the_window_refused_with_the_code_of_what_ended() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let mut codes = BTreeSet::new();
    for entry in entries(&folder, "tdx-quote").unwrap() {
        let evidence = read(&folder, &entry["file"]);
        for peer in entry["peer_results"].as_array().unwrap() {
            let name = format!("{} with {}", entry["file"], peer["collateral"]);
            let endorsements = collateral(&folder, &peer["collateral"]);
            let now = peer["unix"].as_u64().unwrap();
            let Ok(authentic) = tdx::authenticate(&evidence, &endorsements, &roots, now) else { continue };
            let valid = authentic.platform().valid();
            let (begins, ends) = (seconds(&peer["window"][0]), seconds(&peer["window"][1]));
            assert!(valid.contains(&now), "{name}");
            // The peer's window is the collateral's; the platform's own certificate, which may be younger, counts in ours.
            assert_eq!(authentic.platform().collateral().valid(), begins..=ends, "{name}");
            let at = |now| {
                tdx::authenticate(&evidence, &endorsements, &roots, now).map(drop).map_err(|refusal| refusal.code)
            };
            assert_eq!((at(*valid.start()), at(*valid.end())), (Ok(()), Ok(())), "{name}");
            let early = at(valid.start() - 1).unwrap_err();
            let issued = dates(&folder, &peer["collateral"], "issueDate").contains(valid.start());
            let want = match (valid.start() > authentic.platform().collateral().valid().start(), issued) {
                (true, _) => Code::CertificateNotYetValid,
                (false, true) => Code::CollateralNotYetValid,
                (false, false) => Code::CrlExpired,
            };
            assert_eq!(early, want, "{name}");
            let late = at(valid.end() + 1).unwrap_err();
            let due = dates(&folder, &peer["collateral"], "nextUpdate").contains(valid.end());
            assert_eq!(late, if due { Code::CollateralExpired } else { Code::CrlExpired }, "{name}");
            let kept =
                |now| authentic.platform().authenticate(&evidence, now).map(drop).map_err(|refusal| refusal.code);
            assert_eq!(kept(*valid.end()), Ok(()), "{name}");
            assert_eq!(kept(valid.start() - 1), Err(Code::CollateralNotYetValid), "{name}");
            assert_eq!(kept(valid.end() + 1), Err(Code::CollateralExpired), "{name}");
            codes.extend([early, late]);
        }
    }
    assert!(codes.len() >= 3, "{codes:?}");
}

#[test]
fn newest_of_several_sets_counts_and_sets_of_other_platforms_are_passed_over() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let entry = entries(&folder, "tdx-quote").unwrap().into_iter().find(|entry| entry["body_type"] == 4).unwrap();
    let evidence = read(&folder, &entry["file"]);
    let mut all = Endorsements::new();
    for file in std::fs::read_dir(folder.join("tdx/_collateral")).unwrap() {
        all.add(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
    }
    let now = entry["peer_results"][0]["unix"].as_u64().unwrap();
    let authentic = tdx::authenticate(&evidence, &all, &roots, now).unwrap();
    assert_eq!(authentic.tcb_status(), TcbStatus::UpToDate);
    // Evaluations 19 and 20 are at hand; its QE identity is of 19 in both.
    let newest = collateral(&folder, &entry["peer_results"][0]["collateral"]);
    let alone = tdx::authenticate(&evidence, &newest, &roots, now).unwrap();
    assert_eq!(authentic.platform().valid(), alone.platform().valid());

    let other = entries(&folder, "tdx-quote")
        .unwrap()
        .into_iter()
        .find(|entry| entry["fmspc"] == "00806f050000" && entry["verdict"] == "VALID")
        .unwrap();
    let foreign = tdx::authenticate(&read(&folder, &other["file"]), &newest, &roots, now).unwrap_err();
    assert_eq!(foreign.code, Code::CollateralMismatch);
}

#[test]
fn debugged_trust_domain_authentic_and_refused_by_the_platform_defaults() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    for entry in entries(&folder, "tdx-quote").unwrap().iter().filter(|entry| entry["debug"] == true) {
        let peer = &entry["peer_results"][0];
        let endorsements = collateral(&folder, &peer["collateral"]);
        let now = peer["unix"].as_u64().unwrap();
        let authentic = tdx::authenticate(&read(&folder, &entry["file"]), &endorsements, &roots, now).unwrap();
        let appraisal = tdx::appraise(&authentic, &Policy::platform_defaults(), &Expected::UNBOUND);
        let codes: BTreeSet<Code> = appraisal.checks().iter().filter_map(|check: &Check| check.code).collect();
        assert!(codes.contains(&Code::DebugEnabled) && codes.contains(&Code::TcbStatusNotAccepted), "{codes:?}");
    }
}

#[test]
fn quote_where_an_snp_report_is_wanted_refused_and_the_other_way_round() {
    let Some(folder) = folder() else { return };
    let roots = Roots::builtin().unwrap();
    let quote = read(&folder, &entries(&folder, "tdx-quote").unwrap()[0]["file"]);
    assert_eq!(authenticate(&quote, &Endorsements::new(), &roots, SOME_TIME).unwrap_err().code, Code::Malformed);
    let report = vec![2; 1184];
    assert_eq!(
        tdx::authenticate(&report, &Endorsements::new(), &roots, SOME_TIME).unwrap_err().code,
        Code::VersionUnsupported
    );
}
