//! Changes that end midway, that meet one another, and that meet an answer under way.

use super::stage::{Caller, Stage, replaceable, told};
use crate::peers;
use crate::system::http::{Answer, Http};
use crate::system::world::Published;
use http::Method;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

const PATIENCE: Duration = Duration::from_secs(60);

fn reference(model: &Published) -> Value {
    json!({"parameters": {"reference": model.reference}})
}

/// A load whose registry holds a layer back. The verifier was asked for the key before.
struct Held {
    gate: Gate,
    load: JoinHandle<Answer>,
}

impl Held {
    /// Begins one, and waits until it is there.
    fn begin(stage: &Stage, caller: Caller, next: &Published) -> Self {
        let registry = &stage.world.registry;
        let url = format!("http://{registry}/v2/models/model/manifests/{}", next.manifest.oci());
        let accept = [("accept", "application/vnd.oci.image.manifest.v1+json")];
        let manifest = Http::plain().send(Method::GET, &url, &accept, "").json();
        let layer = Sha256::from_oci(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap();
        let (gate, faults) = (Gate::closed(), stage.world.shelves.faults());
        faults.set(Target::Blob(layer), Times::Next(1), Fault::Stall(gate.clone()));
        let asked = reference(next);
        let load = spawn(move || caller.change("load", &asked));
        let began = Instant::now();
        while faults.armed() > 0 {
            assert!(began.elapsed() < PATIENCE && !load.is_finished(), "no layer was asked for");
            sleep(Duration::from_millis(20));
        }
        Self { gate, load }
    }

    /// Lets it go on; what came of it.
    fn end(self) -> (u16, Code) {
        self.gate.open();
        told(&self.load.join().unwrap())
    }
}

#[test]
fn load_whose_lease_is_refused_leaves_the_old_one_and_another_meanwhile_is_busy() {
    let Some(mut stage) = Stage::start("MODEL_TINY", replaceable) else { return };
    let guest = stage.launch("").unwrap();
    let (caller, next) = (Caller::of(&guest), stage.publish("v2", "release"));
    stage.promote(&next);
    let held = Held::begin(&stage, Caller::of(&guest), &next);
    assert_eq!(told(&caller.change("load", &reference(&next))), (429, Code::Busy));
    // What the guest may have is not what it may go on with any more.
    let measurement = core::mem::replace(&mut stage.world.measurement, [7; 48]);
    stage.world.approve(&next, &stage.document);
    stage.world.measurement = measurement;
    assert_eq!(held.end(), (409, Code::MeasurementNotApproved));
    assert_eq!((caller.served(), caller.embed()), (json!(stage.model.manifest.oci()), 200));
    let workloads: Vec<_> = stage.log(&guest, "lease").iter().map(|line| line["workload"].clone()).collect();
    assert!(workloads.iter().all(Value::is_null), "none was given for what was to come: {workloads:?}");

    // And where the verifier has nothing against it, the same load goes through.
    stage.world.approve(&next, &stage.document);
    let changed = caller.change("load", &reference(&next));
    assert_eq!((changed.status, caller.served()), (200, json!(next.manifest.oci())), "{}", changed.text());
    assert_eq!(stage.log(&guest, "lease").iter().filter(|line| line["workload"].is_string()).count(), 1);
}

#[test]
fn unload_has_a_load_that_is_under_way_given_up() {
    let Some(stage) = Stage::start("MODEL_TINY", replaceable) else { return };
    let guest = stage.launch("").unwrap();
    let (caller, next) = (Caller::of(&guest), stage.publish("v2", "release"));
    stage.promote(&next);
    let held = Held::begin(&stage, Caller::of(&guest), &next);
    assert_eq!(caller.change("unload", &json!({})).status, 200);
    assert_eq!(told(&held.load.join().unwrap()), (429, Code::Busy));
    held.gate.open();
    assert_eq!((caller.embed(), &caller.index()[0]["state"]), (404, &json!("UNAVAILABLE")));
}

#[test]
fn model_whose_graph_does_not_load_or_that_is_of_another_kind_refused_and_the_old_one_goes_on() {
    let Some(stage) = Stage::start("MODEL_TINY", replaceable) else { return };
    let Some(classes) = peers::find("MODEL_TINY_CLASSES") else { return };
    let guest = stage.launch("").unwrap();
    let caller = Caller::of(&guest);
    let broken = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "config.json", "sentence_bert_config.json"] {
        fs::copy(stage.folder.join(name), broken.path().join(name)).unwrap();
    }
    fs::write(broken.path().join("model.onnx"), b"no graph").unwrap();
    let files = [
        (broken.path(), "v2", (503, Code::RuntimeFailed)),
        (classes.as_path(), "v3", (409, Code::ModelUnsupported)),
        (stage.folder.as_path(), "v4", (200, Code::ModelUnknown)),
    ];
    for (folder, version, want) in files {
        let next = stage.publish_files(folder, version, "release");
        stage.promote(&next);
        let answer = caller.change("load", &reference(&next));
        let served = if want.0 == 200 { &next } else { &stage.model };
        assert_eq!(answer.status, want.0, "{version}: {}", answer.text());
        assert!(want.0 == 200 || told(&answer) == want, "{version}: {}", answer.text());
        assert_eq!((caller.served(), caller.embed()), (json!(served.manifest.oci()), 200), "{version}");
    }
}

/// A chat that was streamed to its end: when that was, and by which model, told in each of its events.
fn streamed(caller: &Caller) -> (Instant, String) {
    let body = json!({"model": "model", "messages": [{"role": "user", "content": "tell me"}], "stream": true, "n": 4, "max_tokens": 800});
    let answer = caller.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (ended, text) = (Instant::now(), answer.text());
    let mut events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!(ends, 4, "each choice came to its end");
    let model = events[0]["system_fingerprint"].as_str().unwrap().to_owned();
    assert!(events.iter().all(|event| event["system_fingerprint"] == model), "by one model");
    (ended, model)
}

#[test]
fn answer_that_is_streamed_while_its_model_is_replaced_ends_with_the_old_one() {
    let Some(stage) = Stage::start("MODEL_TINY_CHAT", replaceable) else { return };
    let guest = stage.launch("").unwrap();
    let (caller, next) = (Caller::of(&guest), stage.publish("v2", "release"));
    stage.promote(&next);
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (caller, over) = (Caller::of(&guest), Arc::clone(&over));
            spawn(move || {
                let mut all = vec![streamed(&caller)];
                while !over.load(Ordering::SeqCst) {
                    all.push(streamed(&caller));
                }
                all
            })
        })
        .collect();
    let changed = caller.change("load", &reference(&next));
    let at = Instant::now();
    assert_eq!(changed.status, 200, "{}", changed.text());
    over.store(true, Ordering::SeqCst);
    let all: Vec<_> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    let old = stage.model.manifest.oci();
    assert!(all.iter().any(|(ended, model)| *ended > at && *model == old), "one was under way: {at:?} {all:?}");
    assert_eq!(streamed(&caller).1, next.manifest.oci());
}
