//! Real clients, where this machine has them.

use crate::client::{Fixture, image};
use http::StatusCode;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use strongroom_devkit::registry::{Credentials, Fault, Target, Times};
use strongroom_wire::digest::Sha256;
use tokio::process::Command;

/// The peer that the environment variable `variable` names (as `tests/peers/setup` writes them), else `program` on PATH.
/// Says so where there is neither.
#[expect(clippy::print_stdout, reason = "a test that was skipped says so")]
fn find(variable: &str, program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let found = std::env::var_os(variable).map(PathBuf::from).or_else(on_path);
    if found.is_none() {
        println!("skipped: {variable} is not set, and `{program}` is not on PATH");
    }
    found
}

/// Runs `program` in `folder`, whose output is shown if it fails. Returns what it printed.
async fn run(folder: &Path, program: &Path, arguments: &[&OsStr]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("HOME", folder).env("COSIGN_PASSWORD", "");
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{} {arguments:?}: {out}{err}", program.display()))
    }
}

macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { &[$(OsStr::new(&$argument)),*] };
}

/// An OCI layout (image specification 1.1, "Image Layout") with one image of one layer, tagged `v1`.
fn write_layout(folder: &Path) -> Sha256 {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8]| {
        let digest = Sha256::of(bytes);
        fs::write(blobs.join(digest.to_string()), bytes).unwrap();
        json!({"digest": digest.oci(), "size": bytes.len()})
    };
    let typed = |mut descriptor: serde_json::Value, media_type: &str| {
        descriptor["mediaType"] = json!(media_type);
        descriptor
    };
    let layer = vec![7; 3_000_000];
    let diff = Sha256::of(&layer).oci();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": typed(keep(config.to_string().as_bytes()), "application/vnd.oci.image.config.v1+json"),
        "layers": [typed(keep(&layer), "application/vnd.oci.image.layer.v1.tar")],
    });
    let manifest = manifest.to_string();
    let mut entry = typed(keep(manifest.as_bytes()), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
    Sha256::of(manifest.as_bytes())
}

#[tokio::test]
async fn skopeo_pushes_and_pulls_an_image_with_the_right_password_only() {
    let Some(skopeo) = find("SKOPEO", "skopeo") else { return };
    let fixture = Fixture::with(|config| config.credentials = Some(Credentials::new("user", "password"))).await;
    let work = tempfile::tempdir().unwrap();
    let digest = write_layout(&work.path().join("from"));
    let remote = format!("docker://{}/models/tiny:v1", fixture.registry.addr());
    let push = |credentials| {
        let path = work.path().to_owned();
        let (skopeo, remote) = (skopeo.clone(), remote.clone());
        async move {
            let arguments = arguments![
                "--insecure-policy",
                "copy",
                "--preserve-digests",
                "--dest-tls-verify=false",
                "--dest-creds",
                credentials,
                "oci:from:v1",
                remote,
            ];
            run(&path, &skopeo, arguments).await
        }
    };
    assert!(push("user:wrong").await.is_err());
    push("user:password").await.unwrap();
    let arguments = arguments![
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--src-creds",
        "user:password",
        remote,
        "oci:to:v1",
    ];
    run(work.path(), &skopeo, arguments).await.unwrap();
    let pulled = fs::read(work.path().join(format!("to/blobs/sha256/{digest}"))).unwrap();
    assert_eq!(Sha256::of(&pulled), digest);
}

#[tokio::test]
async fn oras_pushes_attaches_discovers_and_pulls() {
    let Some(oras) = find("ORAS", "oras") else { return };
    for referrers_api in [true, false] {
        let fixture = Fixture::with(|config| config.referrers_api = referrers_api).await;
        let work = tempfile::tempdir().unwrap();
        fs::write(work.path().join("weights"), vec![3; 2_000_000]).unwrap();
        fs::write(work.path().join("note"), b"note").unwrap();
        let remote = format!("{}/models/tiny:v1", fixture.registry.addr());
        let push =
            arguments!["push", "--plain-http", remote, "--artifact-type", "application/model", "weights:application/x"];
        run(work.path(), &oras, push).await.unwrap();
        let attach =
            arguments!["attach", "--plain-http", remote, "--artifact-type", "application/note", "note:text/plain"];
        run(work.path(), &oras, attach).await.unwrap();
        let discover = arguments!["discover", "--plain-http", "--format", "json", remote];
        let discovered = run(work.path(), &oras, discover).await.unwrap();
        assert!(discovered.contains("application/note"), "{discovered}");
        run(work.path(), &oras, arguments!["pull", "--plain-http", remote, "-o", "out"]).await.unwrap();
        assert_eq!(fs::read(work.path().join("out/weights")).unwrap(), vec![3; 2_000_000]);
    }
}

/// Signs a manifest with a fresh key and verifies it. Before that, and once the signatures are hidden, verification must
/// fail for want of a signature.
async fn sign_and_verify(cosign: &Path, sign_flags: &[&OsStr], referrers_api: bool) {
    let fixture = Fixture::with(|config| config.referrers_api = referrers_api).await;
    let work = tempfile::tempdir().unwrap();
    let repository = "models/tiny";
    fixture.push_blob(repository, b"{}").await;
    fixture.push_blob(repository, b"layer").await;
    let digest = fixture.push_manifest(repository, Some("v1"), &image(b"layer")).await;
    let remote = format!("{}/{repository}@{}", fixture.registry.addr(), digest.oci());
    run(work.path(), cosign, arguments!["generate-key-pair"]).await.unwrap();
    let verify = arguments!["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", remote];
    let unsigned = run(work.path(), cosign, verify).await.unwrap_err();
    assert!(unsigned.contains("no signatures found"), "{unsigned}");

    let sign =
        arguments!["sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--allow-http-registry", remote];
    run(work.path(), cosign, &[sign, sign_flags].concat()).await.unwrap();
    run(work.path(), cosign, verify).await.unwrap();

    let faults = fixture.registry.faults();
    faults.set(Target::Referrers(digest), Times::Always, Fault::HideReferrers);
    let gone = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
    faults.set(Target::Manifest(format!("sha256-{digest}.sig")), Times::Always, gone);
    let hidden = run(work.path(), cosign, verify).await.unwrap_err();
    assert!(hidden.contains("no signatures found"), "{hidden}");
}

#[tokio::test]
async fn cosign_2_signs_under_a_tag_and_verifies() {
    let Some(cosign) = find("COSIGN2", "cosign2") else { return };
    sign_and_verify(&cosign, &[], true).await;
}

#[tokio::test]
async fn cosign_3_signs_with_and_without_the_referrers_api_and_verifies() {
    let Some(cosign) = find("COSIGN3", "cosign3") else { return };
    for referrers_api in [true, false] {
        sign_and_verify(&cosign, arguments!["--use-signing-config=false"], referrers_api).await;
    }
}
