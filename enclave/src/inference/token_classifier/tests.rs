use super::*;
use crate::api::tests::caller_of;
use crate::inference::tests::{around_tokens, around_tokens_held, files_of, folder, naming};
use crate::inference::{Kind, Model};
use crate::runtime::tests::runtime;
use crate::setup::{peer, setup};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

/// What is found in `texts`: label, word, start, end and index of each entity.
type Found = Vec<Vec<(String, String, usize, usize, Option<usize>)>>;

async fn found(model: &Model, texts: &[&str], strategy: Strategy, ignored: &[&str]) -> Result<Found> {
    let inputs = texts.iter().map(|text| Input::text((*text).to_owned())).collect();
    let aggregation = Aggregation { strategy, ignored: ignored.iter().map(|label| (*label).to_owned()).collect() };
    let caller = caller_of(CallAction::Infer, "tiny/1");
    let classes = model.token_classifier().unwrap().classify(&caller, inputs, aggregation).await?;
    let told = |entity: Entity| (entity.label, entity.word.expose().clone(), entity.start, entity.end, entity.index);
    Ok(classes.entities.into_iter().map(|entities| entities.into_iter().map(told).collect()).collect())
}

/// One whose graph finds the second label in each `b`, the third in each `c`, and the first in what else there is.
fn model(labels: &[&str]) -> Model {
    around_tokens(labels.iter().map(|label| (*label).to_owned()).collect(), |id| match id {
        5 => 1,
        6 => 2,
        _ => 0,
    })
}

fn entity(
    label: &str,
    word: &str,
    [start, end]: [usize; 2],
    index: Option<usize>,
) -> (String, String, usize, usize, Option<usize>) {
    (label.to_owned(), word.to_owned(), start, end, index)
}

#[tokio::test]
async fn each_token_told_by_itself_where_it_is_in_the_text_and_ignored_labels_not() {
    let model = naming();
    let got = found(&model, &["☃ b  c", "", "b"], Strategy::None, &[]).await.unwrap();
    let first = [("O", "☃", [0, 1], 1), ("B-PER", "b", [2, 3], 2), ("I-PER", "c", [5, 6], 3)];
    let first = first.map(|(label, word, at, index)| entity(label, word, at, Some(index)));
    assert_eq!(got, [first.to_vec(), vec![], vec![entity("B-PER", "b", [0, 1], Some(1))]]);
    let got = found(&model, &["☃ b  c"], Strategy::None, &["O", "I-PER", "PER"]).await.unwrap();
    assert_eq!(got, [[first[1].clone()]]);
}

#[tokio::test]
async fn neighbours_of_one_kind_are_one_entity_until_another_begins() {
    let named = naming();
    let got = found(&named, &["b c b c"], Strategy::Simple, &[]).await.unwrap();
    assert_eq!(got, [[entity("PER", "b c", [0, 3], None), entity("PER", "b c", [4, 7], None)]]);
    let got = found(&named, &["a c c a"], Strategy::Simple, &["O"]).await.unwrap();
    assert_eq!(got, [[entity("PER", "c c", [2, 5], None)]]);
    let got = found(&named, &["a c c a"], Strategy::Simple, &["PER"]).await.unwrap();
    assert_eq!(got, [[entity("O", "a", [0, 1], None), entity("O", "a", [6, 7], None)]]);
    // Without a beginning, and of another kind.
    let got = found(&model(&["O", "NOUN", "VERB"]), &["b b c"], Strategy::Simple, &[]).await.unwrap();
    assert_eq!(got, [[entity("NOUN", "b b", [0, 3], None), entity("VERB", "c", [4, 5], None)]]);
    let got = found(&model(&["O", "B-PER", "I-LOC"]), &["b c"], Strategy::Simple, &[]).await.unwrap();
    assert_eq!(got, [[entity("PER", "b", [0, 1], None), entity("LOC", "c", [2, 3], None)]]);
}

#[tokio::test]
async fn tokens_times_labels_at_the_limit_accepted_and_over_it_refused() {
    // Of which four tokens have as many scores as may be.
    let model = around_tokens(vec!["O".to_owned(); limits::TOKEN_SCORES / 4], |_| 0);
    assert_eq!(found(&model, &["a b"], Strategy::None, &[]).await.unwrap()[0].len(), 2);
    assert_eq!(found(&model, &["a b c"], Strategy::None, &[]).await.unwrap_err().code, Code::TooLarge);
}

#[tokio::test]
async fn tokens_of_a_request_at_the_limit_accepted_and_over_it_refused() {
    // Of six tokens each, with the two around it.
    let model = naming();
    let long = vec!["a b c d"; limits::TOKENS_TOLD / 6 + 1];
    assert!(found(&model, &long[1..], Strategy::None, &["O"]).await.is_ok());
    assert_eq!(found(&model, &long, Strategy::None, &["O"]).await.unwrap_err().code, Code::TooLarge);
}

