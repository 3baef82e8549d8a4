//! Where the set-up put what tests need: the one lookup of this crate's unit tests and of its test program.

use std::path::PathBuf;

/// What `dev/setup/run` made ready (`ORT_LIB`, `MODEL_TINY`, …): from the environment, else from the file that it wrote. `None`,
/// with a message, where it was not run.
///
/// # Panics
/// It was not run, and `STRONGROOM_REQUIRE_SETUP=1` says that no test may be skipped for that.
pub(crate) fn setup(name: &str) -> Option<PathBuf> {
    let path = find("setup.env", name);
    if path.is_none() {
        let required = std::env::var_os("STRONGROOM_REQUIRE_SETUP").is_some_and(|required| required == "1");
        assert!(!required, "no {name}, and STRONGROOM_REQUIRE_SETUP=1; run dev/setup/run");
        eprintln!("skipped: no {name}; run dev/setup/run");
    }
    path
}

/// The same of a peer that `tests/peers/setup` made ready, which cannot be had on every machine.
///
/// # Panics
/// It was not made ready, and `STRONGROOM_REQUIRE_PEERS=1` says that no test may be skipped for that.
#[allow(dead_code, reason = "the test program has no peer")]
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let path = find("peers.env", name);
    if path.is_none() {
        let required = std::env::var_os("STRONGROOM_REQUIRE_PEERS").is_some_and(|required| required == "1");
        assert!(!required, "no {name}, and STRONGROOM_REQUIRE_PEERS=1; run tests/peers/setup");
        eprintln!("skipped: no {name}; run tests/peers/setup");
    }
    path
}

fn find(file: &str, name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).or_else(|| stated(file, name))
}

fn stated(file: &str, name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("STRONGROOM_CACHE").map(PathBuf::from);
    let xdg = || std::env::var_os("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("strongroom"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/strongroom"));
    let lines = std::fs::read_to_string(cache.or_else(xdg).or_else(home)?.join(file)).ok()?;
    lines.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(PathBuf::from))
}
