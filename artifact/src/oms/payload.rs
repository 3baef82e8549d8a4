//! The in-toto statement of OMS v1.0: shape, root digest, and what the reference client writes differently.

use super::{GIT_PATHS, Shape};
use crate::hash::{FileDigest, HashAlgorithm};
use crate::path::{parse_path, verify_distinct};
use crate::shard;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// What a signed statement says.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) name: String,
    pub(super) hash_type: HashAlgorithm,
    pub(super) ignore_paths: Vec<String>,
    /// Where it is over ranges of files.
    pub(super) shard_len: Option<u64>,
    /// Its resources: files, or ranges of them.
    pub(super) files: Vec<FileDigest>,
}

/// Compact JSON, members and resources always in one order, so that equal files give equal payloads.
pub(super) fn render(name: &str, files: &[FileDigest], shape: &Shape) -> Result<Vec<u8>> {
    let shard_len = shape.shard_len;
    let first = files.first().ok_or_else(|| Refusal::new(Code::ModelEmpty, "files to sign"))?;
    let hash_type = first.algorithm;
    match shard_len {
        Some(_) => shard::verify_distinct(files)?,
        None => verify_distinct(files.iter().map(|file| file.path.as_str()))?,
    }
    // The reference client writes BLAKE2 and cannot read it.
    let unwritable = |file: &&FileDigest| {
        file.algorithm != hash_type
            || file.algorithm == HashAlgorithm::Blake2b
            || file.digest.len() != hash_type.digest_len()
    };
    if let Some(file) = files.iter().find(unwritable) {
        return Err(Refusal::new(Code::ModelUnsupported, format!("digest of `{}`", file.path))
            .got(file.algorithm)
            .want("sha256 or blake3, one for all files"));
    }
    let mut sorted: Vec<&FileDigest> = files.iter().collect();
    match shard_len {
        // Ranges stay in their order, which is not that of their digits.
        Some(_) => sorted.sort_by_key(|range| shard::parse_name(&range.path).ok()),
        None => sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes())),
    }
    let resources = sorted.iter().map(|file| {
        parse_name(&file.path, shard_len)?;
        let (name, algorithm) = (file.path.clone(), hash_type.as_str().to_owned());
        Ok(Resource { name, algorithm, digest: hex::encode(&file.digest) })
    });
    let payload = Payload {
        kind: STATEMENT_TYPE.into(),
        subject: vec![Subject {
            name: name.into(),
            digest: SubjectDigest { sha256: root_digest(sorted.iter().copied()) },
        }],
        predicate_type: PREDICATE_TYPE.into(),
        predicate: Predicate {
            serialization: Serialization {
                method: if shard_len.is_some() { "shards" } else { "files" }.into(),
                shard_size: shard_len.map(Number::from),
                hash_type: Some(hash_type.as_str().into()),
                allow_symlinks: false,
                ignore_paths: GIT_PATHS.into_iter().map(String::from).chain(shape.ignored.iter().cloned()).collect(),
            },
            resources: resources.collect::<Result<_>>()?,
        },
    };
    serde_json::to_vec(&payload).map_err(|e| Refusal::new(Code::Internal, "statement").because(e))
}

/// Reads the payload of a verified envelope.
pub(super) fn parse(payload: &[u8]) -> Result<Statement> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "_type")]
        kind: String,
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    // First what it states, then how: a statement of another kind is a wrong one, not one of a wrong shape.
    let kind: Kind = document::parse_json(payload, "statement", limits::BUNDLE, Code::Malformed)?;
    if (kind.kind.as_str(), kind.predicate_type.as_str()) != (STATEMENT_TYPE, PREDICATE_TYPE) {
        let got: String = format!("{} {}", kind.kind, kind.predicate_type).chars().take(200).collect();
        return Err(Refusal::new(Code::SignatureInvalid, "statement states something else")
            .got(got)
            .want(format!("{STATEMENT_TYPE} {PREDICATE_TYPE}")));
    }
    let payload: Payload = document::parse_json(payload, "statement", limits::BUNDLE, Code::Malformed)?;
    let serialization = payload.predicate.serialization;
    let shard_len = match (serialization.method.as_str(), &serialization.shard_size) {
        ("files", _) => None,
        ("shards", Some(size)) => Some(shard::parse_len(size)?),
        (other, _) => {
            return Err(Refusal::new(Code::ModelUnsupported, "statement")
                .got(other)
                .want("files, or shards of a size"));
        }
    };
    let hash_type = HashAlgorithm::parse(serialization.hash_type.as_deref().unwrap_or_default())?;
    let resources = payload.predicate.resources;
    if resources.is_empty() {
        return Err(Refusal::malformed("statement", "it lists no file"));
    }
    if resources.len() > limits::LAYERS {
        return Err(Refusal::too_large("files of a statement", resources.len(), limits::LAYERS));
    }
    let files =
        resources.iter().map(|resource| read_resource(resource, hash_type, shard_len)).collect::<Result<Vec<_>>>()?;
    match shard_len {
        Some(_) => shard::verify_distinct(&files)?,
        None => verify_distinct(files.iter().map(|file| file.path.as_str()))?,
    }
    let [subject] = payload.subject.as_slice() else {
        return Err(Refusal::new(Code::Malformed, "subjects of a statement").got(payload.subject.len()).want(1));
    };
    // Over the resources as listed: the specification sorts them by code point, the reference client by component.
    let root = root_digest(&files);
    if subject.digest.sha256 != root {
        return Err(Refusal::new(Code::Malformed, "root digest of a statement").got(subject.digest.sha256).want(root));
    }
    let (name, ignore_paths) = (subject.name.clone(), serialization.ignore_paths);
    Ok(Statement { name, hash_type, ignore_paths, shard_len, files })
}

