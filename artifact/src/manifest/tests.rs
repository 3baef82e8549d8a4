use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn sealing() -> Sealing {
    Sealing { id: ArtifactId::from([1; 16]), commitment: [2; 32], key: ResourcePath::parse("a/b/c").unwrap() }
}

fn layer(path: &str, part: u32, parts: u32, plain_size: u64, sealed: bool) -> NewLayer {
    let size = if sealed { seal::sealed_len(plain_size) } else { plain_size };
    let digest = Sha256::of(format!("{path} {part}").as_bytes());
    NewLayer { path: path.into(), part, parts, plain_size, digest, size }
}

fn build(sealed: bool) -> Built {
    let mut builder = ManifestBuilder::new(sealed.then(sealing), HashAlgorithm::Blake3);
    builder.push(layer("model.sig", 1, 1, 9, sealed));
    builder.push(layer("model.onnx", 2, 2, 50, sealed));
    builder.push(layer("model.onnx", 1, 2, 100, sealed));
    builder.push(layer("a/config.json", 1, 1, 0, sealed));
    builder.build().unwrap()
}

/// What a changed manifest is refused with; `None` where it is accepted.
fn code(sealed: bool, change: impl FnOnce(&mut Value)) -> Option<Code> {
    let mut value: Value = serde_json::from_slice(build(sealed).manifest.raw()).unwrap();
    change(&mut value);
    Manifest::parse(value.to_string().as_bytes()).err().map(|refusal| refusal.code)
}

#[test]
fn built_manifest_says_what_was_put_in() {
    for sealed in [false, true] {
        let built = build(sealed);
        let manifest = &built.manifest;
        assert_eq!(manifest.digest(), Sha256::of(manifest.raw()));
        assert_eq!(manifest.config().digest, Sha256::of(&built.config));
        assert_eq!(manifest.sealing(), sealed.then(sealing).as_ref());
        assert_eq!(manifest.statement_hash(), HashAlgorithm::Blake3);
        assert!(manifest.has_statement());
        assert_eq!(manifest.plain_size(), 159);
        let seen: Vec<_> = manifest.layers().iter().map(|l| (l.path.as_str(), l.part, l.offset, l.file_size)).collect();
        let want = [
            ("a/config.json", 1, 0, 0),
            ("model.onnx", 1, 0, 150),
            ("model.onnx", 2, 100, 150),
            ("model.sig", 1, 0, 9),
        ];
        assert_eq!(seen, want);
        assert!(manifest.layers().iter().all(|layer| layer.sealed == sealed));
    }
}

#[test]
fn config_has_the_members_of_the_schema_and_digests_as_stored() {
    let built = build(true);
    let config: Value = serde_json::from_slice(&built.config).unwrap();
    let stored: Vec<String> = built.manifest.layers().iter().map(|layer| layer.digest.oci()).collect();
    assert_eq!(config, json!({"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": stored}}));
}

#[test]
fn titles_are_the_names_of_the_local_form() {
    let value: Value = serde_json::from_slice(build(true).manifest.raw()).unwrap();
    assert_eq!(value["layers"][1]["annotations"][raw::TITLE], "model.onnx.sealed.1");
    assert_eq!(value["layers"][0]["annotations"][raw::TITLE], "a/config.json.sealed");
}

#[test]
fn unknown_members_and_annotations_passed_over() {
    assert_eq!(code(true, |v| v["annotations"]["org.example"] = json!("x")), None);
    assert_eq!(code(true, |v| v["subject"] = json!({"digest": "sha256:00"})), None);
}

#[test]
fn other_kinds_of_artifact_refused() {
    for (pointer, value) in [
        ("/schemaVersion", json!(1)),
        ("/mediaType", json!("application/vnd.oci.image.index.v1+json")),
        ("/artifactType", json!("application/vnd.example")),
        ("/config/mediaType", json!("application/vnd.oci.image.config.v1+json")),
        ("/layers/0/mediaType", json!("application/vnd.cncf.model.weight.v1.tar")),
    ] {
        assert_eq!(
            code(false, |v| *v.pointer_mut(pointer).unwrap() = value),
            Some(Code::ModelUnsupported),
            "{pointer}"
        );
    }
    let without_path =
        |v: &mut Value| drop(v["layers"][0]["annotations"].as_object_mut().unwrap().remove(raw::FILE_PATH));
    assert_eq!(code(false, without_path), Some(Code::ModelUnsupported));
    assert_eq!(code(false, |v| v["layers"] = json!([])), Some(Code::Malformed));
    assert_eq!(code(false, |_| ()), None);
}

