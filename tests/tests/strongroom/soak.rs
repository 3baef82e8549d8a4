//! An enclave under everything at once, for a minute, or for as long as `STRONGROOM_SOAK_SECONDS` says: three kinds of models, callers who
//! hang up, who send nonsense and who read slowly, and a model that is replaced again and again. Nothing fails that nobody made fail, memory
//! stays what it is, and no file descriptor is lost.

mod callers;

use crate::replacement::stage::{Caller, Stage, replaceable};
use callers::Crowd;
use serde_json::json;
use std::time::{Duration, Instant};

/// Between two replacements: far from the 256 referrers that a registry is listed for a manifest, also within half an hour.
const SPACING: Duration = Duration::from_secs(10);
/// Threads that a service takes on for files, and keeps for a while.
const SPARE_THREADS: usize = 4;
/// How much more memory the last third may have than the first.
const GROWTH: f64 = 1.05;
/// Within a time in which its first third has not met every largest request yet, and how many bytes more it then may be.
const SETTLING: (Duration, f64) = (Duration::from_secs(60), 16.0 * 1024.0 * 1024.0);

fn length() -> Duration {
    let seconds = std::env::var("STRONGROOM_SOAK_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
#[expect(clippy::print_stdout, reason = "what was measured is what a long run is for")]
fn enclave_under_mixed_load_fails_nobody_and_its_memory_and_descriptors_stay() {
    let others = [("tensors", "MODEL_MAGIKA"), ("chat", "MODEL_TINY_CHAT")];
    let Some(stage) = Stage::start_beside("MODEL_TINY", &others, replaceable) else { return };
    let (guest, length) = (stage.launch("").unwrap(), length());
    let (manager, other) = (Caller::of(&guest), stage.publish("v2", "release"));
    assert_eq!(manager.embed(), 200);
    let (descriptors, threads) = (stage.descriptors(&guest), stage.threads(&guest));
    let crowd = Crowd::of(&guest);

    let (began, mut changed, mut resident) = (Instant::now(), 0_usize, Vec::new());
    while began.elapsed() < length {
        let next = if changed.is_multiple_of(2) { &other } else { &stage.model };
        stage.promote(next);
        let answer = manager.change("load", &json!({"parameters": {"reference": next.reference}}));
        assert_eq!((answer.status, manager.served()), (200, json!(next.manifest.oci())), "{}", answer.text());
        changed += 1;
        let until = (began + SPACING * u32::try_from(changed).unwrap()).min(began + length);
        while Instant::now() < until {
            resident.push(stage.resident(&guest));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let asked = crowd.end();
    stage.until_descriptors(&guest, descriptors);
    // Each model has some of its own, so that one that is never let go shows here. The runtime of the service takes some as it needs them.
    stage.until_threads(&guest, threads + SPARE_THREADS);

    let third = resident.len() / 3;
    let most = |of: &[u64]| *of.iter().max().unwrap();
    let (first, last) = (most(&resident[..third]), most(&resident[resident.len() - third..]));
    println!(
        "soak: {length:?}, {changed} replacements, {asked:?}, {} MiB in the first third, {} in the last, {descriptors} descriptors",
        first >> 20,
        last >> 20
    );
    assert!(asked.values().all(|(right, wrong)| *right > 0 && wrong.is_empty()), "{asked:?}");
    let settling = if length <= SETTLING.0 { SETTLING.1 } else { 0.0 };
    assert!(last as f64 <= first as f64 * GROWTH + settling, "{first} bytes became {last}");
    let errors = stage.log(&guest, "request failed");
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(stage.log(&guest, "model changed").len(), changed);
}