/// Refuses what is no path, or no name of a range of a path where the statement is over ranges.
fn parse_name(name: &str, shard_len: Option<u64>) -> Result<&str> {
    if shard_len.is_some() { shard::parse_name(name).map(|_| name) } else { parse_path(name) }
}

fn read_resource(resource: &Resource, hash_type: HashAlgorithm, shard_len: Option<u64>) -> Result<FileDigest> {
    let path = parse_name(&resource.name, shard_len)?.to_owned();
    let wrong = |got: &str| Refusal::new(Code::Malformed, format!("digest of `{path}`")).got(got).want(hash_type);
    // The reference client 1.1.1 adds the length to the name of the hash.
    let with_length = shard_len.map(|length| format!("{hash_type}-sharded-{length}"));
    if resource.algorithm != hash_type.as_str() && Some(&resource.algorithm) != with_length.as_ref() {
        return Err(wrong(&resource.algorithm));
    }
    let digest = hex::decode(resource.digest.as_bytes()).map_err(|_| wrong("no hex digits"))?;
    if digest.len() != hash_type.digest_len() {
        return Err(wrong(&format!("{} bytes", digest.len())));
    }
    Ok(FileDigest { path, algorithm: hash_type, digest })
}

/// SHA-256 over the raw digests, whatever they are made with.
fn root_digest<'f>(files: impl IntoIterator<Item = &'f FileDigest>) -> Sha256 {
    Sha256::of_parts(&files.into_iter().map(|file| file.digest.as_slice()).collect::<Vec<_>>())
}

#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
struct SubjectDigest {
    sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_size: Option<Number>,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn file(path: &str, fill: u8) -> FileDigest {
        FileDigest { path: path.into(), algorithm: HashAlgorithm::Sha256, digest: vec![fill; 32] }
    }

    fn good() -> Value {
        serde_json::from_slice(&render("m", &[file("a", 1), file("b", 2)], &Shape::default()).unwrap()).unwrap()
    }

