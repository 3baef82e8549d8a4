use super::*;
use crate::api::tests::caller_of;
use crate::inference::tests::{files_of, folder};
use crate::inference::{Kind, Model};
use crate::runtime::tests::runtime;
use crate::setup::{peer, setup};
use serde_json::{Value, json};
use std::path::Path;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, limits};

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn scores_are_those_of_softmax_and_of_sigmoid_however_large_the_logits() {
    let of = |scores: Scores, logits: &[f32]| {
        let mut logits = logits.to_vec();
        scores.of(&mut logits);
        logits
    };
    assert!(close(&of(Scores::Softmax, &[0.0, 1f32.exp().ln(), 0.0]), &[0.211_94, 0.576_12, 0.211_94]));
    assert!(close(&of(Scores::Softmax, &[3e38, -3e38]), &[1.0, 0.0]));
    assert!(close(&of(Scores::Sigmoid, &[0.0, 2.0, -3e38]), &[0.5, 0.880_8, 0.0]));
}

/// The small model of the set-up, with another `config.json`.
fn load(change: impl FnOnce(&mut Value)) -> Option<Result<Model>> {
    let (runtime, path) = (runtime()?, setup("MODEL_TINY_CLASSES")?);
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    let mut config: Value = serde_json::from_slice(&read("config.json")).unwrap();
    change(&mut config);
    let (graph, tokenizer, config) = (read("model.onnx"), read("tokenizer.json"), config.to_string());
    let files = files_of(&[
        ("model.onnx", graph.as_slice()),
        ("tokenizer.json", tokenizer.as_slice()),
        ("config.json", config.as_bytes()),
    ]);
    Some(Model::load(&runtime, Sha256([1; 32]), &files))
}

#[test]
fn model_whose_labels_are_those_of_its_graph_accepted_and_another_refused() {
    let Some(model) = load(|_| ()) else { return };
    assert_eq!(model.unwrap().classifier().unwrap().labels(), ["calm", "alarm", "noise"]);
    assert!(load(|config| config["problem_type"] = json!("multi_label_classification")).unwrap().is_ok());
    let changes: [fn(&mut Value); 5] = [
        |config: &mut Value| config["architectures"] = json!(["BertForTokenClassification"]),
        |config: &mut Value| config["id2label"] = json!({"0": "a", "1": "b"}),
        |config: &mut Value| config["id2label"] = json!({"0": "a", "1": "b", "3": "c"}),
        |config: &mut Value| drop(config.as_object_mut().unwrap().remove("id2label")),
        |config: &mut Value| config["problem_type"] = json!("regression"),
    ];
    for change in changes {
        assert_eq!(load(change).unwrap().unwrap_err().code, Code::ModelUnsupported);
    }
    let long = |length: usize| load(|config| config["id2label"]["0"] = json!("a".repeat(length))).unwrap();
    assert!(long(limits::LABEL).is_ok());
    assert_eq!(long(limits::LABEL + 1).unwrap_err().code, Code::TooLarge);
}

/// `tests/peers/classify_reference.py`: Python's ONNX Runtime and tokenizers, one text at a time.
#[tokio::test]
async fn classes_are_those_of_the_python_reference_to_a_hundred_thousandth() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY_CLASSES")) else { return };
    let Some(python) = peer("PEERS_PYTHON") else { return };
    let model = Model::load(&runtime, Sha256([1; 32]), &folder(&path, &[])).unwrap();
    assert!(matches!(model.kind(), Kind::Classification(_)) && model.embedder().is_err());
    let texts = ["", "a cat", "the quick brown fox", "Ünïcode ☃", &"one two three ".repeat(60)];
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (scratch.path().join("in.json"), scratch.path().join("out.json"));
    std::fs::write(&input, serde_json::to_vec(&texts).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/classify_reference.py");
    assert!(std::process::Command::new(python).arg(script).args([&path, &input, &output]).status().unwrap().success());
    let want: Vec<Vec<f32>> = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    let inputs = texts.iter().map(|text| Input::text((*text).to_owned())).collect();
    let caller = caller_of(CallAction::Infer, "tiny/1");
    let got = model.classifier().unwrap().classify(&caller, inputs).await.unwrap();
    assert_eq!(got.probabilities.len(), want.len());
    for ((text, got), want) in texts.iter().zip(&got.probabilities).zip(&want) {
        assert!(close(got, want), "{text:?}: {got:?} {want:?}");
    }
    assert!(!close(&got.probabilities[1], &got.probabilities[2]));
    let embeds = caller_of(CallAction::Embed, "tiny/1");
    let refusal = model.classifier().unwrap().classify(&embeds, vec![Input::text("a".into())]).await.unwrap_err();
    assert_eq!(refusal.code, Code::Internal);
}
