//! Graphs whose weights are in a file beside them, made from graphs that have them inside (`onnx.proto3`: `ModelProto.graph` 7,
//! `GraphProto.initializer` 5, `TensorProto` `raw_data` 9, `external_data` 13, `data_location` 14).

use super::*;
use std::fs;

/// Numbers and their fields of a protocol buffer; what is not length-delimited comes with its bytes as they are.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8], &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let start = bytes;
        let key = varint(&mut bytes);
        let content = match key & 7 {
            0 => {
                varint(&mut bytes);
                &[]
            }
            kind => {
                let length = if kind == 2 { varint(&mut bytes) as usize } else { [0, 8, 0, 0, 0, 4][kind as usize] };
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                content
            }
        };
        found.push((key >> 3, content, &start[..start.len() - bytes.len()]));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (digits, rest) = bytes.split_at(length);
    *bytes = rest;
    digits.iter().rev().fold(0, |number, digit| number << 7 | u64::from(digit & 0x7f))
}

fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut written = vec![number << 3 | 2];
    while length >= 0x80 {
        written.push(length as u8 | 0x80);
        length >>= 7;
    }
    written.push(length as u8);
    written.extend_from_slice(content);
    written
}

/// `model` without the weights of its large tensors, and those weights, for a file called `location`.
fn split(model: &[u8], location: &str) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    let mut outside = |tensor: &[u8]| -> Vec<u8> {
        let large = |content: &[u8]| content.len() >= 64;
        let mut written = Vec::new();
        for (number, content, whole) in fields(tensor) {
            if number != 9 || !large(content) {
                written.extend_from_slice(whole);
                continue;
            }
            data.resize(data.len().next_multiple_of(4096), 0);
            let (offset, length) = (data.len().to_string(), content.len().to_string());
            for (key, value) in [("location", location), ("offset", &offset), ("length", &length)] {
                let entry = [delimited(1, key.as_bytes()), delimited(2, value.as_bytes())].concat();
                written.extend(delimited(13, &entry));
            }
            written.extend([14 << 3, 1]);
            data.extend_from_slice(content);
        }
        written
    };
    let mut change = |graph: &[u8]| -> Vec<u8> {
        let initializer = |(number, content, whole): (u64, &[u8], &[u8])| match number {
            5 => delimited(5, &outside(content)),
            _ => whole.to_vec(),
        };
        fields(graph).into_iter().flat_map(initializer).collect()
    };
    let graph = |(number, content, whole): (u64, &[u8], &[u8])| match number {
        7 => delimited(7, &change(content)),
        _ => whole.to_vec(),
    };
    let written = fields(model).into_iter().flat_map(graph).collect();
    (written, data)
}

/// The files of the small model with its weights in a file called `name`, which the graph calls `location`; the file is left out
/// where it has no name.
fn tiny_split(location: &str, name: Option<&str>) -> Option<ModelFiles> {
    let path = setup("MODEL_TINY")?;
    let (graph, data) = split(&fs::read(path.join("model.onnx")).unwrap(), location);
    assert!(data.len() > 10 * graph.len(), "the weights are outside");
    let mut opening = OpeningFiles::default();
    add(&mut opening, "model.onnx", &graph);
    for file in ["tokenizer.json", "config.json", "sentence_bert_config.json", "modules.json", "1_Pooling/config.json"]
    {
        add(&mut opening, file, &fs::read(path.join(file)).unwrap());
    }
    name.into_iter().for_each(|name| add(&mut opening, name, &data));
    Some(opening.seal_unverified().unwrap())
}

#[tokio::test]
async fn graph_with_external_data_gives_what_the_same_graph_gives_with_its_weights_inside() {
    let (Some(runtime), Some(whole)) = (runtime(), tiny()) else { return };
    let want = embed(&whole, &TEXTS).await.vectors;
    for name in ["model.onnx_data", "model.onnx.data"] {
        let files = tiny_split(name, Some(name)).unwrap();
        let model = Model::load(&runtime, Sha256([1; 32]), &files).unwrap();
        let folder = files.external().unwrap().to_owned();
        drop(files);
        assert!(!folder.exists(), "the runtime has what it needs");
        assert_eq!(embed(&model, &TEXTS).await.vectors, want, "{name}");
    }
}

#[test]
fn external_data_that_is_missing_or_elsewhere_refused() {
    let Some(runtime) = runtime() else { return };
    let code = |files: Option<ModelFiles>| {
        Model::load(&runtime, Sha256([1; 32]), &files.unwrap()).map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!(code(tiny_split("model.onnx_data", Some("model.onnx_data"))), Ok(()));
    assert_eq!(code(tiny_split("model.onnx_data", None)), Err(Code::RuntimeFailed));
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let outside = scratch.path().join("model.onnx_data");
    let path = setup("MODEL_TINY").unwrap();
    fs::write(&outside, split(&fs::read(path.join("model.onnx")).unwrap(), "x").1).unwrap();
    let name = scratch.path().file_name().unwrap().to_str().unwrap();
    for location in [outside.to_str().unwrap(), &format!("../{name}/model.onnx_data")] {
        assert_eq!(code(tiny_split(location, Some("model.onnx_data"))), Err(Code::RuntimeFailed), "{location}");
    }
}
