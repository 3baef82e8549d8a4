//! What an entry of the verifier's audit log costs until it is durable: by itself, with 64 callers who ask as often as they can, and
//! with as many who ask at a rate that is several times what a verifier releases; beside what the disk takes to make one page durable.

use crate::figure::Figure;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_attestation_verifier::AuditLog;

/// How many append at a time.
const CLIENTS: u32 = 64;
/// How many entries a second those ask for who do not ask as often as they can.
const RATE: u32 = 2000;
/// Milliseconds: 99 of 100 appends are to be done in so many.
const BUDGET: f64 = 5.0;

pub(crate) fn figures() -> Vec<Figure> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = Arc::new(runtime.block_on(AuditLog::make(folder.path())).unwrap());
    let run = |clients: u32, pause: Duration| {
        let began = Instant::now();
        let client = |first: Duration| {
            let log = Arc::clone(&log);
            runtime.spawn(async move {
                let (mut times, mut next) = (Vec::new(), began + first);
                while began.elapsed() < Duration::from_secs(4) {
                    if !pause.is_zero() {
                        tokio::time::sleep_until(next.into()).await;
                        next += pause;
                    }
                    let asked = Instant::now();
                    log.append().await.unwrap();
                    times.push(asked.elapsed());
                }
                times
            })
        };
        let clients: Vec<_> = (0..clients).map(|n| client(pause * n / clients)).collect();
        let times = clients.into_iter().flat_map(|client| runtime.block_on(client).unwrap()).collect::<Vec<_>>();
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        (rate, sorted(times))
    };
    let (_, alone) = run(1, Duration::ZERO);
    let (rate, shared) = run(CLIENTS, Duration::ZERO);
    let (_, paced) = run(CLIENTS, Duration::from_secs(1) * CLIENTS / RATE);
    let disk = synced(folder.path());
    vec![
        Figure::new("fsync-p50", at(&disk, 0.5), "ms", None),
        Figure::new("fsync-p99", at(&disk, 0.99), "ms", None),
        Figure::new("audit-append-alone-p50", at(&alone, 0.5), "ms", at(&disk, 0.5)),
        Figure::new("audit-append-64-p50", at(&shared, 0.5), "ms", None),
        Figure::new("audit-append-64-p99", at(&shared, 0.99), "ms", BUDGET),
        Figure::new("audit-append-2000-a-second-p50", at(&paced, 0.5), "ms", None),
        Figure::new("audit-append-2000-a-second-p99", at(&paced, 0.99), "ms", BUDGET),
        Figure::new("audit-appends-64", rate, "per second", None),
    ]
}

/// How long it takes to write a page at the end of a file and have it on the disk.
fn synced(folder: &Path) -> Vec<Duration> {
    let mut file = File::create(folder.join("page")).unwrap();
    let once = |_| {
        let began = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        began.elapsed()
    };
    sorted((0..500).map(once).collect())
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// Milliseconds that this part of them takes no longer than.
fn at(times: &[Duration], part: f64) -> f64 {
    times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
}
