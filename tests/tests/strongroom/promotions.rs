//! Promotion end to end: the commands that promote and demote, the enclave that demands it before it asks for a key, and the
//! verifier that remembers what a registry hides. And cosign, which reads our promotions and makes some that count.

use crate::peers;
use crate::system::guest::{hardware, launch};
use crate::system::http::Http;
use crate::system::process::{Finished, run};
use crate::system::world::{Published, World};
use crate::system::{strongroom, text};
use http::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use strongroom_artifact::promotion::PREDICATE_TYPE;
use strongroom_devkit::psp::PspServer;
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, PromotionRule, Signer};

/// A world whose trust file demands that as many of Anna and Ben promote to production.
pub(crate) fn world(threshold: usize) -> World {
    let mut world = World::start();
    let promoter = |name: &str| {
        strongroom(&["model", "keygen", text(&world.office.path().join(name))]).ok();
        Signer::with_key(name, fs::read_to_string(world.office.path().join(format!("{name}.pub"))).unwrap())
    };
    let promoters = vec![promoter("anna"), promoter("ben")];
    let rule = PromotionRule::new(Environment::parse("production").unwrap(), promoters);
    world.promotion = Some(PromotionRule { threshold, ..rule });
    world
}

pub(crate) fn key(world: &World, name: &str) -> PathBuf {
    world.office.path().join(format!("{name}.key"))
}

/// The trust file by itself, for the tools.
fn trust(world: &World) -> PathBuf {
    world.file("trust.toml", toml::to_string(&world.trust()).unwrap())
}

/// A guest that may be launched.
struct Stage {
    // Before the world, in whose folder its socket is.
    hardware: Arc<PspServer>,
    world: World,
    model: Published,
    document: Vec<u8>,
    runtime: PathBuf,
    folder: PathBuf,
}

impl Stage {
    fn start(threshold: usize) -> Option<Self> {
        let (runtime, folder) = (peers::find("ORT_LIB")?, peers::find("MODEL_TINY")?);
        let world = world(threshold);
        let model = world.publish(&folder, "model");
        let document = world.document(&model, Sha256::of(&fs::read(&runtime).unwrap()));
        world.approve(&model, &document);
        let hardware = Arc::new(hardware(&world, &document));
        Some(Self { hardware, world, model, document, runtime, folder })
    }

    /// Launches the guest; the code that it refuses with, if it does not serve.
    fn launch(&self) -> Option<Code> {
        launch(&self.world, Arc::clone(&self.hardware), &self.document, &self.runtime).err()
    }

    /// Promotes; the sequence.
    fn promote(&self, model: &Published, by: &str) -> u64 {
        let key = key(&self.world, by);
        let said = self.world.administer(&[
            "model",
            "promote",
            &model.reference,
            "--to",
            "production",
            "--sign-key",
            text(&key),
            "--plain-http",
            "--json",
        ]);
        let said = said.ok().json();
        assert_eq!((&said["environment"], &said["delivered"]), (&json!("production"), &json!(true)));
        said["sequence"].as_u64().unwrap()
    }

    fn demote(&self, by: &str) -> Finished {
        let key = key(&self.world, by);
        self.world.administer(&[
            "model",
            "demote",
            &self.model.reference,
            "--from",
            "production",
            "--reason",
            "it leaks",
            "--sign-key",
            text(&key),
            "--plain-http",
            "--json",
        ])
    }

    /// What `model promotions` says of the model, by registry and verifier.
    fn promotions(&self) -> Finished {
        let trust = trust(&self.world);
        let list = ["model", "promotions", &self.model.reference, "--trust", text(&trust), "--plain-http", "--json"];
        self.world.administer(&list)
    }

    /// What the registry lists for the model.
    fn listed(&self) -> Vec<u8> {
        let repository = self.model.reference.split('@').next().unwrap().split_once('/').unwrap().1;
        let digest = self.model.manifest.oci();
        let url = format!("http://{}/v2/{repository}/referrers/{digest}", self.world.registry);
        Http::plain().send(Method::GET, &url, &[], Vec::new()).text().into_bytes()
    }

    /// How often the verifier was asked for something by a guest.
    fn asked(&self) -> usize {
        let rows = self.world.administer(&["audit", "show", "--limit", "1000", "--json"]).ok().json();
        rows.as_array().unwrap().iter().filter(|row| row["kind"] != "admin").count()
    }
}

