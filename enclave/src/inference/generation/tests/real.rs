//! A real model against Python's ONNX Runtime, `tests/peers/generate_reference.py`.

use super::*;
use crate::inference::session;
use crate::inference::tests::{files_of, folder};
use crate::runtime::tests::runtime;
use crate::setup::{peer, setup};
use serde_json::json;
use std::path::Path;

/// How close the two likeliest tokens are where the last bits of a logit may decide.
const CLOSE: f32 = 1e-3;

#[derive(serde::Deserialize)]
struct Reference {
    tokens: Vec<u32>,
    gaps: Vec<f32>,
}

/// SmolLM2-135M-Instruct, with its folder.
fn smollm2() -> Option<(Generator, std::path::PathBuf)> {
    let (runtime, path) = (runtime()?, peer("MODEL_SMOLLM2")?);
    let files = folder(&path, &[]);
    Some((Generator::load(session::load(&runtime, &files).unwrap(), &files).unwrap(), path))
}

#[test]
fn graph_that_scales_all_rows_alike_does_not_generate() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY_CHAT")) else { return };
    // A field that says what a graph is (`doc_string` of `ModelProto`), which the runtime passes over.
    let load = |said: &str| {
        let mut graph = std::fs::read(path.join("model.onnx")).unwrap();
        graph.extend([0x32, u8::try_from(said.len()).unwrap()]);
        graph.extend(said.as_bytes());
        let read = |name: &str| std::fs::read(path.join(name)).unwrap();
        let (tokenizer, config) = (read("tokenizer.json"), read("config.json"));
        let files = [("model.onnx", &graph[..]), ("tokenizer.json", &tokenizer[..]), ("config.json", &config[..])];
        let files = files_of(&files);
        Generator::load(session::load(&runtime, &files).unwrap(), &files).map_err(|refusal| refusal.code)
    };
    assert!(load("QuantizeLinear").is_ok());
    assert_eq!(load("DynamicQuantizeLinear").unwrap_err(), Code::ModelUnsupported);
}

/// Prompts of these lengths.
fn prompts(generator: &Generator, lengths: &[usize]) -> Vec<Vec<u32>> {
    let sentence =
        "The harbour master counted 1,024 lanterns, naïve gulls & a café's 日本 sign; then it rained over the quay. ";
    let tokens = generator.vocabulary.encode(&sentence.repeat(80), false).unwrap().expose().clone();
    lengths.iter().enumerate().map(|(start, length)| tokens[start..start + length].to_vec()).collect()
}

/// The bytes of the tokens that come after `prompt`, and of how many tokens. On a slow machine a request may be told to come back, and
/// does.
async fn bytes_after(generator: &Generator, prompt: Vec<u32>, most: usize) -> (Vec<u8>, usize) {
    loop {
        let asked = Ask { likeliest: Some(0), ..ask(Asked::Tokens(Prompt::new(prompt.clone())), Some(most)) };
        let (mut answering, mut bytes) = (generator.generate(&caller(), asked).await.unwrap(), Vec::new());
        while let Some(event) = answering.next().await {
            match event {
                Ok(Event::Text { chosen, .. }) => {
                    bytes.extend(chosen.iter().flat_map(|chosen| chosen.token.bytes.expose()));
                }
                Ok(Event::End { tokens, .. }) => return (bytes, tokens),
                Err(refusal) => assert_eq!(refusal.code, Code::Busy),
            }
        }
    }
}

/// Whether `got` is what the reference says, up to a token at which its two likeliest were close; and whether such a one was met.
fn same(
    generator: &Generator,
    reference: &Reference,
    (got, count): &(Vec<u8>, usize),
) -> core::result::Result<bool, String> {
    let vocabulary = &generator.vocabulary;
    let grammars = vocabulary.grammars().unwrap();
    let bytes = |tokens: &[u32]| -> Vec<u8> {
        tokens.iter().filter(|token| !vocabulary.is_end(**token)).flat_map(|token| grammars.bytes(*token)).collect()
    };
    if (bytes(&reference.tokens), reference.tokens.len()) == (got.clone(), *count) {
        return Ok(false);
    }
    let differs = (0..reference.tokens.len()).find(|at| !got.starts_with(&bytes(&reference.tokens[..=*at])));
    let gap = differs.map(|at| reference.gaps[at]);
    if gap.is_some_and(|gap| gap < CLOSE) { Ok(true) } else { Err(format!("{gap:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_answers_to_short_prompts_are_those_of_the_python_reference_alone_and_in_batches_of_sixteen() {
    compare(&(1..=32).map(|n| n + n * n / 12).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_answers_to_long_prompts_are_those_of_the_python_reference_alone_and_in_batches_of_sixteen() {
    let lengths = [140, 150, 180, 200, 220, 255, 256, 257, 300, 350, 400, 511, 512, 513, 600, 700, 1024, 1500];
    compare(&lengths).await;
}

/// The set-up's own model, which needs no download, and has a context of 1024.
#[tokio::test(flavor = "multi_thread")]
async fn greedy_answers_of_the_small_model_are_those_of_the_python_reference_alone_and_in_batches_of_sixteen() {
    let (Some(runtime), Some(path)) = (runtime(), setup("MODEL_TINY_CHAT")) else { return };
    let files = folder(&path, &[]);
    let generator = Generator::load(session::load(&runtime, &files).unwrap(), &files).unwrap();
    let lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 63, 64, 65, 66, 128, 200, 256, 300, 400, 511, 512, 513, 514, 800];
    hold(generator, &path, &lengths, 60).await;
}

async fn compare(lengths: &[usize]) {
    let Some((generator, path)) = smollm2() else { return };
    hold(generator, &path, lengths, 12).await;
}

/// Holds answers of up to `most` tokens to what Python's ONNX Runtime generates.
async fn hold(generator: Generator, path: &Path, lengths: &[usize], most: usize) {
    let Some(python) = peer("PEERS_PYTHON") else { return };
    let prompts = prompts(&generator, lengths);
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (scratch.path().join("in.json"), scratch.path().join("out.json"));
    let asked: Vec<_> = prompts.iter().map(|prompt| json!({"prompt": prompt, "most": most})).collect();
    std::fs::write(&input, serde_json::to_vec(&asked).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/generate_reference.py");
    assert!(std::process::Command::new(python).arg(script).args([path, &input, &output]).status().unwrap().success());
    let references: Vec<Reference> = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    let (mut close, generator) = (Vec::new(), Arc::new(generator));
    for (index, (prompt, reference)) in prompts.iter().zip(&references).enumerate() {
        let alone = bytes_after(&generator, prompt.clone(), most).await;
        match same(&generator, reference, &alone) {
            Ok(met) => close.extend(met.then_some(("alone", index))),
            Err(gap) => panic!("prompt {index} of {} tokens alone: gap {gap}", prompt.len()),
        }
    }
    for batch in (0..prompts.len()).collect::<Vec<_>>().chunks(16) {
        let under_way: Vec<_> = batch
            .iter()
            .map(|index| {
                let (generator, prompt) = (Arc::clone(&generator), prompts[*index].clone());
                (*index, tokio::spawn(async move { bytes_after(&generator, prompt, most).await }))
            })
            .collect();
        for (index, answer) in under_way {
            match same(&generator, &references[index], &answer.await.unwrap()) {
                Ok(met) => close.extend(met.then_some(("in a batch", index))),
                Err(gap) => panic!("prompt {index} of {} tokens in a batch: gap {gap}", prompts[index].len()),
            }
        }
    }
    assert!(close.len() <= 1, "{close:?}: answers that had another token where two were close");
}
