#![allow(clippy::as_conversions)]

mod external;

use super::embedder::TOKENS;
use super::*;
use crate::api::tests::{caller, caller_of};
use crate::memory::OpeningFiles;
use crate::runtime::tests::runtime;
use crate::setup::{peer, setup};
use std::path::Path;
use std::time::{Duration, Instant};
use strongroom_policy::CallAction;
use strongroom_registry_client::{FileSink as _, ModelSink as _};
use strongroom_wire::limits;
use tokio::task::JoinHandle;

/// The files of a model, opened.
pub(crate) fn files(contents: &[(&str, &str)]) -> ModelFiles {
    files_of(&contents.iter().map(|(path, content)| (*path, content.as_bytes())).collect::<Vec<_>>())
}

/// The same, of bytes.
pub(crate) fn files_of(contents: &[(&str, &[u8])]) -> ModelFiles {
    let mut opening = OpeningFiles::default();
    for (path, content) in contents {
        add(&mut opening, path, content);
    }
    opening.seal_unverified().unwrap()
}

fn add(opening: &mut OpeningFiles, path: &str, content: &[u8]) {
    opening.create(path, content.len() as u64).unwrap().write_at(0, content).unwrap();
}

/// The files of a model's folder, but for those that `without` says.
pub(crate) fn folder(path: &Path, without: &[&str]) -> ModelFiles {
    let mut opening = OpeningFiles::default();
    for name in [
        "model.onnx",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "sentence_bert_config.json",
        "modules.json",
        "1_Pooling/config.json",
    ] {
        if let (false, Ok(content)) = (without.contains(&name), std::fs::read(path.join(name))) {
            add(&mut opening, name, &content);
        }
    }
    opening.seal_unverified().unwrap()
}

/// The files of the small model of the set-up; `None`, with a message, where it is not there.
pub(crate) fn tiny_files() -> Option<ModelFiles> {
    setup("MODEL_TINY").map(|path| folder(&path, &[]))
}

/// The small model of the set-up; `None`, with a message, where it is not there.
pub(crate) fn tiny() -> Option<Model> {
    Some(Model::load(&runtime()?, Sha256([1; 32]), &tiny_files()?).unwrap())
}

/// A model of another graph: `run`. For tests of what is around a graph, which so need no set-up.
fn around(run: impl FnMut(&[&encoder::Sequence]) -> Result<worker::Vectors> + Send + 'static) -> Model {
    let embedder = Embedder::new(1, encoder::tests::letters(), worker::start(rows::Rows::OfAll, run).unwrap());
    Model { manifest: Sha256([1; 32]), kind: Kind::Embedding(embedder) }
}

/// A model whose graph gives each text the number of its tokens.
pub(crate) fn counting() -> Model {
    around(|batch| Ok(batch.iter().map(|sequence| Ok(vec![sequence.len() as f32])).collect()))
}

/// A model of these labels, whose graph finds the one at `of` of the id in each token, surely.
pub(crate) fn around_tokens(labels: Vec<String>, of: fn(u32) -> usize) -> Model {
    let width = labels.len();
    let worker = worker::start(rows::Rows::OfAll, move |batch| {
        let logits = |sequence: &&encoder::Sequence| {
            let mut logits = vec![-100.0; sequence.len() * width];
            let rows = logits.chunks_exact_mut(width).zip(sequence.ids.expose());
            rows.for_each(|(row, id)| row[of(*id)] = 100.0);
            Ok(logits)
        };
        Ok(batch.iter().map(logits).collect())
    });
    let encoder = Embedder::new(width, encoder::tests::letters(), worker.unwrap());
    Model { manifest: Sha256([1; 32]), kind: Kind::TokenClassification(TokenClassifier::new(encoder, labels)) }
}