#[test]
fn guest_starts_where_enough_promoters_promoted_its_model_and_not_before_or_after() {
    let Some(stage) = Stage::start(2) else { return };
    assert_eq!(stage.launch(), Some(Code::PromotionMissing));
    assert_eq!(stage.asked(), 0, "the enclave refuses by itself, before it asks for a key");
    assert_eq!(stage.promote(&stage.model, "anna"), 1);
    assert_eq!(stage.launch(), Some(Code::PromotionMissing), "one of two");
    let pending = stage.promotions();
    assert_eq!((pending.code, &pending.json()["code"]), (1, &json!("promotion-missing")));
    assert_eq!(stage.promote(&stage.model, "ben"), 1, "joins what the first began");
    let (trust, reference) = (trust(&stage.world), &stage.model.reference);
    let told = strongroom(&["model", "verify", reference, "--trust", text(&trust), "--plain-http"]).ok().stdout;
    assert!(
        told.contains("promoted to production until ") && told.contains("sequence 1, by anna: key sha256:"),
        "{told}"
    );
    assert_eq!(stage.launch(), None);
    let listed = stage.promotions().ok().json();
    assert_eq!((&listed["verdict"], &listed["promotion"]["sequence"]), (&json!("promoted"), &json!(1)));
    let statements = listed["statements"].as_array().unwrap();
    assert!(statements.iter().all(|one| one["from"] == "both" && one["verified"] == true), "{listed}");

    // One demotes, and the registry hides it.
    let before = stage.listed();
    assert_eq!(stage.demote("ben").ok().json()["sequence"], 2);
    stage.world.shelves.faults().set(
        Target::Referrers(stage.model.manifest),
        Times::Always,
        Fault::Serve(before.into()),
    );
    let asked = stage.asked();
    assert_eq!(stage.launch(), Some(Code::PromotionDemoted));
    assert!(stage.asked() > asked, "by the verifier: the registry shows the promotion alone");
    let hidden = stage.promotions();
    assert_eq!((hidden.code, &hidden.json()["code"]), (1, &json!("promotion-demoted")));
    stage.world.shelves.faults().clear();
    let asked = stage.asked();
    assert_eq!(stage.launch(), Some(Code::PromotionDemoted));
    assert_eq!(stage.asked(), asked, "by the enclave, which sees it");
    for by in ["anna", "ben"] {
        assert_eq!(stage.promote(&stage.model, by), 3);
    }
    assert_eq!(stage.launch(), None);
}

#[test]
fn older_promotion_is_no_use_once_another_model_was_promoted() {
    let Some(stage) = Stage::start(1) else { return };
    assert_eq!(stage.promote(&stage.model, "anna"), 1);
    assert_eq!(stage.launch(), None);
    let newer = stage.world.publish(&stage.folder, "model");
    assert_eq!(stage.promote(&newer, "anna"), 2);
    assert_eq!(stage.launch(), Some(Code::PromotionSuperseded), "though its own promotion is there, and has not ended");
    let replayed = key(&stage.world, "anna");
    let again = stage.world.administer(&[
        "model",
        "promote",
        &stage.model.reference,
        "--to",
        "production",
        "--sign-key",
        text(&replayed),
        "--sequence",
        "1",
        // Said anew: within the second in which it was said first it would else be the same statement.
        "--expires",
        "7",
        "--plain-http",
        "--json",
    ]);
    assert_eq!(again.refused(), Code::PromotionSuperseded);
    assert_eq!(stage.promote(&stage.model, "anna"), 3);
    assert_eq!(stage.launch(), None);
}

/// A folder with one file, published.
fn published(world: &World) -> Published {
    let folder = world.path().join("source");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), b"{}").unwrap();
    world.publish(&folder, "model")
}

fn judged(world: &World, model: &Published) -> Value {
    let trust = trust(world);
    strongroom(&["model", "promotions", &model.reference, "--trust", text(&trust), "--plain-http", "--json"]).json()
}

