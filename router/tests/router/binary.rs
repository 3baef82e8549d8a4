//! The binary as an operator starts it.

use crate::stage::verifier;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-router"));
    command.arg("--config").arg(config);
    command
}

fn check(config: &Path) -> Output {
    command(config).arg("--check").output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_is_checked_and_sigterm_ends_it_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    let (_says, config) = verifier().await;
    std::fs::write(&file, format!("listen = '127.0.0.1:0'\n{config}")).unwrap();
    assert_eq!(check(&file).status.code(), Some(0));
    let mut child = command(&file).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("listening on 127.0.0.1:")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    std::fs::write(&file, format!("listen = '127.0.0.1:0'\nkey = 'x'\n{config}")).unwrap();
    let refused = check(&file);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("unknown-field: "), "{refused:?}");
    assert_eq!(check(&folder.path().join("absent.toml")).status.code(), Some(3));
}