/// A model of so many labels, whose graph says that it began and waits until it may end.
pub(crate) fn around_tokens_held(
    labels: usize,
    started: tokio::sync::mpsc::UnboundedSender<()>,
    gate: std::sync::mpsc::Receiver<()>,
) -> Model {
    let worker = worker::start(rows::Rows::OfAll, move |batch| {
        started.send(()).unwrap();
        gate.recv().unwrap();
        Ok(batch.iter().map(|sequence| Ok(vec![0.0; sequence.len() * labels])).collect())
    });
    let encoder = Embedder::new(labels, encoder::tests::letters(), worker.unwrap());
    let labels = vec!["O".to_owned(); labels];
    Model { manifest: Sha256([1; 32]), kind: Kind::TokenClassification(TokenClassifier::new(encoder, labels)) }
}

/// A model that says that each `b` begins a person's name, and each `c` goes on with one.
pub(crate) fn naming() -> Model {
    around_tokens(["O", "B-PER", "I-PER"].map(str::to_owned).to_vec(), |id| match id {
        5 => 1,
        6 => 2,
        _ => 0,
    })
}

/// A model whose thread panics at the first batch.
pub(crate) fn panicking() -> Model {
    around(|_| panic!("in a graph"))
}

fn embedder(model: &Model) -> &Embedder {
    model.embedder().unwrap()
}