#[test]
fn model_verified_by_the_tools_must_be_promoted_as_the_trust_file_says() {
    let world = world(1);
    let (model, trust) = (published(&world), trust(&world));
    let verify =
        || strongroom(&["model", "verify", &model.reference, "--trust", text(&trust), "--plain-http", "--json"]);
    assert_eq!(verify().refused(), Code::PromotionMissing);
    let say = |more: &[&str]| {
        let key = key(&world, "anna");
        let end = ["--sign-key", text(&key), "--plain-http", "--json"];
        strongroom(&[&["model"], more, end.as_slice()].concat())
    };
    let promote = |more: &[&str]| say(&[&["promote", &model.reference, "--to", "production"], more].concat());
    let policy = world.file("policy.toml", "the release policy");
    let said = promote(&["--expires", "2", "--policy", text(&policy)]).ok().json();
    let (issued, expires) = (said["issued"].as_u64().unwrap(), said["expires"].as_u64().unwrap());
    assert!(issued.abs_diff(expires - 2 * 24 * 60 * 60) <= 1, "{said}");
    assert_eq!(said["policy"], json!(Sha256::of(b"the release policy")));
    assert_eq!((&said["sequence"], &said["delivered"]), (&json!(1), &json!(false)));
    assert_eq!(verify().ok().json()["promotion"]["promoters"][0]["name"], "anna");
    assert_eq!(promote(&[]).ok().json()["sequence"], 2, "the next, by what the same key said before");
    let demote = ["demote", &model.reference, "--from", "production", "--reason", "it leaks"];
    assert_eq!(say(&demote).ok().json()["sequence"], 3);
    assert_eq!(verify().refused(), Code::PromotionDemoted);
    assert_eq!(judged(&world, &model)["code"], "promotion-demoted");

    let tag = format!("{}:v1", model.reference.split('@').next().unwrap());
    assert_eq!(say(&["promote", &tag, "--to", "production"]).refused(), Code::ReferenceInvalid);
    assert_eq!(promote(&["--expires", "31"]).code, 2);
    assert_eq!(say(&["promote", &model.reference, "--to", "Production"]).code, 2);
    let trusting = ["promote", &model.reference, "--to", "staging", "--trust", text(&trust)];
    assert_eq!(say(&trusting).refused(), Code::Usage);
    assert_eq!(promote(&["--sequence", "0"]).refused(), Code::PromotionInvalid);
}

/// Runs cosign in the world's folder, with the keys there.
fn cosign(program: &Path, world: &World, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(world.office.path());
    run(command.env("COSIGN_PASSWORD", "").env("HOME", world.office.path()))
}

#[test]
fn cosign_reads_our_promotions_and_those_that_it_makes_count() {
    let Some(program) = peers::find("COSIGN3") else { return };
    let world = world(2);
    let model = published(&world);
    let anna = key(&world, "anna");
    strongroom(&[
        "model",
        "promote",
        &model.reference,
        "--to",
        "production",
        "--sign-key",
        text(&anna),
        "--plain-http",
    ])
    .ok();
    let verify = |key: &str, kind: &str| {
        let flags =
            ["verify-attestation", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", "--type", kind];
        cosign(&program, &world, &[flags.as_slice(), &[&model.reference]].concat())
    };
    let read = verify("anna.pub", PREDICATE_TYPE).ok();
    assert!(read.stdout.contains("payload"), "{}", read.stdout);
    assert_ne!(verify("ben.pub", PREDICATE_TYPE).code, 0);
    assert_ne!(verify("anna.pub", "https://slsa.dev/provenance/v1").code, 0);
    assert_eq!(judged(&world, &model)["code"], "promotion-missing", "one of two");

    // Ben has cosign alone. It says that a statement is about the whole reference; ours is where the model is.
    cosign(&program, &world, &["import-key-pair", "--key", "ben.key", "--output-key-prefix", "imported"]).ok();
    let ours = judged(&world, &model)["statements"][0].clone();
    let time = |member: &str| {
        let seconds = ours[member].as_i64().unwrap();
        let moment = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
        String::from_utf8(moment.unwrap().stdout).unwrap().trim().to_owned()
    };
    let predicate = json!({
        "action": "promote", "repository": model.reference.split('@').next().unwrap(), "environment": "production",
        "sequence": 1, "issued": time("issued"), "expires": time("expires"),
    });
    fs::write(world.office.path().join("predicate.json"), predicate.to_string()).unwrap();
    let attest = ["attest", "--yes", "--key", "imported.key", "--use-signing-config=false", "--tlog-upload=false"];
    let what = ["--allow-http-registry", "--type", PREDICATE_TYPE, "--predicate", "predicate.json", &model.reference];
    cosign(&program, &world, &[attest.as_slice(), &what].concat()).ok();
    let promoted = judged(&world, &model);
    assert_eq!(promoted["verdict"], "promoted", "{promoted}");
    assert_eq!(promoted["promotion"]["promoters"].as_array().unwrap().len(), 2);
}
