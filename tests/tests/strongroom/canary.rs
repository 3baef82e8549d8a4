//! Prompts, bearer keys, data keys and weights: in no log, no file, no error answer and no core.

use crate::peers;
use crate::system::guest::Deployed;
use crate::system::http::{Answer, Http};
use crate::system::world::API_KEY;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_wire::{bytes, limits};

const PROMPT: &str = "prompt-canary-c4a9e7d2b1f04c6f8a35";

/// Something that must not be found.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn text(name: &'static str, text: &str) -> Self {
        Self { name, forms: vec![text.as_bytes().to_vec(), bytes::to_base64(text.as_bytes()).into_bytes()] }
    }

    fn key(name: &'static str, value: &[u8]) -> Self {
        let hex = hex::encode(value);
        let base64 = bytes::to_base64(value).into_bytes();
        Self { name, forms: vec![value.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), base64] }
    }
}

#[track_caller]
fn assert_absent(secrets: &[Secret], place: &str, content: &[u8]) {
    for Secret { name, forms } in secrets {
        let found = forms.iter().any(|form| contains(content, form));
        assert!(!found, "{place} holds the {name}");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let (first, rest) = needle.split_first().unwrap();
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Requests with the prompt in each place where an error could pick it up. All are refused.
fn mistakes(http: &Http, base: &str, check: impl Fn(&Answer)) {
    let url = format!("{base}/v1/embeddings");
    let key = format!("Bearer {API_KEY}");
    let oversized = format!("{{\"model\":\"model\",\"input\":\"{}\"}}", PROMPT.repeat(limits::API_BODY / PROMPT.len()));
    let bodies = [
        format!("{{\"model\":\"model\",\"input\":\"{PROMPT}"),
        PROMPT.to_owned(),
        json!({"model": PROMPT, "input": "a"}).to_string(),
        json!({"model": "model", "input": {PROMPT: PROMPT}}).to_string(),
        json!({"model": "model", "input": [1, PROMPT]}).to_string(),
        json!({"model": "model", "input": PROMPT, "dimensions": PROMPT}).to_string(),
        json!({"model": "model", "input": PROMPT, "encoding_format": PROMPT}).to_string(),
    ];
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    for body in bodies {
        let answer = http.send(Method::POST, &url, &headers, body);
        assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.text());
        check(&answer);
    }
    if let Ok(answer) = http.try_send(Method::POST, &url, &headers, oversized) {
        assert_eq!(answer.status, 413, "{}", answer.text());
        check(&answer);
    }
    // A key that is almost the right one, with the prompt in the body and in the path.
    let wrong = format!("{key}x");
    check(&http.send(Method::POST, &url, &[("authorization", &wrong)], PROMPT));
    check(&http.send(Method::GET, &format!("{base}/v1/{PROMPT}"), &[("authorization", &wrong)], ""));
}

#[test]
fn no_log_file_or_error_answer_holds_a_prompt_a_key_or_a_weight() {
    let Some(mut deployed) = Deployed::start("MODEL_TINY") else { return };
    let folder = peers::find("MODEL_TINY").unwrap();
    let (mut proxy, proxied) = deployed.proxy();
    let Deployed { guest, world, model, .. } = &mut deployed;

    let weights = fs::read(folder.join("model.onnx")).unwrap();
    let middle = weights.len() / 2;
    let secrets = [
        Secret::text("prompt", PROMPT),
        Secret::text("bearer key", API_KEY),
        Secret::key("data key", &model.key_value),
        Secret { name: "weights", forms: vec![weights[middle..middle + 48].to_vec()] },
    ];

    let direct = (Http::of_first_use(&guest.address), format!("https://{}", guest.address));
    for (http, base) in [&direct, &(Http::plain(), proxied)] {
        let key = format!("Bearer {API_KEY}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let body = json!({"model": "model", "input": [PROMPT]}).to_string();
        let served = http.send(Method::POST, &format!("{base}/v1/embeddings"), &headers, body);
        assert_eq!(served.status, 200, "{}", served.text());
        assert_absent(&secrets, "an answer", &served.body);
        mistakes(http, base, |answer| assert_absent(&secrets, &format!("an error {}", answer.status), &answer.body));
    }

    for process in [&mut proxy, &mut guest.process] {
        assert!(process.end(Signal::TERM).success(), "{}", process.log());
    }
    for (name, process) in [("proxy", &proxy), ("enclave", &guest.process), ("verifier", &world.verifier.process)] {
        assert_absent(&secrets, &format!("the {name}'s log"), process.log().as_bytes());
    }
    // The services did log: what was looked through is not nothing.
    assert!(guest.process.log().contains("embeddings") && world.verifier.process.log().contains("released"));
    let files = files(world.path());
    assert!(files.iter().any(|file| file.ends_with("verifier.sqlite")), "{files:?}");
    for file in files {
        assert_absent(&secrets, &file.display().to_string(), &fs::read(&file).unwrap());
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that proves less here says so")]
fn crash_of_the_enclave_leaves_no_core() {
    // Another program, crashed in the same surroundings.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut other = Command::new("sh");
    other.args(["-c", "ulimit -c unlimited 2>/dev/null; kill -ABRT $$"]).current_dir(elsewhere.path());
    if !other.status().unwrap().core_dumped() {
        println!("skipped: this machine lets nobody leave a core, so that the enclave leaves none says little");
    }

    let Some(mut deployed) = Deployed::start("MODEL_TINY") else { return };
    let guest = &mut deployed.guest;
    let status = guest.process.end(Signal::ABORT);
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
    let named_core = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().contains("core");
    let cores: Vec<_> = files(&guest.folder).into_iter().filter(named_core).collect();
    assert!(cores.is_empty(), "{cores:?}");
}

/// The inference runtime, left to itself, keeps a database of events in the user's cache and sends them to its makers.
#[test]
fn enclave_and_its_runtime_leave_no_file_of_their_own() {
    let Some(mut deployed) = Deployed::start("MODEL_TINY") else { return };
    let guest = &mut deployed.guest;
    assert!(guest.process.end(Signal::TERM).success());
    let left = files(&guest.folder);
    assert!(left.is_empty(), "{left:?}");
}
