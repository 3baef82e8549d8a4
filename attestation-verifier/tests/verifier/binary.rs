//! The binary as an operator starts it.

use crate::log::Process;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use strongroom_transport::http::empty;
use strongroom_transport::{HttpClient, ServeLimits, ServerTrust, bind, serve};
use strongroom_wire::bytes::hex_array;

pub(crate) fn config(folder: &Path, more: &str) -> PathBuf {
    let path = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nstate = '{}'\nmaster-key = '{}'\nadmin-token = '{}'\n{more}",
        path("state"),
        path("master-key"),
        path("admin-token"),
    );
    let file = folder.join("verifier.toml");
    std::fs::write(&file, text).unwrap();
    file
}

pub(crate) fn run(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn check_accepts_a_configuration_touches_nothing_and_refuses_an_unknown_key() {
    let folder = tempfile::tempdir().unwrap();
    let good = run(&config(folder.path(), ""), &["--check"]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(!folder.path().join("state").exists());
    let bad = run(&config(folder.path(), "insecure = true\n"), &["--check"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).starts_with("unknown-field: "), "{bad:?}");
    let absent = run(&folder.path().join("absent.toml"), &["--check"]);
    assert_eq!(absent.status.code(), Some(3));
}

#[test]
fn identity_is_printed_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let first = run(&file, &["--identity"]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert_eq!(first.stdout, run(&file, &["--identity"]).stdout);
    let identity: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    hex_array::<32>(identity["pin"].as_str().unwrap(), "pin").unwrap();
    assert!(identity["token_key"].as_str().unwrap().starts_with("MFkw"));
}

#[test]
fn many_first_starts_at_once_print_the_one_identity_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let printed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| run(&file, &["--identity"]).stdout)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let kept = run(&file, &["--identity"]);
    assert_eq!(kept.status.code(), Some(0), "{kept:?}");
    assert!(printed.iter().all(|printed| *printed == kept.stdout), "{printed:?}");
}

#[tokio::test]
async fn service_says_where_it_listens_answers_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "grace = 5\n");
    let identity: serde_json::Value = serde_json::from_slice(&run(&file, &["--identity"]).stdout).unwrap();
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"))
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line_after = |start: &str| {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(start));
        line.unwrap().strip_prefix(start).unwrap().to_owned()
    };
    let admin = line_after("admin listening on ");
    let kbs = line_after("listening on ");

    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    for address in [&admin, &kbs] {
        let request = http::Request::get(format!("https://{address}/healthz")).body(empty()).unwrap();
        assert_eq!(http.send(request, Duration::from_secs(10)).await.unwrap().status(), 200);
    }
    let printed: serde_json::Value = serde_json::from_slice(&run(&file, &["--identity"]).stdout).unwrap();
    assert_eq!(printed, identity, "printed while the service runs");
    let second = run(&file, &[]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another verifier runs"), "{second:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for name in ["master-key", "admin-token", "state/tls-key.pem", "state/token-key.pem", "state/verifier.sqlite"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn log_is_json_with_the_trace_of_the_caller_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "log-format = 'json'\n");
    let identity: serde_json::Value = serde_json::from_slice(&run(&file, &["--identity"]).stdout).unwrap();
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"))
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let admin = lines.by_ref().find_map(|line| line.strip_prefix("admin listening on ").map(str::to_owned)).unwrap();
    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = http::Request::get(format!("https://{admin}/admin/v1/keys"))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .body(empty())
        .unwrap();
    assert_eq!(http.send(request, Duration::from_secs(10)).await.unwrap().status(), 401);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let logged: Vec<serde_json::Value> = lines.filter_map(|line| serde_json::from_str(&line).ok()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let decided = logged.iter().find(|line| line["fields"]["message"] == "decided").unwrap();
    assert_eq!(
        (&decided["fields"]["code"], &decided["span"]["trace_id"]),
        (&"admin-unauthorized".into(), &trace.into())
    );
}

#[tokio::test]
async fn collector_is_told_of_each_request_with_the_trace_of_the_caller_where_that_is_asked_for() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let traces = axum::routing::post(move |axum::Json(body): axum::Json<serde_json::Value>| {
        let told = told.clone();
        async move { told.send(body).unwrap() }
    });
    let bound = bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", bound.local_addr());
    let router = axum::Router::new().route("/v1/traces", traces);
    tokio::spawn(serve(bound, None, router, ServeLimits::default(), std::future::pending()));
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), &format!("traces = {{ url = '{url}', plain-http = true }}\n"));
    let identity: serde_json::Value = serde_json::from_slice(&run(&file, &["--identity"]).stdout).unwrap();
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();
    let verifier = Process::start(&file);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = http::Request::get(format!("https://{}/healthz", verifier.admin));
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).body(empty()).unwrap();
    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    assert_eq!(http.send(request, Duration::from_secs(10)).await.unwrap().status(), 200);
    let told = heard.recv().await.unwrap();
    let of = &told["resourceSpans"][0];
    assert_eq!(of["resource"]["attributes"][0]["value"]["stringValue"], "strongroom-verifier");
    let span = &of["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["traceId"], &span["name"]), (&trace.into(), &"GET /healthz".into()));
    verifier.kill();
}

