//! Models in registries that have the referrers API (the devkit's) and that have it not (Debian's docker-registry 2.8):
//! `oras` fetches them, `cosign` verifies them, and so do our own tools; `oras` and `skopeo` copy them from one to the other
//! ([`copies`]); what `oras` pushed is imported ([`imports`]).

mod copies;
mod imports;
mod place;

use crate::model_signing::{ISSUER, SUBJECT, Sigstore};
use crate::peers;
use crate::system::process::run;
use crate::system::{bytes, strongroom, text};
use place::Place;
use serde_json::Value;
use std::fs;
use std::process::Command;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, Identity, PromotionRule, Rule, Signer, TrustFile};

fn oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(place: &Place) {
    let Some(oras) = peers::find("ORAS") else { return };
    let pull = |reference: &str, out: &str| place.peer(&oras, &["pull", "--plain-http", reference, "-o", out]);
    let plain = place.push("plain", &["--no-seal"]);
    pull(&plain, "fetched").ok();
    place.assert_model_at("fetched");

    let key = place.path("data.key");
    let sealing = ["--seal", "--key-id", "models/tiny/v1", "--key-file", text(&key)];
    let sealed = place.push("sealed", &sealing);
    pull(&sealed, "ciphertext").ok();
    let fetched = fs::read(place.path("ciphertext/model.onnx.sealed")).unwrap();
    let (header, tags) = (40, 3 * 16);
    assert_eq!(fetched.len(), header + 2_100_000 + tags);
    let prefix = &bytes(2_100_000)[..64];
    assert!(!fetched.windows(64).any(|window| window == prefix), "plaintext in a sealed file");
    place.pull(&sealed, "opened", &["--key-file", text(&key)]).ok();
    place.assert_model_at("opened");

    place.corrupt();
    let refused = pull(&plain, "corrupted");
    assert!(refused.code != 0, "oras took a corrupted layer");
}

#[test]
fn oras_fetches_a_model_from_the_devkit_s_registry() {
    oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(&Place::devkit());
}

#[test]
fn oras_fetches_a_model_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    oras_fetches_plain_files_and_sealed_ones_that_only_the_key_opens(&place);
}

fn cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(place: &Place) {
    let Some(cosign) = peers::find("COSIGN3") else { return };
    let verify = |reference: &str, key: &str| {
        let flags = ["verify", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", reference];
        place.peer(&cosign, &flags)
    };
    let pinned = place.push("v1", &["--no-seal"]);
    let tagged = place.reference("v1");
    verify(&pinned, "release.pub").ok();
    verify(&tagged, "release.pub").ok();
    let stranger = verify(&pinned, "stranger.pub");
    assert!(stranger.code != 0 && stranger.stderr.contains("failed to verify signature"), "{}", stranger.stderr);
    place.change(&pinned, "v1");
    let unsigned = verify(&tagged, "release.pub");
    assert!(unsigned.code != 0 && unsigned.stderr.contains("no signatures found"), "{}", unsigned.stderr);
    verify(&pinned, "release.pub").ok();
}

#[test]
fn cosign_3_verifies_a_model_in_the_devkit_s_registry() {
    cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(&Place::devkit());
}

#[test]
fn cosign_3_verifies_a_model_in_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_verifies_for_the_signer_s_key_and_neither_another_key_nor_another_manifest(&place);
}

