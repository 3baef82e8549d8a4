//! `model import`: what other tools packed or encrypted, as directories that `model push` takes.

use crate::registry::Publisher;
use crate::run::{Run, strongroom, text, write_secret};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use strongroom_registry_client::{Access, Blob, Reference, RegistryClient};
use strongroom_wire::digest::Sha256;

const FILE_PATH: &str = "org.cncf.model.filepath";
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1";

/// Pushes blobs and a manifest over them, as another tool does. Gives the manifest's digest.
fn put(publisher: &Publisher, name: &str, layers: &[(&str, Value, Vec<u8>)]) -> Sha256 {
    let reference = Reference::parse(&publisher.reference(name)).unwrap();
    let access = Access { plain_http: true, ..Access::default() };
    let client = RegistryClient::new(reference.host(), access).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let push = |bytes: &[u8]| {
        runtime.block_on(client.push_blob(reference.repository(), &Blob::bytes(bytes.to_vec()))).unwrap();
        (Sha256::of(bytes).oci(), bytes.len())
    };
    let describe = |(media_type, annotations, bytes): &(&str, Value, Vec<u8>)| {
        let (digest, size) = push(bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size, "annotations": annotations})
    };
    let layers: Vec<_> = layers.iter().map(describe).collect();
    let (digest, size) = push(b"{}");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": digest, "size": size},
        "layers": layers,
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = Sha256::of(&bytes);
    runtime.block_on(client.push_manifest(&reference, kind, bytes)).unwrap();
    digest
}

fn import(publisher: &Publisher, name: &str, out: &str) -> Run {
    let (out, reference) = (publisher.path(out), publisher.reference(name));
    strongroom(["model", "import", text(&out), "--from", &reference, "--plain-http", "--json"])
}

/// An archive of everything in a directory.
fn tar(directory: &Path, more: &[&str]) -> Vec<u8> {
    let made = Command::new("tar").arg("-c").args(more).arg("-C").arg(directory).arg(".").output().unwrap();
    assert!(made.status.success());
    made.stdout
}

#[test]
fn model_of_another_tool_is_imported_and_then_sealed_signed_and_pulled() {
    let publisher = Publisher::new();
    let path = |path: &str| json!({ FILE_PATH: path });
    let weights = std::fs::read(publisher.path("model/onnx/model.onnx")).unwrap();
    let raw = [
        ("application/vnd.cncf.model.weight.v1.raw", path("onnx/model.onnx"), weights),
        ("application/vnd.cncf.model.weight.config.v1.raw", path("config.json"), b"{}".to_vec()),
    ];
    let archive = [(&*format!("{WEIGHT}.tar"), json!({}), tar(&publisher.path("model"), &[]))];
    for (name, layers) in [("raw:v1", &raw[..]), ("tar:v1", &archive)] {
        let digest = put(&publisher, name, layers);
        let out = format!("imported-{}", name.replace(':', "-"));
        let answer = import(&publisher, name, &out).done().json();
        let pinned = answer["from"].as_str().unwrap();
        assert!(pinned.ends_with(&digest.oci()), "{pinned}");
        assert_eq!((&answer["signed"], answer["files"].as_array().unwrap().len()), (&json!(false), 2));
        publisher.assert_same(&out);
        // Pinned, it is the same; under another digest it is none.
        let by_digest = pinned.rsplit_once('/').unwrap().1;
        import(&publisher, by_digest, &format!("{out}-pinned")).done();

        let (key, data, directory) =
            (publisher.path("release.key"), publisher.path(&format!("{out}.key")), publisher.path(&out));
        let reference = publisher.reference(&format!("{out}:v1"));
        let push = ["model", "push", text(&directory), &reference, "--sign-key", text(&key), "--plain-http", "--seal"];
        strongroom(push.iter().chain(&["--key-id", "a/b/c", "--key-file", text(&data)])).done();
        let pulled = format!("pulled-{out}");
        publisher.pull(&format!("{out}:v1"), &pulled, "trust.toml", &["--key-file", text(&data)]).done();
        publisher.assert_same(&pulled);
    }
}

#[test]
fn artifact_that_leaves_its_directory_or_lies_refused_and_nothing_written() {
    let publisher = Publisher::new();
    let odd = publisher.path("odd");
    std::fs::create_dir(&odd).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", odd.join("link")).unwrap();
    let linked = tar(&odd, &[]);
    let raw = format!("{WEIGHT}.raw");
    let archived = format!("{WEIGHT}.tar");
    let file = |path: &str| (&*raw, json!({ FILE_PATH: path }), b"x".to_vec());
    let leaving = tar(&publisher.path("model"), &["--transform=s,^,../,", "-P"]);
    for (name, layers, code) in [
        ("a:v1", vec![file("../x")], "path-unsafe"),
        ("b:v1", vec![file("/x")], "path-unsafe"),
        ("c:v1", vec![file("x"), file("x/y")], "path-unsafe"),
        ("d:v1", vec![(&*archived, json!({}), linked)], "model-unsupported"),
        ("e:v1", vec![(&*archived, json!({}), leaving)], "path-unsafe"),
        ("f:v1", vec![(&*archived, json!({}), b"not an archive".to_vec())], "malformed"),
        (
            "g:v1",
            vec![("application/vnd.cncf.model.weight.v1.tar+gzip", json!({}), b"x".to_vec())],
            "model-unsupported",
        ),
        (
            "h:v1",
            vec![file("x"), (&*archived, json!({}), tar(&publisher.path("model"), &["--transform=s,config.json,x,"]))],
            "path-unsafe",
        ),
    ] {
        put(&publisher, name, &layers);
        import(&publisher, name, "out").refused(1, code);
        let left = std::fs::read_dir(publisher.folder.path()).unwrap();
        assert!(!left.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("out")), "{name}");
    }
    // A sealed model is for `pull`, which wants to know who signed it.
    let key = publisher.path("data.key");
    publisher.push("sealed:v1", &["--seal", "--key-id", "a/b/c", "--key-file", text(&key)]).done();
    import(&publisher, "sealed:v1", "out").refused(1, "model-unsupported");
    put(&publisher, "good:v1", &[file("x")]);
    import(&publisher, "good:v1", "out").done();
    import(&publisher, &format!("good@sha256:{}", "ab".repeat(32)), "other").refused(3, "registry-not-found");
}

