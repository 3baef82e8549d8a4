//! Pulls that are killed, and disks that are full: nothing wrong is ever left under a model's name, and the next pull goes on.

use super::Publisher;
use crate::run::{Run, binary, finished, text};
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_wire::digest::Sha256;

/// Starts a pull with the user's cache in `cache`, and kills the process once so many bytes of the weights were taken.
fn killed_pull(publisher: &Publisher, cache: &Path, weights: Sha256, after: u64) {
    let gate = Gate::closed();
    let faults = publisher.registry.faults();
    faults.set(Target::Blob(weights), Times::Always, Fault::StallAt { at: after, gate });
    let (reference, out, trust) = (publisher.reference("embed"), publisher.path("out"), publisher.path("trust.toml"));
    let mut pull = binary();
    pull.env("XDG_CACHE_HOME", cache).args(["model", "pull", &reference, text(&out), "--trust", text(&trust)]);
    let mut child = pull.args(["--plain-http", "--json"]).spawn().unwrap();
    // What is behind the last checkpoint is lost, so it is enough that the bytes before it are there.
    let journal = cache.join(format!("strongroom/pulls/partial/{weights}.journal"));
    let until = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&journal).map_or(0, |metadata| metadata.len()) < after / (4 << 20) * 73 {
        assert!(Instant::now() < until, "no bytes came");
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    faults.clear();
}

#[test]
fn pull_that_was_killed_goes_on_from_the_disk() {
    let publisher = Publisher::new();
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 253).to_le_bytes()[0]).collect();
    fs::write(publisher.path("model/onnx/model.onnx"), &bytes).unwrap();
    publisher.push("embed", &["--no-seal"]).done();
    let (cache, weights) = (publisher.path("caches"), Sha256::of(&bytes));
    for quarter in 1..4 {
        killed_pull(&publisher, &cache, weights, ((quarter * 5) << 20) + 12_345);
        assert!(!publisher.path("out").exists(), "nothing under the model's name");
        publisher.registry.requests().clear();
        let (reference, out, trust) =
            (publisher.reference("embed"), publisher.path("out"), publisher.path("trust.toml"));
        let mut pull = binary();
        pull.env("XDG_CACHE_HOME", &cache).args(["model", "pull", &reference, text(&out), "--trust", text(&trust)]);
        finished(pull.args(["--plain-http", "--json"]).output().unwrap()).done();
        assert_eq!(fs::read(out.join("onnx/model.onnx")).unwrap(), bytes);
        let requests = publisher.registry.requests().all();
        let first = requests.iter().filter(|request| request.path.ends_with(&weights.to_string()));
        let started: Vec<u64> = first.map(|request| started_at(request.range.as_deref())).collect();
        let least = quarter * 5 / 4 * (4 << 20);
        assert!(started.iter().all(|start| *start >= least) && !started.is_empty(), "{started:?}, {least}");
        fs::remove_dir_all(out).unwrap();
        assert_eq!(fs::read_dir(cache.join("strongroom/pulls/blobs")).unwrap().count(), 0);
    }
}

/// Where a range starts.
fn started_at(range: Option<&str>) -> u64 {
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    start.unwrap_or(0)
}

/// `model pull` into `out` with the user's cache in `cache`.
fn pull(publisher: &Publisher, cache: &Path) -> Command {
    let (reference, out, trust) = (publisher.reference("embed"), publisher.path("out"), publisher.path("trust.toml"));
    let mut pull = binary();
    pull.env("XDG_CACHE_HOME", cache).args(["model", "pull", &reference, text(&out), "--trust", text(&trust)]);
    pull.args(["--plain-http", "--json"]);
    pull
}

