//! The bodies of the fuzz targets on the stable compiler: seeds and everything that fuzzing once found, so that it is not
//! found again. `tests/fuzz/README.md` says how the targets themselves are run.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Runs `inputs`; a panic names the input that it is of.
fn replay(target: &str, inputs: impl IntoIterator<Item = (String, Vec<u8>)>) -> usize {
    let run = |(name, input): (String, Vec<u8>)| {
        let outcome = std::panic::catch_unwind(|| fuzz::run(target, &input));
        assert!(outcome.is_ok(), "{target}: {name}: {}", hex::encode(&input));
    };
    inputs.into_iter().map(run).count()
}

#[test]
fn seeds_of_every_target_break_no_invariant() {
    for (target, _) in fuzz::TARGETS {
        let seeds = fuzz::seeds(target).into_iter().enumerate();
        assert!(replay(target, seeds.map(|(number, seed)| (format!("seed {number}"), seed))) > 4, "{target}");
    }
}

/// What mutation begins with is accepted, or it would never come far: each guest with each way to carry its endorsements,
/// and each quote, now and not before.
#[test]
fn sound_evidence_of_the_fixtures_is_authentic_in_its_time_and_with_a_flipped_bit_refused() {
    let flip = |part: u8| [1, part, 50, 0, 3];
    for guest in 0..4 {
        for carried in 0..4 {
            assert!(fuzz::is_authentic_snp(&[guest, carried, 0]), "{guest} {carried}");
            assert!(!fuzz::is_authentic_snp(&[guest, carried, 4]), "{guest} {carried}, too early");
            let flipped = [&[guest, carried, 0][..], &flip(1)].concat();
            assert!(!fuzz::is_authentic_snp(&flipped), "{guest} {carried}, with another key");
        }
    }
    for quote in 0..2 {
        assert!(fuzz::is_authentic_tdx(&[quote, 0]), "{quote}");
        assert!(!fuzz::is_authentic_tdx(&[quote, 2]), "{quote}, too early");
        assert!(!fuzz::is_authentic_tdx(&[&[quote, 0][..], &flip(0)].concat()), "{quote}, flipped");
    }
}

#[test]
fn finds_of_earlier_runs_break_no_invariant() {
    let regressions = folder().join("regressions");
    for entry in fs::read_dir(&regressions).unwrap() {
        let target = entry.unwrap().file_name().into_string().unwrap();
        let finds = fs::read_dir(regressions.join(&target)).unwrap().map(|find| find.unwrap().path());
        assert!(replay(&target, finds.map(|find| (find.display().to_string(), fs::read(&find).unwrap()))) > 0);
    }
}

#[test]
fn every_target_has_its_program_and_its_row() {
    let manifest: toml::Table = fs::read_to_string(folder().join("Cargo.toml")).unwrap().parse().unwrap();
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let programs = manifest["bin"].as_array().unwrap();
    assert_eq!(programs.len(), fuzz::TARGETS.len());
    for (target, _) in fuzz::TARGETS {
        let source = fs::read_to_string(folder().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert_eq!(source.matches(&format!("\"{target}\"")).count(), 2, "{target}");
        assert!(programs.iter().any(|program| program["name"].as_str() == Some(target)), "{target}");
        assert!(readme.contains(&format!("| `{target}` |")), "no row for {target}");
    }
}

/// Not a test: makes `fixtures/evidence.json` anew. Regressions of whole verifications mean something else afterwards.
#[test]
#[ignore = "writes into the source tree"]
fn fixtures_are_made_anew() {
    fs::write(folder().join("fixtures/evidence.json"), fuzz::render_fixtures()).unwrap();
}
