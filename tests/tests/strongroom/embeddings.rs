//! The served model against Python's ONNX Runtime and tokenizers, and against OpenAI's own client.

use crate::peers;
use crate::system::guest::Deployed;
use crate::system::http::Http;
use crate::system::process::{Process, run};
use crate::system::world::API_KEY;
use http::Method;
use serde_json::{Value, json};
use std::fs;
use strongroom_wire::bytes;

/// How far a component may be off: both sides compute in binary32, in another order.
const TOLERANCE: f64 = 1e-5;

/// A served model behind the proxy of a client that verified it.
struct Served {
    url: String,
    _proxy: Process,
    deployed: Deployed,
}

impl Served {
    fn start(variable: &str) -> Option<Self> {
        let deployed = Deployed::start(variable)?;
        let (proxy, url) = deployed.proxy();
        Some(Self { url, _proxy: proxy, deployed })
    }

    /// `POST /v1/embeddings` with these members beside the model's name.
    fn embed(&self, http: &Http, members: Value) -> Value {
        let mut request = json!({"model": "model"});
        request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let key = format!("Bearer {API_KEY}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let answer = http.send(Method::POST, &format!("{}/v1/embeddings", self.url), &headers, request.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What Python computes, and of how many tokens.
    fn reference(&self, variable: &str, texts: &[String]) -> Option<(Vec<Vec<f64>>, u64)> {
        let (mut command, folder) = (peers::script("embed_reference.py")?, peers::find(variable)?);
        let input = self.deployed.world.file("texts.json", json!(texts).to_string());
        let output = self.deployed.world.path().join("reference.json");
        run(command.arg(folder).arg(&input).arg(&output)).ok();
        let answer: Value = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
        let tokens = answer["tokens"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
        Some((serde_json::from_value(answer["embeddings"].clone()).unwrap(), tokens))
    }
}

/// A hundred texts: plain ones of many lengths, and each kind of odd one.
fn texts() -> Vec<String> {
    let words = ["ledger", "harbour", "the", "quietly", "1,024", "repairs", "don't", "naïve", "co-operate", "rain"];
    let mut texts: Vec<String> = [
        "",
        "a",
        " ",
        "\n\t  \r\n",
        ".",
        "UPPER and lower CaSe",
        "Ünïcödé àccents, ß and Ø",
        "e\u{301} as two code points, and \u{e9} as one",
        "你好，世界。今天天气很好。",
        "吾輩は猫である。名前はまだ無い。",
        "안녕하세요 세계",
        "مرحبا بالعالم",
        "שלום עולם",
        "नमस्ते दुनिया",
        "Привет, мир!",
        "🙂🚀🎉",
        "👩‍👩‍👧‍👦 is one emoji of seven code points",
        "zero\u{200b}width\u{feff} and \u{202e}reversed",
        "nul \0 and bell \u{7}",
        "[CLS] [SEP] [MASK] [PAD] are written out",
        "##pieces of ##words",
        "<script>alert(\"quotes\\\")</script>",
        "{\"json\": [1, 2, 3]}",
        "https://example.org/a?b=c&d=%20e#f",
        "SELECT * FROM t WHERE a = 'b'; --",
    ]
    .map(str::to_owned)
    .into();
    texts.push("unbroken".repeat(200));
    texts.push("word ".repeat(5_000));
    texts.push("日".repeat(2_000));
    while texts.len() < 100 {
        let (start, length) = (texts.len(), 1 + texts.len() * 7 % 60);
        let sentence: Vec<_> = (0..length).map(|i| words[(start * 3 + i * i) % words.len()]).collect();
        texts.push(format!("{} {start}.", sentence.join(" ")));
    }
    texts
}

fn vectors(answer: &Value) -> Vec<Vec<f64>> {
    let data = answer["data"].as_array().unwrap().iter().enumerate();
    let vector = |(index, row): (usize, &Value)| {
        assert_eq!(row["index"].as_u64(), Some(index as u64));
        serde_json::from_value(row["embedding"].clone()).unwrap()
    };
    data.map(vector).collect()
}

#[track_caller]
fn assert_close(got: &[Vec<f64>], want: &[Vec<f64>], how: &str) {
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len());
        let furthest = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
        assert!(furthest < TOLERANCE, "text {index}, {how}: off by {furthest}");
    }
}

#[test]
fn hundred_texts_have_the_reference_s_embeddings_singly_and_in_a_batch() {
    let Some(served) = Served::start("MODEL_MINILM") else { return };
    let texts = texts();
    let Some((want, tokens)) = served.reference("MODEL_MINILM", &texts) else { return };
    assert_eq!((want.len(), want[0].len()), (100, 384));
    let http = Http::plain();

    let batch = served.embed(&http, json!({"input": texts}));
    assert_close(&vectors(&batch), &want, "in a batch");
    assert_eq!(batch["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));

    let singly: Vec<_> = texts.iter().flat_map(|text| vectors(&served.embed(&http, json!({"input": text})))).collect();
    assert_close(&singly, &want, "singly");

    let encoded = served.embed(&http, json!({"input": texts, "encoding_format": "base64"}));
    for (row, floats) in encoded["data"].as_array().unwrap().iter().zip(vectors(&batch)) {
        let raw = bytes::from_base64(row["embedding"].as_str().unwrap(), "embedding").unwrap();
        let decoded: Vec<f32> = raw.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        let floats: Vec<f32> = floats.into_iter().map(|component| component as f32).collect();
        assert_eq!(decoded, floats);
    }
}

#[test]
fn openai_s_client_gets_embeddings_with_the_caller_s_key_and_an_error_with_another() {
    let Some(served) = Served::start("MODEL_TINY") else { return };
    let texts = ["A cat sat on the mat.", "你好 🙂", ""].map(str::to_owned);
    let Some((want, tokens)) = served.reference("MODEL_TINY", &texts) else { return };
    let ask = |key: &str, encoding: &[&str]| {
        let mut command = peers::script("openai_embed.py")?;
        command.args(encoding).arg(format!("{}/v1", served.url)).args([key, "model"]).args(&texts);
        Some(run(&mut command))
    };
    for encoding in [&[][..], &["--encoding", "float"], &["--encoding", "base64"]] {
        let answer = ask(API_KEY, encoding).unwrap().ok().json();
        let mut got: Vec<Vec<f64>> = Vec::new();
        match encoding {
            // Asked for by name, base64 is handed on as it came.
            [_, "base64"] => {
                for row in answer["embeddings"].as_array().unwrap() {
                    let raw = bytes::from_base64(row.as_str().unwrap(), "embedding").unwrap();
                    let floats = raw.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                    got.push(floats.map(f64::from).collect());
                }
            }
            _ => got = serde_json::from_value(answer["embeddings"].clone()).unwrap(),
        }
        assert_close(&got, &want, &format!("{encoding:?}"));
        assert_eq!((&answer["model"], answer["prompt_tokens"].as_u64()), (&json!("model"), Some(tokens)));
    }
    let refused = ask("another-key", &[]).unwrap();
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let refused = refused.json();
    assert_eq!((refused["status"].as_u64(), &refused["body"]["code"]), (Some(401), &json!("unauthenticated")));
}