async fn embed(model: &Model, texts: &[&str]) -> Embeddings {
    let inputs = texts.iter().map(|text| Input::text((*text).to_owned())).collect();
    embedder(model).embed(&caller(), inputs).await.unwrap()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

const TEXTS: [&str; 5] = ["", "a cat", "the quick brown fox jumps over the lazy dog", "a dog and a cat", "x"];

#[tokio::test]
async fn vectors_of_a_batch_are_those_of_each_text_alone_in_their_order() {
    let Some(model) = tiny() else { return };
    let together = embed(&model, &TEXTS).await;
    for (text, vector) in TEXTS.iter().zip(&together.vectors) {
        let alone = embed(&model, &[text]).await;
        assert!(close(vector, &alone.vectors[0]), "{text:?}");
        assert_eq!(vector.len(), embedder(&model).dimensions());
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
    }
    assert!(!close(&together.vectors[1], &together.vectors[2]));
}

/// `tests/peers/embed_reference.py`: Python's ONNX Runtime and tokenizers, one text at a time.
#[tokio::test]
async fn vectors_and_tokens_of_a_real_model_are_those_of_the_python_reference() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_MINILM")) else { return };
    let Some(python) = peer("PEERS_PYTHON") else { return };
    let long = "one two three four five six seven ".repeat(100);
    let texts = ["", "A cat sat on the mat.", "Ünïcode ☃ and 日本語", &long, "a\nb\tc"];
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (scratch.path().join("in.json"), scratch.path().join("out.json"));
    std::fs::write(&input, serde_json::to_vec(&texts).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/embed_reference.py");
    let run = std::process::Command::new(python).arg(script).args([&path, &input, &output]).status();
    assert!(run.unwrap().success());
    #[derive(serde::Deserialize)]
    struct Reference {
        embeddings: Vec<Vec<f32>>,
        tokens: Vec<usize>,
    }
    let reference: Reference = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    let model = Model::load(&runtime, Sha256([1; 32]), &folder(&path, &[])).unwrap();
    let ours = embed(&model, &texts).await;
    assert_eq!(ours.tokens, reference.tokens.iter().sum::<usize>());
    assert_eq!(ours.vectors.len(), reference.embeddings.len());
    for (text, (ours, theirs)) in texts.iter().zip(ours.vectors.iter().zip(&reference.embeddings)) {
        assert!(close(ours, theirs), "{text:?}");
    }
}

#[tokio::test]
async fn empty_text_has_a_vector_and_the_tokens_around_it() {
    let Some(model) = tiny() else { return };
    let embeddings = embed(&model, &[""]).await;
    assert_eq!((embeddings.vectors.len(), embeddings.tokens), (1, 2));
}

#[tokio::test]
async fn text_of_any_length_is_cut_to_the_model_s() {
    let Some(model) = tiny() else { return };
    let long = "cat ".repeat(10_000);
    let embeddings = embed(&model, &[&long]).await;
    assert!((2..=limits::SEQUENCE).contains(&embeddings.tokens), "{}", embeddings.tokens);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_get_their_own_vectors() {
    let Some(model) = tiny() else { return };
    let model = Arc::new(model);
    let alone = embed(&model, &TEXTS).await.vectors;
    let tasks: Vec<_> = (0..64usize)
        .map(|n| {
            let (model, index) = (Arc::clone(&model), n % TEXTS.len());
            tokio::spawn(async move { (index, embed(&model, &[TEXTS[index]]).await.vectors) })
        })
        .collect();
    for task in tasks {
        let (index, vectors) = task.await.unwrap();
        assert!(close(&vectors[0], &alone[index]));
    }
}

#[tokio::test]
async fn request_beyond_what_may_wait_refused_and_taken_again_afterwards() {
    let Some(model) = tiny() else { return };
    let all = Arc::clone(&embedder(&model).jobs).try_acquire_many_owned(u32::try_from(JOBS).unwrap()).unwrap();
    let refusal = embedder(&model).embed(&caller(), vec![Input::text("a".into())]).await.unwrap_err();
    assert_eq!(refusal.code, Code::Busy);
    drop(all);
    assert_eq!(embed(&model, &["a"]).await.vectors.len(), 1);
    assert_eq!(free(&model), (JOBS, TOKENS));
}

/// Places and tokens that no request has.
fn free(model: &Model) -> (usize, usize) {
    let embedder = embedder(model);
    (embedder.jobs.available_permits(), embedder.tokens.available_permits())
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A request of eight texts of the largest size.
fn large() -> Vec<Input> {
    (0..8).map(|_| Input::text("a ".repeat(limits::API_INPUT / 2))).collect()
}

fn ask(model: &Arc<Model>, inputs: Vec<Input>) -> JoinHandle<Result<Embeddings>> {
    let model = Arc::clone(model);
    tokio::spawn(async move { embedder(&model).embed(&caller(), inputs).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_while_they_wait_for_a_turn_leave_nothing_behind() {
    let model = Arc::new(counting());
    let cores = embedder(&model).turns.free();
    let mut turns = Vec::new();
    for _ in 0..cores {
        turns.push(embedder(&model).turns.next().await.unwrap());
    }
    let asked: Vec<_> = (0..8).map(|_| ask(&model, large())).collect();
    until(|| embedder(&model).jobs.available_permits() == JOBS - 8).await;
    asked.iter().for_each(JoinHandle::abort);
    // Nobody's work was begun: nothing but the turns that the test has is taken.
    until(|| embedder(&model).jobs.available_permits() == JOBS).await;
    assert_eq!(embedder(&model).turns.free(), 0);
    drop(turns);
    assert_eq!(embedder(&model).turns.free(), cores);
    assert_eq!(embed(&model, &["a b"]).await.vectors, [[4.0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_while_their_texts_are_tokenised_hold_their_places_until_that_ends() {
    let model = Arc::new(counting());
    let cores = embedder(&model).turns.free();
    let asked: Vec<_> = (0..cores).map(|_| ask(&model, large())).collect();
    until(|| embedder(&model).turns.free() == 0).await;
    let hung_up = Instant::now();
    asked.iter().for_each(JoinHandle::abort);
    for task in asked {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    // Nobody comes any more, so places looked at before turns are never fewer than they.
    let places_and_turns = || (JOBS - embedder(&model).jobs.available_permits(), cores - embedder(&model).turns.free());
    until(|| {
        let (places, turns) = places_and_turns();
        assert!(places >= turns, "{places} places, {turns} turns");
        places == 0
    })
    .await;
    let left = hung_up.elapsed();
    assert_eq!(places_and_turns(), (0, 0));
    // What was left was the text under way, and not those after it.
    let begun = Instant::now();
    embedder(&model).embed(&caller(), large()).await.unwrap();
    assert!(left < begun.elapsed() / 2, "{left:?}");
    assert_eq!(free(&model), (JOBS, TOKENS));
}

#[tokio::test]
async fn text_at_the_limit_of_size_cut_to_the_model_s_length_and_over_it_refused() {
    let model = counting();
    let text = |size: usize| vec![Input::text("a".repeat(size))];
    assert_eq!(embedder(&model).embed(&caller(), text(limits::API_INPUT)).await.unwrap().vectors, [[3.0]]);
    assert_eq!(embedder(&model).embed(&caller(), text(limits::API_INPUT + 1)).await.unwrap_err().code, Code::TooLarge);
    let words = vec![Input::text("a few c words ".repeat(1250))];
    assert_eq!(embedder(&model).embed(&caller(), words).await.unwrap().vectors, [[6.0]]);
}

#[tokio::test]
async fn model_whose_thread_panicked_named_and_others_not() {
    let mut models = Models::default();
    models.insert("whole".into(), counting());
    models.insert("broken".into(), panicking());
    for (name, answered) in [("whole", true), ("broken", false)] {
        assert!(models.are_alive());
        let call = caller_of(CallAction::Embed, name);
        let model = models.get(&call).unwrap();
        let answer = embedder(model).embed(&call, vec![Input::text("a".into())]).await;
        assert_eq!(answer.is_ok(), answered);
        assert!(answered || answer.unwrap_err().code == Code::RuntimeFailed);
    }
    assert_eq!(models.ended().await, "broken");
    assert!(!models.are_alive());
}

#[tokio::test]
async fn models_of_one_process_share_turns() {
    let mut models = Models::default();
    models.insert("a".into(), counting());
    models.insert("b".into(), counting());
    let turns = |name: &str| &embedder(models.get(&caller_of(CallAction::Embed, name)).unwrap()).turns;
    let before = turns("b").free();
    let turn = turns("a").next().await.unwrap();
    assert_eq!(turns("b").free(), before - 1);
    drop(turn);
    assert_eq!(turns("b").free(), before);
}

#[tokio::test]
async fn request_of_no_input_refused() {
    let Some(model) = tiny() else { return };
    assert_eq!(embedder(&model).embed(&caller(), vec![]).await.unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn model_without_a_graph_refused_and_without_a_tokenizer_is_of_tensors() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY")) else { return };
    let load = |missing: &str| Model::load(&runtime, Sha256([1; 32]), &folder(&path, &[missing]));
    assert_eq!(load("model.onnx").unwrap_err().code, Code::ModelUnsupported);
    let model = load("tokenizer.json").unwrap();
    let inputs = model.tensors().unwrap().inputs();
    assert!(inputs.iter().any(|port| port.name == "input_ids"));
    assert_eq!(model.embedder().unwrap_err().code, Code::RequestInvalid);
    assert_eq!(load("").unwrap().tensors().unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn graph_that_is_no_text_encoder_refused() {
    let (Some(runtime), Some(path), Some(magika)) = (runtime(), setup("MODEL_TINY"), setup("MODEL_MAGIKA")) else {
        return;
    };
    let mut opening = OpeningFiles::default();
    for (name, from) in [("model.onnx", &magika), ("tokenizer.json", &path), ("config.json", &path)] {
        add(&mut opening, name, &std::fs::read(from.join(name)).unwrap());
    }
    let refusal = Model::load(&runtime, Sha256([1; 32]), &opening.seal_unverified().unwrap()).unwrap_err();
    assert_eq!((refusal.code, refusal.got.as_deref()), (Code::ModelUnsupported, Some("bytes")));
}

#[test]
fn file_that_is_no_graph_refused() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY")) else { return };
    let mut opening = OpeningFiles::default();
    add(&mut opening, "model.onnx", b"no graph");
    add(&mut opening, "tokenizer.json", &std::fs::read(path.join("tokenizer.json")).unwrap());
    add(&mut opening, "config.json", &std::fs::read(path.join("config.json")).unwrap());
    let refusal = Model::load(&runtime, Sha256([1; 32]), &opening.seal_unverified().unwrap()).unwrap_err();
    assert_eq!(refusal.code, Code::RuntimeFailed);
}