#[test]
#[expect(clippy::print_stdout, reason = "where it was killed")]
fn pull_killed_at_any_moment_leaves_no_wrong_file_and_the_last_one_is_whole() {
    const KILLS: u32 = 12;
    let publisher = Publisher::new();
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 253).to_le_bytes()[0]).collect();
    fs::write(publisher.path("model/onnx/model.onnx"), &bytes).unwrap();
    publisher.push("embed", &["--no-seal"]).done();
    let (cache, out) = (publisher.path("caches"), publisher.path("out"));
    let start = Instant::now();
    finished(pull(&publisher, &publisher.path("unhurried")).output().unwrap()).done();
    let whole = start.elapsed();
    fs::remove_dir_all(&out).unwrap();
    let before = names(&publisher);
    for kill in 0..KILLS {
        // One in each twelfth of the time that a pull takes.
        let share = (f64::from(kill) + random()) / f64::from(KILLS);
        let mut child = pull(&publisher, &cache).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(share));
        child.kill().unwrap();
        child.wait().unwrap();
        println!("killed after {share:.3} of {whole:?}: out is {}", if out.exists() { "there" } else { "not there" });
        if out.exists() {
            publisher.assert_same("out");
            fs::remove_dir_all(&out).unwrap();
        }
        let left: Vec<_> = names(&publisher).into_iter().filter(|name| !before.contains(name)).collect();
        assert!(left.iter().all(|name| name == ".out.strongroom-partial" || name == "caches"), "{left:?}");
    }
    finished(pull(&publisher, &cache).output().unwrap()).done();
    publisher.assert_same("out");
    assert!(!publisher.path(".out.strongroom-partial").exists());
}

#[test]
fn reseal_that_was_killed_leaves_nothing_plain_and_no_model_and_the_next_one_is_whole() {
    let publisher = Publisher::new();
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 253).to_le_bytes()[0]).collect();
    fs::write(publisher.path("model/onnx/model.onnx"), &bytes).unwrap();
    publisher.push("embed:v1", &["--no-seal"]).done();
    let [scratch, trust, sign, key] =
        ["scratch", "trust.toml", "release.key", "new.key"].map(|name| publisher.path(name));
    fs::create_dir(&scratch).unwrap();
    let reseal = || {
        let (from, to) = (publisher.reference("embed:v1"), publisher.reference("embed:v2"));
        let mut reseal = binary();
        reseal.args(["model", "reseal", &from, &to, "--trust", text(&trust), "--sign-key", text(&sign)]);
        reseal.args(["--key-id", "models/embed/v2", "--new-key-file", text(&key), "--scratch", text(&scratch)]);
        reseal.args(["--no-cache", "--plain-http", "--json"]);
        reseal
    };
    let faults = publisher.registry.faults();
    let (weights, gate) = (Sha256::of(&bytes), Gate::closed());
    faults.set(Target::Blob(weights), Times::Always, Fault::StallAt { at: 12 << 20, gate });
    let mut child = reseal().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let sealed = || fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path()).collect::<BTreeSet<_>>();
    let length = || sealed().iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).max().unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(60);
    while length() < 10 << 20 {
        assert!(Instant::now() < until, "nothing was sealed");
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    faults.clear();
    publisher.verify("embed:v2", "trust.toml").refused(3, "registry-not-found");
    // A run of one byte is as long as 253, and random bytes have none of 16.
    let plain = |bytes: &[u8]| bytes.chunk_by(|a, b| a == b).any(|run| run.len() >= 16);
    assert!(plain(&bytes));
    let left = sealed();
    assert!(left.iter().all(|path| !plain(&fs::read(path).unwrap())) && !left.is_empty(), "{left:?}");

    finished(reseal().output().unwrap()).done();
    publisher.pull("embed:v2", "out", "trust.toml", &["--key-file", text(&key)]).done();
    publisher.assert_same("out");
    assert_eq!(sealed(), left, "the next one cleans up after itself alone");
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap()) / f64::from(u32::MAX)
}

