//! What an image is made of, for whoever looks into it: each file with its digest, and a bill of materials (CycloneDX 1.6).

use crate::cpio::{Entry, Tree};
use crate::inputs::Package;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// `MODE SHA256 BYTES /PATH` of every entry; of a link the digest is that of where it leads.
///
/// # Errors
/// `internal`.
pub(crate) fn files(tree: &Tree) -> Result<String> {
    let mut out = String::new();
    for (path, entry) in tree {
        let (digest, length) = (Sha256::of(entry.content()), entry.content().len());
        writeln!(out, "{:06o} {digest} {length:>9} /{path}", entry.mode())
            .map_err(|e| Refusal::new(Code::Internal, "list of files").because(e))?;
    }
    Ok(out)
}

/// The bill of materials: the packages of Debian, ONNX Runtime, the crates that are in the programs, and the files.
///
/// # Errors
/// `internal`.
pub(crate) fn materials(
    tree: &Tree,
    packages: &[&Package],
    onnxruntime: &str,
    crates: &BTreeMap<(String, String), Option<String>>,
) -> Result<Vec<u8>> {
    let hashes = |digest: String| json!([{ "alg": "SHA-256", "content": digest }]);
    let mut components: Vec<Value> = Vec::new();
    for package in packages {
        let Package { name, suite, version, sha256 } = package;
        let purl = format!("pkg:deb/debian/{name}@{version}?arch=amd64&distro={suite}").replace('+', "%2B");
        let hashes = hashes(sha256.to_string());
        components.push(json!({ "type": "library", "name": name, "version": version, "purl": purl, "hashes": hashes }));
    }
    let purl = format!("pkg:pypi/onnxruntime@{onnxruntime}");
    components.push(json!({ "type": "library", "name": "onnxruntime", "version": onnxruntime, "purl": purl }));
    for ((name, version), digest) in crates {
        let purl = format!("pkg:cargo/{name}@{version}");
        let mut component = json!({ "type": "library", "name": name, "version": version, "purl": purl });
        if let (Some(digest), Some(members)) = (digest, component.as_object_mut()) {
            members.insert("hashes".to_owned(), hashes(digest.clone()));
        }
        components.push(component);
    }
    for (path, entry) in tree {
        if let Entry::File(bytes) | Entry::Program(bytes) = entry {
            let hashes = hashes(Sha256::of(bytes).to_string());
            components.push(json!({ "type": "file", "name": format!("/{path}"), "hashes": hashes }));
        }
    }
    let metadata = json!({ "component": { "type": "operating-system", "name": "strongroom-guest" } });
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": metadata, "components": components,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)
        .map_err(|e| Refusal::new(Code::Internal, "bill of materials").because(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}