fn cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(place: &Place) {
    let Some(cosign) = peers::find("COSIGN2") else { return };
    let verify = |reference: &str, key: &str| {
        let flags = ["verify", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", reference];
        place.peer(&cosign, &flags)
    };
    let pinned = place.push("v1", &["--no-seal"]);
    verify(&pinned, "release.pub").ok();
    verify(&place.reference("v1"), "release.pub").ok();
    let stranger = verify(&pinned, "stranger.pub");
    assert!(stranger.code != 0 && stranger.stderr.contains("no matching signatures"), "{}", stranger.stderr);
    let without = place.push("v2", &["--no-seal", "--no-sig-tag"]);
    let unsigned = verify(&without, "release.pub");
    assert!(unsigned.code != 0 && unsigned.stderr.contains("no signatures found"), "{}", unsigned.stderr);

    // Another signer of ours beside the first, and both still count.
    let key = place.path("stranger.key");
    strongroom(&["model", "countersign", &pinned, "--sign-key", text(&key), "--plain-http"]).ok();
    verify(&pinned, "stranger.pub").ok();
    verify(&pinned, "release.pub").ok();
}

#[test]
fn cosign_2_verifies_a_model_in_the_devkit_s_registry() {
    cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(&Place::devkit());
}

#[test]
fn cosign_2_verifies_a_model_in_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_2_verifies_by_the_old_tag_and_neither_another_key_nor_where_there_is_none(&place);
}

fn cosign_s_signature_counts_as_ours(place: &Place, peer: &str, flags: &[&str]) {
    // cosign 2 imports no key of PKCS #8.
    let (Some(cosign), Some(importer)) = (peers::find(peer), peers::find("COSIGN3")) else { return };
    let pinned = place.push("v1", &["--no-seal"]);
    assert_eq!(place.verify(&pinned, "stranger").refused(), Code::SignerUntrusted);
    let private = text(&place.path("stranger.key")).to_owned();
    let import = ["import-key-pair", "--key", &private, "--output-key-prefix", "imported"];
    let imported =
        Command::new(&importer).args(import).current_dir(place.folder.path()).env("COSIGN_PASSWORD", "").output();
    assert!(imported.unwrap().status.success());
    let mut sign = Command::new(&cosign);
    sign.args(["sign", "--yes", "--key", "imported.key", "--tlog-upload=false", "--allow-http-registry"]);
    sign.args(flags).arg(&pinned).current_dir(place.folder.path());
    run(sign.env("COSIGN_PASSWORD", "").env("HOME", place.folder.path())).ok();
    place.verify(&pinned, "stranger").ok();
    place.verify(&pinned, "release").ok();
}

/// By default cosign 3 asks a service of its makers where to log.
const COSIGN_3: [&str; 1] = ["--use-signing-config=false"];

#[test]
fn signature_added_by_cosign_3_is_accepted_from_the_devkit_s_registry() {
    cosign_s_signature_counts_as_ours(&Place::devkit(), "COSIGN3", &COSIGN_3);
}

#[test]
fn signature_added_by_cosign_3_is_accepted_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_s_signature_counts_as_ours(&place, "COSIGN3", &COSIGN_3);
}

#[test]
fn signature_added_by_cosign_2_is_accepted_from_the_devkit_s_registry() {
    cosign_s_signature_counts_as_ours(&Place::devkit(), "COSIGN2", &[]);
}

#[test]
fn signature_added_by_cosign_2_is_accepted_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    cosign_s_signature_counts_as_ours(&place, "COSIGN2", &[]);
}