fn names(publisher: &Publisher) -> Vec<String> {
    let entries = fs::read_dir(publisher.folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a command where `folder` is a disk of so many MiB, of its own. What is on it afterwards stands in `left`, a line each.
/// `None` where this machine lets nobody but root mount one.
#[expect(clippy::print_stdout, reason = "a test that was skipped says so")]
fn on_a_small_disk(folder: &Path, mebibytes: u32, command: &Command, left: &Path) -> Option<Run> {
    let mount = format!("mount -t tmpfs -o size={mebibytes}m none \"$0\"");
    let may = Command::new("unshare").args(["-rm", "sh", "-c", &mount, text(folder)]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: no disk can be mounted in a namespace of its own");
        return None;
    }
    let script = format!("{mount} || exit 99; \"$@\"; code=$?; ls -A \"$0\" >\"{}\"; exit $code", text(left));
    let mut run = Command::new("unshare");
    run.args(["-rm", "sh", "-c", &script, text(folder)]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => run.env(name, value),
            None => run.env_remove(name),
        };
    }
    Some(finished(run.output().unwrap()))
}

#[test]
fn pull_onto_a_full_disk_refused_with_nothing_left_and_with_room_done() {
    let publisher = Publisher::new();
    publisher.push("embed", &["--no-seal"]).done();
    let (disk, left) = (publisher.path("disk"), publisher.path("left"));
    fs::create_dir(&disk).unwrap();
    let (reference, trust, out) = (publisher.reference("embed"), publisher.path("trust.toml"), disk.join("out"));
    let mut pull = binary();
    pull.args(["model", "pull", &reference, text(&out), "--trust", text(&trust), "--plain-http", "--json"]);
    // The weights are of 3 MB.
    let Some(full) = on_a_small_disk(&disk, 2, &pull, &left) else { return };
    let full = full.refused(3, "io");
    assert!(full.stdout.contains("No space left on device"), "{}", full.stdout);
    assert_eq!(fs::read_to_string(&left).unwrap(), "");
    on_a_small_disk(&disk, 8, &pull, &left).unwrap().done();
    assert_eq!(fs::read_to_string(&left).unwrap(), "out\n");
}

#[test]
fn model_pulled_though_the_disk_of_the_cache_is_full() {
    let publisher = Publisher::new();
    publisher.push("embed", &["--no-seal"]).done();
    let disk = publisher.path("disk");
    fs::create_dir(&disk).unwrap();
    let pull = pull(&publisher, &disk);
    let Some(pulled) = on_a_small_disk(&disk, 1, &pull, &publisher.path("left")) else { return };
    assert!(pulled.done().stderr.contains("pulled without the cache"));
    publisher.assert_same("out");
}

#[test]
fn model_sealed_onto_a_full_disk_not_pushed_and_with_room_pushed() {
    let publisher = Publisher::new();
    let (disk, left) = (publisher.path("disk"), publisher.path("left"));
    fs::create_dir(&disk).unwrap();
    let (model, key, reference) =
        (publisher.path("model"), publisher.path("release.key"), publisher.reference("embed"));
    let data_key = publisher.path("data.key");
    let mut push = binary();
    push.args(["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--json"]);
    push.args(["--seal", "--key-id", "a/b/c", "--key-file", text(&data_key), "--scratch", text(&disk)]);
    let Some(full) = on_a_small_disk(&disk, 2, &push, &left) else { return };
    full.refused(3, "io");
    assert_eq!(fs::read_to_string(&left).unwrap(), "");
    publisher.verify("embed", "trust.toml").refused(3, "registry-not-found");
    on_a_small_disk(&disk, 8, &push, &left).unwrap().done();
    publisher.verify("embed", "trust.toml").done();
}

/// Where nobody may mount anything: a limit on the length of files (`ulimit -f`), whose signal is ignored.
#[test]
fn pull_that_may_write_no_file_so_long_refused_with_nothing_left() {
    let publisher = Publisher::new();
    publisher.push("embed", &["--no-seal"]).done();
    let pull = pull(&publisher, Path::new("/dev/null/none"));
    let run = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut run = Command::new("sh");
        run.args(["-c", &script]).arg(pull.get_program()).args(pull.get_args()).env("XDG_CACHE_HOME", "/dev/null/none");
        finished(run.output().unwrap())
    };
    run(1024).refused(3, "io");
    assert!(!publisher.path("out").exists() && !publisher.path(".out.strongroom-partial").exists());
    run(1 << 20).done();
    publisher.assert_same("out");
}