/// As in `jose/src/compact.rs`: made with Python's `cryptography`, the key being 00…1f.
const WRAPPED: &str = "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0.BPijw8MC07C36UsU3Pha0dppzXQFbteQfTy0n7J3maQQTbBY8pAa2w.\
    QEFCQ0RFRkdISUpL.tTHU5jgCtis9VHBJpSc-FnbisaOTMsizTq7tdAiFoQ.ag-stencUISwoEIkljDZBw";
const DIRECT: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwia2lkIjoiayJ9..QEFCQ0RFRkdISUpL.\
    ldzHRE5I9COiojdXuwl8PxyqfnzRR2BOVxc3kf98gw.T403I1aLxOfhQb_GhaFN0A";
const PLAIN: &[u8] = b"weights of a model, from Python";

struct Encrypted {
    folder: tempfile::TempDir,
}

impl Encrypted {
    fn new(jwe: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let this = Self { folder };
        std::fs::create_dir_all(this.path("in/sub")).unwrap();
        std::fs::write(this.path("in/weights.bin.JWE"), jwe).unwrap();
        std::fs::write(this.path("in/sub/by-its-content"), format!("{jwe}\n")).unwrap();
        std::fs::write(this.path("in/config.json"), "{}").unwrap();
        write_secret(&this.path("key"), (0..32).collect::<Vec<u8>>());
        write_secret(&this.path("other"), [9; 32]);
        this
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, key: &str, more: &[&str]) -> Run {
        let [out, from, key] = ["out", "in", key].map(|name| self.path(name));
        let first = ["model", "import", text(&out), "--jwe", text(&from), "--key-file", text(&key), "--json"];
        strongroom(first.iter().chain(more))
    }
}

#[test]
fn encrypted_files_open_with_their_key_and_say_which_of_them_it_vouches_for() {
    for (jwe, more) in [(WRAPPED, &[][..]), (DIRECT, &["--direct"])] {
        let place = Encrypted::new(jwe);
        let answer = place.import("key", more).done().json();
        for (path, content, authenticated) in
            [("config.json", &b"{}"[..], false), ("sub/by-its-content", PLAIN, true), ("weights.bin", PLAIN, true)]
        {
            assert_eq!(std::fs::read(place.path("out").join(path)).unwrap(), content);
            let file = json!({"path": path, "size": content.len(), "authenticated": authenticated});
            assert!(answer["files"].as_array().unwrap().contains(&file), "{answer}");
        }
        assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 3);
    }
}

#[test]
fn what_the_key_does_not_vouch_for_is_said() {
    let place = Encrypted::new(WRAPPED);
    let [out, from, key] = ["out", "in", "key"].map(|name| place.path(name));
    let import = ["model", "import", text(&out), "--jwe", text(&from), "--key-file", text(&key)];
    let said = strongroom(import).done().stdout;
    for (file, whose) in [("weights.bin", "content by its key, name not"), ("config.json", "vouched for by nobody")] {
        assert!(said.lines().any(|line| line.starts_with(file) && line.ends_with(whose)), "{said}");
    }
    assert!(said.ends_with("nobody vouches for names, nor for which files there are\n"), "{said}");
    // What no signature will cover is not taken along, whatever the key says.
    let place = Encrypted::new(WRAPPED);
    std::fs::write(place.path("in/.gitattributes.jwe"), WRAPPED).unwrap();
    place.import("key", &[]).refused(1, "path-unsafe");
}

#[test]
fn encrypted_files_that_do_not_authenticate_leave_nothing() {
    let changed = WRAPPED.replace(".tTHU", ".tTHV");
    for (jwe, key, more, code) in [
        (WRAPPED, "other", &[][..], "seal-invalid"),
        (&*changed, "key", &[], "seal-invalid"),
        (WRAPPED, "key", &["--direct"], "model-unsupported"),
        (WRAPPED.rsplit_once('.').unwrap().0, "key", &[], "malformed"),
    ] {
        let place = Encrypted::new(jwe);
        place.import(key, more).refused(1, code);
        let left: Vec<_> =
            std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
    let place = Encrypted::new(WRAPPED);
    // Two files that become one.
    std::fs::write(place.path("in/weights.bin"), "plain").unwrap();
    place.import("key", &[]).refused(1, "path-unsafe");
    std::fs::remove_file(place.path("in/weights.bin")).unwrap();
    std::os::unix::fs::symlink("config.json", place.path("in/link")).unwrap();
    place.import("key", &[]).refused(2, "model-not-plain");
    std::fs::remove_dir_all(place.path("in")).unwrap();
    std::fs::create_dir(place.path("in")).unwrap();
    std::fs::write(place.path("in/config.json"), "{}").unwrap();
    place.import("key", &[]).refused(1, "model-unsupported");
}