#[test]
fn paths_that_leave_or_clash_refused() {
    let set = |at: usize, path: &str| {
        let path = path.to_owned();
        code(false, move |v| v["layers"][at]["annotations"][raw::FILE_PATH] = json!(path))
    };
    assert_eq!(set(0, "b/config.json"), None);
    assert_eq!(set(0, "../config.json"), Some(Code::PathUnsafe));
    assert_eq!(set(0, "/etc/passwd"), Some(Code::PathUnsafe));
    assert_eq!(set(0, "model.sig"), Some(Code::PathUnsafe));
    assert_eq!(set(0, "model.sig/x"), Some(Code::PathUnsafe));
}

#[test]
fn files_with_missing_doubled_or_misplaced_parts_refused() {
    let part = |text: &str| {
        let text = text.to_owned();
        code(true, move |v| v["layers"][2]["annotations"][raw::PART] = json!(text))
    };
    assert_eq!(part("2/2"), None);
    for bad in ["1/2", "2/3", "3/2", "0/2", "2", "+2/2", "02/2", "2/4294967295", "2/2/2", ""] {
        let refused = part(bad);
        assert!(matches!(refused, Some(Code::Malformed | Code::PathUnsafe)), "{bad}: {refused:?}");
    }
    let gone = |v: &mut Value| drop(v["layers"].as_array_mut().unwrap().remove(2));
    assert_eq!(code(true, gone), Some(Code::Malformed));
    assert_eq!(code(true, |v| v["layers"].as_array_mut().unwrap().swap(1, 2)), Some(Code::Malformed));
    assert_eq!(code(false, |v| v["layers"][2]["size"] = json!(0)), Some(Code::Malformed));
}

#[test]
fn sealing_said_in_part_or_not_at_all_refused() {
    for name in [raw::SCHEME, raw::ARTIFACT_ID, raw::KEY_COMMITMENT, raw::KEY_ID] {
        let remove = |v: &mut Value| drop(v["annotations"].as_object_mut().unwrap().remove(name));
        assert_eq!(code(true, remove), Some(Code::Malformed), "{name}");
        assert_eq!(code(false, |v| v["annotations"][name] = json!("x")), Some(Code::Malformed), "{name}");
    }
    assert_eq!(code(true, |v| v["annotations"] = json!({})), Some(Code::Malformed));
    let plain_type = json!("application/vnd.cncf.model.doc.v1.raw");
    assert_eq!(code(true, |v| v["layers"][3]["mediaType"] = plain_type.clone()), Some(Code::Malformed));
    assert_eq!(code(true, |v| v["annotations"][raw::SCHEME] = json!("rot13")), Some(Code::ModelUnsupported));
    assert_eq!(code(true, |v| v["annotations"][raw::ARTIFACT_ID] = json!("00")), Some(Code::Malformed));
    assert_eq!(code(true, |v| v["annotations"][raw::KEY_COMMITMENT] = json!("00")), Some(Code::Malformed));
    assert_eq!(code(true, |v| v["annotations"][raw::KEY_ID] = json!("kbs:///a/b")), Some(Code::Malformed));
    assert_eq!(code(false, |v| v["annotations"][raw::STATEMENT_HASH] = json!("md5")), Some(Code::ModelUnsupported));
}

#[test]
fn sizes_that_contradict_refused() {
    assert_eq!(code(true, |v| v["layers"][1]["annotations"][raw::PLAIN_SIZE] = json!("101")), Some(Code::Malformed));
    assert_eq!(code(true, |v| v["layers"][1]["size"] = json!(55)), Some(Code::SealInvalid));
    assert_eq!(code(false, |v| v["layers"][0]["size"] = json!(limits::MODEL + 1)), Some(Code::TooLarge));
    assert_eq!(code(false, |v| v["layers"][0]["digest"] = json!("sha512:00")), Some(Code::Malformed));
    assert_eq!(Manifest::parse(&vec![b' '; limits::MANIFEST + 1]).unwrap_err().code, Code::TooLarge);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn whatever_builds_reads_back_and_tiles_its_files(parts in proptest::collection::vec(1_u32..5, 1..6), sealed: bool) {
        let mut builder = ManifestBuilder::new(sealed.then(sealing), HashAlgorithm::Sha256);
        for (file, parts) in parts.iter().enumerate() {
            for part in 1..=*parts {
                builder.push(layer(&format!("f{file}"), part, *parts, u64::from(part) * 10, sealed));
            }
        }
        let manifest = builder.build().unwrap().manifest;
        let mut end = 0;
        for layer in manifest.layers() {
            prop_assert_eq!(layer.offset, if layer.part == 1 { 0 } else { end });
            end = layer.offset + layer.plain_size;
            prop_assert!(layer.part < layer.parts || end == layer.file_size);
        }
    }
}