#[tokio::test]
async fn tokens_take_as_many_places_among_those_that_wait_as_their_labels_weigh() {
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let model = Arc::new(around_tokens_held(17, started, gate));
    let asking = {
        let model = Arc::clone(&model);
        tokio::spawn(async move { found(&model, &["a b"], Strategy::None, &[]).await.map(|found| found.len()) })
    };
    starts.recv().await.unwrap();
    let tokens = &model.token_classifier().unwrap().encoder.tokens;
    // Four tokens, of 17 labels three places each.
    assert_eq!(crate::inference::embedder::TOKENS - tokens.available_permits(), 12);
    go.send(()).unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), 1);
    assert_eq!(tokens.available_permits(), crate::inference::embedder::TOKENS);
}

#[tokio::test]
async fn input_of_tokens_and_call_of_another_kind_refused() {
    let model = naming();
    let classifier = model.token_classifier().unwrap();
    let ask = async |action, input| {
        let caller = caller_of(action, "tiny/1");
        classifier.classify(&caller, vec![input], Aggregation::default()).await.map_err(|refusal| refusal.code)
    };
    assert!(ask(CallAction::Infer, Input::text("a".into())).await.is_ok());
    assert_eq!(ask(CallAction::Infer, Input::tokens(vec![4])).await.unwrap_err(), Code::RequestInvalid);
    assert_eq!(ask(CallAction::Embed, Input::text("a".into())).await.unwrap_err(), Code::Internal);
}

/// The small model of the set-up, with another `config.json`.
fn load(change: impl FnOnce(&mut Value)) -> Option<Result<Model>> {
    let (runtime, path) = (runtime()?, setup("MODEL_TINY_TOKENS")?);
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
fn model_whose_labels_are_those_of_its_graph_s_tokens_accepted_and_another_refused() {
    let Some(model) = load(|_| ()) else { return };
    let model = model.unwrap();
    assert!(matches!(model.kind(), Kind::TokenClassification(_)) && model.classifier().is_err());
    let changes: [fn(&mut Value); 3] = [
        |config| config["architectures"] = json!(["BertForSequenceClassification"]),
        |config| config["architectures"] = json!(["BertForMaskedLM"]),
        |config| drop(config["id2label"].as_object_mut().unwrap().remove("4")),
    ];
    for change in changes {
        assert_eq!(load(change).unwrap().unwrap_err().code, Code::ModelUnsupported);
    }
}

/// An entity as Python tells it.
#[derive(Deserialize)]
struct Told {
    #[serde(alias = "entity_group")]
    entity: String,
    score: f32,
    word: String,
    start: usize,
    end: usize,
    index: Option<usize>,
}

/// `tests/peers/token_classify_reference.py`: Python's ONNX Runtime and tokenizers, one text at a time.
#[tokio::test]
async fn classes_of_tokens_are_those_of_the_python_reference_to_a_hundred_thousandth() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY_TOKENS")) else { return };
    let Some(python) = peer("PEERS_PYTHON") else { return };
    let long = "Anna saw Tom in Paris, ".repeat(30);
    let texts = ["", "a cat", "Anna met the quick brown fox in Berlin, and Tom.", "Ünïcode ☃ snow 日本語 fox", &long];
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (scratch.path().join("in.json"), scratch.path().join("out.json"));
    std::fs::write(&input, serde_json::to_vec(&texts).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/token_classify_reference.py");
    assert!(std::process::Command::new(python).arg(script).args([&path, &input, &output]).status().unwrap().success());
    let want: Value = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    let model = Model::load(&runtime, Sha256([1; 32]), &folder(&path, &[])).unwrap();
    let (classifier, caller) = (model.token_classifier().unwrap(), caller_of(CallAction::Infer, "tiny/1"));
    for (strategy, name) in [(Strategy::None, "none"), (Strategy::Simple, "simple")] {
        let want: Vec<Vec<Told>> = serde_json::from_value(want[name].clone()).unwrap();
        let inputs = texts.iter().map(|text| Input::text((*text).to_owned())).collect();
        let aggregation = Aggregation { strategy, ignored: BTreeSet::new() };
        let got = classifier.classify(&caller, inputs, aggregation).await.unwrap().entities;
        assert_eq!(got.len(), want.len());
        assert!(want[2].len() > 10 && want[4].len() > 10, "{name}");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.len(), want.len(), "{name}");
            for (got, want) in got.iter().zip(want) {
                let ours = (got.label.as_str(), got.word.expose().as_str(), got.start, got.end, got.index);
                assert_eq!(
                    ours,
                    (want.entity.as_str(), want.word.as_str(), want.start, want.end, want.index),
                    "{name}"
                );
                assert!((got.score - want.score).abs() < 1e-5, "{name}: {} {}", got.score, want.score);
            }
        }
    }
}