#[test]
fn model_signed_by_an_identity_counts_for_the_trust_file_that_names_it() {
    let place = Place::devkit();
    let Some(sigstore) = Sigstore::start(place.folder.path()) else { return };
    let pinned = place.push("v1", &["--no-seal"]);
    let [token, root] = ["id_token", "trusted_root.json"].map(|name| place.path(name));
    let trust = |subject: &str| {
        let subject = Some(subject.to_owned());
        let identity = Identity { issuer: ISSUER.into(), subject, subject_pattern: None };
        let rule = Rule::new(format!("{}/models/*", place.address), vec![Signer::with_identity("ci", identity)]);
        let trusted_root = Some(fs::read_to_string(&root).unwrap());
        let path = place.path("identity.toml");
        fs::write(&path, toml::to_string(&TrustFile { trusted_root, rules: vec![rule] }).unwrap()).unwrap();
        let path = text(&path);
        strongroom(&["model", "verify", &pinned, "--trust", path, "--plain-http", "--json"])
    };
    assert_eq!(trust(SUBJECT).refused(), Code::SignerUntrusted);
    let (url, token, root) = (sigstore.url.as_str(), text(&token), text(&root));
    let services = ["--fulcio", url, "--rekor", url, "--trusted-root", root, "--identity-token-file", token];
    let sign = ["model", "countersign", &pinned, "--plain-http", "--keyless"];
    strongroom(&[&sign[..], &services].concat()).ok();
    let verified = trust(SUBJECT).ok().json();
    assert_eq!(verified["signers"], serde_json::json!(["ci"]));
    assert_eq!(verified["signed_by"], serde_json::json!([format!("{SUBJECT} (vouched for by {ISSUER})")]));
    assert_eq!(trust("https://ci.example/other").refused(), Code::SignerIdentityMismatch);
    place.verify(&pinned, "release").ok();

    // The bundle by itself, as Sigstore's own clients read it.
    let bundle = place.path("bundle");
    fs::write(&bundle, bundle_by_identity(&place, &pinned)).unwrap();
    assert_eq!(sigstore.verify(place.folder.path(), SUBJECT), 0);
    assert_eq!(sigstore.verify(place.folder.path(), "https://ci.example/other"), 1);
    let (_, digest) = pinned.split_once('@').unwrap();
    let in_python = |subject: &str, digest: &str| sigstore.verify_in_python(place.folder.path(), subject, digest);
    if let Some(verified) = in_python(SUBJECT, digest) {
        assert_eq!(verified, 0);
        assert_eq!(in_python("https://ci.example/other", digest), Some(1));
        assert_eq!(in_python(SUBJECT, &Sha256::of(b"another").oci()), Some(1));
    }

    let Some(cosign) = peers::find("COSIGN3") else { return };
    let verify = |subject: &str| {
        let who = ["--certificate-identity", subject, "--certificate-oidc-issuer", ISSUER, "--trusted-root", root];
        place.peer(&cosign, &[&["verify", "--allow-http-registry"][..], &who, &[&pinned]].concat())
    };
    verify(SUBJECT).ok();
    assert!(verify("https://ci.example/other").code != 0);
}

#[test]
fn model_promoted_by_an_identity_counts_for_the_trust_file_that_names_it_as_promoter() {
    let place = Place::devkit();
    let Some(sigstore) = Sigstore::start(place.folder.path()) else { return };
    let pinned = place.push("v1", &["--no-seal"]);
    let [token, root] = ["id_token", "trusted_root.json"].map(|name| place.path(name));
    let key = Signer::with_key("release", fs::read_to_string(place.path("release.pub")).unwrap());
    let verify = |subject: Option<&str>, pattern: Option<&str>| {
        let [subject, subject_pattern] = [subject, pattern].map(|text| text.map(ToOwned::to_owned));
        let promoter =
            Signer::with_identity("operations", Identity { issuer: ISSUER.into(), subject, subject_pattern });
        let rule = Rule::new(format!("{}/models/*", place.address), vec![key.clone()]);
        let promotion = PromotionRule::new(Environment::parse("production").unwrap(), vec![promoter]);
        let rules = vec![Rule { promotion: Some(promotion), ..rule }];
        let path = place.path("promoted.toml");
        let trusted_root = Some(fs::read_to_string(&root).unwrap());
        fs::write(&path, toml::to_string(&TrustFile { trusted_root, rules }).unwrap()).unwrap();
        strongroom(&["model", "verify", &pinned, "--trust", text(&path), "--plain-http", "--json"])
    };
    assert_eq!(verify(Some(SUBJECT), None).refused(), Code::PromotionMissing);
    let (url, token, root) = (sigstore.url.as_str(), text(&token), text(&root));
    let services = ["--fulcio", url, "--rekor", url, "--trusted-root", root, "--identity-token-file", token];
    let promote = ["model", "promote", &pinned, "--to", "production", "--plain-http", "--json", "--keyless"];
    assert_eq!(strongroom(&[&promote[..], &services].concat()).ok().json()["sequence"], 1);
    let verified = verify(Some(SUBJECT), None).ok().json();
    let promoters = &verified["promotion"]["promoters"];
    assert_eq!(promoters[0]["signed_by"], serde_json::json!(format!("{SUBJECT} (vouched for by {ISSUER})")));
    assert!(
        verify(None, Some("https://ci.example/acme/models/release@refs/tags/*")).ok().json()["promotion"].is_object()
    );
    for (subject, pattern) in [
        (Some("https://ci.example/other"), None),
        (None, Some("https://other.example/acme/models/release@refs/tags/*")),
    ] {
        assert_eq!(verify(subject, pattern).refused(), Code::PromotionMissing);
    }
}

