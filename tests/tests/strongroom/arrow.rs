//! The crate graph, and what may never be in it.

use crate::system::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A crate and the crates of ours that its code may use. Tests may use more: the `devkit`.
const GRAPH: [(&str, &[&str]); 24] = [
    ("wire", &[]),
    ("sys", &[]),
    ("jose", &["wire"]),
    ("tlog", &["wire"]),
    ("policy", &["wire"]),
    ("svid", &["wire"]),
    ("artifact", &["wire", "sys"]),
    ("appraisal", &["wire"]),
    ("measurement", &["wire"]),
    ("transport", &["wire"]),
    ("pkcs11", &["wire"]),
    ("oidc", &["wire", "jose", "transport"]),
    ("endorsements", &["wire", "transport"]),
    ("registry-client", &["wire", "artifact", "transport"]),
    ("enclave", &["wire", "artifact", "jose", "oidc", "policy", "registry-client", "svid", "sys", "tlog", "transport"]),
    (
        "attestation-verifier",
        &[
            "wire",
            "artifact",
            "appraisal",
            "endorsements",
            "jose",
            "oidc",
            "pkcs11",
            "policy",
            "registry-client",
            "svid",
            "tlog",
            "transport",
        ],
    ),
    ("router", &["wire", "jose", "transport"]),
    ("client", &["wire", "appraisal", "transport"]),
    (
        "tools",
        &[
            "wire",
            "artifact",
            "appraisal",
            "endorsements",
            "jose",
            "pkcs11",
            "policy",
            "registry-client",
            "client",
            "measurement",
            "tlog",
            "transport",
        ],
    ),
    ("devkit", &["wire", "artifact", "transport"]),
    ("dev", &["wire", "artifact", "appraisal", "jose", "registry-client", "client", "transport", "devkit"]),
    ("init", &["wire"]),
    ("images", &["wire", "transport", "devkit"]),
    ("tests", &[]),
];

/// Sockets, TLS and their runtimes: what a crate that only computes has no use for.
const SOCKETS: [&str; 5] = ["tokio", "hyper", "rustls", "axum", "mio"];

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = Command::new(cargo).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    let Output { status, stdout, stderr } = run.unwrap();
    assert!(status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The members as `cargo metadata` describes them, by folder.
fn members() -> BTreeMap<String, Value> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().cloned();
    packages.map(|package| (ours(package["name"].as_str().unwrap()).unwrap().to_owned(), package)).collect()
}

fn ours(package: &str) -> Option<&str> {
    package.strip_prefix("strongroom-")
}

/// The crates of ours that a member names as dependencies of one kind.
fn named<'a>(member: &'a Value, kind: Option<&str>) -> BTreeSet<&'a str> {
    let dependencies = member["dependencies"].as_array().unwrap().iter();
    let of_kind = dependencies.filter(|dependency| dependency["kind"].as_str() == kind);
    of_kind.filter_map(|dependency| ours(dependency["name"].as_str().unwrap())).collect()
}

/// Names and versions of all that is in a member's program or library.
fn tree(folder: &str) -> BTreeSet<(String, String)> {
    let package = format!("strongroom-{folder}");
    let lines = cargo(&["tree", "-p", &package, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let parse = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    let packages: BTreeSet<_> = lines.lines().filter_map(parse).collect();
    assert!(packages.iter().any(|(name, _)| *name == package), "{lines}");
    packages
}

fn names(folder: &str) -> BTreeSet<String> {
    tree(folder).into_iter().map(|(name, _)| name).collect()
}

#[track_caller]
fn assert_absent(folder: &str, unwanted: &[&str]) {
    let found = names(folder);
    let found: Vec<_> = unwanted.iter().filter(|name| found.contains(**name)).collect();
    assert!(found.is_empty(), "{folder} depends on {found:?}: cargo tree -e normal -i <package> says through whom");
}

#[test]
fn crates_depend_on_one_another_as_drawn() {
    let members = members();
    assert_eq!(members.keys().map(String::as_str).collect::<BTreeSet<_>>(), GRAPH.map(|(name, _)| name).into());
    for (folder, may_use) in GRAPH {
        let member = &members[folder];
        assert_eq!(named(member, None), may_use.iter().copied().collect(), "dependencies of {folder}");
        assert_eq!(named(member, Some("build")), BTreeSet::new(), "build-dependencies of {folder}");
    }
}

#[test]
fn architecture_document_draws_the_same_graph() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let folder = cells.get(1)?.strip_prefix('`')?.strip_suffix("/`")?.to_owned();
        Some((folder, cells.get(3)?.clone()))
    };
    let drawn: BTreeMap<String, String> = document.lines().filter_map(row).collect();
    for (folder, may_use) in GRAPH {
        let wanted = match (folder, may_use) {
            ("tests", _) => "any library, in tests only".to_owned(),
            (_, []) => "–".to_owned(),
            (_, some) => some.join(", "),
        };
        assert_eq!(drawn.get(folder), Some(&wanted), "row of {folder}");
    }
}