    fn code(change: impl FnOnce(&mut Value)) -> Option<Code> {
        let mut value = good();
        change(&mut value);
        parse(value.to_string().as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn payload_is_the_shape_of_the_specification_in_one_order() {
        let bytes = render("m", &[file("b", 2), file("a", 1)], &Shape::default()).unwrap();
        let root = Sha256::of_parts(&[&[1; 32], &[2; 32]]);
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let want = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"m","digest":{{"sha256":"{root}"}}}}],"predicateType":"https://model_signing/signature/v1.0","predicate":{{"serialization":{{"method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":[".git",".gitignore",".gitattributes",".github"]}},"resources":[{{"name":"a","algorithm":"sha256","digest":"{one}"}},{{"name":"b","algorithm":"sha256","digest":"{two}"}}]}}}}"#
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), want);
    }

    #[test]
    fn blake2b_and_blake3_read() {
        for (algorithm, digest) in [(HashAlgorithm::Blake2b, vec![1; 64]), (HashAlgorithm::Blake3, vec![1; 32])] {
            let mut value = good();
            value["predicate"]["serialization"]["hash_type"] = json!(algorithm.as_str());
            value["predicate"]["resources"] =
                json!([{"name": "a", "algorithm": algorithm.as_str(), "digest": hex::encode(&digest)}]);
            value["subject"][0]["digest"]["sha256"] = json!(Sha256::of(&digest));
            assert_eq!(parse(value.to_string().as_bytes()).unwrap().files[0].digest, digest);
        }
    }

    #[test]
    fn unchanged_statement_accepted_and_each_change_refused() {
        assert_eq!(code(|_| ()), None);
        assert_eq!(code(|v| v["_type"] = json!("x")), Some(Code::SignatureInvalid));
        assert_eq!(
            code(|v| v["predicateType"] = json!("https://slsa.dev/provenance/v1")),
            Some(Code::SignatureInvalid)
        );
        assert_eq!(code(|v| v["subject"][0]["digest"]["sha256"] = json!("00".repeat(32))), Some(Code::Malformed));
        assert_eq!(code(|v| v["subject"] = json!([])), Some(Code::Malformed));
        assert_eq!(code(|v| v["predicate"]["serialization"]["method"] = json!("trees")), Some(Code::ModelUnsupported));
        assert_eq!(code(|v| v["predicate"]["serialization"]["hash_type"] = json!("md5")), Some(Code::ModelUnsupported));
        assert_eq!(code(|v| v["predicate"]["resources"] = json!([])), Some(Code::Malformed));
        assert_eq!(code(|v| v["predicate"]["resources"][0]["name"] = json!("../a")), Some(Code::PathUnsafe));
        assert_eq!(code(|v| v["predicate"]["resources"][0]["name"] = json!("b")), Some(Code::PathUnsafe));
        assert_eq!(code(|v| v["predicate"]["resources"][0]["algorithm"] = json!("blake3")), Some(Code::Malformed));
        assert_eq!(code(|v| v["predicate"]["resources"][0]["digest"] = json!("00")), Some(Code::Malformed));
        assert_eq!(code(|v| v["predicate"]["resources"][0]["digest"] = json!("zz")), Some(Code::Malformed));
    }

    #[test]
    fn shards_in_the_specification_s_form_and_the_reference_client_s_accepted_and_others_refused() {
        let pieces = [file("a:0:1000", 1), file("a:1000:1007", 2), file("b:0:3", 3)];
        let written: Value = serde_json::from_slice(
            &render("m", &pieces, &Shape { shard_len: Some(1000), ..Shape::default() }).unwrap(),
        )
        .unwrap();
        let read = |change: &dyn Fn(&mut Value)| {
            let mut value = written.clone();
            change(&mut value);
            parse(value.to_string().as_bytes()).map_err(|refusal| refusal.code)
        };
        let serialization = &written["predicate"]["serialization"];
        assert_eq!((&serialization["method"], &serialization["shard_size"]), (&json!("shards"), &json!(1000)));
        let statement = read(&|_| ()).unwrap();
        assert_eq!((statement.shard_len, statement.files), (Some(1000), pieces.to_vec()));
        let theirs = read(&|v| {
            v["predicate"]["serialization"]["shard_size"] = json!(1000.0);
            for at in 0..3 {
                v["predicate"]["resources"][at]["algorithm"] = json!("sha256-sharded-1000");
            }
        });
        assert_eq!(theirs.unwrap().files, pieces);
        for size in [json!(0), json!(-1), json!(1.5), json!(1e300), json!(null)] {
            let refused = read(&|v| v["predicate"]["serialization"]["shard_size"] = size.clone()).unwrap_err();
            assert!(matches!(refused, Code::Malformed | Code::ModelUnsupported), "{size} {refused}");
        }
        let name = |name: &str| read(&|v| v["predicate"]["resources"][0]["name"] = json!(name)).map(|_| ());
        for bad in ["a", "a:0", "a:1:1", "a:2:1", "a:00:1", "a:+0:1", "../a:0:1", ":0:1", "a:1000:1007"] {
            assert!(matches!(name(bad), Err(Code::Malformed | Code::PathUnsafe)), "{bad}");
        }
        let other = read(&|v| v["predicate"]["resources"][0]["algorithm"] = json!("sha256-sharded-999"));
        assert_eq!(other.unwrap_err(), Code::Malformed);
    }

    #[test]
    fn resources_in_the_reference_clients_order_accepted() {
        // By component `a/b` comes before `a.txt`, by code point after it.
        let mut value = good();
        let names = [("a/b", 1), ("a.txt", 2)];
        let resource =
            |(name, fill): (&str, u8)| json!({"name": name, "algorithm": "sha256", "digest": hex::encode([fill; 32])});
        value["predicate"]["resources"] = json!(names.map(resource));
        assert_eq!(parse(value.to_string().as_bytes()).unwrap().files[0].path, "a/b");
    }

    #[test]
    fn nothing_unsafe_doubled_mixed_or_unreadable_is_written() {
        assert_eq!(render("m", &[], &Shape::default()).unwrap_err().code, Code::ModelEmpty);
        assert_eq!(render("m", &[file("../a", 1)], &Shape::default()).unwrap_err().code, Code::PathUnsafe);
        assert_eq!(render("m", &[file("a", 1), file("a", 1)], &Shape::default()).unwrap_err().code, Code::PathUnsafe);
        let blake2b = FileDigest { path: "b".into(), algorithm: HashAlgorithm::Blake2b, digest: vec![0; 64] };
        assert_eq!(render("m", &[file("a", 1), blake2b], &Shape::default()).unwrap_err().code, Code::ModelUnsupported);
        let short = FileDigest { path: "b".into(), algorithm: HashAlgorithm::Sha256, digest: vec![0; 31] };
        assert_eq!(render("m", &[short], &Shape::default()).unwrap_err().code, Code::ModelUnsupported);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_written_reads_back(files in proptest::collection::btree_map("[a-z]{1,8}", any::<[u8; 32]>(), 1..20)) {
            let files: Vec<_> = files.into_iter().map(|(path, digest)| FileDigest {
                path, algorithm: HashAlgorithm::Blake3, digest: digest.to_vec(),
            }).collect();
            let read = parse(&render("m", &files, &Shape::default()).unwrap()).unwrap();
            prop_assert_eq!(read.files, files);
            prop_assert_eq!(read.hash_type, HashAlgorithm::Blake3);
        }
    }
}