#[test]
fn model_pushed_by_an_identity_is_pulled_by_who_trusts_it() {
    let place = Place::devkit();
    let Some(sigstore) = Sigstore::start(place.folder.path()) else { return };
    let [token, root] = ["id_token", "trusted_root.json"].map(|name| place.path(name));
    let (url, token, root, model) = (sigstore.url.as_str(), text(&token), text(&root), place.path("model"));
    let reference = place.reference("v1");
    let push = ["model", "push", text(&model), &reference, "--no-seal", "--plain-http", "--json", "--keyless"];
    let services = ["--fulcio", url, "--rekor", url, "--trusted-root", root, "--identity-token-file", token];
    strongroom(&[&push[..], &services].concat()).ok();
    let trust = |subject: &str, out: &str| {
        let subject = Some(subject.to_owned());
        let identity = Identity { issuer: ISSUER.into(), subject, subject_pattern: None };
        let rule = Rule::new(format!("{}/models/*", place.address), vec![Signer::with_identity("ci", identity)]);
        let trusted_root = Some(fs::read_to_string(root).unwrap());
        let path = place.path("identity.toml");
        fs::write(&path, toml::to_string(&TrustFile { trusted_root, rules: vec![rule] }).unwrap()).unwrap();
        let (path, out) = (text(&path), place.path(out));
        strongroom(&["model", "pull", &reference, text(&out), "--trust", path, "--plain-http", "--json"])
    };
    assert_eq!(trust("https://ci.example/other", "other").refused(), Code::SignerIdentityMismatch);
    assert_eq!(trust(SUBJECT, "pulled").ok().json()["signers"], serde_json::json!(["ci"]));
    place.assert_model_at("pulled");
}

/// The bundle by an identity that refers to the model.
fn bundle_by_identity(place: &Place, pinned: &str) -> Vec<u8> {
    let (_, digest) = pinned.split_once('@').unwrap();
    let json = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).unwrap() };
    let referrers = json(place.fetch(&format!("referrers/{digest}")));
    let bundles = referrers["manifests"].as_array().unwrap().iter().map(|referrer| {
        let manifest = json(place.manifest(referrer["digest"].as_str().unwrap()));
        place.fetch(&format!("blobs/{}", manifest["layers"][0]["digest"].as_str().unwrap()))
    });
    let certified = |bundle: &Vec<u8>| !json(bundle.clone())["verificationMaterial"]["certificate"].is_null();
    bundles.into_iter().find(certified).unwrap()
}

fn our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(place: &Place) {
    let pinned = place.push("v1", &["--no-seal"]);
    let tagged = place.reference("v1");
    place.verify(&tagged, "release").ok();
    assert_eq!(place.verify(&tagged, "stranger").refused(), Code::SignerUntrusted);
    place.pull(&tagged, "pulled", &[]).ok();
    place.assert_model_at("pulled");

    place.change(&pinned, "v1");
    assert_eq!(place.verify(&tagged, "release").refused(), Code::ModelUnsigned);
    place.verify(&pinned, "release").ok();

    place.corrupt();
    assert_eq!(place.pull(&pinned, "corrupted", &[]).refused(), Code::LayerDigestMismatch);
    assert!(!place.path("corrupted/model.onnx").exists());
}

#[test]
fn our_tools_verify_and_pull_from_the_devkit_s_registry() {
    our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(&Place::devkit());
}

#[test]
fn our_tools_verify_and_pull_from_docker_registry() {
    let Some(place) = Place::docker() else { return };
    our_tools_verify_and_pull_and_refuse_strangers_changes_and_corruption(&place);
}