#[test]
fn tests_of_a_crate_use_the_devkit_at_most() {
    for (folder, member) in members() {
        let tests_use = named(&member, Some("dev"));
        if folder != "tests" {
            assert!(tests_use.is_subset(&BTreeSet::from(["devkit"])), "dev-dependencies of {folder}: {tests_use:?}");
        }
    }
}

#[test]
fn foreign_tls_crypto_and_native_code_are_nowhere() {
    for (folder, _) in GRAPH {
        let unwanted = ["ring", "openssl", "openssl-sys", "native-tls", "onig_sys", "aws-lc-fips-sys", "boring"];
        assert_absent(folder, &unwanted);
    }
}

#[test]
fn crates_that_only_compute_open_no_sockets() {
    for folder in ["wire", "jose", "tlog", "policy", "svid", "artifact", "appraisal", "measurement"] {
        assert_absent(folder, &SOCKETS);
    }
    // The list would find them where they are.
    assert!(SOCKETS.iter().all(|name| names("transport").contains(*name)));
}

#[test]
fn enclave_holds_no_database_no_appraisal_and_nothing_fake() {
    let unwanted = ["sqlx", "clap_complete", "strongroom-appraisal", "strongroom-devkit", "strongroom-client"];
    assert_absent("enclave", &unwanted);
    assert!(names("attestation-verifier").contains("sqlx"));
}

#[test]
fn first_process_of_the_guest_has_no_stack_of_connections_and_knows_nothing_fake() {
    assert_absent("init", &[&SOCKETS[..], &["strongroom-devkit", "strongroom-transport", "webpki-roots"]].concat());
}

#[test]
fn tools_link_no_service() {
    assert_absent("tools", &["strongroom-enclave", "strongroom-attestation-verifier", "strongroom-devkit"]);
}

#[test]
fn one_version_of_each_stack_is_used() {
    for (folder, _) in GRAPH {
        let tree = tree(folder);
        for stack in ["rustls", "hyper", "tokio", "http", "axum", "aws-lc-rs"] {
            let versions: Vec<_> = tree.iter().filter(|(name, _)| name == stack).collect();
            assert!(versions.len() <= 1, "{folder}: {versions:?}");
        }
    }
}

#[test]
fn nothing_but_the_inference_runtime_is_a_pre_release() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let text = |package: &toml::Value, member: &str| package[member].as_str().unwrap().to_owned();
    // After a `+` there is build metadata, which says nothing about the release.
    let release = |version: &str| version.split('+').next().unwrap_or_default().to_owned();
    let early = packages.filter(|package| release(&text(package, "version")).contains('-'));
    let early: BTreeSet<String> = early.map(|package| text(package, "name")).collect();
    assert_eq!(early, ["ort", "ort-sys"].map(str::to_owned).into());
}

#[test]
fn every_crate_but_sys_is_under_the_workspace_lints_which_forbid_unsafe() {
    let table = |path: PathBuf| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let workspace = table(root().join("Cargo.toml"))["workspace"]["lints"].clone();
    assert_eq!(workspace["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for (folder, _) in GRAPH.iter().filter(|(folder, _)| *folder != "sys") {
        let lints = &table(root().join(folder).join("Cargo.toml"))["lints"];
        assert_eq!(lints["workspace"].as_bool(), Some(true), "[lints] of {folder}");
    }
    let mut own = table(root().join("sys/Cargo.toml"))["lints"].clone();
    assert_eq!(own["rust"]["unsafe_code"].as_str(), Some("deny"));
    // What else it has, it has more of.
    own["rust"]["unsafe_code"] = workspace["rust"]["unsafe_code"].clone();
    for tool in ["rust", "clippy"] {
        let missing =
            workspace[tool].as_table().unwrap().iter().filter(|(lint, level)| own[tool].get(lint) != Some(level));
        assert_eq!(missing.collect::<Vec<_>>(), [], "[lints.{tool}] of sys");
    }
}

#[test]
fn unsafe_blocks_are_in_sys_alone_and_as_many_as_it_says() {
    fn count(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of = |path: PathBuf| match path.is_dir() {
            true => count(&path),
            false => {
                let source = fs::read_to_string(path).unwrap();
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
                    .map(|kind| source.matches(kind).count())
                    .iter()
                    .sum()
            }
        };
        entries.map(of).sum()
    }
    assert_eq!(count(&root().join("sys")), 3, "`sys/src/lib.rs` speaks of three");
}

#[test]
fn no_cargo_feature_weakens_anything() {
    for (folder, member) in members() {
        // Not even a harmless one: a feature would make two programs of one source.
        assert_eq!(member["features"], serde_json::json!({}), "features of {folder}");
    }
}