#[test]
fn memory_of_the_service_is_in_no_core_dump_and_in_no_swap() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "lock-memory = true\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"));
    let mut child = command.arg("--config").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("listening on "))
        .collect();
    if let Some(line) = lines.iter().find(|line| line.starts_with("memory-unlocked: ")) {
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert!(line.contains("RLIMIT_MEMLOCK"), "refused where it is limited: {line}");
        return;
    }
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let cores = proc("limits").lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
    assert_eq!(cores.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{cores}");
    let of = |name: &str| {
        let status = proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    // What is not resident yet will be locked when it is.
    assert!(of("VmLck:") >= of("VmRSS:"), "{} of {} KiB", of("VmLck:"), of("VmRSS:"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn master_key_of_a_credential_opens_the_store_and_without_it_nothing_does() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let text = std::fs::read_to_string(&file).unwrap();
    let master = folder.path().join("master-key").display().to_string();
    std::fs::write(&file, text.replace(&format!("'{master}'"), "'credential:master'")).unwrap();
    let identity = |credentials: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"));
        command.arg("--config").arg(&file).arg("--identity").env_remove("CREDENTIALS_DIRECTORY");
        command.envs(credentials.map(|folder| ("CREDENTIALS_DIRECTORY", folder))).output().unwrap()
    };
    let credentials = tempfile::tempdir().unwrap();
    let credential = credentials.path().join("master");
    for (given, mode, code) in [
        (None, 0, "key-missing"),
        (Some(credentials.path()), 0, "key-missing"),
        (Some(credentials.path()), 0o444, "file-mode-unsafe"),
        (Some(credentials.path()), 0o460, "file-mode-unsafe"),
        (Some(credentials.path()), 0o440, ""),
    ] {
        if mode != 0 {
            drop(std::fs::remove_file(&credential));
            std::fs::write(&credential, "07".repeat(32)).unwrap();
            std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = identity(given);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code() == Some(0), said.contains(code)), (code.is_empty(), true), "{mode:o}: {said}");
    }
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(&credential, other.path().join("master")).unwrap();
    assert_eq!(identity(Some(other.path())).stdout, identity(Some(credentials.path())).stdout);
    std::fs::set_permissions(other.path().join("master"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(other.path().join("master"), "08".repeat(32)).unwrap();
    assert!(String::from_utf8_lossy(&identity(Some(other.path())).stderr).contains("key-invalid"));
}

#[test]
fn start_with_a_secret_that_others_can_read_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    for name in ["master-key", "admin-token"] {
        let folder = tempfile::tempdir().unwrap();
        let file = config(folder.path(), "");
        let secret = folder.path().join(name);
        std::fs::write(&secret, "00".repeat(32)).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = run(&file, &[]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("file-mode-unsafe"), "{refused:?}");
    }
}

#[test]
fn start_in_another_realm_than_the_state_s_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(&config(folder.path(), ""), &["--identity"]);
    let root = folder.path().join("ark.pem");
    let hierarchy = strongroom_devkit::amd::Hierarchy::shared().unwrap();
    std::fs::write(&root, hierarchy.ark.certificate_pem().unwrap()).unwrap();
    let refused = run(&config(folder.path(), &format!("test-root = '{}'\n", root.display())), &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("realm-mismatch"), "{refused:?}");
}
